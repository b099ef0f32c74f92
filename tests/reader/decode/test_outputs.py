"""`load` validates its arguments against the records before the first step."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import reader
from reader.contract.record import parse_example, serialize_example
from reader.storage.tfrecord_file import read_shard

ROLES = {
    "image/encoded": "bytes",
    "image/caption": "bytes",
    "caption/ids": "int64",
    "image/source_id": "bytes",
    "image/height": "int64",
}


def load(pattern: Any, **settings: Any) -> tf.data.Dataset:
    usual = {"batch_size": 2, "image_size": 8}
    return reader.load(pattern, **{**usual, **settings})


def write(path: Path, *names: str) -> Path:
    """Writes two foreign records with the named features."""
    picture = tf.io.encode_png(np.zeros((4, 6, 3), np.uint8)).numpy()
    values: dict[str, Any] = {
        "image/encoded": [picture],
        "image/caption": [b"one", b"two"],
        "caption/ids": [5, 6, 7],
        "image/source_id": [b"key"],
        "image/height": [4],
    }
    record = serialize_example({name: (ROLES[name], values[name]) for name in names})
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(record)
        writer.write(record)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("pictures") / "pictures", "image/encoded")


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    return write(folder / "texts", "image/encoded", "image/caption", "image/source_id")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("tokens") / "tokens", "caption/ids")


def written(dataset: Path) -> Iterator[dict[str, list[Any]]]:
    """Yields the parsed records of the training split."""
    for shard in dataset.glob("train-*.tfrecord"):
        for record in read_shard(str(shard)):
            yield parse_example(record.data)


@pytest.fixture(scope="module")
def longest(dataset) -> int:
    """Length of the longest caption in tokens, without start and end."""
    return max(
        length for example in written(dataset) for length in example["caption/lengths"]
    )


def refusal(pattern: Any, **settings: Any) -> str:
    """Returns the message of the UsageError that `load` raises."""
    with pytest.raises(reader.UsageError) as raised:
        load(pattern, **settings)
    return str(raised.value)


# Images.


def test_images_of_several_sizes_need_a_size(dataset):
    message = refusal(dataset, split="train", image_size=None)
    assert "image_size must be given" in message
    sizes = [
        (example["image/width"][0], example["image/height"][0])
        for example in written(dataset)
    ]
    for side, values in zip(("wide", "high"), zip(*sizes, strict=True), strict=True):
        assert re.search(rf"{min(values)} to {max(values)} (pixels )?{side}", message)


def test_images_of_unknown_sizes_need_a_size(pictures):
    assert "image_size must be given" in refusal(pictures, image_size=None)


def test_two_datasets_of_one_size_each_need_a_size(build, tmp_path):
    folders = []
    for side in (4, 6):
        source = tmp_path / str(side)
        source.mkdir()
        for number in range(2):
            color = (number, side, 0)
            Image.new("RGB", (side, 4), color).save(source / f"{number}.png")
            (source / f"{number}.txt").write_text("a word")
        folders.append(build(source, source, source / "out", resize="none"))
    for folder in folders:
        spec = load(folder, image_size=None).element_spec
        assert spec["image"].shape[1] == 4
    message = refusal([folder / "train-*" for folder in folders], image_size=None)
    assert "4 to 6 pixels wide and 4 to 4 high" in message


# Missing outputs.


@pytest.mark.parametrize(
    "name", ["tokens", "mask", "length", "caption", "key", "width"]
)
def test_an_output_that_is_not_held_is_named(pictures, name):
    message = refusal(pictures, outputs=("image", name))
    assert f"outputs names {name}" in message
    assert "image/encoded" in message and "features=" in message


@pytest.mark.parametrize("name", ["image", "caption", "key", "height"])
def test_records_of_ids_alone_hold_nothing_else(tokens, name):
    message = refusal(tokens, outputs=(name,))
    assert f"outputs names {name}" in message and "caption/ids" in message


def test_a_column_that_was_not_carried_through_is_named(dataset):
    message = refusal(dataset, split="train", outputs=("image", "extra/score"))
    assert (
        "extra/score" in message and "no columns" in message and "--columns" in message
    )


def test_sorting_by_length_needs_ids(texts):
    message = refusal(texts, bucket_by_length=True)
    assert "bucket_by_length needs token ids" in message


def test_the_usual_batch_holds_what_there_is(pictures, texts, tokens):
    assert list(load(pictures).element_spec) == ["image"]
    assert list(load(texts).element_spec) == ["image"]
    assert list(load(texts, remainder="pad").element_spec) == ["image", "valid"]
    for batch in load(pictures):
        assert batch["image"].shape == (2, 8, 8, 3)
    message = refusal(tokens)  # The default outputs require images.
    assert "outputs names image" in message


# Tokens.


@pytest.mark.parametrize("outputs", [None, ("tokens",), ("mask",), ("length",)])
def test_fewer_tokens_than_start_and_end_are_refused(dataset, outputs):
    settings = {"split": "train", "outputs": outputs}
    message = refusal(dataset, max_tokens=1, **settings)
    assert "max_tokens must be at least 2" in message and "got 1" in message
    load(dataset, max_tokens=2, **settings)
    load(dataset, max_tokens=1, add_special_tokens=False, **settings)


def warnings(caplog: Any, pattern: Any, **settings: Any) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="reader"):
        load(pattern, **settings)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("special", [True, False])
def test_more_tokens_than_the_longest_caption_are_warned_about(
    dataset, longest, caplog, special
):
    most = longest + 2 * special
    settings = {"split": "train", "add_special_tokens": special}
    assert warnings(caplog, dataset, max_tokens=most, **settings) == []
    (message,) = warnings(caplog, dataset, max_tokens=most + 1, **settings)
    assert f"max_tokens is {most + 1}" in message
    assert f"longest caption has {most} tokens" in message


def test_more_tokens_than_needed_go_unmentioned_where_nobody_asked(
    dataset, longest, tokens, caplog
):
    assert longest + 2 < 64  # The default of max_tokens.
    assert warnings(caplog, dataset, split="train") == []
    settings = {"split": "train", "max_tokens": 500}
    assert warnings(caplog, dataset, outputs=("image",), **settings) == []
    # The lengths of these captions are unknown.
    assert warnings(caplog, tokens, outputs=("tokens",), max_tokens=500) == []


# Captions.


def test_all_captions_need_a_number_where_it_is_not_known(texts):
    settings = {"caption": "all", "outputs": ("caption", "caption_valid")}
    assert 'caption="all" needs max_captions' in refusal(texts, **settings)
    spec = load(texts, max_captions=3, **settings).element_spec
    assert [part.shape for part in spec] == [(2, 3), (2, 3)]


def test_all_captions_are_as_many_as_any_example_has(dataset):
    spec = load(dataset, split="train", caption="all").element_spec
    assert spec["tokens"].shape == (2, 2, 64)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"caption": "last"}, ["caption", '"first" or "random" or "all"', '"last"']),
        ({"caption": None}, ["caption", "None"]),
        ({"caption": 0}, ["caption", "0"]),
        ({"caption": "all", "max_captions": 0}, ["max_captions", "at least 1", "0"]),
        ({"caption": "all", "max_captions": "2"}, ["max_captions", "'2'"]),
        ({"max_captions": 2}, ["max_captions", 'caption="all"', '"first"']),
        ({"caption": "random", "max_captions": 2}, ["max_captions", '"random"']),
        ({"outputs": ("caption_valid",)}, ["caption_valid", 'caption="all"']),
        ({"add_special_tokens": 1}, ["add_special_tokens", "1"]),
    ],
    ids=repr,
)
def test_a_wrong_word_about_captions_is_refused(dataset, settings, parts):
    message = refusal(dataset, split="train", **settings)
    for part in parts:
        assert part in message


# NumPy integers as arguments.


@pytest.mark.parametrize(
    "settings",
    [
        {"max_tokens": np.int64(9)},
        {"caption": "all", "max_captions": np.int64(2)},
        {"image_size": (np.int64(8), np.int32(9)), "batch_size": np.int64(4)},
        {"epochs": np.int64(2), "start_step": np.int64(3), "seed": np.uint32(5)},
        {"host_index": np.int64(1), "host_count": np.int64(2)},
        {"shuffle_bytes": np.int64(1 << 20), "start_example": np.int64(4)},
    ],
    ids=repr,
)
def test_whole_numbers_may_be_those_of_numpy(dataset, settings):
    def python(value: Any) -> Any:
        return value.item() if isinstance(value, np.generic) else value

    plain = {name: python(value) for name, value in settings.items()}
    plain |= {"image_size": (8, 9)} if "image_size" in settings else {}
    made, expected = (load(dataset, split="train", **m) for m in (settings, plain))
    state = reader.state(made, 5)
    assert state == reader.state(expected, 5)
    assert json.loads(json.dumps(state)) == state
    assert len(made) == len(expected)
    for one, other in zip(made.take(1), expected.take(1), strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert np.array_equal(one[name], other[name])

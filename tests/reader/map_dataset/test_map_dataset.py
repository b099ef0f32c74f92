"""Random access to records with `reader.open`: examples, numbers, keys and arguments.

Expected values come from `reader.load`, from TensorFlow's own parser, and from Pillow.
"""

import io
import json
import operator
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from record_access import (
    NUM_TRAIN,
    by_pillow,
    encoded,
    keys_of,
    open_train,
    stored,
    texts,
    write,
)

import beam_jobs
import reader
from beam_jobs import JobConfig
from beam_jobs.config.columns import parse_columns
from beam_jobs.config.values import parse_splits
from reader import DatasetError, UsageError


@pytest.fixture(scope="module")
def photographs(shared_data, build, tmp_path_factory) -> Path:
    """Builds twelve photographs; some are not JPEG or have an EXIF orientation."""
    pairs, source = shared_data / "pairs", tmp_path_factory.mktemp("photographs")
    for image in sorted((pairs / "images").iterdir())[:12]:
        shutil.copy(image, source)
        shutil.copy(pairs / "captions" / f"{image.stem}.txt", source)
    return build(source, source, source / "out")


@pytest.fixture(scope="module")
def awkward(build, tmp_path_factory) -> Path:
    """Builds three keys, two of which are displayed alike, and an empty split."""
    source = os.fsencode(tmp_path_factory.mktemp("awkward"))
    for number, name in enumerate([b"caf\xe9", b"caf%E9", "né".encode()]):
        picture = encoded(np.full((8, 8, 3), 80 * number, np.uint8), "PNG")
        Path(os.fsdecode(source + b"/" + name + b".png")).write_bytes(picture)
        Path(os.fsdecode(source + b"/" + name + b".txt")).write_text(f"text {number}")
    folder = Path(os.fsdecode(source))
    splits = parse_splits("train=0.999,validation=0.001")
    return build(folder, folder, folder / "out", splits=splits)


# Contents of an example.


def test_an_example_is_a_dictionary_of_image_tokens_and_mask(dataset):
    example = open_train(dataset)[0]
    assert list(example) == ["image", "tokens", "mask"]
    assert example["image"].dtype == np.uint8
    assert example["tokens"].dtype == np.int32
    assert example["mask"].dtype == np.bool_
    assert example["tokens"].shape == example["mask"].shape == (64,)


def test_an_example_is_a_tuple_in_the_order_of_outputs(dataset):
    names = ("mask", "key", "image", "key")
    row = open_train(dataset, *names)[3]
    whole = open_train(dataset, "image", "key", "mask")[3]
    image, key, mask = whole
    assert isinstance(row, tuple)
    assert (row[0] == mask).all() and (row[2] == image).all()
    assert row[1] == row[3] == key


@pytest.mark.parametrize(("max_tokens", "special"), [(2, True), (6, False), (8, True)])
def test_all_but_pixels_are_those_of_load(dataset, max_tokens, special):
    names = ("tokens", "mask", "length", "key", "caption", "height", "width")
    how = {"max_tokens": max_tokens, "add_special_tokens": special, "outputs": names}
    pattern = f"{dataset}/train-*.tfrecord"
    loaded = reader.load(pattern, batch_size=1, shuffle=False, **how)
    expected = list(loaded.unbatch().as_numpy_iterator())
    found = list(reader.open(pattern, **how))
    assert len(found) == len(expected) == NUM_TRAIN
    for mine, theirs in zip(found, expected, strict=True):
        assert mine[0].tolist() == theirs[0].tolist()
        assert mine[1].tolist() == theirs[1].tolist()
        plain = [v.decode() if isinstance(v, bytes) else int(v) for v in theirs[2:]]
        assert list(mine[2:]) == plain
        assert [type(value) for value in mine[2:]] == [int, str, str, int, int]


@pytest.mark.parametrize("source", ["dataset", "photographs"])
def test_pixels_are_those_that_pillow_decodes(source, request):
    folder = request.getfixturevalue(source)
    found, records = open_train(folder, "image"), stored(folder)
    assert len(found) == len(records)
    for (image,), features in zip(found, records, strict=True):
        (jpeg,) = features["image/encoded"].bytes_list.value
        assert np.array_equal(image, by_pillow(jpeg))
        image[:] = 0  # The array is writable.


@pytest.mark.parametrize("form", ["png", "raw"])
def test_what_is_stored_without_loss_is_the_source(form, build, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(encoded(pixels, "PNG"))
    (tmp_path / "a.txt").write_text("noise")
    build(tmp_path, tmp_path, tmp_path / "out", image_format=form)
    ((image,),) = open_train(tmp_path / "out", "image")
    assert np.array_equal(image, pixels)
    image[:] = 0


def test_captions_are_all_of_them_and_caption_is_the_first(dataset):
    expected = [texts(features, "image/caption") for features in stored(dataset)]
    found = list(open_train(dataset, "captions", "caption"))
    assert [captions for captions, _ in found] == expected
    assert [caption for _, caption in found] == [first for first, _ in expected]


def test_columns_have_the_type_they_were_stored_with(build, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(np.zeros((8, 8, 3), np.uint8), "PNG"))
    row = {"image": "a.png", "caption": "x", "n": 7, "score": 0.1, "url": "é"}
    row["emb"] = [1.5, -2.0]
    (tmp_path / "t.jsonl").write_text(json.dumps(row))
    spec = "n:int,score:float,url:str,emb:float[2]"
    table, output = str(tmp_path / "t.jsonl"), str(tmp_path / "out")
    beam_jobs.run(JobConfig(table=table, output=output, columns=parse_columns(spec)))
    names = ("extra/n", "extra/score", "extra/url", "extra/emb")
    data = open_train(tmp_path / "out", *names)
    ((n, score, url, emb),) = data
    assert (n, url, emb.tolist(), emb.dtype) == (7, "é", [1.5, -2.0], np.float32)
    assert type(score) is np.float32 and score == np.float32(0.1)
    assert data.samples.column("extra/n").to_pylist() == [7]
    with pytest.raises(UsageError, match=r"extra/x.*extra/score"):
        open_train(tmp_path / "out", "extra/x")


def test_encoded_is_the_image_as_stored(dataset):
    for data, image in reader.open(
        dataset, split="train", outputs=("encoded", "image")
    ):
        with Image.open(io.BytesIO(data)) as decoded:
            np.testing.assert_array_equal(np.asarray(decoded), image)


@pytest.mark.parametrize("epoch", [0, 3])
def test_draws_are_those_of_load_for_captions(dataset, epoch):
    loaded = reader.load(
        dataset,
        split="train",
        batch_size=1,
        seed=5,
        start_step=epoch * NUM_TRAIN,
        caption="random",
        outputs=("key", "caption"),
    )
    expected = {key[0]: caption[0] for key, caption in loaded.as_numpy_iterator()}
    opened = reader.open(
        dataset, split="train", seed=5, outputs=("key", "captions", "draws")
    )
    opened.set_epoch(epoch)
    assert len(expected) == len(opened) == NUM_TRAIN
    for key, captions, draws in opened:
        chosen = captions[int(draws["caption"] * len(captions))]
        assert chosen.encode() == expected[key.encode()]


def test_draws_are_those_of_images_for_flips(dataset):
    settings = {"split": "train", "image_size": 24, "crop": "none", "seed": 2}
    plain = reader.open(dataset, outputs=("image",), **settings)
    flipped = reader.open(dataset, outputs=("image", "draws"), flip=True, **settings)
    flips = set()
    for (image,), (other, draws) in zip(plain, flipped, strict=True):
        flips.add(is_flipped := draws["flip"] < 0.5)
        expected = image[:, ::-1] if is_flipped else image
        np.testing.assert_array_equal(other, expected)
    assert flips == {True, False}


def test_draws_depend_on_record_epoch_and_seed_only(dataset):
    def seeds(seed: int, epoch: int) -> list[int]:
        opened = reader.open(dataset, split="train", seed=seed, outputs=("draws",))
        opened.set_epoch(epoch)
        return [draws["seed"] for (draws,) in opened]

    found = [seeds(0, 0), seeds(0, 1), seeds(1, 0), seeds(0, 0)[::-1]]
    assert found[3] == found[0][::-1]
    together = [*found[0], *found[1], *found[2]]
    assert len(set(together)) == len(together) == 3 * NUM_TRAIN
    assert all(0 <= seed < 2**63 for seed in together)
    torch.manual_seed(max(together))


def test_transform_is_applied_to_what_would_be_returned(dataset):
    plain = open_train(dataset, "key", "length")
    second = open_train(dataset, "key", "length", transform=operator.itemgetter(1))
    assert list(second) == [length for _, length in plain]
    sizes = open_train(dataset, transform=lambda example: example["image"].size)
    assert sizes[0] == open_train(dataset)[0]["image"].size


# Numbers.


def test_numbers_may_be_negative_or_of_numpy_or_torch(dataset):
    data, expected = open_train(dataset, "key"), keys_of(dataset)
    assert len(data) == NUM_TRAIN
    assert [data[i][0] for i in range(-len(data), 0)] == expected
    for number in (np.int64(5), np.uint8(5), torch.tensor(5), np.array(5)):
        assert data[number] == (expected[5],)
    assert list(data) == [(key,) for key in expected]


@pytest.mark.parametrize("number", [NUM_TRAIN, -NUM_TRAIN - 1, 10**20])
def test_a_number_that_is_none_is_told_with_the_length(dataset, number):
    with pytest.raises(IndexError, match=rf"{number}\b.* {NUM_TRAIN}"):
        open_train(dataset, "key")[number]


@pytest.mark.parametrize("number", ["park/1", 1.0, None, slice(2), [1], np.arange(2)])
def test_what_is_no_number_is_a_type_error(dataset, number):
    with pytest.raises(TypeError, match="by_key"):
        open_train(dataset, "key")[number]


def test_an_empty_split_has_no_records(awkward):
    data = reader.open(awkward, split="validation")
    assert (len(data), list(data), len(data.samples)) == (0, [], 0)
    for number in (0, -1):
        with pytest.raises(IndexError, match=str(number)):
            data[number]
    with pytest.raises(KeyError):
        data.by_key("né")


def test_a_list_of_patterns_is_their_union(dataset):
    parts = [f"{dataset}/train-*", f"{dataset}/validation-*"]
    data = reader.open(parts, outputs=("key",))
    validation = keys_of(dataset, "validation-*.tfrecord")
    assert list(data) == [(key,) for key in keys_of(dataset) + validation]


def test_repr_tells_how_much_of_what_there_is(dataset):
    shown = repr(open_train(dataset, "key", "mask"))
    assert all(part in shown for part in (str(dataset), "48 records", "key, mask"))


# Keys.


@pytest.mark.parametrize("tables", [True, False], ids=["tables", "records"])
def test_each_key_finds_its_record(own_dataset, tables):
    if not tables:
        shutil.rmtree(own_dataset / "samples")
    data, expected = open_train(own_dataset, "key", "length"), keys_of(own_dataset)
    for number, key in enumerate(expected):
        assert data.by_key(key) == data.by_key(key.encode()) == data[number]


@pytest.mark.parametrize("tables", [True, False], ids=["tables", "records"])
def test_keys_that_are_shown_alike_are_told_apart(awkward, tables, tmp_path):
    folder = Path(shutil.copytree(awkward, tmp_path / "out"))
    if not tables:
        shutil.rmtree(folder / "samples")
    data = reader.open(folder, split="train", outputs=("key", "caption"))
    assert data.by_key(b"caf\xe9") == data.by_key(os.fsdecode(b"caf\xe9"))
    assert data.by_key(b"caf\xe9") == ("caf%E9", "text 0")
    assert data.by_key("caf%E9") == data.by_key(b"caf%E9") == ("caf%E9", "text 1")
    assert data.by_key("né") == data.by_key("né".encode()) == ("né", "text 2")


def test_a_key_may_be_given_as_it_is_shown(tmp_path):
    write(tmp_path / "a.record", [{"image/source_id": [b"\xff"], "n": [1]}])
    data = reader.open(tmp_path / "a.record", outputs=("key",))
    assert data.by_key("%FF") == data.by_key(b"\xff") == ("%FF",)
    with pytest.raises(KeyError, match="%FF"):
        data.by_key(b"%FF")


def test_an_unknown_key_is_named_with_those_most_like_it(dataset):
    data, key = open_train(dataset, "key"), keys_of(dataset)[7]
    with pytest.raises(KeyError) as raised:
        data.by_key(f"{key}x")
    assert f'"{key}x"' in str(raised.value)
    assert key in str(raised.value).replace(f"{key}x", "")
    with pytest.raises(TypeError, match="7"):
        data.by_key(7)


def test_a_key_that_two_records_have_is_refused(dataset, own_dataset):
    both = [f"{folder}/train-*.tfrecord" for folder in (dataset, own_dataset)]
    data = reader.open(both, outputs=("key",))
    assert len(data) == 2 * NUM_TRAIN
    with pytest.raises(KeyError, match=f"5, {NUM_TRAIN + 5}"):
        data.by_key(keys_of(dataset)[5])


def test_samples_are_the_rows_of_the_tables_in_order(dataset):
    data = open_train(dataset, "key")
    tables = sorted((dataset / "samples").glob("train-*.parquet"))
    rows = [row for path in tables for row in pq.read_table(path).to_pylist()]
    assert data.samples.to_pylist() == rows
    assert [(row["key"],) for row in rows] == list(data)


def test_a_missing_or_damaged_table_is_named(own_dataset):
    table = sorted((own_dataset / "samples").glob("train-*.parquet"))[1]
    for change in (lambda: table.write_bytes(b"PAR1"), table.unlink):
        change()
        with pytest.raises(DatasetError, match=table.name):
            open_train(own_dataset).samples  # noqa: B018


# Invalid arguments.


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"outputs": "image"}, ["outputs", "'image'"]),
        ({"outputs": ()}, ["outputs", "empty"]),
        ({"outputs": ("image", "pixels")}, ["outputs", "'pixels'", "captions"]),
        ({"outputs": ("valid",)}, ["outputs", "'valid'"]),
        ({"outputs": [["image"]]}, ["outputs", "['image']"]),
        ({"outputs": ("extra/score",)}, ["extra/score", "--columns"]),
        ({"max_tokens": 0}, ["max_tokens", "1", "0"]),
        ({"max_tokens": 1}, ["max_tokens", "2", "1"]),
        ({"max_tokens": 2.5}, ["max_tokens", "2.5"]),
        ({"add_special_tokens": 1}, ["add_special_tokens", "1"]),
        ({"transform": "resize"}, ["transform", "'resize'"]),
        ({"split": "test"}, ["split", "test"]),
        ({"features": {"image": "x"}}, ["features", "manifest"]),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_by_name(dataset, settings, parts):
    pattern = dataset if "split" in settings else f"{dataset}/train-*.tfrecord"
    with pytest.raises(UsageError) as raised:
        reader.open(pattern, **settings)
    assert all(part in str(raised.value) for part in parts)


def test_wrong_arguments_are_told_before_anything_is_looked_for():
    with pytest.raises(UsageError, match="pixels"):
        reader.open("/nowhere/train-*.tfrecord", outputs=("pixels",))


def test_mixtures_and_compressed_files_are_refused(dataset, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="mixture"):
        reader.open({f"{dataset}/train-*": 1, f"{dataset}/validation-*": 2})
    path = write(tmp_path / "a.gz", [{"image/encoded": [b"x"]}], "GZIP")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UsageError, match=r"GZIP.*uncompressed"):
        reader.open(path)


def test_keys_of_records_that_have_none_are_refused(tmp_path):
    path = write(tmp_path / "a.record", [{"text": [b"a"]}])
    data = reader.open(path, outputs=("caption",))
    with pytest.raises(UsageError, match="key"):
        data.by_key("a")

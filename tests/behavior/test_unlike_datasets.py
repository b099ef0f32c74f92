"""Datasets that differ are read as one, as long as nobody asks for the difference."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import foreign_records as foreign
import numpy as np
import pytest
from PIL import Image
from written_layers import Captions, write_layer

import reader
from reader.datasets.manifest_dataset import open_dataset

COMMON = ("image", "caption", "key")


class Part(NamedTuple):
    """A dataset, and the keys and captions that were put into it."""

    pattern: str
    texts: dict[bytes, bytes]


def source_of(folder: Path, name: str, num: int) -> dict[bytes, bytes]:
    texts = {}
    for number in range(num):
        key, text = f"{name}{number:02}", f"a {name} with number {number}"
        pixels = np.full((8, 8, 3), number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{key}.png")
        (folder / f"{key}.txt").write_text(text)
        texts[key.encode()] = text.encode()
    return texts


PARTS: dict[str, dict[str, Any]] = {
    "basic": {},
    "bytes": {"tokenizer": "bytes"},
    "other words": {"vocab_size": 6},
    "raw": {"image_format": "raw", "tokenizer": "bytes", "image_size": 8},
}


@pytest.fixture(scope="module")
def parts(build, tmp_path_factory) -> dict[str, Part]:
    made = {}
    for name, settings in PARTS.items():
        folder = tmp_path_factory.mktemp("source")
        texts = source_of(folder, name.replace(" ", "-"), 30)
        build(folder, folder, folder / "out", **settings)
        made[name] = Part(str(folder / "out"), texts)
    folder = tmp_path_factory.mktemp("foreign")
    rows = [
        {
            foreign.KEY: b"f%02d" % number,
            foreign.IMAGE: foreign.picture(number),
            foreign.TEXT: b"foreign %d" % number,
            "caption/ids": [4, number],
        }
        for number in range(30)
    ]
    path = foreign.write(folder / "train-00000-of-00001.tfrecord", rows)
    texts = {row[foreign.KEY]: row[foreign.TEXT] for row in rows}
    made["foreign"] = Part(str(path), texts)
    return made


Read = Callable[..., dict[bytes, bytes]]


def of_load(patterns: list[str], outputs: tuple[str, ...]) -> dict[bytes, bytes]:
    batches = reader.load(patterns, batch_size=6, image_size=4, outputs=outputs)
    places = [outputs.index(name) for name in ("key", "caption")]
    found: dict[bytes, bytes] = {}
    for batch in batches.as_numpy_iterator():
        keys, texts = (batch[place].tolist() for place in places)
        found |= dict(zip(keys, texts, strict=True))
    return found


def of_mixture(patterns: list[str], outputs: tuple[str, ...]) -> dict[bytes, bytes]:
    weights = dict.fromkeys(patterns, 1.0)
    batches = reader.load(
        weights, batch_size=6, image_size=4, outputs=outputs, epochs=None
    )
    places = [outputs.index(name) for name in ("key", "caption")]
    found: dict[bytes, bytes] = {}
    for batch in batches.take(100).as_numpy_iterator():
        keys, texts = (batch[place].tolist() for place in places)
        found |= dict(zip(keys, texts, strict=True))
    return found


def of_open(patterns: list[str], outputs: tuple[str, ...]) -> dict[bytes, bytes]:
    examples = reader.open(patterns, outputs=outputs)
    places = [outputs.index(name) for name in ("key", "caption")]
    return {
        key.encode(): text.encode()
        for key, text in ([example[place] for place in places] for example in examples)
    }


READ = {"load": of_load, "mixture": of_mixture, "open": of_open}
UNLIKE = [
    ("basic", "bytes"),
    ("bytes", "basic"),
    ("basic", "other words"),
    ("basic", "foreign"),
    ("foreign", "bytes"),
]


@pytest.mark.parametrize("read", READ.values(), ids=READ)
@pytest.mark.parametrize("names", UNLIKE, ids=" and ".join)
def test_without_tokens_they_are_one(parts, read, names):
    one, other = (parts[name] for name in names)
    found = read([one.pattern, other.pattern], COMMON)
    assert found == one.texts | other.texts


@pytest.mark.parametrize("read", READ.values(), ids=READ)
@pytest.mark.parametrize("output", ["tokens", "mask", "length"])
def test_tokens_are_refused_with_what_to_do(parts, read, output):
    patterns = [parts["basic"].pattern, parts["bytes"].pattern]
    with pytest.raises(reader.UsageError) as caught:
        read(patterns, (*COMMON, output))
    said = str(caught.value)
    assert "different tokenizers (basic, sha256 " in said
    assert "and bytes, sha256 " in said
    assert "leave tokens out of outputs" in said
    one, other = patterns
    assert f"`diptych build --dataset={other} --tokenizer={one} --output=…`" in said
    assert f"--retokenize --tokenizer={one}` for each of them" in said


def test_tokens_are_asked_for_by_default(parts):
    patterns = [parts["basic"].pattern, parts["bytes"].pattern]
    with pytest.raises(reader.UsageError, match="different tokenizers"):
        reader.load(patterns, batch_size=6, image_size=4)
    with pytest.raises(reader.UsageError, match="different tokenizers"):
        reader.load(dict.fromkeys(patterns, 1), batch_size=6, epochs=None, image_size=4)
    with pytest.raises(reader.UsageError, match="different tokenizers"):
        reader.open(patterns)


def test_sorting_by_length_compares_tokens(parts):
    patterns = [parts["basic"].pattern, parts["bytes"].pattern]
    with pytest.raises(reader.UsageError, match="different tokenizers"):
        reader.load(
            patterns, batch_size=6, image_size=4, outputs=COMMON, bucket_by_length=True
        )


def test_a_tokenizer_that_is_unknown_is_another_one(parts):
    for names in (("basic", "foreign"), ("foreign", "basic")):
        patterns = [parts[name].pattern for name in names]
        with pytest.raises(reader.UsageError, match="unknown") as caught:
            reader.load(patterns, batch_size=6, image_size=4)
        assert "leave tokens out of outputs" in str(caught.value)
        assert "--tokenizer" not in str(caught.value)


def test_the_first_difference_of_three_is_told(parts):
    names = ("basic", "bytes", "other words")
    patterns = [parts[name].pattern for name in names]
    with pytest.raises(reader.UsageError, match=r"basic, .* and bytes, "):
        reader.load(patterns, batch_size=6, image_size=4)
    expected = {k: t for name in names for k, t in parts[name].texts.items()}
    assert of_load(patterns, COMMON) == expected


def test_steps_and_coverage_need_no_tokens(parts):
    patterns = [parts["basic"].pattern, parts["bytes"].pattern]
    assert reader.steps_per_epoch(patterns, batch_size=6) == 10
    covered = reader.coverage(patterns, batch_size=6, host_count=2)
    assert (covered.num_examples, covered.problems) == (60, [])


def test_other_images_hinder_only_images(parts):
    patterns = [parts["bytes"].pattern, parts["raw"].pattern]
    expected = parts["bytes"].texts | parts["raw"].texts
    assert of_load(patterns, ("key", "caption", "tokens")) == expected
    with pytest.raises(reader.UsageError, match="jpeg and raw"):
        of_load(patterns, COMMON)


def test_other_features_hinder_only_their_output(parts, tmp_path):
    rows = [
        {"jpg": foreign.picture(n, "JPEG"), "txt": b"t%d" % n, "key": b"k%02d" % n}
        for n in range(6)
    ]
    path = foreign.write(tmp_path / "others.tfrecord", rows)
    patterns = [parts["foreign"].pattern, str(path)]
    assert reader.steps_per_epoch(patterns, batch_size=6) == 6
    for output, role in (("image", "image"), ("caption", "captions"), ("key", "key")):
        with pytest.raises(reader.UsageError, match=f"different features for {role}:"):
            reader.load(patterns, batch_size=6, image_size=4, outputs=(output,))


def test_keys_and_samples_of_a_union_with_foreign_records(parts):
    patterns = [parts["basic"].pattern, parts["foreign"].pattern]
    both = reader.open(patterns, outputs=("caption",))
    assert both.by_key("basic07") == ("a basic with number 7",)
    assert both.by_key("f07") == ("foreign 7",)
    with pytest.raises(reader.UsageError, match="only Diptych datasets have samples"):
        both.samples  # noqa: B018


def test_layers_of_one_name_make_the_tokens_of_a_union_equal(parts):
    ones = [parts["basic"], parts["bytes"]]
    manifest = open_dataset(ones[1].pattern).manifest
    tokenizer = reader.tokenizer(ones[1].pattern)
    data = open_dataset(ones[1].pattern).tokenizer_data()
    for part in ones:
        texts = {key: [text.decode()] for key, text in part.texts.items()}
        captions = Captions(texts, tokenizer.encode, manifest.tokenizer, data)
        write_layer(Path(part.pattern), "tokens", captions=captions)
    outputs = ("key", "tokens", "length", "dataset")
    patterns = [part.pattern for part in ones]
    batches = reader.load(patterns, batch_size=6, outputs=outputs, layers=["tokens"])
    start, end = manifest.tokenizer.start_id, manifest.tokenizer.end_id
    seen = set()
    for batch in batches.as_numpy_iterator():
        for key, row, length, dataset in zip(*batch, strict=True):
            text = ones[dataset].texts[key].decode()
            assert row[:length].tolist() == [start, *tokenizer.encode(text), end]
            seen.add(key)
    assert seen == {*ones[0].texts, *ones[1].texts}
    with pytest.raises(reader.UsageError, match="different tokenizers"):
        reader.load(patterns, batch_size=6, outputs=outputs)

"""A layer on disk: its JSON, and what joins its records to the dataset's."""

import pytest

from reader.contract.additions.base_shard import BaseShard
from reader.contract.additions.layer import (
    LayerAccounting,
    LayerManifest,
    caption_features,
    check_layer_name,
    column_key,
    dump_layer,
    fill_of,
    parse_layer,
    samples_columns,
)
from reader.contract.errors import DatasetError, UsageError
from reader.contract.manifest import Shard
from reader.contract.record import (
    find_value,
    parse_example,
    parse_features,
    serialize_example,
)
from reader.contract.schema import Feature
from reader.contract.statistics import Statistics, Tally

FILE = "train-00000-of-00001.tfrecord"
FEATURES = (
    *caption_features("recap"),
    Feature("recap/emb", "float16", (3,), "extra"),
    Feature("recap/score", "float32", (), "extra"),
)
LAYER = LayerManifest(
    name="recap",
    base=(BaseShard(FILE, 2, "00000000"),),
    features=FEATURES,
    tokenizer=None,
    replaces=("captions",),
    shards=(Shard(file=FILE, num_examples=2, num_bytes=3, crc32c="0" * 8),),
    statistics={"train": Statistics(captions=Tally.of([1, 2]))},
    accounting=LayerAccounting(
        found=2, written=1, not_written={"unknown_key": 1}, filled=1
    ),
    files={"rejects.jsonl": "00000000"},
    fingerprints={"input": "0"},
    config={"fill": "base"},
    versions={"diptych": "0"},
)


def test_a_layer_survives_its_json() -> None:
    data = dump_layer(LAYER)
    assert parse_layer(data, "layer.json") == LAYER
    assert LAYER.accounting.balanced(2)
    assert not LAYER.accounting.balanced(3)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b'"layer"', b'"selection"', "kind"),
        (b'"format_version": 1', b'"format_version": 2', "upgrade"),
        (b'"num_examples": 2', b'"num_examples": 3', "not those of its base"),
        (b'"bytes"', b'"complex"', "unknown dtype"),
    ],
)
def test_other_json_is_refused(old: bytes, new: bytes, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        parse_layer(dump_layer(LAYER).replace(old, new), "layer.json")


def test_released_readers_take_halves_for_bytes() -> None:
    data = dump_layer(LAYER).replace(b'"float16"', b'"of a later version"')
    feature = parse_layer(data, "layer.json").columns[0]
    assert feature == Feature("recap/emb", "bytes", (), "extra")
    assert parse_example(serialize_example({"e": ("float16", [1.0, -2.0])})) == {
        "e": [b"\x00\x3c\x00\xc0"]
    }


def test_a_record_and_its_layer_are_one_example() -> None:
    base = serialize_example(
        {"image/encoded": ("bytes", [b"pixels"]), "key": ("bytes", [b"a"])}
    )
    added = serialize_example(
        {
            "recap/caption": ("bytes", [b"a dog"]),
            "recap/emb": ("float16", [1.0, 2.0, 0.5]),
            "recap/score": ("float32", [0.25]),
        }
    )
    fill = fill_of("recap", FEATURES)
    joined = base + added + fill.present
    found = parse_features(joined, FEATURES)
    assert found["recap/emb"] == [1.0, 2.0, 0.5]
    assert found["recap/caption"] == [b"a dog"]
    assert parse_example(joined, ["recap/present"]) == {"recap/present": [1]}
    missing = base + fill.absent
    assert parse_features(missing, FEATURES) == {
        "recap/caption": [],
        "recap/ids": [],
        "recap/lengths": [],
        "recap/emb": [0.0, 0.0, 0.0],
        "recap/score": [0.0],
    }
    # The image is taken out of the bytes; what the layer added stays.
    value = find_value(memoryview(joined), b"image/encoded")
    assert joined[value.begin : value.end] == b"pixels"
    rest = parse_example(joined)
    del rest["image/encoded"]
    assert parse_example(value.rest) == rest


def test_columns_of_samples() -> None:
    assert list(samples_columns(FEATURES)) == [
        "key",
        "offset",
        "length",
        "captions",
        "num_tokens",
        "recap/emb",
        "recap/score",
    ]


@pytest.mark.parametrize("name", ["recap-v2", "clip_b32", "2026.11"])
def test_names(name: str) -> None:
    check_layer_name(name)


@pytest.mark.parametrize("name", ["", "a/b", ".x", "base", "extra", "x" * 101, "é"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="layer"):
        check_layer_name(name)


def test_a_column_must_not_be_called_as_the_layers_own() -> None:
    assert column_key("clip", "score") == "clip/score"
    with pytest.raises(UsageError, match="rename"):
        column_key("clip", "present")

"""A damaged index or manifest."""

import json
from pathlib import Path

import pytest
from damaged_shards import (
    SHARDS,
    flip,
    load,
    message,
    read,
    repaired,
    replacements,
    spoil,
    warnings_of,
)

import reader

# The index and the manifest.


def idx(folder: Path, shard: str) -> Path:
    return folder / "index" / f"{shard}.idx"


def damage_index(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-8])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        data = bytearray(path.read_bytes())
        data[1] ^= 0x01
        path.write_bytes(data)


in_every_way = pytest.mark.parametrize("how", ["missing", "cut", "empty", "flipped"])


@in_every_way
def test_a_damaged_block_index_is_named_by_load(own, how):
    path = own / "index" / "blocks.bin"
    damage_index(path, how)
    with pytest.raises(reader.DatasetError) as raised:
        load(own, on_corrupt="skip")
    assert str(path) in str(raised.value)
    assert "restore it or build again" in str(raised.value)


@pytest.mark.parametrize("how", ["missing", "flipped"])
def test_without_a_shards_index_its_headers_are_read_with_a_warning(
    own, whole, how, caplog
):
    damage_index(idx(own, SHARDS[1]), how)
    assert read(load(own)) == read(load(whole))
    (told,) = warnings_of(caplog)
    assert str(idx(own, SHARDS[1])) in told
    assert f"reading the headers of {SHARDS[1]} instead" in told


def test_without_any_index_of_a_shard_all_is_read(own, whole, caplog):
    for shard in SHARDS:
        idx(own, shard).unlink()
    assert read(load(own)) == read(load(whole))
    assert len(warnings_of(caplog)) == 3


@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
def test_without_a_shards_index_damaged_data_is_found_as_ever(
    own, whole, records, on_corrupt
):
    place = records[150]
    idx(own, place.shard).unlink()
    spoil(own, [place])
    batches = load(own, on_corrupt=on_corrupt)
    if on_corrupt == "raise":
        assert place.named(own) in message(batches)
    else:
        expected = read(load(whole, on_corrupt="skip"))
        assert read(batches) == repaired(expected, replacements(records, [place.key]))


def test_without_a_shards_index_a_damaged_length_is_named_by_file_and_offset(
    own, records
):
    place = records[150]
    idx(own, place.shard).unlink()
    flip(own, place.shard, place.begin)
    told = message(load(own, on_corrupt="skip"))
    assert f"{own / place.shard} at byte {place.begin}" in told


def test_a_shard_and_its_index_removed_after_load_are_told(own):
    batches = load(own, on_corrupt="raise")
    idx(own, SHARDS[1]).unlink()
    (own / SHARDS[1]).unlink()
    assert f"{own / SHARDS[1]} is missing" in message(batches)


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"shuffle": False, "shuffle_bytes": 1}, 1), ({"epochs": 3}, 1)],
)
def test_a_missing_index_is_warned_of_once(own, caplog, settings, told):
    idx(own, SHARDS[1]).unlink()
    read(load(own, **settings))
    assert len(warnings_of(caplog)) == told


@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:-1] if data.endswith(b"}") else data[:-2],
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b'"', b"'"),
        lambda data: b"\xff" + data,
        lambda data: data.replace(b'"splits"', b'"split"'),
        lambda data: b"[]",
        lambda data: b"null",
    ],
    ids=["empty", "end", "half", "quotes", "utf8", "name", "list", "null"],
)
def test_a_damaged_manifest_is_named_by_load(own, change):
    path = own / "manifest.json"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(reader.DatasetError) as raised:
        load(own, on_corrupt="skip")
    assert str(own) in str(raised.value)
    assert "manifest.json" in str(raised.value)


@pytest.mark.parametrize("more", [-1, 1, 64])
def test_a_manifest_that_counts_otherwise_than_the_index_is_refused(own, more):
    path = own / "manifest.json"
    manifest = json.loads(path.read_bytes())
    shards = [s for split in manifest["splits"] for s in split["shards"]]
    shards[0]["num_examples"] += more
    path.write_text(json.dumps(manifest))
    with pytest.raises(reader.DatasetError):
        read(load(own))

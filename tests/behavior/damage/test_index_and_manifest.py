"""A damaged index or manifest."""

import json
from pathlib import Path

import numpy as np
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
import reader.datasets.index_files

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


@pytest.fixture
def older(own: Path) -> Path:
    """A copy like a dataset of an earlier version, which has no `lengths.bin`."""
    (own / "index/lengths.bin").unlink()
    manifest = json.loads((own / "manifest.json").read_bytes())
    del manifest["files"]["index/lengths.bin"]
    (own / "manifest.json").write_text(json.dumps(manifest))
    return own


@in_every_way
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("is_large", [True, False])
def test_damaged_lengths_are_replaced_by_the_text_index_with_a_warning(
    own, whole, how, shuffle, is_large, caplog, monkeypatch
):
    if is_large:
        monkeypatch.setattr(reader.datasets.index_files, "_MOST_READ", 0)
    path = own / "index/lengths.bin"
    damage_index(path, how)
    assert read(load(own, shuffle=shuffle)) == read(load(whole, shuffle=shuffle))
    (told,) = warnings_of(caplog)
    assert "index/lengths.bin" in told
    assert "reading the text index" in told


@in_every_way
def test_damaged_lengths_do_not_change_what_open_reads(own, whole, how):
    damage_index(own / "index/lengths.bin", how)
    keys = [key for (key,) in reader.open(own, outputs=("key",))]
    assert keys == [key for (key,) in reader.open(whole, outputs=("key",))]


def test_with_lengths_no_text_index_is_read(own, whole, caplog):
    for shard in SHARDS:
        idx(own, shard).unlink()
    assert read(load(own)) == read(load(whole))
    assert warnings_of(caplog) == []


def test_lengths_that_are_mapped_are_those_of_the_records(own, whole, monkeypatch):
    expected = read(load(whole))
    monkeypatch.setattr(reader.datasets.index_files, "_MOST_READ", 0)
    for shard in SHARDS:
        idx(own, shard).unlink()
    assert read(load(own)) == expected


def test_lengths_of_two_records_that_are_swapped_are_noticed(own, whole):
    path = own / "index/lengths.bin"
    lengths = np.frombuffer(path.read_bytes(), "<u4").copy()
    assert lengths[3] != lengths[4]
    lengths[[3, 4]] = lengths[[4, 3]]
    path.write_bytes(lengths.tobytes())
    assert read(load(own)) == read(load(whole))


def test_a_dataset_without_lengths_is_read_as_one_with_them(older, whole, caplog):
    assert read(load(older)) == read(load(whole))
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("how", ["missing", "flipped"])
def test_without_a_shards_index_its_headers_are_read_with_a_warning(
    older, whole, how, caplog
):
    damage_index(idx(older, SHARDS[1]), how)
    assert read(load(older)) == read(load(whole))
    (told,) = warnings_of(caplog)
    assert str(idx(older, SHARDS[1])) in told
    assert f"reading the headers of {SHARDS[1]} instead" in told


def test_without_any_index_of_a_shard_all_is_read(older, whole, caplog):
    for shard in SHARDS:
        idx(older, shard).unlink()
    assert read(load(older)) == read(load(whole))
    assert len(warnings_of(caplog)) == 3


@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
def test_without_a_shards_index_damaged_data_is_found_as_ever(
    older, whole, records, on_corrupt
):
    place = records[150]
    idx(older, place.shard).unlink()
    spoil(older, [place])
    batches = load(older, on_corrupt=on_corrupt)
    if on_corrupt == "raise":
        assert place.named(older) in message(batches)
    else:
        expected = read(load(whole, on_corrupt="skip"))
        assert read(batches) == repaired(expected, replacements(records, [place.key]))


def test_without_a_shards_index_a_damaged_length_is_named_by_file_and_offset(
    older, records
):
    place = records[150]
    idx(older, place.shard).unlink()
    flip(older, place.shard, place.begin)
    told = message(load(older, on_corrupt="skip"))
    assert f"{older / place.shard} at byte {place.begin}" in told


def test_a_shard_and_its_index_removed_after_load_are_told(older):
    batches = load(older, on_corrupt="raise")
    idx(older, SHARDS[1]).unlink()
    (older / SHARDS[1]).unlink()
    assert f"{older / SHARDS[1]} is missing" in message(batches)


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"shuffle": False, "shuffle_bytes": 1}, 1), ({"epochs": 3}, 1)],
)
def test_a_missing_index_is_warned_of_once(older, caplog, settings, told):
    idx(older, SHARDS[1]).unlink()
    read(load(older, **settings))
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

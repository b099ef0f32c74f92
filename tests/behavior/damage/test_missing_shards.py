"""Shards that are missing, cut short or exchanged."""

import shutil
from pathlib import Path

import pytest
from damaged_shards import (
    SHARDS,
    cut,
    load,
    message,
    read,
    repaired,
    replacements,
    soon,
    spoil,
)

import reader
from reader.contract.record import frame_record
from reader.storage.tfrecord_file import read_shard

# Where there is no way on.


@pytest.mark.parametrize(
    ("on_corrupt", "block"),
    [("raise", (64, 109)), ("skip", (0, 64)), ("skip", (272, 300))],
)
def test_a_block_that_is_wholly_unreadable_is_an_error_in_any_case(
    own, records, on_corrupt, block
):
    lost = records[slice(*block)]
    assert len({place.block for place in lost}) == 1
    spoil(own, lost)
    told = message(load(own, on_corrupt=on_corrupt))
    assert any(place.named(own) in told for place in lost)
    if on_corrupt == "skip":
        assert f"all {len(lost)} records of its block are damaged" in told
        assert "diptych verify" in told


def test_a_shard_missing_before_load_is_named_by_load(own):
    (own / SHARDS[1]).unlink()
    with pytest.raises(reader.DatasetError) as raised:
        load(own, on_corrupt="skip")
    assert f"{own / SHARDS[1]} is missing" in str(raised.value)


@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
def test_a_shard_removed_after_load_is_named(own, on_corrupt):
    batches = load(own, on_corrupt=on_corrupt)
    (own / SHARDS[1]).unlink()
    told = message(batches)
    assert f"{own / SHARDS[1]} is missing" in told
    assert "restore" in told


def test_a_shard_removed_while_iterating_is_named(own):
    batches = load(own, on_corrupt="raise", shuffle=False, shuffle_bytes=1)
    iterator = batches.as_numpy_iterator()
    soon(lambda: next(iterator))
    (own / SHARDS[2]).unlink()
    with pytest.raises(reader.DatasetError, match=f"{SHARDS[2]} is missing"):
        soon(lambda: list(iterator))


def test_a_dataset_removed_after_load_is_named(own):
    batches = load(own, on_corrupt="skip")
    shutil.rmtree(own)
    assert str(own) in message(batches)


def test_a_folder_in_a_shards_place_is_named(own):
    batches = load(own, on_corrupt="raise")
    (own / SHARDS[1]).unlink()
    (own / SHARDS[1]).mkdir()
    # Nothing about its bytes: an error of the machine, as it is.
    with pytest.raises(IsADirectoryError, match=SHARDS[1]):
        read(batches)


def test_a_shard_emptied_after_load_is_named(own):
    batches = load(own, on_corrupt="skip")
    cut(own, SHARDS[1], 0)
    assert str(own / SHARDS[1]) in message(batches)


# Truncation.


@pytest.mark.parametrize(("on_corrupt", "into"), [("raise", 0), ("skip", 100)])
def test_a_shard_cut_short_before_load_is_named_with_its_sizes(
    own, records, on_corrupt, into
):
    size, at = (own / SHARDS[0]).stat().st_size, records[100].begin + into
    cut(own, SHARDS[0], at)
    with pytest.raises(reader.DatasetError) as raised:
        load(own, on_corrupt=on_corrupt)
    told = str(raised.value)
    assert f"{own / SHARDS[0]} has {at} bytes, not {size}" in told


@pytest.mark.parametrize("into", [0, 100])
def test_a_shard_cut_short_after_load_is_named_with_the_first_record_lost(
    own, records, into
):
    place = records[100]
    batches = load(own, shuffle=False)
    cut(own, SHARDS[0], (place.begin if into >= 0 else place.end) + into)
    assert place.named(own) in message(batches)


@pytest.mark.parametrize("into", [0, -1])
def test_what_is_cut_off_after_load_is_replaced_where_it_is_to_be(
    own, whole, records, into
):
    place = records[100]
    batches = load(own, on_corrupt="skip")
    cut(own, SHARDS[0], (place.begin if into >= 0 else place.end) + into)
    instead = replacements(records, [place.key for place in records[100:109]])
    assert set(instead.values()) == {records[64].key}
    undamaged = read(load(whole, on_corrupt="skip"))
    assert read(batches) == repaired(undamaged, instead)
    assert [loss.offset for loss in batches.losses] == [
        place.begin for place in records[100:109]
    ]


def test_a_cut_that_takes_a_whole_block_is_an_error_in_any_case(own, records):
    batches = load(own, on_corrupt="skip")
    cut(own, SHARDS[0], records[63].begin + 100)
    assert "all 45 records of its block are damaged" in message(batches)


def test_a_shard_cut_short_while_iterating_is_named(own, records):
    batches = load(own, shuffle=False, shuffle_bytes=1)
    iterator = batches.as_numpy_iterator()
    soon(lambda: next(iterator))
    cut(own, SHARDS[2], records[-1].begin)
    with pytest.raises(reader.DatasetError) as raised:
        soon(lambda: list(iterator))
    assert records[-1].named(own) in str(raised.value)


# Shards under the names of others.


@pytest.fixture(scope="module")
def coarse(whole, build, tmp_path_factory) -> Path:
    """The same keys in the same shards, at another JPEG quality."""
    source, folder = whole.parent, tmp_path_factory.mktemp("coarse")
    return build(source, source, folder / "out", num_shards=3, jpeg_quality=60)


def reversed_shard(path: Path) -> bytes:
    """A shard of equal size, of the same records the other way round."""
    framed = []
    for record in read_shard(str(path)):
        head, foot = frame_record(record.data)
        framed.append(head + record.data + foot)
    return b"".join(reversed(framed))


def test_another_shard_of_the_dataset_is_refused_by_load(own):
    shutil.copy(own / SHARDS[1], own / SHARDS[0])
    with pytest.raises(reader.DatasetError, match=f"{SHARDS[0]} has [0-9]+ bytes, not"):
        load(own, on_corrupt="skip")


def test_a_shard_of_a_dataset_with_other_settings_is_refused_by_load(own, coarse):
    shutil.copy(coarse / SHARDS[1], own)
    with pytest.raises(reader.DatasetError, match=f"{SHARDS[1]} has [0-9]+ bytes, not"):
        load(own)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"shuffle": False},
        {"shuffle": False, "shuffle_bytes": 1},
        {"on_corrupt": "skip"},
    ],
    ids=str,
)
def test_another_shard_of_the_dataset_put_there_after_load_is_told(own, settings):
    batches = load(own, **settings)
    shutil.copy(own / SHARDS[0], own / SHARDS[2])  # It holds more records.
    assert str(own / SHARDS[2]) in message(batches)


def test_a_shard_with_other_settings_put_there_after_load_is_told(own, coarse):
    batches = load(own, on_corrupt="raise")
    shutil.copy(coarse / SHARDS[1], own)
    assert str(own / SHARDS[1]) in message(batches)


@pytest.mark.parametrize("settings", [{}, {"shuffle": False, "shuffle_bytes": 1}])
def test_a_shard_of_equal_size_with_records_at_other_offsets_is_told(own, settings):
    (own / SHARDS[1]).write_bytes(reversed_shard(own / SHARDS[1]))
    assert str(own / SHARDS[1]) in message(load(own, **settings))


def test_a_shard_of_equal_size_put_there_after_load_is_told(own):
    batches = load(own)
    (own / SHARDS[1]).write_bytes(reversed_shard(own / SHARDS[1]))
    assert str(own / SHARDS[1]) in message(batches)


def test_bytes_appended_before_load_are_refused_by_load(own):
    with open(own / SHARDS[0], "ab") as file:
        file.write(b"\0" * 100)
    with pytest.raises(reader.DatasetError, match=f"{SHARDS[0]} has [0-9]+ bytes, not"):
        load(own)

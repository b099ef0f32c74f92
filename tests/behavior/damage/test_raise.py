"""Damage with on_corrupt "raise" is reported with file, offset and key."""

import random
import shutil
import struct
from typing import Any

import pytest
import tensorflow as tf
from damaged_shards import (
    BATCH,
    BYTES,
    NUM,
    SHARDS,
    flip,
    load,
    message,
    read,
    some_bytes,
    soon,
    spoil,
)

import reader
from reader.contract.record import masked_crc32c

# on_corrupt="raise"


@some_bytes
def test_damage_done_before_load_is_named_by_file_offset_and_key(own, records, byte):
    place = records[150]
    flip(own, place.shard, BYTES[byte](place))
    assert place.named(own) in message(load(own))


def test_damage_done_after_load_is_named_by_file_offset_and_key(own, whole, records):
    place = records[150]
    batches = load(own)
    assert len(read(batches)) == NUM
    for byte in BYTES.values():
        flip(own, place.shard, byte(place))
        assert place.named(own) in message(batches)
        shutil.copy(whole / place.shard, own)
    assert len(read(batches)) == NUM


@some_bytes
def test_damage_done_while_iterating_is_named_by_file_offset_and_key(
    own, records, byte
):
    place = records[-1]
    batches = load(own, shuffle=False, shuffle_bytes=1)  # Windows of a batch each.
    iterator = batches.as_numpy_iterator()
    loaded = [soon(lambda: next(iterator))[0].tolist()]
    flip(own, place.shard, BYTES[byte](place))

    def rest() -> None:
        loaded.extend(keys.tolist() for (keys,) in iterator)

    with pytest.raises(reader.DatasetError) as raised:
        soon(rest)
    assert place.named(own) in str(raised.value)
    before = [place.key for place in records[: NUM - BATCH]]
    assert [key for keys in loaded for key in keys] == before


def test_damage_done_while_iterating_shows_in_a_later_epoch_at_the_latest(own, records):
    batches = load(own, epochs=10)
    iterator = batches.as_numpy_iterator()
    soon(lambda: next(iterator))
    flip(own, records[7].shard, records[7].end - 1)
    with pytest.raises(reader.DatasetError) as raised:
        soon(lambda: list(iterator))
    assert records[7].named(own) in str(raised.value)


def test_the_first_and_last_of_shards_and_blocks_are_named_rightly(own, whole, records):
    batches = load(own)
    for place in (records[number] for number in (0, 63, 64, 108, 109, 299)):
        spoil(own, [place])
        assert place.named(own) in message(batches)
        shutil.copy(whole / place.shard, own)


def test_of_several_damaged_records_one_is_named(own, records):
    lost = random.Random(0).sample(records, 5)
    spoil(own, lost)
    told = message(load(own))
    assert any(place.named(own) in told for place in lost)
    assert "diptych verify" in told


@some_bytes
def test_a_key_is_found_without_the_table_of_samples_too(own, records, byte):
    shutil.rmtree(own / "samples")
    flip(own, records[5].shard, BYTES[byte](records[5]))
    assert records[5].named(own) in message(load(own))


def test_where_the_key_is_lost_as_well_file_and_offset_are_named(own, records):
    place = records[5]
    shutil.rmtree(own / "samples")
    flip(own, place.shard, *range(place.begin + 12, place.end - 4))
    told = message(load(own))
    assert f"{own / place.shard} at byte {place.begin}" in told
    assert "(key" not in told


def test_a_length_changed_together_with_its_checksum_is_told(own, records):
    place = records[150]
    data = bytearray((own / place.shard).read_bytes())
    length = struct.pack("<Q", place.end - place.begin - 16 - 1)
    data[place.begin : place.begin + 8] = length
    crc = struct.pack("<I", masked_crc32c(length))
    data[place.begin + 8 : place.begin + 12] = crc
    (own / place.shard).write_bytes(data)
    assert place.named(own) in message(load(own))


def test_a_range_of_zeros_over_several_records_is_told(own, records):
    places = records[20:24]
    data = bytearray((own / SHARDS[0]).read_bytes())
    data[places[0].begin + 100 : places[-1].begin + 100] = bytes(
        places[-1].begin - places[0].begin
    )
    (own / SHARDS[0]).write_bytes(data)
    told = message(load(own))
    assert any(place.named(own) in told for place in places)


def test_a_damaged_record_that_no_batch_of_this_host_holds_does_not_matter(
    own, records
):
    shares = [
        {key for (key,) in read(load(own, host_count=2, host_index=host))}
        for host in (0, 1)
    ]
    place = records[150]
    spoil(own, [place])
    host = 0 if place.key in shares[0] else 1
    assert place.named(own) in message(load(own, host_count=2, host_index=host))
    rest = read(load(own, host_count=2, host_index=1 - host))
    assert {key for (key,) in rest} == shares[1 - host]


# The ways to iterate.


def test_a_plain_loop_raises_the_error_with_the_name(own, records):
    spoil(own, [records[5]])

    def work() -> None:
        for _ in load(own):
            pass

    with pytest.raises(reader.DatasetError) as raised:
        soon(work)
    assert records[5].named(own) in str(raised.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda batches: batches.map(lambda key: (key,)),
        lambda batches: batches.unbatch().prefetch(1),
    ],
    ids=["map", "unbatch"],
)
def test_what_is_made_of_batches_raises_with_the_name_in_the_text(own, records, change):
    spoil(own, [records[5]])
    with pytest.raises((reader.DatasetError, tf.errors.OpError)) as raised:
        soon(lambda: list(change(load(own))))
    assert records[5].named(own) in str(raised.value)


@tf.function
def count(batches: tf.data.Dataset) -> tf.Tensor:
    """Examples of one epoch, by a loop in a graph."""
    total = 0
    for batch in batches:
        total += tf.size(batch[0])
    return total


def test_a_loop_in_a_graph_raises_with_the_name_in_the_text(own, records):
    assert soon(lambda: int(count(load(own)))) == NUM
    spoil(own, [records[5]])
    with pytest.raises((reader.DatasetError, tf.errors.OpError)) as raised:
        soon(lambda: count(load(own)))
    assert records[5].named(own) in str(raised.value)


def test_a_loop_in_a_graph_goes_on_where_records_are_skipped(own, records):
    spoil(own, [records[5]])
    batches = load(own, on_corrupt="skip")
    assert soon(lambda: int(count(batches))) == NUM
    assert [loss.key for loss in batches.losses] == [records[5].key.decode()]


@tf.function
def step(iterator: Any) -> tf.Tensor:
    return tf.size(next(iterator)[0])


def test_an_iterator_used_in_a_graph_raises_with_the_name_in_the_text(own, records):
    assert soon(lambda: int(step(iter(load(own))))) == BATCH
    spoil(own, [records[5]])
    with pytest.raises((reader.DatasetError, tf.errors.OpError)) as raised:
        soon(lambda: step(iter(load(own))))
    assert records[5].named(own) in str(raised.value)


def test_once_the_shard_is_restored_the_next_iterator_is_whole(own, whole, records):
    batches = load(own)
    spoil(own, [records[5]])
    assert records[5].named(own) in message(batches)
    shutil.copy(whole / records[5].shard, own)
    assert {key for (key,) in read(batches)} == {place.key for place in records}


def test_what_ended_with_an_error_is_let_go(own, records):
    # A traceback would hold the iterator, and with it threads and a window of records.
    spoil(own, [records[5]])
    batches = load(own)
    message(batches)
    assert isinstance(batches.error, reader.DatasetError)
    assert batches.error.__traceback__ is None

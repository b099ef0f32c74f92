"""Records that cannot be read: told by name, or replaced, and never a hang."""

import json
import logging
import random
import shutil
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import reader
from reader.contract.record import frame_record, masked_crc32c, parse_example
from reader.storage.tfrecord_file import read_shard

NUM, BATCH, BLOCK = 300, 10, 64
SHARDS = [f"train-0000{number}-of-00003.tfrecord" for number in range(3)]
KEYS = ("key", "valid")


class Place(NamedTuple):
    """A record: where it lies, and which block of 64 of its shard it is in."""

    shard: str
    begin: int
    end: int
    key: bytes
    block: tuple[str, int]

    def named(self, folder: Path) -> str:
        """How messages are to name it."""
        path = folder / self.shard
        return f'{path} at byte {self.begin} (key "{self.key.decode()}")'


def places(folder: Path) -> list[Place]:
    """All records in the order written, from the framing alone."""
    found = []
    for shard in SHARDS:
        data, begin, number = (folder / shard).read_bytes(), 0, 0
        while begin < len(data):
            (length,) = struct.unpack_from("<Q", data, begin)
            example = parse_example(data[begin + 12 : begin + 12 + length])
            (key,) = example["image/source_id"]
            block = (shard, number // BLOCK)
            found.append(Place(shard, begin, begin + length + 16, key, block))
            begin, number = begin + length + 16, number + 1
    return found


def replacements(records: list[Place], lost: Iterable[bytes]) -> dict[bytes, bytes]:
    """What takes the place of each lost key: the next readable one of its block."""
    lost, found = set(lost), {}
    for key in lost:
        (mine,) = (place for place in records if place.key == key)
        block = [place.key for place in records if place.block == mine.block]
        after = block[block.index(key) + 1 :] + block[: block.index(key)]
        found[key] = next(other for other in after if other not in lost)
    return found


def repaired(
    order: list[tuple[bytes, bool]], instead: dict[bytes, bytes]
) -> list[tuple[bytes, bool]]:
    """An order of (key, valid) as it is to be once some records are lost."""
    return [(instead.get(key, key), key not in instead) for key, _ in order]


@pytest.fixture(scope="module")
def whole(build, tmp_path_factory) -> Path:
    """300 small pictures in three shards, each of two blocks. Not to be changed."""
    source = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    for number in range(NUM):
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(source / f"{number:03d}.png")
        (source / f"{number:03d}.txt").write_text(f"{'very ' * (number % 7)}{number}")
    return build(source, source, source / "out", num_shards=3)


@pytest.fixture(scope="module")
def records(whole) -> list[Place]:
    found = places(whole)
    sizes = Counter(Counter(place.block for place in found).values())
    assert len(found) == NUM and sizes[BLOCK] == 3 and len(sizes) == 4
    return found


@pytest.fixture
def own(whole, tmp_path) -> Path:
    """A copy of `whole`, for one test to change."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def load(folder: Path, **settings: Any) -> tf.data.Dataset:
    """Batches of the keys."""
    skip = settings.get("on_corrupt") == "skip"
    settings = {
        "batch_size": BATCH,
        "outputs": KEYS if skip else KEYS[:1],
        **settings,
    }
    return reader.load(f"{folder}/train-*.tfrecord", **settings)


def soon(work: Callable[[], Any]) -> Any:
    """What some work returns or raises, within a minute.

    It runs in a thread of its own: no signal interrupts one that waits in TensorFlow.
    """
    done: list[Any] = []

    def run() -> None:
        try:
            done.append((work(), None))
        except BaseException as error:  # It is raised again below.
            done.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert done, "nothing came for a minute"
    (result, error) = done[0]
    if error is not None:
        raise error
    return result


def read(batches: tf.data.Dataset) -> list[tuple[Any, ...]]:
    """One example after the other, of one iterator, as tuples of NumPy's values."""

    def work() -> list[tuple[Any, ...]]:
        found = list(batches.as_numpy_iterator())
        return [example for batch in found for example in zip(*batch, strict=True)]

    return soon(work)


def message(batches: tf.data.Dataset) -> str:
    with pytest.raises(reader.DatasetError) as raised:
        read(batches)
    return str(raised.value)


def flip(folder: Path, shard: str, *offsets: int, mask: int = 0xFF) -> None:
    data = bytearray((folder / shard).read_bytes())
    for offset in offsets:
        data[offset] ^= mask
    (folder / shard).write_bytes(data)


def spoil(folder: Path, lost: Iterable[Place]) -> None:
    """Changes a byte of the data of each."""
    for place in lost:
        flip(folder, place.shard, (place.begin + place.end) // 2)


def cut(folder: Path, shard: str, size: int) -> None:
    with open(folder / shard, "r+b") as file:
        file.truncate(size)


# A byte of a record, by what it is part of.
BYTES = {
    "lowest of its length": lambda place: place.begin,
    "highest of its length": lambda place: place.begin + 7,
    "checksum of its length": lambda place: place.begin + 9,
    "first of its data": lambda place: place.begin + 12,
    "data": lambda place: (place.begin + place.end) // 2,
    "last of its data": lambda place: place.end - 5,
    "checksum of its data": lambda place: place.end - 1,
}
some_bytes = pytest.mark.parametrize(
    "byte", ["lowest of its length", "checksum of its data"]
)


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


# on_corrupt="skip"


def test_several_hundred_flips_each_lose_one_record_and_nothing_else(
    own, whole, records
):
    rng = random.Random(0)
    batches = load(own, on_corrupt="skip")
    undamaged = load(whole, on_corrupt="skip")
    blocks = [
        [place for place in records if place.block == block]
        for block in dict.fromkeys(place.block for place in records)
    ]
    hit: set[bytes] = set()
    for _ in range(17):
        lost = [place for block in blocks for place in rng.sample(block, 3)]
        for place in lost:
            framing = [*range(12), *range(-4, 0)]
            inside = rng.randrange(place.end - place.begin)
            offset = rng.choice([rng.choice(framing), inside])
            base = place.begin if offset >= 0 else place.end
            flip(own, place.shard, base + offset, mask=rng.randrange(1, 256))
        instead = replacements(records, [place.key for place in lost])
        loaded = read(batches)
        assert loaded == repaired(read(undamaged), instead)
        assert [valid for _, valid in loaded].count(False) == len(lost) == 18
        hit |= instead.keys()
        for shard in SHARDS:
            shutil.copy(whole / shard, own)
    assert [loss.key.encode() for loss in batches.losses] == [
        place.key for place in records if place.key in hit
    ]
    assert all(valid for _, valid in read(batches))


OUTPUTS = ("key", "valid", "image", "tokens", "mask", "caption", "height", "width")


@pytest.mark.parametrize("shuffle", [True, False])
def test_all_that_belongs_to_a_record_is_replaced_and_the_rest_is_bit_identical(
    own, whole, records, shuffle
):
    settings = {
        "outputs": OUTPUTS,
        "on_corrupt": "skip",
        "image_size": 8,
        "max_tokens": 12,
        "shuffle": shuffle,
    }
    before = read(load(whole, **settings))
    lost = [records[place] for place in (5, 80, 200)]
    spoil(own, lost)
    instead = replacements(records, [place.key for place in lost])
    after = read(load(own, **settings))
    assert len(after) == len(before) == NUM
    by_key = {example[0]: example for example in before}
    for old, new in zip(before, after, strict=True):
        key = old[0]
        expected = by_key[instead.get(key, key)]
        assert bool(new[1]) == (key not in instead)
        for mine, theirs in zip(new[2:], expected[2:], strict=True):
            assert np.array_equal(mine, theirs)
        assert new[0] == expected[0]


@pytest.mark.parametrize(
    "lost",
    [
        [63, 108],
        [0, 1, 2, 62, 63, 64],
        [*range(63), *range(65, 109), *range(272, 299)],
        [*range(0, 300, 2)],
    ],
    ids=lambda lost: f"{len(lost)} from {lost[0]}",
)
def test_lost_records_of_a_block_are_replaced_by_its_next_that_is_not(
    own, whole, records, lost
):
    shutil.rmtree(own / "samples")  # So many keys are found sooner in what is left.
    spoil(own, [records[place] for place in lost])
    instead = replacements(records, [records[place].key for place in lost])
    batches = load(own, on_corrupt="skip")
    assert len(batches) == NUM // BATCH
    expected = repaired(read(load(whole, on_corrupt="skip")), instead)
    assert read(batches) == expected
    assert [loss.key.encode() for loss in batches.losses] == [
        records[place].key for place in lost
    ]


def test_several_epochs_are_repaired_alike(own, whole, records):
    spoil(own, [records[5], records[250]])
    instead = replacements(records, [records[5].key, records[250].key])
    settings = {"on_corrupt": "skip", "epochs": 3}
    assert len(load(own, **settings)) == 3 * NUM // BATCH
    expected = repaired(read(load(whole, **settings)), instead)
    assert read(load(own, **settings)) == expected


def test_a_run_resumed_among_lost_records_goes_on_as_it_would_have(own, records):
    spoil(own, [records[5], records[6], records[250]])
    settings = {"on_corrupt": "skip", "epochs": 2}
    batches = load(own, **settings)
    all_of_it = read(batches)
    resumed = load(own, resume=reader.state(load(own, **settings), 37), **settings)
    assert read(resumed) == all_of_it[37 * BATCH :]


def test_each_host_replaces_what_it_would_have_read(own, whole, records):
    lost = [records[place] for place in (5, 6, 80, 200, 250)]
    spoil(own, lost)
    instead = replacements(records, [place.key for place in lost])
    missed = []
    for host in (0, 1):
        settings = {"on_corrupt": "skip", "host_count": 2, "host_index": host}
        batches, undamaged = load(own, **settings), read(load(whole, **settings))
        assert read(batches) == repaired(undamaged, instead)
        mine = [loss.key.encode() for loss in batches.losses]
        assert sorted(mine) == sorted(key for key, _ in undamaged if key in instead)
        missed += mine
    assert sorted(missed) == sorted(instead)


def test_padding_and_lost_records_are_not_valid_and_others_are(own, whole, records):
    spoil(own, [records[5]])
    settings = {"on_corrupt": "skip", "remainder": "pad", "batch_size": 64}
    before, after = read(load(whole, **settings)), read(load(own, **settings))
    assert before[NUM:] == after[NUM:] == [(b"", False)] * 20
    instead = replacements(records, [records[5].key])
    assert after[:NUM] == repaired(before[:NUM], instead)


def test_captions_sorted_by_length_come_in_the_same_number_of_steps(own, records):
    spoil(own, [records[5], records[80]])
    settings = {"outputs": ("key", "length", "valid"), "image_size": 8}
    batches = load(own, on_corrupt="skip", bucket_by_length=True, **settings)
    instead = replacements(records, [records[5].key, records[80].key])
    loaded = read(batches)
    expected = Counter(instead.get(place.key, place.key) for place in records)
    assert Counter(key for key, _, _ in loaded) == expected
    replaced = [key for key, _, valid in loaded if not valid]
    assert sorted(replaced) == sorted(instead.values())


def test_a_union_names_the_shard_of_the_dataset_that_is_damaged(own, whole, records):
    spoil(own, [records[5]])
    patterns = [f"{whole}/train-*", f"{own}/train-*"]
    settings = {"batch_size": BATCH, "outputs": KEYS, "shuffle": False}
    batches = reader.load(patterns, on_corrupt="skip", **settings)
    loaded = read(batches)
    assert [place for place, (_, valid) in enumerate(loaded) if not valid] == [305]
    assert records[5].named(own) in str(batches.losses[0])
    settings["outputs"] = ("key",)
    assert records[5].named(own) in message(reader.load(patterns, **settings))


def test_a_mixture_skips_what_is_lost_of_one_of_its_parts(own, whole, records):
    lost = {place.key for place in records[:12]}
    weights = {f"{whole}/train-*": 1, f"{own}/train-*": 1}
    settings = {"batch_size": BATCH, "outputs": KEYS, "epochs": None}
    settings["shuffle_bytes"] = 100_000

    def first() -> list[tuple[bytes, bool]]:
        batches = reader.load(weights, on_corrupt="skip", **settings)
        return read(batches.take(60))

    before = first()
    spoil(own, records[:12])
    changed = []
    for old, new in zip(before, first(), strict=True):
        if new != old:
            assert (old[0] in lost, new) == (True, (records[12].key, False))
            changed.append(old[0])
    twice = [key for key, _ in before if key in lost]
    assert 0 < len(changed) < len(twice)


def test_without_shuffling_or_damage_all_is_valid_and_nothing_is_logged(
    whole, records, caplog
):
    batches = load(whole, on_corrupt="skip", shuffle=False)
    assert read(batches) == [(place.key, True) for place in records]
    assert batches.losses == []
    assert not [record for record in caplog.records if record.name == "reader"]


# Losses and warnings.


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "reader" and record.levelno == logging.WARNING
    ]


def test_losses_are_listed_with_file_offset_key_and_what_is_wrong(own, records):
    flip(own, records[200].shard, records[200].begin)
    flip(own, records[5].shard, records[5].end - 1)
    batches = load(own, on_corrupt="skip")
    assert batches.losses == []
    read(batches)
    read(batches)
    first, second = batches.losses
    for loss, place in ((first, records[5]), (second, records[200])):
        path = str(own / place.shard)
        assert (loss.path, loss.offset) == (path, place.begin)
        assert loss.key == place.key.decode()
    assert "data" in first.what
    assert "length" in second.what


def test_each_epoch_ends_with_a_warning_that_names_what_was_lost(own, records, caplog):
    lost = [records[5], records[200]]
    spoil(own, lost)
    read(load(own, on_corrupt="skip", epochs=3))
    told = warnings_of(caplog)
    assert [text.partition(":")[0] for text in told] == [
        "epoch 0",
        "epoch 1",
        "epoch 2",
    ]
    for text in told:
        assert f"2 of {NUM} records" in text
        assert all(place.named(own) in text for place in lost)
        assert "diptych verify" in text


def test_each_iterator_ends_with_the_warning_of_its_epoch(own, records, caplog):
    spoil(own, [records[5]])
    batches = load(own, on_corrupt="skip")
    for epoch in range(3):
        read(batches)
        (told,) = warnings_of(caplog)
        assert told.startswith(f"epoch {epoch}: 1 of {NUM} records")
        caplog.clear()


def test_many_losses_are_counted_in_one_warning(own, records, caplog):
    spoil(own, records[:40])
    read(load(own, on_corrupt="skip"))
    (told,) = warnings_of(caplog)
    assert f"40 of {NUM} records" in told
    assert len(told) < 2000


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
        assert f"none of the {len(lost)} records of its block" in told
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
    assert "none of the 45 records of its block" in message(batches)


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

"""Records that cannot be read: told by name, or replaced, and never a hang."""

import logging
import struct
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tensorflow as tf

import reader
from reader.contract.record import parse_example

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


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "reader" and record.levelno == logging.WARNING
    ]

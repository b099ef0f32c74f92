"""The files of one shard: its records, its index, its samples."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from beam_jobs.commits import Commit
from beam_jobs.config.columns import Column
from beam_jobs.elements import Reject, ShardPlan
from beam_jobs.examples import Example
from beam_jobs.samples import dump_samples, sample_row
from beam_jobs.storage.files import publish
from beam_jobs.tfrecord import TFRecordWriter
from beam_jobs.workspace import Workspace
from reader.contract.manifest import Shard
from reader.contract.record import crc32c_hex
from reader.contract.statistics import Statistics, statistics_of


class _Account:
    """What was written of a shard, and what was not."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self.rows: list[dict[str, Any]] = []
        self.rejects: list[Reject] = []
        self.dropped_captions = self.input = 0
        self._image_bytes: list[int] = []
        self._num_unknown = 0

    def add(self, example: Example, offset: int, length: int) -> None:
        """Takes a record that lies at `offset` and takes `length` bytes."""
        self.rows.append(sample_row(example, offset, length, self._columns))
        self._image_bytes.append(example.num_image_bytes)
        self._num_unknown += example.num_unknown
        self.dropped_captions += example.captions.dropped
        self.input = (self.input + _input_hash(example)) % 2**256

    def statistics(self) -> Statistics:
        return statistics_of(
            widths=[row["width"] for row in self.rows],
            heights=[row["height"] for row in self.rows],
            image_bytes=self._image_bytes,
            num_tokens=[row["num_tokens"] for row in self.rows],
            num_unknown=self._num_unknown,
        )


def publish_shard(
    workspace: Workspace,
    shard: ShardPlan,
    made: Iterable[Example | Reject],
    columns: Sequence[Column],
) -> Commit:
    """Writes and publishes the files of a shard; returns what to commit."""
    account = _Account(columns)
    with publish(workspace.published(shard.name.file), workspace.tmp) as file:
        writer = TFRecordWriter(file.write)
        for one in made:
            if isinstance(one, Reject):
                account.rejects.append(one)
                continue
            writer.write(one.record)
            account.add(one, writer.offsets[-1], writer.lengths[-1])
    files = {
        shard.name.index_file: writer.text_index(),
        shard.name.samples_file: dump_samples(account.rows, columns),
    }
    for name, data in files.items():
        workspace.publish(workspace.published(name), data)
    return Commit(
        plan=shard.plan,
        shard=Shard(
            file=shard.name.file,
            num_examples=writer.num_records,
            num_bytes=writer.num_bytes,
            crc32c=writer.crc32c,
        ),
        files={name: crc32c_hex(data) for name, data in files.items()},
        blocks=tuple(writer.block_offsets()),
        statistics=account.statistics(),
        rejects=tuple(account.rejects),
        dropped_captions=account.dropped_captions,
        input=account.input,
    )


def _input_hash(example: Example) -> int:
    """Returns a hash of a record's key and sources.

    The hashes of all records are added, modulo 2^256, so that the sum depends on
    neither order nor shards (AdHash: Bellare and Micciancio, EUROCRYPT 1997).
    """
    digest = hashlib.sha256(b"%d:" % len(example.pair.key) + example.pair.key)
    digest.update(bytes.fromhex(example.image.sha256 + example.captions.sha256))
    if example.pair.values:
        digest.update(json.dumps(example.pair.values).encode())
    return int.from_bytes(digest.digest(), "big")

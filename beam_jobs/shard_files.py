"""The files of one shard: its records, its index, its samples."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from beam_jobs.columns import Column
from beam_jobs.commits import Commit
from beam_jobs.elements import Reject, ShardPlan
from beam_jobs.examples import Example
from beam_jobs.samples import dump_samples, sample_row
from beam_jobs.storage import publish
from beam_jobs.tfrecord import TFRecordWriter
from beam_jobs.workspace import Workspace
from reader.contract.manifest import Shard
from reader.contract.record import crc32c_hex
from reader.contract.statistics import Statistics, statistics_of


def publish_shard(
    workspace: Workspace,
    shard: ShardPlan,
    made: Iterable[Example | Reject],
    columns: Sequence[Column],
) -> Commit:
    """Writes and publishes the files of a shard; returns what to commit."""
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    statistics = Statistics()
    inputs = dropped = 0
    with publish(workspace.published(shard.name.file), workspace.tmp) as file:
        writer = TFRecordWriter(file.write)
        for one in made:
            if isinstance(one, Reject):
                rejects.append(one)
                continue
            writer.write(one.record)
            rows.append(
                sample_row(one, writer.offsets[-1], writer.lengths[-1], columns)
            )
            statistics = statistics.merge(
                statistics_of(
                    width=one.image.width,
                    height=one.image.height,
                    num_image_bytes=one.num_image_bytes,
                    num_tokens=one.num_tokens,
                    num_unknown=one.num_unknown,
                )
            )
            dropped += one.captions.dropped
            inputs = (inputs + _input_hash(one)) % 2**256
    files = {
        shard.name.index_file: writer.text_index(),
        shard.name.samples_file: dump_samples(rows, columns),
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
        statistics=statistics,
        rejects=tuple(rejects),
        dropped_captions=dropped,
        input=inputs,
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

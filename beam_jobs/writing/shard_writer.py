"""Writes the files of one shard, then the commit record that marks it as finished.

A writer is created once per worker process. It holds the threads, the tokenizer and
the limit on memory.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from beam_jobs.config.columns import Column, Value
from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Pair, Reject, ShardPlan, StoredArray
from beam_jobs.encoding.codecs import configure_thread
from beam_jobs.encoding.example import Budget, Example, make_example
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.pair_lists import pairs_of_shard
from beam_jobs.sources.source_files import SourceFiles
from beam_jobs.storage.files import publish, read_file
from beam_jobs.storage.parallel import map_in_order
from beam_jobs.workspace.commits import Commit, write_commit
from beam_jobs.workspace.lease import check_lease
from beam_jobs.workspace.shard_progress import ShardProgress
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.samples_table import dump_samples, sample_row
from beam_jobs.writing.tfrecord_writer import TFRecordWriter
from reader.contract import samples
from reader.contract.index import dump_lengths
from reader.contract.manifest import Shard
from reader.contract.record import crc32c_hex
from reader.contract.schema import Feature
from reader.contract.statistics import Statistics, statistics_of
from reader.contract.tokenizers.registry import load_tokenizer

# Number of pairs that each thread may be ahead of the next pair to write. It is large
# enough that one large photograph does not block the other threads.
_AHEAD_PER_THREAD = 8
# Number of pairs in one thread's task.
_TOGETHER = 4


class ShardWriter:
    """Writes shards, one at a time, encoding examples in a pool of threads."""

    def __init__(
        self, config: JobConfig, plan: JobPlan, lease: str, workspace: Workspace
    ) -> None:
        """Starts the threads and loads the tokenizer.

        Args:
            config: Configuration of the job.
            plan: Plan of the job.
            lease: Token of the output's lease, held by the running job.
            workspace: Workspace that shards are written to.
        """
        self.workspace = workspace
        self._config = config
        self._plan = plan
        self._lease = lease
        self._files = SourceFiles(config)
        self._budget = Budget()
        self._threads = ThreadPoolExecutor(
            config.num_threads, initializer=configure_thread
        )
        data = read_file(self.workspace.tokenizer)
        self._tokenizer = load_tokenizer(plan.tokenizer, data)

    def close(self) -> None:
        """Shuts down the threads."""
        self._threads.shutdown(cancel_futures=True)

    def write(
        self, shard: ShardPlan, count: Callable[[Example | Reject], None]
    ) -> Commit:
        """Writes a shard and then its commit record.

        Args:
            shard: Plan of the shard.
            count: Function called with each example or reject.

        Returns:
            The commit record.

        Raises:
            BuildError: Another job holds the lease.
            OSError: A file could not be read or written.
        """
        with noted(self.workspace, shard.label):
            check_lease(self.workspace, self._lease)
            return self._write(shard, count)

    def _write(
        self, shard: ShardPlan, count: Callable[[Example | Reject], None]
    ) -> Commit:
        pairs = pairs_of_shard(self.workspace, shard.name, self._plan, self._config)
        ahead = _AHEAD_PER_THREAD * self._config.num_threads
        made = map_in_order(self._make, pairs, self._threads, ahead, _TOGETHER)
        progress = ShardProgress(self.workspace, shard.label)

        def counted() -> Iterator[Example | Reject]:
            for one in progress.watch(made):
                count(one)
                yield one
            # Checked before the files are published, because a later job may have
            # another plan.
            check_lease(self.workspace, self._lease)

        with contextlib.closing(made), progress:
            columns, features = self._config.columns, self._config.features
            commit = publish_shard(self.workspace, shard, counted(), columns, features)
            check_lease(self.workspace, self._lease)
            write_commit(self.workspace, shard.label, commit)
        return commit

    def _make(self, pair: Pair) -> Example | Reject:
        return make_example(
            pair,
            self._files,
            self._config,
            self._tokenizer,
            self._plan.tokenizer.unknown_id,
            self._budget,
        )


class _Account:
    """Rows, rejects and statistics of a shard, collected while it is written."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = columns
        self.rows: list[dict[str, Any]] = []
        self.rejects: list[Reject] = []
        self.dropped_captions = self.input = 0
        self._image_bytes: list[int] = []
        self._num_unknown = 0

    def add(self, example: Example, offset: int, length: int) -> None:
        """Adds a record with its byte offset and its length in bytes."""
        self.rows.append(sample_row(example, offset, length, self._columns))
        self._image_bytes.append(example.num_image_bytes)
        self._num_unknown += example.num_unknown
        self.dropped_captions += example.captions.dropped
        hashed = input_hash(
            example.pair.key,
            example.image.sha256,
            example.captions.sha256,
            example.pair.values,
        )
        self.input = (self.input + hashed) % 2**256

    def statistics(self) -> Statistics:
        return statistics_of(
            widths=[row[samples.WIDTH] for row in self.rows],
            heights=[row[samples.HEIGHT] for row in self.rows],
            image_bytes=self._image_bytes,
            num_tokens=[row[samples.NUM_TOKENS] for row in self.rows],
            num_unknown=self._num_unknown,
        )


def publish_shard(
    workspace: Workspace,
    shard: ShardPlan,
    made: Iterable[Example | Reject],
    columns: Sequence[Column],
    features: Sequence[Feature],
) -> Commit:
    """Writes and publishes the files of a shard.

    Args:
        workspace: Workspace that the files are written to.
        shard: Plan of the shard.
        made: Examples and rejects of the shard, in record order.
        columns: Source columns that are copied to the dataset.
        features: Features of the records.

    Returns:
        The commit record, not yet written.
    """
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
        shard.name.samples_file: dump_samples(account.rows, features),
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
        lengths=dump_lengths(writer.lengths),
        statistics=account.statistics(),
        rejects=tuple(account.rejects),
        dropped_captions=account.dropped_captions,
        input=account.input,
    )


def input_hash(
    key: bytes,
    image_sha256: str,
    captions_sha256: str,
    values: Sequence[Value | StoredArray],
) -> int:
    """Returns a hash of the key and the sources of a record.

    The hashes of all records are added modulo 2^256. The sum does not depend on the
    order of records or on shards (AdHash: Bellare and Micciancio, EUROCRYPT 1997).
    """
    digest = hashlib.sha256(b"%d:" % len(key) + key)
    digest.update(bytes.fromhex(image_sha256 + captions_sha256))
    if values:
        digest.update(json.dumps(values).encode())
    return int.from_bytes(digest.digest(), "big")

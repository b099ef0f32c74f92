"""Writes the files of one shard, then the commit record that marks it as finished."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar

from beam_jobs.config.columns import Value
from beam_jobs.elements import Reject, ShardPlan, StoredArray
from beam_jobs.storage.files import publish
from beam_jobs.workspace.commits import Commit, write_commit
from beam_jobs.workspace.lease import check_lease
from beam_jobs.workspace.shard_progress import ShardProgress
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.tfrecord_writer import TFRecordWriter
from reader.contract.index import dump_lengths
from reader.contract.manifest import Shard
from reader.contract.record import crc32c_hex
from reader.contract.statistics import Statistics


class Written(Protocol):
    """What is written as a record of a shard."""

    @property
    def record(self) -> bytes:
        """Bytes of the record, without framing."""


_Made = TypeVar("_Made", bound=Written)


class Account(ABC, Generic[_Made]):
    """What finalizing needs of a shard, collected while the shard is written.

    Attributes:
        rows: Rows of the samples table, as `{column: value}`.
        rejects: Keys of the shard that were not written.
        dropped_captions: Number of captions dropped from written records.
        input: Sum of the hashes of keys and sources, modulo 2^256. It does not depend
            on the order of records or on shards (AdHash: Bellare and Micciancio,
            EUROCRYPT 1997).
    """

    def __init__(self) -> None:
        """Initializes an account of no records."""
        self.rows: list[dict[str, Any]] = []
        self.rejects: list[Reject] = []
        self.dropped_captions = self.input = 0

    @abstractmethod
    def add(self, made: _Made, offset: int, length: int) -> None:
        """Adds a record with its byte offset and its length in bytes."""

    @abstractmethod
    def samples(self) -> bytes:
        """Returns the bytes of the samples table."""

    @abstractmethod
    def statistics(self) -> Statistics:
        """Returns the statistics of the records."""

    def add_input(
        self, key: bytes, sha256: str, values: Sequence[Value | StoredArray]
    ) -> None:
        """Adds the hash of a record's key and sources.

        Args:
            key: Key of the record.
            sha256: Hex digests of the files that the record was made from.
            values: Values of the columns.
        """
        hashed = input_hash(key, sha256, values)
        self.input = (self.input + hashed) % 2**256


class Writer(ABC, Generic[_Made]):
    """Writes shards, one at a time.

    Attributes:
        workspace: Workspace that shards are written to.
    """

    def __init__(self, workspace: Workspace, lease: str) -> None:
        """Initializes the writer.

        Args:
            workspace: Workspace that shards are written to.
            lease: Token of the output's lease, held by the running job.
        """
        self.workspace = workspace
        self._lease = lease

    @abstractmethod
    def making(
        self, shard: ShardPlan
    ) -> AbstractContextManager[Iterator[_Made | Reject]]:
        """Makes what is written to a shard, in record order, while the block runs."""

    @abstractmethod
    def account(self) -> Account[_Made]:
        """Returns an empty account of a shard."""

    def close(self) -> None:
        """Releases the resources of the writer."""

    def write(
        self, shard: ShardPlan, count: Callable[[_Made | Reject], None]
    ) -> Commit:
        """Writes a shard and then its commit record.

        Args:
            shard: Plan of the shard.
            count: Function called with each record or reject.

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
        self, shard: ShardPlan, count: Callable[[_Made | Reject], None]
    ) -> Commit:
        progress = ShardProgress(self.workspace, shard.label)

        def counted(made: Iterator[_Made | Reject]) -> Iterator[_Made | Reject]:
            for one in progress.watch(made):
                count(one)
                yield one
            # Checked before the files are published, because a later job may have
            # another plan.
            check_lease(self.workspace, self._lease)

        with self.making(shard) as made, progress:
            commit = publish_shard(self.workspace, shard, counted(made), self.account())
            check_lease(self.workspace, self._lease)
            write_commit(self.workspace, shard.label, commit)
        return commit


def publish_shard(
    workspace: Workspace,
    shard: ShardPlan,
    made: Iterable[_Made | Reject],
    account: Account[_Made],
) -> Commit:
    """Writes and publishes the files of a shard.

    Args:
        workspace: Workspace that the files are written to.
        shard: Plan of the shard.
        made: Records and rejects of the shard, in record order.
        account: Account that collects what finalizing needs.

    Returns:
        The commit record, not yet written.
    """
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
        shard.name.samples_file: account.samples(),
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


def input_hash(key: bytes, sha256: str, values: Sequence[Value | StoredArray]) -> int:
    """Returns a hash of the key and the sources of a record.

    Args:
        key: Key of the record.
        sha256: Hex digests of the files that the record was made from.
        values: Values of the columns.
    """
    digest = hashlib.sha256(b"%d:" % len(key) + key)
    digest.update(bytes.fromhex(sha256))
    if values:
        digest.update(json.dumps(values).encode())
    return int.from_bytes(digest.digest(), "big")

"""Deduplicate: key ranges → key ranges with image hashes and without duplicates.

Hashes are packed like entries and grouped by hash value. Of the keys with equal image
bytes, the first in record order is kept. The others are rejected in their key ranges.
"""

import pickle
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import NamedTuple

import apache_beam as beam

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import BadInput, KeyRange, Pair, Reject
from beam_jobs.planning.key_order import order_of, place_split
from beam_jobs.planning.pair_lists import pairs_of_key_range, read_rejects, write_lists
from beam_jobs.sources.source_files import SourceFiles
from beam_jobs.storage.parallel import map_in_order
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace
from reader.contract.schema import display_path

# Files read ahead per thread. Reading waits for the disk, hashing for a core.
_AHEAD_PER_THREAD = 4


class _HashedKey(NamedTuple):
    """A key with the hash of its image. Its fields are in sort order."""

    sha256: str
    order: int
    key: bytes
    key_range: int


class _Duplicate(NamedTuple):
    """A key whose image equals the image of another key, which is kept."""

    key: bytes
    kept_key: bytes


class Deduplicate(beam.PTransform):
    """Hashes images and rejects duplicates: `KeyRange` → `KeyRange`.

    Does nothing unless the configuration requires image contents.
    """

    def __init__(self, config: JobConfig, lease: str) -> None:
        """Initializes the transform.

        Args:
            config: Configuration of the job.
            lease: Token of the output's lease, held by the running job.
        """
        super().__init__()
        self._config = config
        self._lease = lease

    def expand(
        self, key_ranges: beam.PCollection[KeyRange]
    ) -> beam.PCollection[KeyRange]:
        """Rewrites the lists of each key range, if contents are compared."""
        if not self._config.reads_contents:
            return key_ranges
        return (
            key_ranges
            | "Reshuffle" >> beam.Reshuffle()
            | "Hash images" >> beam.ParDo(_HashFn(self._config, self._lease))
            | "Group by hash" >> beam.GroupByKey()
            | "Find duplicates" >> beam.ParDo(_FindDuplicatesFn())
            | "Group by key range" >> beam.GroupByKey()
            | "Reject duplicates"
            >> beam.ParDo(_RejectDuplicatesFn(self._config, self._lease))
        )


class _HashFn(beam.DoFn):
    """Key range → (hash range, pack of hashes), and the key range itself."""

    def __init__(self, config: JobConfig, lease: str) -> None:
        self._config = config
        self._lease = lease

    def setup(self) -> None:
        self._files = SourceFiles(self._config)
        self._threads = ThreadPoolExecutor(self._config.num_threads)

    def teardown(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def process(self, key_range: KeyRange) -> Iterator[tuple[int, bytes]]:
        with noted(Workspace(self._config.output), f"hashing-{key_range.number:03d}"):
            pairs = self._hashed(key_range)
        hash_ranges: dict[int, list[_HashedKey]] = {}
        for pair in pairs:
            if pair.sha256 and self._config.dedupe == "exact":
                order = order_of(pair.key, self._config.seed)
                hashed = _HashedKey(pair.sha256, order, pair.key, key_range.number)
                hash_ranges.setdefault(int(pair.sha256[:2], 16), []).append(hashed)
        for hash_range, some in hash_ranges.items():
            yield hash_range, pickle.dumps(some)
        yield key_range.number, pickle.dumps(key_range)

    def _hashed(self, key_range: KeyRange) -> list[Pair]:
        """Returns the pairs of a key range with hashes, and rewrites its lists."""
        workspace = Workspace(self._config.output)
        ahead = _AHEAD_PER_THREAD * self._config.num_threads
        pairs = pairs_of_key_range(workspace, key_range)
        hashed = list(map_in_order(self._with_hash, pairs, self._threads, ahead))
        rejects = read_rejects(workspace, key_range.number)
        write_lists(self._config, self._lease, key_range.number, hashed, rejects)
        return hashed

    def _with_hash(self, pair: Pair) -> Pair:
        if pair.image.size > self._config.max_image_bytes:
            return pair  # Rejected later, when its shard is written.
        if pair.image.stored is not None:
            digest = pair.image.stored.sha256
        else:
            digest = sha256(self._files.image(pair)).hexdigest()
        if self._config.splits_by_content:
            pair = pair._replace(split=place_split(pair.key, self._config, digest))
        return pair._replace(sha256=digest if self._is_usable(pair) else "")

    def _is_usable(self, pair: Pair) -> bool:
        """Returns whether a pair has valid captions.

        A pair without valid captions is rejected later, so it must not be the one kept.
        """
        try:
            self._files.captions(pair)
        except BadInput:
            return False
        return True


class _FindDuplicatesFn(beam.DoFn):
    """(hash range, packs) → (key range, pack of duplicates or the key range)."""

    def process(
        self, packed: tuple[int, Iterable[bytes]]
    ) -> Iterator[tuple[int, bytes]]:
        hashed: list[_HashedKey] = []
        for data in packed[1]:
            pack = pickle.loads(data)
            if isinstance(pack, KeyRange):
                yield pack.number, data
            else:
                hashed += pack
        duplicates: dict[int, list[_Duplicate]] = {}
        first = _HashedKey("", 0, b"", 0)
        for one in sorted(hashed):
            if one.sha256 == first.sha256:
                duplicate = _Duplicate(one.key, first.key)
                duplicates.setdefault(one.key_range, []).append(duplicate)
            else:
                first = one
        for key_range, some in duplicates.items():
            yield key_range, pickle.dumps(some)


class _RejectDuplicatesFn(beam.DoFn):
    """(key range, packs) → `KeyRange`, with its duplicates rejected."""

    def __init__(self, config: JobConfig, lease: str) -> None:
        self._config = config
        self._lease = lease

    def process(self, packed: tuple[int, Iterable[bytes]]) -> Iterator[KeyRange]:
        number, workspace = packed[0], Workspace(self._config.output)
        packs = [pickle.loads(data) for data in packed[1]]
        (key_range,) = (pack for pack in packs if isinstance(pack, KeyRange))
        kept_keys = {
            duplicate.key: duplicate.kept_key
            for pack in packs
            if not isinstance(pack, KeyRange)
            for duplicate in pack
        }
        with noted(workspace, f"dropping-{number:03d}"):
            pairs = list(pairs_of_key_range(workspace, key_range))
            rejects = {reject.key: reject for reject in read_rejects(workspace, number)}
            # Idempotent: a retry finds the duplicates of the first try in the rejects.
            rejects |= {
                pair.key: _duplicate_reject(pair, kept_keys[pair.key])
                for pair in pairs
                if pair.key in kept_keys
            }
            kept = [pair for pair in pairs if pair.key not in kept_keys]
            lists = write_lists(
                self._config, self._lease, number, kept, rejects.values()
            )
        yield key_range._replace(**lists._asdict())


def _duplicate_reject(pair: Pair, kept_key: bytes) -> Reject:
    detail = f"the image is that of {display_path(kept_key)}, which stays"
    return Reject(pair.key, (pair.image.path,), "pair", "duplicate_of", detail)

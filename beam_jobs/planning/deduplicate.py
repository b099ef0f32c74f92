"""CompareContents: key ranges → key ranges whose pairs know their images' contents.

Hashes travel to where equal ones meet, in packs as entries do; of the keys with equal
contents all but one are turned down, back in their own key ranges.
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

# Files read ahead by each thread: reading waits for the disk, hashing for a core.
_AHEAD_PER_THREAD = 4


class _Seen(NamedTuple):
    """One key, on its way to others of the same content."""

    sha256: str
    order: int
    key: bytes
    key_range: int


class _Twin(NamedTuple):
    """A key whose content another key has too, which stays in its place."""

    key: bytes
    stays: bytes


class Deduplicate(beam.PTransform):
    """Hashes images and drops duplicates, if configured: `KeyRange` → `KeyRange`."""

    def __init__(self, config: JobConfig, lease: str) -> None:
        """Takes the configuration, and the lease of the job at work."""
        super().__init__()
        self._config = config
        self._lease = lease

    def expand(
        self, key_ranges: beam.PCollection[KeyRange]
    ) -> beam.PCollection[KeyRange]:
        """Writes the lists of each key range again; passes all by if nobody asked."""
        if not self._config.reads_contents:
            return key_ranges
        return (
            key_ranges
            | "Spread" >> beam.Reshuffle()
            | "Hash" >> beam.ParDo(_HashFn(self._config, self._lease))
            | "Meet" >> beam.GroupByKey()
            | "Choose" >> beam.ParDo(_ChooseFn())
            | "Return" >> beam.GroupByKey()
            | "Drop" >> beam.ParDo(_DropFn(self._config, self._lease))
        )


class _HashFn(beam.DoFn):
    """Key range → (part of the hashes' range, pack), and the key range itself."""

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
        parts: dict[int, list[_Seen]] = {}
        for pair in pairs:
            if pair.sha256 and self._config.dedupe == "exact":
                order = order_of(pair.key, self._config.seed)
                seen = _Seen(pair.sha256, order, pair.key, key_range.number)
                parts.setdefault(int(pair.sha256[:2], 16), []).append(seen)
        for part, some in parts.items():
            yield part, pickle.dumps(some)
        yield key_range.number, pickle.dumps(key_range)

    def _hashed(self, key_range: KeyRange) -> list[Pair]:
        """Returns the pairs of a key range with hashes, and puts these in its list."""
        workspace = Workspace(self._config.output)
        ahead = _AHEAD_PER_THREAD * self._config.num_threads
        pairs = pairs_of_key_range(workspace, key_range)
        hashed = list(map_in_order(self._with_hash, pairs, self._threads, ahead))
        rejects = read_rejects(workspace, key_range.number)
        write_lists(self._config, self._lease, key_range.number, hashed, rejects)
        return hashed

    def _with_hash(self, pair: Pair) -> Pair:
        if pair.image.size > self._config.max_image_bytes:
            return pair  # Turned down when its shard is written.
        digest = sha256(self._files.image(pair)).hexdigest()
        if self._config.split_by == "content":
            pair = pair._replace(split=place_split(pair.key, self._config, digest))
        return pair._replace(sha256=digest if self._is_usable(pair) else "")

    def _is_usable(self, pair: Pair) -> bool:
        """Tells whether a pair has a caption: one that has none must not stand in."""
        try:
            self._files.captions(pair)
        except BadInput:
            return False
        return True


class _ChooseFn(beam.DoFn):
    """(part, packs) → (key range, pack): twins, and the key ranges that rode along."""

    def process(
        self, packed: tuple[int, Iterable[bytes]]
    ) -> Iterator[tuple[int, bytes]]:
        seen: list[_Seen] = []
        for data in packed[1]:
            pack = pickle.loads(data)
            if isinstance(pack, KeyRange):
                yield pack.number, data
            else:
                seen += pack
        twins: dict[int, list[_Twin]] = {}
        stays = _Seen("", 0, b"", 0)
        for one in sorted(seen):
            if one.sha256 == stays.sha256:
                twins.setdefault(one.key_range, []).append(_Twin(one.key, stays.key))
            else:
                stays = one
        for key_range, some in twins.items():
            yield key_range, pickle.dumps(some)


class _DropFn(beam.DoFn):
    """(key range, packs) → `KeyRange`, with twins among its rejects."""

    def __init__(self, config: JobConfig, lease: str) -> None:
        self._config = config
        self._lease = lease

    def process(self, packed: tuple[int, Iterable[bytes]]) -> Iterator[KeyRange]:
        number, workspace = packed[0], Workspace(self._config.output)
        packs = [pickle.loads(data) for data in packed[1]]
        (key_range,) = (pack for pack in packs if isinstance(pack, KeyRange))
        stays = {
            twin.key: twin.stays
            for pack in packs
            if not isinstance(pack, KeyRange)
            for twin in pack
        }
        with noted(workspace, f"dropping-{number:03d}"):
            pairs = list(pairs_of_key_range(workspace, key_range))
            rejects = {reject.key: reject for reject in read_rejects(workspace, number)}
            # Run again, it finds what it turned down before among the rejects.
            rejects |= {
                pair.key: _twin(pair, stays[pair.key])
                for pair in pairs
                if pair.key in stays
            }
            kept = [pair for pair in pairs if pair.key not in stays]
            lists = write_lists(
                self._config, self._lease, number, kept, rejects.values()
            )
        yield key_range._replace(**lists._asdict())


def _twin(pair: Pair, stays: bytes) -> Reject:
    detail = f"the image is that of {display_path(stays)}, which stays"
    return Reject(pair.key, (pair.image.path,), "pair", "duplicate_of", detail)

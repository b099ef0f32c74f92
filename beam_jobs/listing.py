"""ListFiles: parts of source folders → their files, packed by bucket.

Files travel in packs, since an engine spends as long on an element as we do on ten
files: (bucket, JSON of many entries).
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from beam_jobs.elements import ListTask
from beam_jobs.failures import noted
from beam_jobs.lines import text_of
from beam_jobs.options import JobConfig
from beam_jobs.plan import bucket_of, order_of
from beam_jobs.sources import folders
from beam_jobs.sources.folders import Listed
from beam_jobs.workspace import Workspace

# Large enough to spread the cost of an element, small enough to bound memory.
_PACK_FILES = 200_000

# Counts of what is ignored ride along with this bucket.
_BUCKET_OF_COUNTS = 0


class ListFiles(beam.PTransform):
    """Lists files: `ListTask` → (bucket, pack)."""

    def __init__(self, config: JobConfig) -> None:
        """Takes the job's configuration."""
        super().__init__()
        self._config = config

    def expand(
        self, tasks: beam.PCollection[ListTask]
    ) -> beam.PCollection[tuple[int, bytes]]:
        """Lists each task in one go."""
        return tasks | "List" >> beam.ParDo(_ListFilesFn(self._config))


class _ListFilesFn(beam.DoFn):
    def __init__(self, config: JobConfig) -> None:
        self._config = config

    def process(self, task: ListTask) -> Iterator[tuple[int, bytes]]:
        with noted(Workspace(self._config.output), "listing"):
            yield from _pack_files(task, self._config.seed)


def _pack_files(task: ListTask, seed: int) -> Iterator[tuple[int, bytes]]:
    packs: dict[int, list[Any]] = {}
    ignored: Counter[str] = Counter()
    loops: list[str] = []
    num_files = 0
    for listed in folders.list_files(task):
        if listed.kind == "ignored":
            ignored[folders.ignored_as(listed.path)] += 1
            continue
        if listed.kind == "loop":
            loops.append(text_of(listed.path))
            continue
        bucket = bucket_of(order_of(folders.key_of(listed.path), seed))
        entry = [listed.kind, text_of(listed.path), *listed[2:]]
        packs.setdefault(bucket, []).append(entry)
        num_files += 1
        if num_files % _PACK_FILES == 0:
            yield from _pack(packs)
            packs = {}
    yield from _pack(packs)
    if ignored or loops:
        counts = json.dumps({"ignored": ignored, "loops": loops})
        yield _BUCKET_OF_COUNTS, counts.encode()


def _pack(packs: dict[int, list[Any]]) -> Iterator[tuple[int, bytes]]:
    for bucket, files in packs.items():
        yield bucket, json.dumps({"files": files}).encode()


def digest_of_listing(tasks: Iterable[ListTask], seed: int) -> str:
    """Returns the digest of names and sizes that planning these tasks would give."""
    buckets: dict[int, list[Listed]] = {}
    for task in tasks:
        for listed in folders.list_files(task):
            if listed.kind not in ("ignored", "loop"):
                order = order_of(folders.key_of(listed.path), seed)
                buckets.setdefault(bucket_of(order), []).append(listed)
    return join_digests(digest_of_files(buckets[number]) for number in sorted(buckets))


def digest_of_files(files: Iterable[Listed]) -> str:
    """Returns the digest of a bucket's files: kinds, names and sizes."""
    digest = hashlib.sha256()
    for listed in sorted(files):
        digest.update(f"{listed.kind} {listed.size} ".encode() + listed.path + b"\0")
    return digest.hexdigest()


def join_digests(digests: Iterable[str]) -> str:
    """Returns one digest of many."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()

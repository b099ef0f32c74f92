"""PairFiles: packs of files of a bucket → its pairs, in order, on disk; and counts.

Every key ends as a pair or as a reject; we never guess which of two files is meant.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator

import apache_beam as beam

from beam_jobs.elements import Bucket, Pair, Reject, SourceFile
from beam_jobs.failures import noted
from beam_jobs.lines import dump_pair, dump_reject, path_of
from beam_jobs.listing import digest_of_files
from beam_jobs.options import JobConfig
from beam_jobs.plan import order_of, split_of
from beam_jobs.sources.folders import Listed, key_of
from beam_jobs.workspace import Workspace


class PairFiles(beam.PTransform):
    """Pairs the files of each bucket: (bucket, packs) → `Bucket`."""

    def __init__(self, config: JobConfig) -> None:
        """Takes the job's configuration."""
        super().__init__()
        self._config = config

    def expand(
        self, packs: beam.PCollection[tuple[int, Iterable[bytes]]]
    ) -> beam.PCollection[Bucket]:
        """Writes the pairs and rejects of each bucket below `_build/plan/`."""
        return packs | "Pair" >> beam.ParDo(_PairFilesFn(self._config))


class _PairFilesFn(beam.DoFn):
    def __init__(self, config: JobConfig) -> None:
        self._config = config
        self._found = beam.metrics.Metrics.counter("pairs", "found")

    def process(self, packed: tuple[int, Iterable[bytes]]) -> Iterator[Bucket]:
        with noted(Workspace(self._config.output), f"pairing-{packed[0]:03d}"):
            yield self._pair(*packed)

    def _pair(self, number: int, packs: Iterable[bytes]) -> Bucket:
        files, ignored, loops = _unpack(packs)
        pairs, rejects = pair_files(files)
        seed, splits = self._config.seed, self._config.shares
        pairs.sort(key=lambda pair: (order_of(pair.key, seed), pair.key))
        rejects.sort(key=lambda reject: reject.key)
        workspace = Workspace(self._config.output)
        pairs_data = "".join(map(dump_pair, pairs)).encode()
        rejects_data = "".join(map(dump_reject, rejects)).encode()
        workspace.publish(workspace.pairs(number), pairs_data, durable=False)
        workspace.publish(workspace.rejects(number), rejects_data, durable=False)
        self._found.inc(len(pairs) + len(rejects))
        return Bucket(
            number=number,
            found=len({key_of(listed.path) for listed in files}),
            pairs=dict(Counter(split_of(pair.key, seed, splits) for pair in pairs)),
            rejects=dict(Counter(reject.reason for reject in rejects)),
            ignored=dict(ignored),
            loops=tuple(sorted(loops)),
            listing=digest_of_files(files),
            digest=hashlib.sha256(pairs_data).hexdigest(),
        )


def _unpack(
    packs: Iterable[bytes],
) -> tuple[list[Listed], Counter[str], list[bytes]]:
    files: list[Listed] = []
    ignored: Counter[str] = Counter()
    loops: list[bytes] = []
    for pack in packs:
        content = json.loads(pack)
        files.extend(
            Listed(kind, path_of(path), size, mtime_ns)
            for kind, path, size, mtime_ns in content.get("files", ())
        )
        ignored.update(content.get("ignored", {}))
        loops.extend(map(path_of, content.get("loops", ())))
    return sorted(files), ignored, loops


def pair_files(files: Iterable[Listed]) -> tuple[list[Pair], list[Reject]]:
    """Returns the pairs, and a reject for each key that makes none.

    Args:
        files: Images, captions, and what is named like one but is no file; sorted.
    """
    by_key: dict[bytes, dict[str, list[SourceFile]]] = {}
    for kind, path, size, mtime_ns in files:
        source = SourceFile(path, size, mtime_ns)
        by_key.setdefault(key_of(source.path), {}).setdefault(kind, []).append(source)
    pairs: list[Pair] = []
    rejects: list[Reject] = []
    for key, kinds in by_key.items():
        made = _pair_one(key, kinds)
        if isinstance(made, Pair):
            pairs.append(made)
        else:
            rejects.append(made)
    return pairs, rejects


def _pair_one(key: bytes, kinds: dict[str, list[SourceFile]]) -> Pair | Reject:
    images, captions = kinds.get("image", []), kinds.get("caption", [])
    if missing := kinds.get("not_a_file"):
        detail = "a link to nowhere, or not a regular file"
        return _reject(key, "not_a_file", missing, detail)
    if not captions:
        return _reject(key, "unpaired_image", images, "no caption of that name")
    if not images:
        return _reject(key, "unpaired_caption", captions, "no image of that name")
    if len(images) > 1 or len(captions) > 1:
        detail = f"{len(images)} images and {len(captions)} captions have this key"
        return _reject(key, "ambiguous_key", images + captions, detail)
    return Pair(key, images[0], captions[0])


def _reject(
    key: bytes, reason: str, files: Iterable[SourceFile], detail: str
) -> Reject:
    return Reject(key, tuple(file.path for file in files), "pair", reason, detail)

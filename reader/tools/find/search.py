"""Where something is in a dataset, or why it is not: by key, checksum or file."""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reader.contract import samples, schema
from reader.contract.errors import DatasetError, UsageError
from reader.contract.host import MissingLibraryError
from reader.contract.layout import REJECTS, SAMPLES_DIR, parse_shard_name
from reader.contract.manifest import Shard, Split
from reader.contract.record import FRAMING_BYTES, parse_example
from reader.contract.rejects import RejectedKey, parse_reject, text_in_line
from reader.contract.schema import display_path
from reader.datasets.manifest_dataset import ManifestDataset, open_dataset
from reader.datasets.samples_table import read_table_at
from reader.map_dataset.key_index import nearest
from reader.storage.files import read_bytes
from reader.storage.tfrecord_file import Record, scan_shard
from reader.tools.find.query import SHA256_DIGITS, Wanted, wanted_of

_LOG = logging.getLogger("reader")

_SEARCHED = (
    samples.KEY,
    samples.SHA256,
    samples.SOURCE,
    samples.CAPTION_SOURCE,
)
# Each takes a second with a million keys.
_MAX_ENDS = 3


class Written(NamedTuple):
    """A record that was found.

    Attributes:
        by: What it was found by: `key`, `content`, `sha256`, `source` or
            `caption_source`.
        split: Its split.
        shard: Its file, below the dataset.
        row: Its place in the shard.
        number: Its place in the split, as `reader.open` counts.
        facts: Of its row of `samples/`, or as much of it as its record has: `key`,
            `offset`, `length` (with framing), `captions`, `sha256`, ….
    """

    by: str
    split: str
    shard: str
    row: int
    number: int
    facts: dict[str, Any]


class Rejected(NamedTuple):
    """A key that was not written.

    Attributes:
        by: What it was found by: `key`, `source` or `caption_source`.
        line: Its line of `rejects.jsonl`.
    """

    by: str
    line: RejectedKey


@dataclass(frozen=True)
class Finding:
    """What a dataset knows of something.

    Attributes:
        wanted: What was looked for.
        written: Records.
        rejected: Keys that were not written.
        nearest: Where there is neither: the keys most like it.
        sha256: Of the file of that name, if there is one.
        num_others: How many fit too, but not as well.
    """

    wanted: str
    written: list[Written] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    nearest: list[str] = field(default_factory=list)
    sha256: str | None = None
    num_others: int = 0

    @property
    def status(self) -> str:
        """`written`, `rejected` or `unknown`."""
        if self.written:
            return "written"
        return "rejected" if self.rejected else "unknown"


def find(folder: str | os.PathLike[str], wanted: str) -> Finding:
    """Finds a record by its key, the SHA-256 of its image file, or a source file.

    Reads `samples/` and `rejects.jsonl`; where pyarrow is not installed, all records.

    Args:
        folder: Of the dataset.
        wanted: A key; a checksum, or at least 8 of its digits; or the path of an image
            or a caption. Of a path, as much of its end counts as some source has, and
            if there is such a file here, its content.

    Raises:
        DatasetError: There is no finished dataset.
        UsageError: Nothing is wanted.
    """
    if not wanted:
        raise UsageError("find needs a key, a sha256 or a path, got nothing")
    dataset = open_dataset(folder)
    words = wanted_of(wanted)
    hits = [*_find_written(dataset, words), *_find_rejected(dataset, words)]
    best = min((hit.rank for hit in hits), default=0)
    found = [hit.found for hit in hits if hit.rank == best]
    written = [one for one in found if isinstance(one, Written)]
    rejected = [one for one in found if isinstance(one, Rejected)]
    near: list[str] = []
    if not hits and len(words.sha256 or "") < SHA256_DIGITS:
        near = _nearest(words, list(_all_keys(dataset)))
    others = len(hits) - len(found)
    return Finding(wanted, written, rejected, near, words.content, others)


def _nearest(words: Wanted, keys: list[str]) -> list[str]:
    """Returns the keys most like what is wanted, or like the end of that path."""
    for name in words.names[:_MAX_ENDS]:
        if near := nearest(os.path.splitext(name)[0], keys):
            return near
    return []


class _Hit(NamedTuple):
    """How well something fits: the lower, the better."""

    rank: int
    by: str
    found: Written | Rejected


# What was written.


class _Place(NamedTuple):
    """A shard, and the number of its first record in its split."""

    split: Split
    shard: Shard
    first: int

    def record(self, by: str, row: int, facts: dict[str, Any]) -> Written:
        number = self.first + row
        return Written(by, self.split.name, self.shard.file, row, number, facts)


def _places(dataset: ManifestDataset) -> Iterator[_Place]:
    for split in dataset.manifest.splits:
        first = 0
        for shard in split.shards:
            yield _Place(split, shard, first)
            first += shard.num_examples


def _find_written(dataset: ManifestDataset, wanted: Wanted) -> Iterator[_Hit]:
    told = set()
    for place in _places(dataset):
        try:
            yield from _find_in_samples(dataset, place, wanted)
        except (DatasetError, MissingLibraryError) as error:
            if str(error) not in told:  # Of a library it is the same for all shards.
                _LOG.warning("%s; reading records instead", error)
            told.add(str(error))
            yield from _find_in_records(dataset, place, wanted)


def _find_in_samples(
    dataset: ManifestDataset, place: _Place, wanted: Wanted
) -> Iterator[_Hit]:
    table = _samples(dataset, place.shard, _SEARCHED)
    from pyarrow import array, compute

    names = array(wanted.names)
    mask = compute.is_in(table[samples.KEY], value_set=array(wanted.keys))
    for column in (samples.SOURCE, samples.CAPTION_SOURCE):
        mask = compute.or_kleene(mask, compute.is_in(table[column], value_set=names))
    for digits in filter(None, (wanted.sha256, wanted.content)):
        mask = compute.or_kleene(
            mask, compute.starts_with(table[samples.SHA256], digits)
        )
    rows = compute.indices_nonzero(mask).to_pylist()
    if not rows:
        return
    for row, facts in zip(
        rows, _samples(dataset, place.shard).take(rows).to_pylist(), strict=True
    ):
        sources = [facts[samples.SOURCE], facts[samples.CAPTION_SOURCE]]
        fit = wanted.fits(facts[samples.KEY], facts[samples.SHA256], sources)
        if fit is not None:
            yield _Hit(*fit, place.record(fit[1], row, facts))


def _samples(
    dataset: ManifestDataset, shard: Shard, columns: Sequence[str] | None = None
) -> Any:
    name = parse_shard_name(shard.file)
    if name is None:
        raise DatasetError(f"{shard.file} has no table in {SAMPLES_DIR}/")
    return read_table_at(dataset.path(name.samples_file), shard.num_examples, columns)


def _find_in_records(
    dataset: ManifestDataset, place: _Place, wanted: Wanted
) -> Iterator[_Hit]:
    for row, record in _records(dataset, place.shard):
        example = parse_example(record.data)
        key, sha256 = display_path(example[schema.KEY][0]), example[schema.SHA256][0]
        fit = wanted.fits(key, sha256.decode(), ())
        if fit is not None:
            facts = _facts_of(example, record.offset, len(record.data))
            yield _Hit(*fit, place.record(fit[1], row, facts))


def _records(dataset: ManifestDataset, shard: Shard) -> Iterator[tuple[int, Record]]:
    """Yields the records that can be read, with their places."""
    path = dataset.path(shard.file)
    try:
        for row, part in enumerate(scan_shard(path)):
            if isinstance(part, Record):
                yield row, part
            else:
                _LOG.warning("%s in %s at byte %d", part.what, path, part.offset)
    except FileNotFoundError:
        _LOG.warning("%s is missing: restore it", path)


def _facts_of(
    example: dict[str, list[Any]], offset: int, num_bytes: int
) -> dict[str, Any]:
    """Returns what a row of `samples/` would hold, as far as a record tells."""
    return {
        samples.KEY: display_path(example[schema.KEY][0]),
        samples.OFFSET: offset,
        samples.LENGTH: num_bytes + FRAMING_BYTES,
        samples.WIDTH: example[schema.WIDTH][0],
        samples.HEIGHT: example[schema.HEIGHT][0],
        samples.CAPTIONS: [caption.decode() for caption in example[schema.CAPTIONS]],
        samples.NUM_TOKENS: example[schema.TOKEN_LENGTHS],
        samples.SHA256: example[schema.SHA256][0].decode(),
    }


# What was not.


def _find_rejected(dataset: ManifestDataset, wanted: Wanted) -> Iterator[_Hit]:
    needles = [text_in_line(name) for name in {*wanted.keys, *wanted.names}]
    for line in _reject_lines(dataset):
        if any(needle in line for needle in needles):
            reject = parse_reject(line)
            fit = wanted.fits(reject.key, None, reject.source)
            if fit is not None:
                yield _Hit(*fit, Rejected(fit[1], reject))


def _reject_lines(dataset: ManifestDataset) -> Iterable[bytes]:
    try:
        return read_bytes(dataset.path(REJECTS)).splitlines()
    except FileNotFoundError:
        _LOG.warning("%s is missing: restore it", dataset.path(REJECTS))
        return ()


def _all_keys(dataset: ManifestDataset) -> Iterator[str]:
    for place in _places(dataset):
        try:
            table = _samples(dataset, place.shard, [samples.KEY])
            yield from table[samples.KEY].to_pylist()
        except (DatasetError, MissingLibraryError):
            for _, record in _records(dataset, place.shard):
                yield display_path(parse_example(record.data)[schema.KEY][0])
    for line in _reject_lines(dataset):
        yield parse_reject(line).key

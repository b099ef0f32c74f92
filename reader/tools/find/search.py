"""Searches a dataset's records and rejects by key, checksum or source file."""

import functools
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from reader.contract import samples, schema
from reader.contract.additions.base_shard import base_of
from reader.contract.errors import DatasetError, UsageError
from reader.contract.host import MissingLibraryError
from reader.contract.layout import REJECTS, SAMPLES_DIR, parse_shard_name
from reader.contract.manifest import Shard, Split
from reader.contract.record import FRAMING_BYTES, parse_example
from reader.contract.rejects import RejectedKey, parse_reject, text_in_line
from reader.contract.schema import display_path
from reader.datasets.layers import ListedLayer, NamedLayers, list_layers
from reader.datasets.manifest_dataset import ManifestDataset, open_dataset
from reader.datasets.open_sources import open_record_source
from reader.datasets.record_index import LayerFiles
from reader.datasets.samples_table import read_table_at
from reader.map_dataset.key_index import nearest
from reader.records.random_access import RecordFiles
from reader.selections.selection import list_selections
from reader.storage.files import read_bytes
from reader.storage.tfrecord_file import Record, scan_shard
from reader.tools.added_values import added_values
from reader.tools.find.query import SHA256_DIGITS, Wanted, wanted_of

_LOG = logging.getLogger("reader")

_SEARCHED = (
    samples.KEY,
    samples.SHA256,
    samples.SOURCE,
    samples.CAPTION_SOURCE,
)
# Trailing parts of a path to search for. Each takes a second with a million keys.
_MAX_ENDS = 3


class Added(NamedTuple):
    """What a layer adds to a record.

    Attributes:
        layer: Name of the layer.
        values: Values by the keys of their features; empty without columns.
        problem: Why they cannot be read; None if they can.
    """

    layer: str
    values: Mapping[str, Any] = {}
    problem: str | None = None


class Written(NamedTuple):
    """A record that matches a query.

    Attributes:
        by: Field that matches: `key`, `content`, `sha256`, `source` or
            `caption_source`.
        split: Name of the record's split.
        shard: Path of the record's shard, relative to the dataset.
        row: Index of the record in its shard.
        number: Index of the record in its split, as in `reader.open`.
        facts: Row of the record in `samples/`, or the subset that the record itself
            holds: `key`, `offset`, `length` (with framing), `captions`, `sha256`, ….
        selections: Names of the dataset's selections that hold the record.
        layers: What each of the dataset's layers adds to the record.
    """

    by: str
    split: str
    shard: str
    row: int
    number: int
    facts: dict[str, Any]
    selections: tuple[str, ...] = ()
    layers: tuple[Added, ...] = ()


class Rejected(NamedTuple):
    """A key that matches a query but was not written.

    Attributes:
        by: Field that matches: `key`, `source` or `caption_source`.
        line: Parsed line of `rejects.jsonl`.
    """

    by: str
    line: RejectedKey


@dataclass(frozen=True)
class Finding:
    """The result of a search.

    Attributes:
        wanted: Text of the query.
        written: Matching records.
        rejected: Matching keys that were not written.
        nearest: Most similar keys, if nothing matches.
        sha256: SHA-256 of the local file of that name; None if no such file exists.
        num_others: Number of further matches of a lower rank.
    """

    wanted: str
    written: list[Written] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    nearest: list[str] = field(default_factory=list)
    sha256: str | None = None
    num_others: int = 0

    @property
    def status(self) -> str:
        """Status of the query: `written`, `rejected` or `unknown`."""
        if self.written:
            return "written"
        return "rejected" if self.rejected else "unknown"


def find(folder: str | os.PathLike[str], wanted: str) -> Finding:
    """Finds a record by its key, the SHA-256 of its image file, or a source file.

    Reads `samples/` and `rejects.jsonl`. Without pyarrow, reads all records instead of
    `samples/`.

    Args:
        folder: Folder of the dataset.
        wanted: Key; SHA-256 or at least its first 8 digits; or path of an image or
            caption. A path matches a source by its longest common end. If the path is
            a local file, its content is matched first.

    Raises:
        DatasetError: The folder holds no finished dataset.
        UsageError: `wanted` is empty.
    """
    if not wanted:
        raise UsageError("find needs a key, a sha256 or a path, got nothing")
    dataset = open_dataset(folder)
    query = wanted_of(wanted)
    hits = [*_find_written(dataset, query), *_find_rejected(dataset, query)]
    best = min((hit.rank for hit in hits), default=0)
    found = [hit.found for hit in hits if hit.rank == best]
    written = [one for one in found if isinstance(one, Written)]
    written = _with_selections(dataset, written)
    written = list(_with_layers(dataset, written))
    rejected = [one for one in found if isinstance(one, Rejected)]
    near: list[str] = []
    if not hits and len(query.sha256 or "") < SHA256_DIGITS:
        near = _nearest(query, list(_all_keys(dataset)))
    others = len(hits) - len(found)
    return Finding(wanted, written, rejected, near, query.content, others)


def _nearest(query: Wanted, keys: list[str]) -> list[str]:
    """Returns the keys most similar to the query, or to the end of its path."""
    for name in query.names[:_MAX_ENDS]:
        if near := nearest(os.path.splitext(name)[0], keys):
            return near
    return []


def _with_selections(dataset: ManifestDataset, records: list[Written]) -> list[Written]:
    """Returns records with the names of the selections that hold them."""
    selections = [s.selection for s in list_selections(dataset) if s.selection]
    shards = {shard.file: shard for shard in dataset.manifest.shards}
    return [
        record._replace(
            selections=tuple(
                selection.name
                for selection in selections
                if selection.holds(base_of(shards[record.shard]), record.row)
            )
        )
        for record in records
    ]


def _with_layers(
    dataset: ManifestDataset, records: Iterable[Written]
) -> Iterator[Written]:
    """Yields records with what the layers add to them."""
    listed = list_layers(dataset)

    @functools.cache
    def opened(split: str, layer: str) -> tuple[RecordFiles, Sequence[LayerFiles]]:
        layers = NamedLayers(layer)
        source = open_record_source([dataset.folder], split, None, layers=layers)
        return RecordFiles(source), source.layers

    def added(record: Written, layer: ListedLayer) -> Added:
        if layer.problem is not None:
            return Added(layer.name, problem=layer.problem)
        try:
            files, layers = opened(record.split, layer.name)
            values = added_values(files.read(record.number), layers)
        except (DatasetError, ValueError, OSError) as error:
            return Added(layer.name, problem=str(error))
        return Added(layer.name, values)

    for record in records:
        yield record._replace(layers=tuple(added(record, layer) for layer in listed))


class _Hit(NamedTuple):
    """A match; a lower rank is a better match."""

    rank: int
    by: str
    found: Written | Rejected


# Records.


class _Place(NamedTuple):
    """A shard, and the index of its first record in its split."""

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
    warned = set()
    for place in _places(dataset):
        try:
            yield from _find_in_samples(dataset, place, wanted)
        except (DatasetError, MissingLibraryError) as error:
            # A missing library gives the same message for every shard.
            if str(error) not in warned:
                _LOG.warning("%s; reading records instead", error)
            warned.add(str(error))
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
    """Yields the readable records with their indices in the shard."""
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
    """Returns the columns of `samples/` that can be computed from a record."""
    return {
        samples.KEY: display_path(example[schema.KEY][0]),
        samples.OFFSET: offset,
        samples.LENGTH: num_bytes + FRAMING_BYTES,
        samples.WIDTH: example[schema.WIDTH][0],
        samples.HEIGHT: example[schema.HEIGHT][0],
        samples.CAPTIONS: [caption.decode() for caption in example[schema.CAPTIONS]],
        samples.NUM_TOKENS: example[schema.TOKEN_LENGTHS],
        **_names_of(example),
        samples.SHA256: example[schema.SHA256][0].decode(),
    }


def _names_of(example: dict[str, list[Any]]) -> dict[str, Any]:
    if schema.CAPTION_NAMES not in example:
        return {}
    names = [name.decode() for name in example[schema.CAPTION_NAMES]]
    return {samples.CAPTION_NAMES: names}


# Rejects.


def _find_rejected(dataset: ManifestDataset, wanted: Wanted) -> Iterator[_Hit]:
    needles = [text_in_line(name) for name in {*wanted.keys, *wanted.names}]
    for line in _reject_lines(dataset):
        if any(needle in line for needle in needles):
            reject = _parse(dataset, line)
            fit = wanted.fits(reject.key, None, reject.source)
            if fit is not None:
                yield _Hit(*fit, Rejected(fit[1], reject))


def _reject_lines(dataset: ManifestDataset) -> Iterable[bytes]:
    try:
        return read_bytes(dataset.path(REJECTS)).splitlines()
    except FileNotFoundError:
        _LOG.warning("%s is missing: restore it", dataset.path(REJECTS))
        return ()


def _parse(dataset: ManifestDataset, line: bytes) -> RejectedKey:
    try:
        return parse_reject(line)
    except ValueError as error:
        path = dataset.path(REJECTS)
        raise DatasetError(f"{path} is damaged ({error}): restore it") from error


def _all_keys(dataset: ManifestDataset) -> Iterator[str]:
    for place in _places(dataset):
        try:
            table = _samples(dataset, place.shard, [samples.KEY])
            yield from table[samples.KEY].to_pylist()
        except (DatasetError, MissingLibraryError):
            for _, record in _records(dataset, place.shard):
                yield display_path(parse_example(record.data)[schema.KEY][0])
    for line in _reject_lines(dataset):
        yield _parse(dataset, line).key

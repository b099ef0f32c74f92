"""Checks one shard against the manifest in a single pass.

A check is a function of a picklable task, so several processes can share the shards.
Threads would not help: each record takes about 20 µs of Python, under the GIL.
"""

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import google_crc32c

from reader.contract import schema
from reader.contract.additions.layer import IDS, LAYER, LENGTHS
from reader.contract.index import parse_text_index
from reader.contract.layout import parse_shard_name
from reader.contract.manifest import Manifest, Shard
from reader.contract.record import crc32c_hex, parse_example
from reader.contract.statistics import Statistics, statistics_of
from reader.pixels.codecs import Decode, decoder
from reader.records.damaged_records import sample_keys
from reader.storage.files import read_bytes
from reader.storage.tfrecord_file import Damage, Record, scan_shard
from reader.tools.verify.problems import Problem, unreadable

_TYPES = {"bytes": bytes, "int64": int, "float32": float}
# Images decoded together: enough to keep the threads busy, in little memory.
_DECODE_BATCH = 64


class ShardTask(NamedTuple):
    """A shard to check.

    Attributes:
        folder: Folder of the dataset.
        shard: Shard, as the manifest describes it.
        features: Expected features of every record.
        image_format: Format of every image.
        unknown_id: Token id for out-of-vocabulary words; None if there is no such id.
        index_crc32c: Checksum of the shard's text index; None if the manifest has none.
        decode: Number of threads that decode the images; 0 to skip decoding.
        layer: Name of the layer that the shard belongs to; empty for a dataset's own.
    """

    folder: str
    shard: Shard
    features: tuple[schema.Feature, ...]
    image_format: str
    unknown_id: int | None
    index_crc32c: str | None
    decode: int
    layer: str = ""


def shard_tasks(folder: str, manifest: Manifest, decode: int) -> list[ShardTask]:
    """Returns a task for each shard.

    A task is small, so sending it to a process is inexpensive even if the manifest is
    large.
    """
    names = [parse_shard_name(shard.file) for shard in manifest.shards]
    return [
        ShardTask(
            folder=folder,
            shard=shard,
            features=manifest.features,
            image_format=manifest.image.format,
            unknown_id=manifest.tokenizer.unknown_id,
            index_crc32c=None if name is None else manifest.files.get(name.index_file),
            decode=decode,
        )
        for shard, name in zip(manifest.shards, names, strict=True)
    ]


@dataclass
class ShardReport:
    """The result of checking a shard.

    Attributes:
        path: Path of the shard.
        problems: Problems with the shard, by byte offset.
        num_records: Number of valid records.
        num_empty: Number of these that have no bytes, as a layer's may.
        keys: Keys of the valid records, in order; none of a layer's.
        offsets: Byte offsets of the valid records.
        statistics: Statistics of the valid records.
    """

    path: str
    problems: list[Problem] = field(default_factory=list)
    num_records: int = 0
    num_empty: int = 0
    keys: list[bytes] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    statistics: Statistics = field(default_factory=Statistics)


def check_shard(task: ShardTask) -> ShardReport:
    """Reads a whole shard and returns its problems, keys and statistics."""
    report = ShardReport(os.path.join(task.folder, task.shard.file))
    try:
        check = _LayerShardCheck if task.layer else _ShardCheck
        check(task, report).run()
    except OSError as error:
        report.problems.append(unreadable(report.path, error))
    return report


class _ShardCheck:
    _stated_by = "the manifest"

    def __init__(self, task: ShardTask, report: ShardReport) -> None:
        self._task, self._report = task, report
        self._features = [_expected(feature) for feature in task.features]
        self._counts = _Counts(task.unknown_id)
        self._images: list[_Image] = []

    def run(self) -> None:
        shard, report = self._task.shard, self._report
        checksum = google_crc32c.Checksum()
        damages, num_bytes = [], 0

        def take(piece: bytes) -> None:
            nonlocal num_bytes
            checksum.update(piece)
            num_bytes += len(piece)

        for part in scan_shard(report.path, starts=lambda: self._starts, take=take):
            if isinstance(part, Damage):
                damages.append(part)
            else:
                self._check_record(part)
        self._decode_images()
        self._add_damages(damages)
        report.problems.sort(key=lambda problem: problem.offset or 0)
        report.statistics = self._counts.statistics()
        if not damages and num_bytes != shard.num_bytes:
            self._add(
                f"{num_bytes} bytes, but {self._stated_by} states {shard.num_bytes}"
            )
        elif not damages and checksum.digest().hex() != shard.crc32c:
            self._add(f"checksum does not match {self._stated_by}")
        if report.num_records != shard.num_examples:
            self._add(
                f"{report.num_records} readable records, but {self._stated_by} "
                f"states {shard.num_examples}"
            )

    def _add(self, what: str, offset: int | None = None) -> None:
        self._report.problems.append(Problem(self._report.path, what, offset))

    @functools.cached_property
    def _starts(self) -> Sequence[int]:
        """Returns the byte offsets of the records; empty if the index is damaged."""
        name = parse_shard_name(self._task.shard.file)
        if name is None:
            return ()
        try:
            data = read_bytes(os.path.join(self._task.folder, name.index_file))
        except OSError:
            return ()
        if crc32c_hex(data) != self._task.index_crc32c:
            return ()
        starts: list[int] = parse_text_index(data)[:-1].tolist()
        return starts

    def _add_damages(self, damages: Sequence[Damage]) -> None:
        """Adds damaged records, with their keys if the side files hold them."""
        if not damages:
            return
        keys = sample_keys(self._report.path)
        places = {start: place for place, start in enumerate(self._starts)}
        for damage in damages:
            place = places.get(damage.offset, len(keys))
            key = keys[place] if place < len(keys) else None
            self._report.problems.append(
                Problem(self._report.path, damage.what, damage.offset, key)
            )

    def _check_record(self, record: Record) -> None:
        try:
            example = parse_example(record.data)
        except ValueError as error:
            self._add(str(error), record.offset)
            return
        what = (
            self._misfit(example)
            or _wrong_sum(example, schema.TOKEN_LENGTHS, schema.TOKEN_IDS)
            or _wrong_names(example)
        )
        if what:
            self._add(what, record.offset)
            return
        self._report.num_records += 1
        self._report.keys.append(example[schema.KEY][0])
        self._report.offsets.append(record.offset)
        self._counts.add(example)
        if self._task.decode:
            self._images.append(_Image(record.offset, example))
            if len(self._images) == _DECODE_BATCH:
                self._decode_images()

    def _misfit(self, example: dict[str, list[Any]]) -> str | None:
        """Returns how an example differs from the schema, or None."""
        for key, kind, length, num_bytes in self._features:
            values = example.get(key)
            if (
                values is None
                or (length is not None and len(values) != length)
                # All values of a feature have the same type.
                or (values and type(values[0]) is not kind)
                or (num_bytes is not None and len(values[0]) != num_bytes)
            ):
                return f"feature {key} does not match {self._stated_by}"
        return None

    def _decode_images(self) -> None:
        images, self._images = self._images, []
        if not images:
            return
        decode = decoder(self._task.image_format)
        with ThreadPoolExecutor(self._task.decode) as pool:
            found = pool.map(lambda image: _flaw(image, decode), images)
            for image, what in zip(images, found, strict=True):
                if what:
                    key = schema.display_path(image.example[schema.KEY][0])
                    problem = Problem(self._report.path, what, image.offset, key)
                    # The checksums are correct, so a repair would write it again.
                    self._report.problems.append(problem._replace(remedy="overwrite"))


class _LayerShardCheck(_ShardCheck):
    """Checks a shard of a layer, whose records have only the features it adds."""

    _stated_by = LAYER

    def _check_record(self, record: Record) -> None:
        what = self._flaw_in(record.data) if record.data else None
        if what:
            self._add(what, record.offset)
            return
        self._report.num_records += 1
        self._report.num_empty += not record.data

    def _flaw_in(self, data: bytes) -> str | None:
        try:
            example = parse_example(data)
        except ValueError as error:
            return str(error)
        # A feature with any number of values is left out if there are none.
        for feature in self._task.features:
            if None in feature.shape:
                example.setdefault(feature.key, [])
        ids, lengths = (f"{self._task.layer}/{name}" for name in (IDS, LENGTHS))
        example = {lengths: [], ids: []} | example
        what = self._misfit(example) or _wrong_sum(example, lengths, ids)
        if not what and example[lengths]:
            self._counts.add_captions(example[lengths], example[ids])
        return what


class _Image(NamedTuple):
    offset: int
    example: dict[str, list[Any]]


class _Expected(NamedTuple):
    """Stored values of a feature.

    Attributes:
        key: Key of the feature.
        kind: Python type of the values.
        length: Number of values; None for any number.
        num_bytes: Length of the only value in bytes; None for any length.
    """

    key: str
    kind: type
    length: int | None
    num_bytes: int | None = None


def _expected(feature: schema.Feature) -> _Expected:
    length = 1 if feature.shape == () else feature.shape[0]
    if feature.dtype == "float16" and length is not None:
        return _Expected(feature.key, bytes, 1, num_bytes=2 * length)
    return _Expected(feature.key, _TYPES[feature.dtype], length)


def _wrong_sum(example: dict[str, list[Any]], lengths: str, ids: str) -> str | None:
    """Returns that the lengths of captions do not fit their ids, or None."""
    if sum(example[lengths]) != len(example[ids]):
        return f"the sum of {lengths} is not the number of {ids}"
    return None


def _wrong_names(example: dict[str, list[Any]]) -> str | None:
    """Returns that not every caption has its name, or None."""
    names = example.get(schema.CAPTION_NAMES)
    if names is None or len(names) == len(example[schema.CAPTIONS]):
        return None
    return "the number of caption/names is not the number of image/caption"


def _flaw(image: _Image, decode: Decode) -> str | None:
    """Decodes an image; returns a description of the problem, or None."""
    (data,), (height,), (width,) = (
        image.example[name] for name in (schema.IMAGE, schema.HEIGHT, schema.WIDTH)
    )
    try:
        pixels = decode(data, height, width)
    except ValueError as error:
        return f"image does not decode ({error})"
    if pixels.shape != (height, width, 3):
        size = f"{pixels.shape[1]} × {pixels.shape[0]}"
        return f"image has {size} pixels, but the record states {width} × {height}"
    return None


class _Counts:
    """Collects values for statistics; merging one value at a time is expensive."""

    def __init__(self, unknown_id: int | None) -> None:
        self._unknown_id = unknown_id
        self._width: list[int] = []
        self._height: list[int] = []
        self._image_bytes: list[int] = []
        self._num_tokens: list[list[int]] = []
        self._unknown = 0

    def add(self, example: dict[str, list[Any]]) -> None:
        self._width.append(example[schema.WIDTH][0])
        self._height.append(example[schema.HEIGHT][0])
        self._image_bytes.append(len(example[schema.IMAGE][0]))
        self.add_captions(example[schema.TOKEN_LENGTHS], example[schema.TOKEN_IDS])

    def add_captions(self, lengths: list[int], ids: list[int]) -> None:
        self._num_tokens.append(lengths)
        if self._unknown_id is not None:
            self._unknown += ids.count(self._unknown_id)

    def statistics(self) -> Statistics:
        return statistics_of(
            widths=self._width,
            heights=self._height,
            image_bytes=self._image_bytes,
            num_tokens=self._num_tokens,
            num_unknown=self._unknown,
        )


def repeated_keys(reports: Iterable[ShardReport]) -> Iterator[Problem]:
    """Yields a problem for each record whose key an earlier record has."""
    seen: set[bytes] = set()
    for report in reports:
        if seen.isdisjoint(report.keys) and len({*report.keys}) == len(report.keys):
            seen.update(report.keys)
            continue  # Most shards have no duplicate; this takes a third of the time.
        for key, offset in zip(report.keys, report.offsets, strict=True):
            if key in seen:
                what = f"duplicate key {schema.display_path(key)}"
                yield Problem(report.path, what, offset)
            seen.add(key)

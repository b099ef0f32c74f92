"""Records in local files or in memory → rows of a batch, and records without images."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from reader.contract.additions.layer import Fill
from reader.contract.record import FOOTER, HEADER, find_value, whole_numbers
from reader.pixel_workers.parts import Engine, Pixels
from reader.pixel_workers.shared_memory import MemoryPath, NamedMemory
from reader.pixels.errors import PixelsError
from reader.pixels.scratch import scratch
from reader.shuffle.arrays import Float64s, Int64s
from reader.storage.open_files import MappedFiles, OpenFiles
from reader.storage.tfrecord_file import damage_of

# Records are read and made some at a time, so that their bytes are still in a cache
# when they are checked and cut: docs/performance-notes.md#raw-pixels.
_TOGETHER_BYTES = 1 << 22
_LONGEST_SIDE = 2**31 - 1


class _Image(NamedTuple):
    """An image in memory.

    Attributes:
        data: The encoded image.
        size: Height and width in pixels; None if unknown.
        rest: The record, without the image unless it is kept.
        framed: The framed record, whose checksums are not verified yet; None if they
            are.
    """

    data: Pixels
    size: tuple[int, int] | None
    rest: bytes
    framed: Pixels | None = None


class NoImages:
    """Engine of batches without images."""

    row_shape: tuple[int, ...] = (0,)
    dtype = "uint8"

    def make(self, encoded: Iterable[Any], *_: Any) -> None:
        """Makes nothing, but takes what is verified when it is taken."""
        for _image in encoded:
            pass


@dataclass(frozen=True)
class StoredRecords:
    """Reads records, verifies their checksums, and makes rows of their images.

    Instances are picklable, and threads may share one.

    Attributes:
        paths: Path of each file.
        image: Key of the feature with the encoded image; None without images.
        size: Keys of the features with height and width; None to have the engine read
            sizes from the images.
        keep: Whether the records that are returned keep their images.
        may_map: Whether `mapping` has files mapped into memory. That saves a copy of
            the records by the kernel, which raw pixels gain by.
        is_mapping: Whether files are mapped. If a mapped file is cut short, or the disk
            fails, the process that reads it is ended by the signal SIGBUS.
        fills: What follows the records of each layer.
        memory: Memory with records that were fetched, which comes after the last file
            in their places; None without it.
    """

    paths: tuple[str, ...]
    image: str | None
    size: tuple[str, str] | None
    keep: bool = False
    may_map: bool = False
    is_mapping: bool = False
    fills: tuple[Fill, ...] = ()
    memory: NamedMemory | MemoryPath | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the settings, without open files."""
        fields = dataclasses.fields(self)
        return StoredRecords, tuple(getattr(self, field.name) for field in fields)

    def mapping(self) -> Self:
        """Returns the same for a process that may end while it reads a mapped file."""
        return dataclasses.replace(self, is_mapping=self.may_map)

    def _path(self, file: int) -> str:
        if file < len(self.paths) or self.memory is None:
            return self.paths[file]
        return self.memory.path

    @functools.cached_property
    def _files(self) -> OpenFiles:
        return OpenFiles()

    @functools.cached_property
    def _maps(self) -> MappedFiles:
        return MappedFiles()

    def make(
        self, engine: Engine, places: Int64s, draws: Float64s, out: NDArray[Any]
    ) -> list[bytes | None]:
        """Makes rows of records.

        Args:
            engine: Engine that makes the images.
            places: int64[n, 3]: Shard of each record, and the byte offsets of its begin
                and end, framing included.
            draws: float64[n, k]: Random numbers in [0, 1).
            out: dtype[n, *row_shape]: Rows to fill.

        Returns:
            Each record, serialized, without its image unless `keep`; None for a record
            that cannot be read or used, whose row is undefined.
        """
        rests: list[bytes | None] = []
        for begin, end in _together(places[:, 2] - places[:, 1]):
            some = slice(begin, end)
            rests += self._make(engine, places[some], draws[some], out[some])
        return rests

    def make_one(
        self, engine: Engine, record: bytes, draws: Float64s, out: NDArray[Any]
    ) -> bytes:
        """Makes the row of one record.

        Args:
            engine: Engine that makes the image.
            record: Serialized record.
            draws: float64[1, k]: Random numbers in [0, 1).
            out: dtype[1, *row_shape]: Row to fill.

        Returns:
            The record, without its image unless `keep`.

        Raises:
            ValueError: The record cannot be used, or its image is damaged.
        """
        image = self._image(np.frombuffer(record, np.uint8))
        _make_rows(engine, [image], draws, out)
        return image.rest

    def _make(
        self, engine: Engine, places: Int64s, draws: Float64s, out: NDArray[Any]
    ) -> list[bytes | None]:
        lengths = (places[:, 2] - places[:, 1]).tolist()
        added = map(
            self._read_added, places[:, 3:].reshape(len(places), -1, 3).tolist()
        )
        images = list(map(self._found, self._read(places), lengths, added))
        whole = [image for image in images if image is not None]
        if len(whole) == len(images):
            with contextlib.suppress(PixelsError):
                _make_rows(engine, whole, draws, out)
                return [image.rest for image in whole]
        rests: list[bytes | None] = [None] * len(images)
        for n, image in enumerate(images):
            with contextlib.suppress(PixelsError):
                if image is not None:
                    one = slice(n, n + 1)
                    _make_rows(engine, [image], draws[one], out[one])
                    rests[n] = image.rest
        return rests

    def _read(self, places: Int64s) -> Iterator[Pixels]:
        """Yields framed records; fewer bytes of one that cannot be read."""
        lengths = places[:, 2] - places[:, 1]
        held, at = scratch("records", (int(lengths.sum()),)), 0
        for file, begin, end in places[:, :3].tolist():
            path, length = self._path(file), end - begin
            # The memory of fetched records grows, and a map of it does not.
            may_map = self.is_mapping and file < len(self.paths)
            mapped = self._maps.bytes_of(path) if may_map else None
            if mapped is not None:
                yield mapped[begin:end]
                continue
            framed = held[at : at + length]
            at += length
            try:
                is_whole = self._files.fill(framed.data, path, begin)
            except OSError:
                is_whole = False
            yield framed if is_whole else framed[:0]

    def _read_added(self, places: list[list[int]]) -> bytes | None:
        """Returns what layers add to a record; None if that cannot be read."""
        added = []
        for (file, begin, end), fill in zip(places, self.fills, strict=True):
            try:
                framed = self._files.read(self._path(file), begin, end - begin)
            except OSError:
                return None
            if damage_of(framed, end - begin) is not None:
                return None
            added.append(fill.complete(framed[HEADER.size : -FOOTER.size]))
        return b"".join(added)

    def _found(self, framed: Pixels, length: int, added: bytes | None) -> _Image | None:
        """Returns the image of a framed record; None if it cannot be used.

        The record is verified when its image is made, so that it is traversed once:
        what was found in a damaged one is not used.

        Args:
            framed: The framed record; fewer bytes if it cannot be read.
            length: Length of the framed record.
            added: What layers add to the record; None if that cannot be read.
        """
        if len(framed) < length or added is None:
            return None
        try:
            return self._image(framed[HEADER.size : -FOOTER.size], added, framed)
        except ValueError:
            return None

    def _image(
        self, record: Pixels, added: bytes = b"", framed: Pixels | None = None
    ) -> _Image:
        """Finds the image in a serialized record."""
        if self.image is None:
            return _Image(record[:0], None, record.tobytes() + added, framed)
        found = find_value(record.data, self.image.encode())
        size = None
        if self.size is not None:
            height, width = whole_numbers(found.rest, self.size)
            if not (1 <= height <= _LONGEST_SIDE and 1 <= width <= _LONGEST_SIDE):
                raise ValueError(f"its image has a size of {height} × {width} pixels")
            size = height, width
        rest = record.tobytes() if self.keep else found.rest
        return _Image(record[found.begin : found.end], size, rest + added, framed)


def _make_rows(
    engine: Engine, images: Sequence[_Image], draws: Float64s, out: NDArray[Any]
) -> None:
    sizes = [image.size for image in images if image.size is not None]
    known = np.array(sizes, np.int32) if sizes else None
    engine.make(_verified(images), known, draws, out)


def _verified(images: Iterable[_Image]) -> Iterator[Pixels]:
    """Yields encoded images, each just after the checksums of its record.

    Raises:
        PixelsError: A record is damaged.
    """
    for n, image in enumerate(images):
        if image.framed is not None:
            damage = damage_of(image.framed, len(image.framed))
            if damage is not None:
                raise PixelsError(n, damage)
        yield image.data


def _together(lengths: Int64s) -> Iterator[tuple[int, int]]:
    """Yields the first and end of neighbors that are read together."""
    first = num_bytes = 0
    for n, length in enumerate(lengths.tolist()):
        if n > first and num_bytes + length > _TOGETHER_BYTES:
            yield first, n
            first, num_bytes = n, 0
        num_bytes += length
    if first < len(lengths):
        yield first, len(lengths)

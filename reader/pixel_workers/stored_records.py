"""Records in local files → rows of a batch, and the records without their images."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reader.contract.record import FOOTER, HEADER, find_value, whole_numbers
from reader.pixel_workers.parts import Engine, Pixels
from reader.pixels.errors import PixelsError
from reader.pixels.scratch import scratch
from reader.shuffle.arrays import Float64s, Int64s
from reader.storage.open_files import OpenFiles
from reader.storage.tfrecord_file import damage_of

# Records are read and made some at a time, so that their bytes are still in a cache
# when they are checked and cut: docs/performance.md#raw-pixels.
_TOGETHER_BYTES = 1 << 22
_LONGEST_SIDE = 2**31 - 1


class _Image(NamedTuple):
    """An image in memory.

    Attributes:
        begin: Byte offset of the encoded image.
        end: Byte offset behind it.
        size: Height and width in pixels; None if unknown.
        rest: The record, without the image unless it is kept.
    """

    begin: int
    end: int
    size: tuple[int, int] | None
    rest: bytes


@dataclass(frozen=True)
class StoredRecords:
    """Reads records, verifies their checksums, and makes rows of their images.

    Instances are picklable, and threads may share one.

    Attributes:
        paths: Path of each shard.
        image: Key of the feature with the encoded image; None without images.
        size: Keys of the features with height and width; None to have the engine read
            sizes from the images.
        keep: Whether the records that are returned keep their images.
    """

    paths: tuple[str, ...]
    image: str | None
    size: tuple[str, str] | None
    keep: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the settings, without open files."""
        return StoredRecords, (self.paths, self.image, self.size, self.keep)

    @functools.cached_property
    def _files(self) -> OpenFiles:
        return OpenFiles()

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
        held = np.frombuffer(record, np.uint8)
        image = self._image(held, 0, len(held))
        _make_rows(engine, held, [image], draws, out)
        return image.rest

    def _make(
        self, engine: Engine, places: Int64s, draws: Float64s, out: NDArray[Any]
    ) -> list[bytes | None]:
        held = scratch("records", (int((places[:, 2] - places[:, 1]).sum()),))
        images, at = [], 0
        for shard, begin, end in places.tolist():
            length = end - begin
            images.append(self._read(held, at, length, self.paths[shard], begin))
            at += length
        whole = [image for image in images if image is not None]
        if len(whole) == len(images):
            with contextlib.suppress(PixelsError):
                _make_rows(engine, held, whole, draws, out)
                return [image.rest for image in whole]
        rests: list[bytes | None] = [None] * len(images)
        for n, image in enumerate(images):
            with contextlib.suppress(PixelsError):
                if image is not None:
                    one = slice(n, n + 1)
                    _make_rows(engine, held, [image], draws[one], out[one])
                    rests[n] = image.rest
        return rests

    def _read(
        self, held: Pixels, at: int, length: int, path: str, offset: int
    ) -> _Image | None:
        """Reads a framed record into `held`; returns None if it cannot be used."""
        framed = held[at : at + length]
        try:
            if not self._files.fill(framed.data, path, offset):
                return None
            if damage_of(framed, length) is not None:
                return None
            return self._image(held, at + HEADER.size, at + length - FOOTER.size)
        except (OSError, ValueError):
            return None

    def _image(self, held: Pixels, begin: int, end: int) -> _Image:
        """Finds the image in the serialized record `held[begin:end]`."""
        if self.image is None:
            return _Image(begin, begin, None, held[begin:end].tobytes())
        found = find_value(held[begin:end].data, self.image.encode())
        size = None
        if self.size is not None:
            height, width = whole_numbers(found.rest, self.size)
            if not (1 <= height <= _LONGEST_SIDE and 1 <= width <= _LONGEST_SIDE):
                raise ValueError(f"its image has a size of {height} × {width} pixels")
            size = height, width
        rest = held[begin:end].tobytes() if self.keep else found.rest
        return _Image(begin + found.begin, begin + found.end, size, rest)


def _make_rows(
    engine: Engine,
    held: Pixels,
    images: Sequence[_Image],
    draws: Float64s,
    out: NDArray[Any],
) -> None:
    begins = np.array([image.begin for image in images], np.int64)
    ends = np.array([image.end for image in images], np.int64)
    sizes = [image.size for image in images if image.size is not None]
    known = np.array(sizes, np.int32) if sizes else None
    engine.make(held, begins, ends, known, draws, out)


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

"""Batches in shared memory, and the parts of them that engines make."""

import pickle
import struct
import traceback
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from reader.pixel_workers.shared_memory import Areas, SharedMemory
from reader.pixels.errors import PixelsError, PixelWorkerError
from reader.shuffle.arrays import Float64s, Int64s

Pixels = NDArray[np.uint8]
Int32s = NDArray[np.int32]

# Rows of a part. Small parts let all workers share a batch, but to hand a part over
# takes about as long as a tenth of an image.
FEWEST_ROWS = 4
_MOST_ROWS = 32
# The messages of so many parts fit into the buffer of a socket.
_MOST_PARTS = 128

_NO_ERROR, _FAILURE = -2, -1
_TEXT_BYTES = 2040
# `images` has the index of the damaged image of each part, or one of the two above.
_ERRORS = np.dtype(
    [
        ("images", np.int64, (_MOST_PARTS,)),
        ("texts", f"S{_TEXT_BYTES}", (_MOST_PARTS,)),
    ]
)


class Engine(Protocol):
    """Makes the pixels of images. Picklable; threads may share an engine.

    Attributes:
        row_shape: Shape of one image in a batch.
        dtype: NumPy name of one value; `uint16` holds the bits of bfloat16.
    """

    @property
    def row_shape(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def dtype(self) -> str: ...  # noqa: D102

    def make(
        self,
        encoded: Iterable[Pixels],
        sizes: Int32s | None,
        draws: Float64s,
        out: NDArray[Any],
    ) -> None:
        """Makes images.

        Args:
            encoded: n encoded images, uint8 each, which are only read. Each is taken
                when it is needed.
            sizes: int32[n, 2]: Height and width of each image; None if unknown.
            draws: float64[n, k]: Random numbers in [0, 1).
            out: dtype[n, *row_shape]: Rows to fill.

        Raises:
            PixelsError: An image is damaged.
        """
        ...


class RecordMaker(Protocol):
    """Makes rows of records in files; `StoredRecords` is one.

    Attributes:
        may_map: Whether `mapping` has files mapped into memory.
    """

    @property
    def may_map(self) -> bool: ...  # noqa: D102

    def make(
        self, engine: Engine, places: Int64s, draws: Float64s, out: NDArray[Any]
    ) -> Any:
        """Makes rows; returns what else there is of the records, picklable."""
        ...

    def mapping(self) -> Self:
        """Returns the same for a process that may end while it reads a mapped file."""
        ...


class Makers(NamedTuple):
    """What makes the rows of a batch; workers get a pickled copy.

    Attributes:
        engine: Makes the pixels of images.
        records: Reads records from files and has the engine make their images; None if
            all images come encoded.
    """

    engine: Engine
    records: RecordMaker | None = None

    def mapping(self) -> "Makers":
        """Returns makers for a process that may end while it reads a mapped file."""
        return Makers(self.engine, self.records and self.records.mapping())


# Inputs of a batch: encoded images without and with known sizes, and places of records.
ENCODED, SIZED, PLACED = range(3)


class Part(NamedTuple):
    """Rows of a batch that one process makes.

    Attributes:
        number: Index of the part in its batch.
        channel: Index of the channel on which the caller waits for the part.
        kind: `ENCODED`, `SIZED` or `PLACED`.
        offset: Offset of the batch's input in the shared memory.
        num_bytes: Size of the input.
        rows_offset: Offset of the batch's output in the shared memory.
        num_rows: Number of images in the batch.
        num_draws: Random numbers per image.
        num_places: Numbers that state the places of a record, and those of its layers.
        begin: First row of the part.
        end: End of the part's rows.
    """

    number: int
    channel: int
    kind: int
    offset: int
    num_bytes: int
    rows_offset: int
    num_rows: int
    num_draws: int
    num_places: int
    begin: int
    end: int

    def pack(self) -> bytes:
        """Returns the part as a message of `MESSAGE_BYTES` bytes."""
        return _MESSAGE.pack(*self)

    @classmethod
    def unpack(cls, message: bytes) -> Self:
        """Returns the part of a message."""
        return cls(*_MESSAGE.unpack(message))


_MESSAGE = struct.Struct(f"<{len(Part._fields)}q")
MESSAGE_BYTES = _MESSAGE.size


def part_bounds(num_rows: int, num_workers: int) -> list[tuple[int, int]]:
    """Splits a batch into parts, one or more for each worker if they are not tiny."""
    each = min(max(-(-num_rows // max(num_workers, 1)), FEWEST_ROWS), _MOST_ROWS)
    each = max(each, -(-num_rows // _MOST_PARTS))
    return [(i, min(i + each, num_rows)) for i in range(0, num_rows, each)]


class _Input:
    """The input of a batch, in shared memory.

    Attributes:
        draws: float64[n, k], random numbers in [0, 1).
        begins: int64[n], byte offset of each encoded image in the input.
        ends: int64[n], byte offset behind each encoded image.
        sizes: int32[n, 2], height and width of each image.
        places: int64[n, 3 + 3 * layers], file, begin and end of each record.
        rest_sizes: int64[n], size of what else there is of a part's records, pickled,
            at the first row of the part. Output.
        num_bytes: Size of these arrays and of the exceptions before them. Encoded
            images follow, or what else there is of the records. Output.
    """

    def __init__(self, memory: SharedMemory, part: Part) -> None:
        n, k = part.num_rows, part.num_draws
        self._memory, self._offset = memory, part.offset
        self.num_bytes = _ERRORS.itemsize
        self.draws: Float64s = self._following((n, k), np.float64)
        if part.kind == PLACED:
            self.places: Int64s = self._following((n, part.num_places), np.int64)
            self.rest_sizes: Int64s = self._following((n,), np.int64)
        else:
            self.begins: Int64s = self._following((n,), np.int64)
            self.ends: Int64s = self._following((n,), np.int64)
            self.sizes: Int32s = self._following((n, 2), np.int32)

    def _following(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> NDArray[Any]:
        array = self._memory.array(self._offset + self.num_bytes, shape, dtype)
        self.num_bytes += array.nbytes
        return array


def _errors(memory: SharedMemory, part: Part) -> NDArray[Any]:
    """Returns the exceptions of a batch's parts, at the begin of its input."""
    return memory.array(part.offset, (), _ERRORS)


def _num_bytes(kind: int, n: int, k: int, num_places: int) -> int:
    """Returns the size of the arrays of an `_Input`."""
    each = k + (num_places + 1 if kind == PLACED else 3)
    return _ERRORS.itemsize + 8 * n * each


def _taken(
    memory: SharedMemory,
    areas: Areas,
    kind: int,
    draws: Float64s,
    num_bytes: int,
    num_places: int = 0,
) -> tuple[Part, _Input]:
    """Takes an area for an input, with `num_bytes` behind its arrays."""
    n, k = draws.shape
    area = areas.take(_num_bytes(kind, n, k, num_places) + num_bytes)
    part = Part(0, 0, kind, *area, 0, n, k, num_places, 0, n)
    arrays = _Input(memory, part)
    arrays.draws[:] = draws
    _errors(memory, part)["images"][...] = _NO_ERROR
    return part, arrays


def write_encoded(
    memory: SharedMemory,
    areas: Areas,
    encoded: Sequence[bytes],
    sizes: Int32s | None,
    draws: Float64s,
) -> Part:
    """Copies encoded images into shared memory.

    Holds the GIL throughout: letting go of it for each image costs more, since another
    thread that runs Python returns it after 5 ms.

    Returns:
        The whole batch as one part, without the offset of its output.
    """
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    kind = ENCODED if sizes is None else SIZED
    part, arrays = _taken(memory, areas, kind, draws, int(lengths.sum()))
    ends = arrays.num_bytes + np.cumsum(lengths)
    begins = ends - lengths
    arrays.begins[:], arrays.ends[:] = begins, ends
    if sizes is not None:
        arrays.sizes[:] = sizes
    view = memory.bytes_at(part.offset, part.num_bytes)
    for data, begin, end in zip(encoded, begins.tolist(), ends.tolist(), strict=True):
        view[begin:end] = data
    return part


def write_places(
    memory: SharedMemory, areas: Areas, places: Int64s, draws: Float64s, room: int
) -> Part:
    """Copies the places of records into shared memory.

    Args:
        memory: Shared memory.
        areas: Areas to take one of.
        places: int64[n, 3 + 3 * layers]: File, begin and end of each record.
        draws: float64[n, k]: Random numbers in [0, 1).
        room: Space for what else there is of each record, in bytes. Only what is used
            of it takes up memory.

    Returns:
        The whole batch as one part, without the offset of its output.
    """
    num_bytes, num_places = len(places) * room, places.shape[1]
    part, arrays = _taken(memory, areas, PLACED, draws, num_bytes, num_places)
    arrays.places[:] = places
    return part


def _room(memory: SharedMemory, part: Part, arrays: _Input) -> memoryview:
    """Returns the space for what else there is of a part's records."""
    each = (part.num_bytes - arrays.num_bytes) // part.num_rows
    offset = part.offset + arrays.num_bytes + each * part.begin
    return memory.bytes_at(offset, each * (part.end - part.begin))


def rests_of(memory: SharedMemory, parts: Sequence[Part]) -> list[Any] | None:
    """Returns what else there is of the records of each part.

    Returns None if one needs more room than there is.
    """
    rests = []
    for part in parts:
        arrays = _Input(memory, part)
        size, room = int(arrays.rest_sizes[part.begin]), _room(memory, part, arrays)
        if size > len(room):
            return None
        rests.append(pickle.loads(room[:size]))
    return rests


def make_rows(makers: Makers, memory: SharedMemory, part: Part) -> None:
    """Makes the rows of a part.

    Raises:
        PixelsError: An image is damaged; its index is that in the part.
    """
    arrays, engine = _Input(memory, part), makers.engine
    shape = (part.num_rows, *engine.row_shape)
    out = memory.array(part.rows_offset, shape, engine.dtype)
    rows = slice(part.begin, part.end)
    if part.kind == PLACED:
        if makers.records is None:
            raise ValueError("these workers read no records")
        places, draws = arrays.places[rows], arrays.draws[rows]
        rests = makers.records.make(engine, places, draws, out[rows])
        pickled = pickle.dumps(rests, pickle.HIGHEST_PROTOCOL)
        arrays.rest_sizes[part.begin] = len(pickled)
        room = _room(memory, part, arrays)
        if len(pickled) <= len(room):
            room[: len(pickled)] = pickled
        return
    held = memory.array(part.offset, (part.num_bytes,), "uint8")
    bounds = zip(arrays.begins[rows].tolist(), arrays.ends[rows].tolist(), strict=True)
    engine.make(
        [held[begin:end] for begin, end in bounds],
        arrays.sizes[rows] if part.kind == SIZED else None,
        arrays.draws[rows],
        out[rows],
    )


def make_rows_or_note(makers: Makers, memory: SharedMemory, part: Part) -> None:
    """Makes the rows of a part, and leaves an exception where `check` finds it."""
    try:
        make_rows(makers, memory, part)
    except PixelsError as error:
        noted = (part.begin + error.index, str(error).encode())
    except Exception:
        noted = (_FAILURE, traceback.format_exc().encode()[-_TEXT_BYTES:])
    else:
        return
    errors = _errors(memory, part)
    errors["images"][part.number], errors["texts"][part.number] = noted


def check(memory: SharedMemory, part: Part) -> None:
    """Raises the first exception of a batch's parts.

    Args:
        memory: Shared memory.
        part: Any part of the batch.

    Raises:
        PixelsError: An image is damaged; its index is that in the batch.
        PixelWorkerError: An engine failed.
    """
    errors = _errors(memory, part)
    for i in np.flatnonzero(errors["images"] != _NO_ERROR).tolist():
        text = errors["texts"][i].decode(errors="replace")
        if errors["images"][i] == _FAILURE:
            raise PixelWorkerError(f"a pixel worker failed:\n{text}")
        raise PixelsError(int(errors["images"][i]), text)

"""Batches in shared memory, and the parts of them that engines make."""

import struct
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from reader.pixels.errors import PixelsError, PixelWorkerError
from reader.pixels.shared_memory import Area, Areas, SharedMemory
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
# `image` is the index of a damaged image, or one of the two above.
_ERROR = np.dtype([("image", np.int64), ("text", "S2040")])


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
        held: Pixels,
        begins: Int64s,
        ends: Int64s,
        sizes: Int32s | None,
        draws: Float64s,
        out: NDArray[Any],
    ) -> None:
        """Makes images.

        Args:
            held: uint8[...]; `held[begins[i]:ends[i]]` is the encoded image i.
            begins: int64[n].
            ends: int64[n].
            sizes: int32[n, 2]: Height and width of each image; None if unknown.
            draws: float64[n, k]: Random numbers in [0, 1).
            out: dtype[n, *row_shape]: Rows to fill.

        Raises:
            PixelsError: An image is damaged.
        """
        ...


class Part(NamedTuple):
    """Rows of a batch that one process makes.

    Attributes:
        number: Index of the part in its batch.
        channel: Index of the channel on which the caller waits for the part.
        offset: Offset of the batch's input in the shared memory.
        num_bytes: Size of the input.
        rows_offset: Offset of the batch's output in the shared memory.
        num_rows: Number of images in the batch.
        num_draws: Random numbers per image.
        has_sizes: 1 if the sizes of the images are known, else 0.
        begin: First row of the part.
        end: End of the part's rows.
    """

    number: int
    channel: int
    offset: int
    num_bytes: int
    rows_offset: int
    num_rows: int
    num_draws: int
    has_sizes: int
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
    """The arrays before the encoded images of a batch, in shared memory."""

    def __init__(
        self, memory: SharedMemory, offset: int, num_rows: int, num_draws: int
    ) -> None:
        n, k = num_rows, num_draws
        self.begins: Int64s = memory.array(offset, (n,), "int64")
        self.ends: Int64s = memory.array(offset + 8 * n, (n,), "int64")
        self.sizes: Int32s = memory.array(offset + 16 * n, (n, 2), "int32")
        self.draws: Float64s = memory.array(offset + 24 * n, (n, k), "float64")
        self.errors: NDArray[Any] = memory.array(
            offset + 8 * n * (3 + k), (_MOST_PARTS,), _ERROR
        )


def write_input(
    memory: SharedMemory,
    areas: Areas,
    encoded: Sequence[bytes],
    sizes: Int32s | None,
    draws: Float64s,
) -> Area:
    """Copies the input of a batch into shared memory.

    Holds the GIL throughout: letting go of it for each image costs more, since another
    thread that runs Python returns it after 5 ms.

    Returns:
        The area that was taken, which ends with the batch's last byte or after it.
    """
    n, k = draws.shape
    lengths = np.fromiter(map(len, encoded), np.int64, n)
    ends = np.cumsum(lengths) + (8 * n * (3 + k) + _MOST_PARTS * _ERROR.itemsize)
    begins = ends - lengths
    area = areas.take(int(ends[-1]))
    arrays = _Input(memory, area.offset, n, k)
    arrays.begins[:], arrays.ends[:], arrays.draws[:] = begins, ends, draws
    if sizes is not None:
        arrays.sizes[:] = sizes
    arrays.errors["image"] = _NO_ERROR
    view = memory.bytes_at(*area)
    for data, begin, end in zip(encoded, begins.tolist(), ends.tolist(), strict=True):
        view[begin:end] = data
    return area


def make_rows(engine: Engine, memory: SharedMemory, part: Part) -> None:
    """Makes the rows of a part.

    Raises:
        PixelsError: An image is damaged; its index is that in the part.
    """
    arrays = _Input(memory, part.offset, part.num_rows, part.num_draws)
    held = memory.array(part.offset, (part.num_bytes,), "uint8")
    shape = (part.num_rows, *engine.row_shape)
    out = memory.array(part.rows_offset, shape, engine.dtype)
    rows = slice(part.begin, part.end)
    engine.make(
        held,
        arrays.begins[rows],
        arrays.ends[rows],
        arrays.sizes[rows] if part.has_sizes else None,
        arrays.draws[rows],
        out[rows],
    )


def make_rows_or_note(engine: Engine, memory: SharedMemory, part: Part) -> None:
    """Makes the rows of a part, and leaves an exception where `check` finds it."""
    try:
        make_rows(engine, memory, part)
    except PixelsError as error:
        noted = (part.begin + error.index, str(error).encode())
    except Exception:
        noted = (_FAILURE, traceback.format_exc().encode()[-_ERROR["text"].itemsize :])
    else:
        return
    arrays = _Input(memory, part.offset, part.num_rows, part.num_draws)
    arrays.errors[part.number] = noted


def check(memory: SharedMemory, part: Part) -> None:
    """Raises the first exception of a batch's parts.

    Args:
        memory: Shared memory.
        part: Any part of the batch.

    Raises:
        PixelsError: An image is damaged; its index is that in the batch.
        PixelWorkerError: An engine failed.
    """
    errors = _Input(memory, part.offset, part.num_rows, part.num_draws).errors
    for i in np.flatnonzero(errors["image"] != _NO_ERROR).tolist():
        text = errors["text"][i].decode(errors="replace")
        if errors["image"][i] == _FAILURE:
            raise PixelWorkerError(f"a pixel worker failed:\n{text}")
        raise PixelsError(int(errors["image"][i]), text)

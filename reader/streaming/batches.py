"""Places of records → batches of NumPy arrays, several at a time."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reader.config.read_config import ReadConfig
from reader.contract.host import import_library
from reader.datasets.record_schema import RecordSchema
from reader.decode.mended_records import MendedRecords
from reader.pixel_workers.worker_pool import PixelWorkers
from reader.pixels.casts import caster, row_dtype, row_shape
from reader.records.damaged_records import DamagedRecords
from reader.schedule.windows import Placed
from reader.streaming.stored_examples import (
    SomeExamples,
    StoredExamples,
    completed,
    join,
)

# With `bucket_by_length`, the width of token rows is rounded up to a multiple of this
# many tokens, as in `loader.batches`.
_WIDTH_STEP = 8


class _Reading(NamedTuple):
    """A batch that the workers read.

    Attributes:
        placed: Places of its records.
        finish: Waits for its images, and the other outputs by part.
    """

    placed: Placed
    finish: Callable[[], tuple[NDArray[Any], list[SomeExamples]]]


class BatchReader:
    """Reads batches by the pixel workers.

    Attributes:
        workers: The pixel workers.
    """

    def __init__(
        self,
        workers: PixelWorkers[Any],
        examples: StoredExamples,
        damaged: DamagedRecords,
        record_schema: RecordSchema,
        config: ReadConfig,
    ) -> None:
        """Initializes the reader.

        Args:
            workers: Pixel workers that read `examples`.
            examples: Reads records, and makes their images and other outputs.
            damaged: Reader of damaged records.
            record_schema: Schema of the records.
            config: Read configuration.
        """
        self.workers, self._config = workers, config
        self._examples, self._damaged = examples, damaged
        self._mend = MendedRecords(examples.records, workers.engine, damaged)
        spec = record_schema.tokenizer
        self._pad = 0 if spec is None else spec.pad_id

    def batches(
        self,
        placed: Iterator[Placed],
        ahead: int,
        note_read: Callable[[int, int], None],
    ) -> Iterator[Any]:
        """Yields batches.

        Args:
            placed: Places of records, in any portions.
            ahead: Number of batches that are read before they are wanted.
            note_read: Function called with the lap and the number of records of each
                batch.
        """
        reading: deque[_Reading] = deque()
        error: Exception | None = None
        portions = _rebatched(placed, self._config.host_batch_size)
        try:
            while error is None or reading:
                while error is None and len(reading) <= ahead:
                    try:
                        reading.append(self._start(next(portions)))
                    except Exception as reason:  # Of a later batch than those read.
                        error = reason
                if reading:
                    yield self._finish(reading.popleft(), note_read)
        finally:
            # Nobody wants these, but their memory and channels are used again.
            for each in reading:
                with contextlib.suppress(Exception):
                    each.finish()
        if not isinstance(error, StopIteration):
            raise error

    def _start(self, placed: Placed) -> _Reading:
        finish = self.workers.start_read(placed.places[:, 1:], placed.draws)
        return _Reading(placed, finish)

    def _finish(self, reading: _Reading, note_read: Callable[[int, int], None]) -> Any:
        placed, (images, parts) = reading.placed, reading.finish()
        lap = int(placed.laps[0])  # A lap is a whole number of batches.
        arrays, intact = self._mended(placed, images, join(parts), lap)
        note_read(lap, len(placed.laps))
        return self._batch(arrays, images, intact & ~placed.blank, placed.blank)

    def _mended(
        self, placed: Placed, images: NDArray[Any], some: SomeExamples, lap: int
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
        """Returns all outputs but images, and which records were not replaced."""
        rests: list[bytes | None] = [None] * some.num
        for n in some.rows.tolist():
            rests[n] = b""
        lost = np.array([n for n, rest in enumerate(rests) if rest is None], np.int64)
        numbers = placed.places[:, 0]
        intact = self._mend(numbers, placed.draws, images, rests, lap)
        arrays = [
            self._arrays(int(numbers[n]), rests[n] or b"", placed.draws[n : n + 1])
            for n in lost.tolist()
        ]
        others = [SomeExamples(1, np.zeros(1, np.int64), each) for each in arrays]
        if not others:
            return some.arrays, intact
        found = join(others)._replace(rows=lost)
        if not len(some.rows):
            return found.arrays, intact
        return completed(some, found), intact

    def _arrays(self, number: int, record: bytes, draws: Any) -> Any:
        try:
            return self._examples.arrays([record], draws)
        except ValueError as error:
            raise self._damaged.unusable(number, record, error) from error

    def _batch(
        self,
        arrays: dict[str, NDArray[Any]],
        images: NDArray[Any],
        valid: NDArray[np.bool_],
        blank: NDArray[np.bool_],
    ) -> Any:
        config, names = self._config, self._config.names
        if "image" in names:
            arrays["image"] = images
        if "valid" in names:
            arrays["valid"] = valid
        if blank.any():
            self._clear(arrays, blank)
        if "tokens" in arrays and config.bucket_by_length:
            longest = max(int(arrays["length"].max()), 1)
            width = -(-longest // _WIDTH_STEP) * _WIDTH_STEP
            arrays["tokens"] = np.ascontiguousarray(arrays["tokens"][..., :width])
        if "mask" in names:
            positions = np.arange(arrays["tokens"].shape[-1])
            arrays["mask"] = positions < arrays["length"][..., np.newaxis]
        if config.images.dtype == "bfloat16" and "image" in names:
            bfloat16 = import_library("ml_dtypes", 'dtype="bfloat16"').bfloat16
            arrays["image"] = arrays["image"].view(bfloat16)
        if config.outputs is None:
            return {name: arrays[name] for name in names}
        return tuple(arrays[name] for name in config.outputs)

    def _clear(self, arrays: dict[str, NDArray[Any]], blank: NDArray[np.bool_]) -> None:
        """Clears the rows without an example: black, pad and empty text."""
        for name, values in arrays.items():
            if name == "image":
                values[blank] = _black(self._config)
            elif name == "tokens":
                values[blank] = self._pad
            else:
                values[blank] = b"" if values.dtype == object else 0


def _black(config: ReadConfig) -> NDArray[Any]:
    images = config.images
    row = np.empty(row_shape(images), row_dtype(images))
    caster(images)(np.zeros((*images.target, 3), np.uint8), row)
    return row


def _rebatched(placed: Iterator[Placed], size: int) -> Iterator[Placed]:
    """Yields as many records at a time as a batch has; drops an incomplete rest."""
    held: list[Placed] = []
    num = 0
    for some in placed:
        held.append(some)
        num += len(some.places)
        if num < size:
            continue
        joined = Placed.joined(held)
        end = num // size * size
        for begin in range(0, end, size):
            yield joined.at(slice(begin, begin + size))
        held, num = [joined.at(slice(end, None))], num - end

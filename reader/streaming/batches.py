"""Places of records → batches of NumPy arrays, several at a time."""

import contextlib
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reader.config.read_config import ReadConfig
from reader.contract.host import import_library
from reader.contract.schema import needs_size
from reader.datasets.record_index import RecordIndex
from reader.datasets.record_schema import RecordSchema
from reader.decode.example_arrays import ExampleArrays
from reader.decode.mended_records import MendedRecords
from reader.decode.missing_captions import MissingCaptions
from reader.decode.named_captions import MISSING
from reader.decode.outputs import bucket_width, pad_id
from reader.pixel_workers.processes import NUM_CHANNELS
from reader.pixel_workers.stored_records import NoImages, StoredRecords
from reader.pixel_workers.worker_pool import PixelWorkers
from reader.pixels.casts import black_row
from reader.pixels.engine import PixelEngine
from reader.records.damaged_records import DamagedRecords
from reader.remote_records.access import Access, access_to
from reader.schedule.windows import Placed, Staging, Windows
from reader.shuffle.arrays import Int64s
from reader.streaming.budget import fetched_bytes
from reader.streaming.stored_examples import (
    SomeExamples,
    StoredExamples,
    completed,
    join,
)

# Batches that are started beyond those that the workers take are made by the caller.
# Leaves room for other iterators.
_MOST_AHEAD = NUM_CHANNELS - 4


def batch_reader(
    windows: Windows,
    record_schema: RecordSchema,
    config: ReadConfig,
    damaged: DamagedRecords,
    *,
    num_workers: int,
    held: int,
) -> "BatchReader":
    """Returns a reader of batches, with pixel workers of its own.

    Args:
        windows: Windows of the records.
        record_schema: Schema of the records.
        config: Read configuration, fitted to it.
        damaged: Reader of damaged records.
        num_workers: Number of worker processes; 0 to read in this process.
        held: Number of batches that the caller may keep without a copy.
    """
    index, features = windows.index, record_schema.features
    has_images = "image" in config.names
    access = access_to(windows, config, damaged, fetched_bytes(config))
    sides = None
    if has_images and record_schema.image_format is not None:
        sides = features["height"].key, features["width"].key
    image = features["image"].key if has_images else None
    records = StoredRecords(
        tuple(file.path for file in index.files),
        image,
        sides,
        keep="encoded" in config.names,
        may_map=needs_size(record_schema.image_format),
        fills=index.fills,
        memory=access.memory,
    )
    examples = StoredExamples(records, ExampleArrays(record_schema, config))
    engine = (
        PixelEngine(config.images, record_schema.image_format)
        if has_images
        else NoImages()
    )
    workers = PixelWorkers(engine, num_workers, held=held, records=examples)
    return BatchReader(workers, examples, index, access, damaged, record_schema, config)


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
        access: Brings the records of coming windows near.
        missing: Counts of captions that examples lack.
    """

    def __init__(
        self,
        workers: PixelWorkers[Any],
        examples: StoredExamples,
        index: RecordIndex,
        access: Access,
        damaged: DamagedRecords,
        record_schema: RecordSchema,
        config: ReadConfig,
    ) -> None:
        """Initializes the reader.

        Args:
            workers: Pixel workers that read `examples`.
            examples: Reads records, and makes their images and other outputs.
            index: Index of the records.
            access: Brings the records of coming windows near.
            damaged: Reader of damaged records.
            record_schema: Schema of the records.
            config: Read configuration.
        """
        self.workers, self.access, self._config = workers, access, config
        self._examples, self._damaged = examples, damaged
        image = record_schema.features["image"] if "image" in config.names else None
        self._mend = MendedRecords(examples.records, workers.engine, damaged, image)
        self._pad = pad_id(record_schema.tokenizer)
        self.missing = MissingCaptions(config.caption_weights)
        self._datasets_of = index.datasets_of

    def batches(
        self,
        placed: Iterator[Placed],
        staging: Staging,
        ahead: int,
        note_read: Callable[[int, int], None],
        is_finalizing: Callable[[], bool] = sys.is_finalizing,
    ) -> Iterator[Any]:
        """Yields batches.

        Args:
            placed: Places of records, in any portions.
            staging: Brings these records near; it is closed in the end.
            ahead: Number of batches that are read before they are wanted, if the
                workers take so many.
            note_read: Function called with the lap and the number of records of each
                batch.
            is_finalizing: Function that returns whether Python is at its very end. It
                is bound here, since the modules of this package are then gone.
        """
        reading: deque[_Reading] = deque()
        error: Exception | None = None
        portions = _rebatched(placed, self._config.host_batch_size)
        upcoming: Placed | None = None
        ahead = min(ahead, _MOST_AHEAD)
        try:
            while error is None or reading:
                while error is None and len(reading) <= ahead:
                    try:
                        upcoming = next(portions) if upcoming is None else upcoming
                        if reading and not staging.is_ready(upcoming.places):
                            break
                        staging.wait(upcoming.places)
                        reading.append(self._start(upcoming))
                        upcoming = None
                    except Exception as reason:  # Of a later batch than those read.
                        error = reason
                if reading:
                    yield self._finish(reading.popleft(), note_read, staging.done)
            if not isinstance(error, StopIteration):
                raise error
        finally:
            # Its traceback would keep this frame, and this frame the error.
            del error
            # Nobody wants these, but their memory and channels are used again.
            if not is_finalizing():
                for each in reading:
                    with contextlib.suppress(Exception):
                        each.finish()
                staging.close()

    def _start(self, placed: Placed) -> _Reading:
        finish = self.workers.start_read(placed.places[:, 1:], placed.draws)
        return _Reading(placed, finish)

    def _finish(
        self,
        reading: _Reading,
        note_read: Callable[[int, int], None],
        done: Callable[[Int64s], None],
    ) -> Any:
        placed, (images, parts) = reading.placed, reading.finish()
        lap = int(placed.laps[0])  # A lap is a whole number of batches.
        done(placed.places)
        arrays, intact = self._mended(placed, images, join(parts), lap)
        if MISSING in arrays:
            self.missing.note(arrays.pop(MISSING), placed.blank)
        if "dataset" in self._config.names:
            arrays["dataset"] = self._datasets_of(placed.places[:, 0])
        note_read(lap, len(placed.laps))
        return self._batch(arrays, images, intact & ~placed.blank, placed.blank)

    def _mended(
        self, placed: Placed, images: NDArray[Any], some: SomeExamples, lap: int
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]:
        """Returns all outputs but images, and which records were not replaced."""
        if len(some.rows) == some.num:
            return some.arrays, np.ones(some.num, np.bool_)
        numbers, lost = placed.places[:, 0], np.ones(some.num, np.bool_)
        lost[some.rows] = False
        rests = [None if is_lost else b"" for is_lost in lost.tolist()]
        intact = self._mend(numbers, placed.draws, images, rests, lap)
        found = [
            self._arrays(int(numbers[n]), rests[n] or b"", placed.draws[n : n + 1])
            for n in np.flatnonzero(lost).tolist()
        ]
        others = {
            name: np.concatenate([arrays[name] for arrays in found])
            for name in found[0]
        }
        return completed(
            some, SomeExamples(some.num, np.flatnonzero(lost), others)
        ), intact

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
            trimmed = arrays["tokens"][..., : bucket_width(longest)]
            arrays["tokens"] = np.ascontiguousarray(trimmed)
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
                values[blank] = black_row(self._config.images)
            elif name == "tokens":
                values[blank] = self._pad
            else:
                values[blank] = b"" if values.dtype == object else 0


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

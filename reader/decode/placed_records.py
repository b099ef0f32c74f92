"""Has the pixel workers read records from local files, with their images."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from reader.config.read_config import ReadConfig
from reader.contract.schema import needs_size
from reader.datasets.record_index import RecordIndex
from reader.datasets.record_schema import RecordSchema
from reader.decode.batch_pixels import Workers
from reader.decode.examples import pixel_draws
from reader.decode.mended_records import Bools, Images, MendedRecords, Objects
from reader.pixel_workers.stored_records import StoredRecords
from reader.pixels.casts import row_dtype, row_shape
from reader.records.memory import keep_large_blocks
from reader.records.python_calls import Gone, call_python, generate_python, weakly
from reader.records.read_ahead import ReadAhead
from reader.records.window_reads import Records
from reader.schedule.windows import Placed, Windows
from reader.shuffle.arrays import Float64s, Int64s
from reader.storage.files import is_remote


def stored_records(
    index: RecordIndex, record_schema: RecordSchema, config: ReadConfig
) -> StoredRecords | None:
    """Returns what reads the records in the pixel workers.

    Returns None if TensorFlow reads them: encoded images are small, files in buckets
    need its file systems, and captions are sorted by length before images are made.

    Args:
        index: Index of the records.
        record_schema: Schema of the records.
        config: Read configuration.
    """
    paths = tuple(shard.path for shard in index.shards)
    if (
        "image" not in config.names
        or not needs_size(record_schema.image_format)
        or config.bucket_by_length
        or not index.has_lengths
        or any(map(is_remote, paths))
    ):
        return None
    roles = ("image", "height", "width")
    image, height, width = (record_schema.features[role].key for role in roles)
    keep = "encoded" in config.names
    return StoredRecords(paths, image, (height, width), keep=keep)


_SIGNATURE = Placed(
    tf.TensorSpec((None, 4), tf.int64),
    tf.TensorSpec((None,), tf.bool),
    tf.TensorSpec((None, None), tf.float64),
    tf.TensorSpec((None,), tf.int64),
)


def read_placed(
    windows: Windows,
    workers: Workers,
    mend: MendedRecords,
    config: ReadConfig,
    num_calls: int,
) -> tf.data.Dataset:
    """Returns a Dataset of `Records` with images, one batch per element.

    Args:
        windows: Windows to read, which the caller keeps alive.
        workers: Pixel workers that read records; they belong to the Dataset.
        mend: Function that reports or replaces records that were not read; the caller
            keeps it alive.
        config: Read configuration.
        num_calls: Number of batches to read concurrently.
    """
    paths = [shard.path for shard in windows.index.shards]
    current = weakly(windows)

    def begin() -> Iterator[Placed]:
        keep_large_blocks()
        return generate_python(current().placed(ReadAhead(paths)))

    dtypes = (tf.dtypes.as_dtype(row_dtype(config.images)), tf.string, tf.bool)
    read_batch = _ReadBatch(workers, weakly(mend), current)

    def read(placed: Placed) -> Records:
        inputs = [placed.places, pixel_draws(placed.draws, config), placed.laps]
        images, records, intact = call_python(read_batch, inputs, dtypes)
        images = tf.ensure_shape(images, (None, *row_shape(config.images)))
        if config.images.dtype == "bfloat16":
            images = tf.bitcast(images, tf.bfloat16)
        records, intact = (tf.ensure_shape(part, [None]) for part in (records, intact))
        valid = intact & ~placed.blank
        return Records(records, valid, placed.blank, placed.draws, images)

    dataset = tf.data.Dataset.from_generator(begin, output_signature=_SIGNATURE)
    batches = dataset.rebatch(config.host_batch_size, drop_remainder=True)
    return batches.map(read, num_parallel_calls=num_calls, deterministic=True)


class _ReadBatch:
    """Reads a batch; called by several threads at a time."""

    def __init__(
        self,
        workers: Workers,
        mend: Callable[[], MendedRecords],
        windows: Callable[[], Windows],
    ) -> None:
        self._workers, self._mend, self._windows = workers, mend, windows

    def __call__(
        self, places: Int64s, draws: Float64s, laps: Int64s
    ) -> tuple[Images, Objects, Bools]:
        workers = self._workers()
        if workers is None:
            raise Gone
        images, parts = workers.read(places[:, 1:], draws)
        rests = list(itertools.chain.from_iterable(parts))
        # A lap is a whole number of batches.
        lap = int(laps[0])
        intact = self._mend()(places[:, 0], draws, images, rests, lap)
        self._windows().note_read(lap, len(laps))
        return images, np.array(rests, object), intact

"""Computes the concurrency of reading from the number of threads and `ram_budget`."""

from typing import NamedTuple

from reader.config.read_config import ReadConfig
from reader.contract.errors import UsageError
from reader.pixel_workers.parts import FEWEST_ROWS

# Memory of TensorFlow's runtime and functions, independent of the data.
_FIXED_BYTES = 100 << 20
# Private memory of a pixel worker: Python, NumPy, the codecs and OpenCV.
_WORKER_BYTES = 48 << 20
# Copies of a window's bytes: the window in use, the next window as read, and the next
# window in shuffled order.
_WINDOWS = 3
# Windows that are fetched from a bucket, in bytes, if the next one is smaller. That is
# the data of half a second at 1 Gbit/s, more than a store takes to answer.
_FETCHED_BYTES = 64 << 20
# Batches in addition to `prefetch`: the batch in use, and the batch being made.
_BATCHES = 2
_PIXEL_BYTES = {"uint8": 1, "bfloat16": 2, "float32": 4}
_TOKEN_BYTES = 5  # An int32 id and a bool of the mask.

# Approximate number of records per chunk. An operation on a whole chunk takes hardly
# longer than on one record. Larger chunks are not faster, and keep fewer cores busy:
# docs/performance-notes.md#chunks.
_CHUNK = 16
# Chunks with encoded images that are parsed concurrently. Parsing copies an image once,
# a fiftieth of the time of decoding it, and two threads keep up with a hundred workers.
_PARSED_WITH_IMAGES = 2


class Concurrency(NamedTuple):
    """What happens at the same time.

    Attributes:
        workers: Number of processes that make images; 0 for this process.
        chunks: Number of chunks of records that are parsed concurrently.
        batches: Number of batches that are made concurrently.
    """

    workers: int
    chunks: int
    batches: int


def chunk_size(batch_size: int) -> int:
    """Returns the number of records per chunk.

    The chunk size divides the batch size if a suitable divisor exists.

    >>> chunk_size(256), chunk_size(100), chunk_size(37)
    (16, 10, 37)
    """
    most = min(batch_size, 4 * _CHUNK)
    sizes = [n for n in range(_CHUNK // 2, most + 1) if batch_size % n == 0]
    return min(sizes, key=lambda n: abs(n - _CHUNK), default=min(batch_size, _CHUNK))


def concurrency_of(config: ReadConfig) -> Concurrency:
    """Returns the concurrency that fits in `ram_budget`.

    It is fixed before reading. TensorFlow's autotuning reaches the same throughput,
    does not bound memory, and delays the end of an iterator until its next tuning
    round, by up to a minute: docs/performance-notes.md#threads.

    Args:
        config: Read configuration, with `num_threads`, `workers` and `ram_budget`.

    Raises:
        UsageError: `ram_budget` is less than the minimum for this configuration.
    """
    resources, budget = config.resources, config.resources.ram_budget
    if "image" not in config.names:
        most = Concurrency(0, resources.threads + 1, 1)
    else:
        workers = resources.pixel_workers
        most = Concurrency(
            workers, _PARSED_WITH_IMAGES, _batches_at_a_time(config, workers)
        )
    if budget is None:
        return most
    rest = budget - _least_bytes(config)
    if rest < 0:
        raise UsageError(_too_small(config))
    workers = min(most.workers, _least_workers(config) + rest // _WORKER_BYTES)
    rest -= (workers - _least_workers(config)) * _WORKER_BYTES
    batches = min(most.batches, 1 + rest // max(1, _batch_bytes(config)))
    return Concurrency(workers, most.chunks, batches)


def fetched_bytes(config: ReadConfig) -> int:
    """Returns the size of windows from a bucket that an iterator has in memory.

    The window in use and the next one are in memory whatever their size.

    Args:
        config: Read configuration, with a sufficient `ram_budget` if there is one.
    """
    budget, most = config.resources.ram_budget, _FETCHED_BYTES
    if budget is not None:
        used, least = concurrency_of(config), _least_bytes(config)
        more_workers = used.workers - _least_workers(config)
        rest = budget - least - more_workers * _WORKER_BYTES
        most = min(most, rest - (used.batches - 1) * _batch_bytes(config))
    return max(most, 2 * _window_bytes(config))


def _batches_at_a_time(config: ReadConfig, workers: int) -> int:
    """Returns how many batches keep all workers busy.

    One more than has parts for all of them, so that none waits for a batch to end.
    """
    if workers == 0:
        return config.resources.threads
    return 1 + -(-workers * FEWEST_ROWS // config.host_batch_size)


def _batch_bytes(config: ReadConfig) -> int:
    """Returns the approximate size of one host's batch, in bytes."""
    each = 0
    if "image" in config.names:
        height, width = config.images.target
        each += 3 * height * width * _PIXEL_BYTES[config.images.dtype]
    if "tokens" in config.names:
        each += (config.max_captions or 1) * config.max_tokens * _TOKEN_BYTES
    return config.host_batch_size * each


def _window_bytes(config: ReadConfig) -> int:
    return config.shuffle_bytes // config.host_count if config.shuffle else 0


def _num_batches(config: ReadConfig) -> int:
    return config.resources.prefetch + _BATCHES


def _least_workers(config: ReadConfig) -> int:
    """Returns the smallest number of workers: as many as the user asked for, or one."""
    if "image" not in config.names:
        return 0
    wanted = config.resources.workers
    return min(1, config.resources.pixel_workers) if wanted is None else wanted


def _least_bytes(config: ReadConfig) -> int:
    windows = _WINDOWS * _window_bytes(config)
    batches = _num_batches(config) * _batch_bytes(config)
    workers = _least_workers(config) * _WORKER_BYTES
    return _FIXED_BYTES + windows + batches + workers


def _too_small(config: ReadConfig) -> str:
    return (
        f"ram_budget must be at least {_least_bytes(config)} bytes, for TensorFlow, "
        f"{_WINDOWS} windows of {_window_bytes(config)} bytes (shuffle_bytes ÷ "
        f"host_count), {_num_batches(config)} batches of {_batch_bytes(config)} bytes "
        f"and {_least_workers(config)} workers of {_WORKER_BYTES} bytes, got "
        f"{config.resources.ram_budget}: raise ram_budget, or lower shuffle_bytes, "
        "batch_size, prefetch or workers"
    )

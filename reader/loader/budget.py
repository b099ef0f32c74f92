"""Computes the concurrency of reading from the number of threads and `ram_budget`."""

from typing import NamedTuple

from reader.config.read_config import ReadConfig
from reader.contract.errors import UsageError

# Memory of TensorFlow's runtime and functions, independent of the data.
_FIXED_BYTES = 100 << 20
# Copies of a window's bytes: the window in use, the next window as read, and the next
# window in shuffled order.
_WINDOWS = 3
# Batches in addition to `prefetch`: the batch in use, and the batch being made.
_BATCHES = 2
_PIXEL_BYTES = {"uint8": 1, "bfloat16": 2, "float32": 4}
_TOKEN_BYTES = 5  # An int32 id and a bool of the mask.

# Approximate number of records per chunk. An operation on a whole chunk takes hardly
# longer than on one record. Larger chunks are not faster, and keep fewer cores busy:
# docs/performance.md#chunks.
_CHUNK = 16
# Number of decoding threads per thread that batches and casts. Batching and casting
# take about a fifth of the time of decoding: docs/performance.md#threads.
_DECODING_THREADS = 4


class Calls(NamedTuple):
    """Numbers of concurrent calls.

    Attributes:
        chunks: Number of chunks of records that are parsed and decoded concurrently.
        batches: Number of batches that are cast and normalized concurrently.
    """

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


def calls_at_a_time(config: ReadConfig) -> Calls:
    """Returns the numbers of concurrent calls that fit in `ram_budget`.

    The numbers are fixed before reading. TensorFlow's autotuning reaches the same
    throughput, does not bound memory, and delays the end of an iterator until its next
    tuning round, by up to a minute: docs/performance.md#threads.

    Args:
        config: Read configuration, with `num_threads` and `ram_budget`.

    Raises:
        UsageError: `ram_budget` is less than the minimum for this configuration.
    """
    threads, budget = config.resources.threads, config.resources.ram_budget
    # One call more than threads, so that no thread waits while chunks are collected.
    most = Calls(threads + 1, -(-threads // _DECODING_THREADS))
    if budget is None:
        return most
    chunk, batch = _chunk_bytes(config), _batch_bytes(config)
    rest = budget - _least_bytes(config)
    if rest < 0:
        raise UsageError(_too_small(config))
    chunks = min(most.chunks, 1 + rest // max(1, chunk))
    rest -= (chunks - 1) * chunk
    return Calls(chunks, min(most.batches, 1 + rest // max(1, batch)))


def _batch_bytes(config: ReadConfig) -> int:
    """Returns the approximate size of one host's batch, in bytes."""
    pixel = _PIXEL_BYTES[config.images.dtype]
    return config.host_batch_size * _example_bytes(config, pixel)


def _chunk_bytes(config: ReadConfig) -> int:
    """Returns the approximate memory of a chunk, in bytes.

    Images are decoded one by one and then stacked, so a chunk is in memory twice.
    """
    return 2 * chunk_size(config.host_batch_size) * _example_bytes(config, 1)


def _example_bytes(config: ReadConfig, pixel_bytes: int) -> int:
    each = 0
    if "image" in config.names:
        height, width = config.images.target
        each += 3 * height * width * pixel_bytes
    if "tokens" in config.names:
        each += (config.max_captions or 1) * config.max_tokens * _TOKEN_BYTES
    return each


def _window_bytes(config: ReadConfig) -> int:
    return config.shuffle_bytes // config.host_count if config.shuffle else 0


def _num_batches(config: ReadConfig) -> int:
    return config.resources.prefetch + _BATCHES


def _least_bytes(config: ReadConfig) -> int:
    windows = _WINDOWS * _window_bytes(config)
    batches = _num_batches(config) * _batch_bytes(config)
    return _FIXED_BYTES + windows + batches + _chunk_bytes(config)


def _too_small(config: ReadConfig) -> str:
    return (
        f"ram_budget must be at least {_least_bytes(config)} bytes, for TensorFlow, "
        f"{_WINDOWS} windows of {_window_bytes(config)} bytes (shuffle_bytes ÷ "
        f"host_count), {_num_batches(config)} batches of {_batch_bytes(config)} bytes "
        f"and {_chunk_bytes(config)} bytes for decoding, got "
        f"{config.resources.ram_budget}: raise ram_budget, or lower shuffle_bytes, "
        "batch_size or prefetch"
    )

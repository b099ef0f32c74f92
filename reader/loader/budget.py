"""How much is worked on at a time: as much as keeps threads busy and memory bounded."""

from typing import NamedTuple

from reader.config.read_config import ReadConfig
from reader.contract.errors import UsageError

# What TensorFlow takes once it runs, and its functions, whatever they read.
_FIXED_BYTES = 100 << 20
# Of a window's bytes: the one in use, the next as it is read, and that put in order.
_WINDOWS = 3
# Batches beside those made ahead: the one in use, and one being made.
_BATCHES = 2
_PIXEL_BYTES = {"uint8": 1, "bfloat16": 2, "float32": 4}
_TOKEN_BYTES = 5  # An int32, and its place in the mask.

# Records that are parsed and decoded together, about so many. What is done for all at
# once costs hardly more than for one; larger chunks gain no more, and keep fewer cores
# busy: docs/performance.md#chunks.
_CHUNK = 16
# Threads that decode, for each that puts batches together and casts them, which takes
# about a fifth as long: docs/performance.md#threads.
_DECODING_THREADS = 4


class Calls(NamedTuple):
    """What is worked on at a time.

    Attributes:
        chunks: Chunks of records that are parsed and decoded.
        batches: Batches that are cast and normalised.
    """

    chunks: int
    batches: int


def chunk_size(batch_size: int) -> int:
    """Returns how many records to work on together, so that batches are whole chunks.

    >>> chunk_size(256), chunk_size(100), chunk_size(37)
    (16, 10, 37)
    """
    most = min(batch_size, 4 * _CHUNK)
    sizes = [n for n in range(_CHUNK // 2, most + 1) if batch_size % n == 0]
    return min(sizes, key=lambda n: abs(n - _CHUNK), default=min(batch_size, _CHUNK))


def calls_at_a_time(config: ReadConfig) -> Calls:
    """Returns what to work on at a time, within `ram_budget`.

    It is fixed beforehand. TensorFlow's tuning would come to no more than this, takes
    memory as it likes, and keeps an iterator that is done waiting for its next round,
    for up to a minute: docs/performance.md#threads.

    Raises:
        UsageError: What must be held is more than the budget already.
    """
    threads, budget = config.resources.threads, config.resources.ram_budget
    # One more than there are threads, so that none waits while chunks are collected.
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
    """Returns about how many bytes a batch of one host has."""
    pixel = _PIXEL_BYTES[config.images.dtype]
    return config.host_batch_size * _example_bytes(config, pixel)


def _chunk_bytes(config: ReadConfig) -> int:
    """Returns about how many bytes a chunk takes: decoded one by one, then stacked."""
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
        f"{_WINDOWS} windows of {_window_bytes(config)} (shuffle_bytes ÷ host_count), "
        f"{_num_batches(config)} batches of {_batch_bytes(config)} and "
        f"{_chunk_bytes(config)} to decode in; got {config.resources.ram_budget}: "
        "raise it, or lower shuffle_bytes, batch_size or prefetch"
    )

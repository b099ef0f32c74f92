"""What of a memory budget is left for TensorFlow to tune with: arithmetic."""

from reader.config import ReadConfig
from reader.contract.errors import UsageError

# What TensorFlow takes once it runs, and its functions, whatever they read.
_FIXED_BYTES = 100 << 20
# Of a window's bytes: the one in use, the next as it is read, and that put in order.
_WINDOWS = 3
# Batches beside those made ahead: the one in use, and one being made.
_BATCHES = 2
_PIXEL_BYTES = {"uint8": 1, "bfloat16": 2, "float32": 4}
_TOKEN_BYTES = 5  # An int32, and its place in the mask.


def tuning_bytes(config: ReadConfig) -> int | None:
    """Returns the bytes that buffers of no fixed size may have; None for any number.

    Raises:
        UsageError: What must be held is more than the budget already.
    """
    budget = config.resources.ram_budget
    if budget is None:
        return None
    window = config.shuffle_bytes // config.host_count if config.shuffle else 0
    batch = batch_bytes(config)
    batches = config.resources.prefetch + _BATCHES
    needed = _FIXED_BYTES + _WINDOWS * window + batches * batch
    # Without one more batch to tune with, there is nothing to be parallel with.
    if needed + batch > budget:
        raise UsageError(
            f"ram_budget must be at least {needed + batch} bytes, for TensorFlow, "
            f"{_WINDOWS} windows of {window} (shuffle_bytes ÷ host_count) and "
            f"{batches + 1} batches of {batch}; got {budget}: raise it, or lower "
            "shuffle_bytes, batch_size or prefetch"
        )
    return budget - needed


def batch_bytes(config: ReadConfig) -> int:
    """Returns about how many bytes a batch of one host has."""
    each = 0
    if "image" in config.names:
        height, width = config.images.target
        each += 3 * height * width * _PIXEL_BYTES[config.images.dtype]
    if "tokens" in config.names:
        each += (config.max_captions or 1) * config.max_tokens * _TOKEN_BYTES
    return config.host_batch_size * each

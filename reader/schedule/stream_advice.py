"""Advises more streams where the usual number mixes badly or makes reads small."""

import warnings
from collections.abc import Sequence

from reader.config import defaults
from reader.config.read_config import ReadConfig
from reader.datasets.record_index import ShardFile

# Batches of neighbors that are alike differ in what they hold: the variance of their
# means was 1.4 times that of random batches at 256 examples, 4.8 times at 1,024:
# docs/performance-notes.md#shuffling.
_LARGE_BATCH = 1024
_STREAMS, _SHUFFLE_BYTES = 1536, 512 << 20


def advise_streams(shards: Sequence[ShardFile], config: ReadConfig) -> None:
    """Warns, on the first host only, at the beginning of a run.

    Args:
        shards: Shards to read.
        config: Read configuration.
    """
    begins = not (config.start_step or config.start_example or config.host_index)
    if not (begins and config.shuffle and config.streams == defaults.STREAMS):
        return
    if config.host_count > config.streams:
        reason = (
            f"host_count={config.host_count} is more than streams={config.streams}, so "
            "hosts share streams and read small pieces"
        )
    elif config.batch_size > _LARGE_BATCH and not all(s.has_manifest for s in shards):
        reason = (
            "files from other tools may be sorted, and a batch of "
            f"{config.batch_size} then holds more neighbors than streams="
            f"{config.streams} keep apart"
        )
    else:
        return
    warnings.warn(
        f"{reason}: consider streams={_STREAMS} and shuffle_bytes="
        f"{_SHUFFLE_BYTES >> 20} << 20. Only a new run can choose them, since they "
        "change the order",
        stacklevel=3,
    )

"""Measures the CPU time of reading, stage by stage.

The cost of a stage is the difference of two measurements: `load` without images, with
images, and with the cast.
"""

from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from reader.contract.checks import check_at_least, is_positive
from reader.contract.errors import UsageError
from reader.contract.host import num_cores
from reader.contract.layout import BLOCK_RECORDS
from reader.contract.record import crc32c_hex
from reader.datasets.open_sources import open_one_record_source
from reader.datasets.record_schema import RecordSchema
from reader.datasets.record_source import RecordSource
from reader.loader.load import load
from reader.storage.files import read_bytes
from reader.tools.bench.timing import Cost, Read, measure


class Stage(NamedTuple):
    """A stage of reading.

    Attributes:
        name: Name of the stage: `read`, `CRC`, `parse`, `decode` or `cast`.
        cpu_us: CPU time of only this stage, in microseconds per image; 0 if it is less
            than the noise, a few percent of the total.
        per_core: Images per second of one core that runs only this stage; None if
            `cpu_us` is 0.
        per_second: Images per second of all stages up to this one; None if that was
            not measured.
    """

    name: str
    cpu_us: float
    per_core: float | None
    per_second: float | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Measurements of reading a dataset.

    Attributes:
        settings: Arguments of `load`.
        stages: Stages of reading, in order.
        per_second: Images per second, all stages together.
        per_core: Images per CPU-second, all stages together.
        cores_used: CPU time divided by wall time.
        num_cores: Number of cores available.
        as_uint8: Images per second without the cast; None if there is no cast.
        store_share: Share of the time that batches waited for an object store.
        from_cache: Share of the bytes that a bounded cache had; None without one.
    """

    settings: Mapping[str, Any]
    stages: list[Stage] = field(default_factory=list)
    per_second: float
    per_core: float
    cores_used: float
    num_cores: int
    as_uint8: float | None = None
    store_share: float = 0.0
    from_cache: float | None = None


def bench(
    pattern: str,
    *,
    split: str | None = None,
    batch_size: int = 64,
    image_size: int | None = None,
    seconds: float = 10.0,
    **settings: Any,
) -> Measured:
    """Measures the CPU time of `reader.load`, stage by stage.

    Args:
        pattern: Dataset folder or glob of TFRecords.
        split: Name of the split; required if `pattern` is a folder with several.
        batch_size: Number of examples per batch.
        image_size: Side of the images in pixels; None for images as stored.
        seconds: Approximate duration of the measurement in seconds.
        **settings: More arguments of `load`: `dtype`, `crop`, `num_threads`, ….

    Raises:
        UsageError: `load` rejects an argument.
        DatasetError: `load` cannot read the dataset.
    """
    check_at_least("batch_size", batch_size, 1)
    if not is_positive(seconds):
        raise UsageError(f"seconds must be a positive number, got {seconds!r}")
    source = open_one_record_source(pattern, split, None)
    settings = {
        "batch_size": min(batch_size, source.num_examples),
        "image_size": image_size,
        "split": split,
        **settings,
    }
    variants = _variants(source, pattern, settings)
    costs = measure(variants, seconds)
    total = costs.get("cast", costs["decode"])
    return Measured(
        settings=settings,
        stages=_stages(costs),
        per_second=total.per_second,
        per_core=1e6 / total.cpu_us,
        cores_used=total.cpu_seconds / total.seconds,
        num_cores=num_cores(),
        as_uint8=costs["decode"].per_second if "cast" in costs else None,
        store_share=min(1.0, total.store_seconds / total.seconds),
        from_cache=total.from_cache,
    )


def _variants(
    source: RecordSource, pattern: str, settings: Mapping[str, Any]
) -> dict[str, Read]:
    """Returns the reads to compare, each with one stage more than the one before."""
    threads = settings.get("num_threads") or num_cores()
    plain = {**settings, "dtype": "uint8", "normalize": None}
    texts = _text_outputs(source.record_schema)
    variants = {
        "read": lambda: _blocks(source, threads, check=False),
        "CRC": lambda: _blocks(source, threads, check=True),
    }
    if texts:
        variants["parse"] = reading(pattern, {**plain, "outputs": texts})
    variants["decode"] = reading(pattern, {**plain, "outputs": ("image", *texts)})
    full = {**settings, "outputs": ("image", *texts)}
    if settings.get("dtype", "float32") != "uint8" or settings.get("normalize"):
        variants["cast"] = reading(pattern, full)
    return variants


def _text_outputs(record_schema: RecordSchema) -> tuple[str, ...]:
    """Returns the outputs to request besides images: tokens, or the key."""
    if record_schema.tokenizer is not None and "token_ids" in record_schema.features:
        return ("tokens", "mask")
    return ("key",) if "key" in record_schema.features else ()


def reading(pattern: str, settings: Mapping[str, Any]) -> Read:
    """Returns a function that reads batches with `load` and yields their sizes forever.

    Args:
        pattern: Dataset folder or glob of TFRecords.
        settings: Arguments of `load`.

    Raises:
        UsageError: `load` rejects an argument.
        DatasetError: `load` cannot read the dataset.
    """
    batches = load(pattern, **{**settings, "epochs": None})

    def read() -> Generator[int, None, None]:
        for batch in batches:
            yield int(batch[0].shape[0])

    return read


def _blocks(
    source: RecordSource, threads: int, *, check: bool
) -> Generator[int, None, None]:
    """Reads whole blocks of the index forever, in a shuffled order like `load`'s."""
    blocks = _places_of_blocks(source)
    rng = np.random.default_rng(0)

    def read(block: tuple[str, int, int, int]) -> int:
        path, offset, num_bytes, num = block
        data = read_bytes(path, offset, num_bytes)
        if check:
            crc32c_hex(data)
        return num

    with ThreadPoolExecutor(threads) as pool:
        while True:
            order = rng.permutation(len(blocks))
            for begin in range(0, len(order), 2 * threads):
                some = [blocks[place] for place in order[begin : begin + 2 * threads]]
                yield sum(pool.map(read, some))


def _places_of_blocks(source: RecordSource) -> list[tuple[str, int, int, int]]:
    """Returns path, byte offset, size in bytes and number of records of each block."""
    blocks, first = [], 0
    for shard in source.shards:
        num_blocks = -(-shard.num_examples // BLOCK_RECORDS)
        offsets = source.block_offsets[first : first + num_blocks].tolist()
        first += num_blocks
        left = shard.num_examples
        for begin, end in zip(offsets, [*offsets[1:], shard.num_bytes], strict=True):
            blocks.append((shard.path, begin, end - begin, min(left, BLOCK_RECORDS)))
            left -= BLOCK_RECORDS
    return blocks


def _stages(costs: Mapping[str, Cost]) -> list[Stage]:
    """Returns the stages, each with its cost on top of the stages before it.

    A negative difference is noise and becomes 0.
    """
    read, crc, decoded = costs["read"], costs["CRC"], costs["decode"]
    parsed = costs.get("parse", crc)
    own = {
        "read": read.cpu_us,
        "CRC": crc.cpu_us - read.cpu_us,
        "parse": parsed.cpu_us - crc.cpu_us,
        "decode": decoded.cpu_us - parsed.cpu_us,
    }
    if "cast" in costs:
        own["cast"] = costs["cast"].cpu_us - decoded.cpu_us
    return [_stage(name, max(0.0, cpu_us), costs) for name, cpu_us in own.items()]


def _stage(name: str, cpu_us: float, costs: Mapping[str, Cost]) -> Stage:
    per_second = costs[name].per_second if name in costs else None
    return Stage(name, cpu_us, 1e6 / cpu_us if cpu_us else None, per_second)

"""What reading costs, stage by stage: measured by reading, and nothing kept.

Stages are told apart by what they cost together: `load` without images, with them, and
cast.
"""

from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from reader.contract.checks import check_at_least, is_positive
from reader.contract.errors import UsageError
from reader.contract.host import num_cores
from reader.contract.layout import BLOCK_RECORDS
from reader.contract.record import crc32c_hex
from reader.datasets.record_schema import RecordSchema
from reader.datasets.record_source import RecordSource, open_one_record_source
from reader.loader.load import load
from reader.storage.files import read_bytes
from reader.tools.bench.timing import Cost, Read, measure

# Of chunks that batches are put together from.
_CHUNK = 16


class Stage(NamedTuple):
    """A stage of reading.

    Attributes:
        name: `read`, `CRC`, `parse`, `decode`, `batch` or `cast`.
        cpu_us: Microseconds of a core for an image, of its own; 0 where that is less
            than the noise, some hundredths of the whole.
        per_core: Images that a core does in a second, if it does nothing else.
        per_second: Images a second, up to and with this stage; None where it cannot be
            had alone.
    """

    name: str
    cpu_us: float
    per_core: float | None
    per_second: float | None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured.

    Attributes:
        settings: Arguments of `load`.
        stages: In order.
        per_second: Images a second, all in all.
        per_core: Images per second of a core, all in all.
        cores_used: CPU time by wall time.
        num_cores: There are.
        as_uint8: Images a second without the cast; None if there is none.
    """

    settings: Mapping[str, Any]
    stages: list[Stage] = field(default_factory=list)
    per_second: float
    per_core: float
    cores_used: float
    num_cores: int
    as_uint8: float | None = None


def bench(
    pattern: str,
    *,
    split: str | None = None,
    batch_size: int = 64,
    image_size: int | None = None,
    seconds: float = 10.0,
    **settings: Any,
) -> Measured:
    """Measures what `reader.load` costs, stage by stage.

    Args:
        pattern: What to read.
        split: Which split, where `pattern` is a folder that holds several.
        batch_size: Examples of a batch.
        image_size: Side in pixels; None for images as stored.
        seconds: How long to measure, about.
        **settings: Others of `load`: `dtype`, `crop`, `num_threads`, ….

    Raises:
        UsageError, DatasetError: As `load`.
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
    total = costs.get("cast", costs["batch"])
    return Measured(
        settings=settings,
        stages=_stages(costs),
        per_second=total.per_second,
        per_core=1e6 / total.cpu_us,
        cores_used=total.cpu_seconds / total.seconds,
        num_cores=num_cores(),
        as_uint8=costs["batch"].per_second if "cast" in costs else None,
    )


def _variants(
    source: RecordSource, pattern: str, settings: Mapping[str, Any]
) -> dict[str, Read]:
    """Returns the ways to read, each of which does more than the one before it."""
    threads = settings.get("num_threads") or num_cores()
    plain = {**settings, "dtype": "uint8", "normalize": None}
    texts = _text_outputs(source.record_schema)
    size = _batch_shape(pattern, plain)
    variants = {
        "read": lambda: _blocks(source, threads, check=False),
        "CRC": lambda: _blocks(source, threads, check=True),
    }
    if texts:
        variants["parse"] = reading(pattern, {**plain, "outputs": texts})
    variants["copy"] = lambda: _copies(size)
    variants["batch"] = reading(pattern, {**plain, "outputs": ("image", *texts)})
    asked = {**settings, "outputs": ("image", *texts)}
    if settings.get("dtype", "float32") != "uint8" or settings.get("normalize"):
        variants["cast"] = reading(pattern, asked)
    return variants


def _text_outputs(record_schema: RecordSchema) -> tuple[str, ...]:
    """Returns what is asked for beside images: tokens, else what little there is."""
    if record_schema.tokenizer is not None and "token_ids" in record_schema.features:
        return ("tokens", "mask")
    return ("key",) if "key" in record_schema.features else ()


def _batch_shape(pattern: str, settings: Mapping[str, Any]) -> tuple[int, ...]:
    batches = load(pattern, **{**settings, "outputs": ("image",)})
    return tuple(batches.element_spec[0].shape)


def reading(pattern: str, settings: Mapping[str, Any]) -> Read:
    """Returns what reads batches through `load`, without end.

    Raises:
        UsageError, DatasetError: As `load`.
    """
    batches = load(pattern, **{**settings, "epochs": None})

    def read() -> Generator[int, None, None]:
        for batch in batches:
            yield int(batch[0].shape[0])

    return read


def _blocks(
    source: RecordSource, threads: int, *, check: bool
) -> Generator[int, None, None]:
    """Reads whole blocks of the index, again and again, in an order like `load`'s."""
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
    """Returns path, offset, bytes and records of each block."""
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


def _copies(shape: tuple[int, ...]) -> Generator[int, None, None]:
    """Puts batches together of what is there already: what batching alone costs."""
    num, *image = shape
    chunk = tf.zeros([min(_CHUNK, num), *image], tf.uint8)
    batches = tf.data.Dataset.from_tensors(chunk).repeat().rebatch(num)
    for _ in batches:
        yield num


def _stages(costs: Mapping[str, Cost]) -> list[Stage]:
    """Returns the stages: each is what it costs more than what comes before it.

    What comes out below nothing is noise.
    """
    read, crc, whole = costs["read"], costs["CRC"], costs["batch"]
    parsed, copied = costs.get("parse", crc), costs["copy"]
    own = {
        "read": read.cpu_us,
        "CRC": crc.cpu_us - read.cpu_us,
        "parse": parsed.cpu_us - crc.cpu_us,
        "decode": whole.cpu_us - parsed.cpu_us - copied.cpu_us,
        "batch": copied.cpu_us,
    }
    if "cast" in costs:
        own["cast"] = costs["cast"].cpu_us - whole.cpu_us
    return [_stage(name, max(0.0, cpu_us), costs) for name, cpu_us in own.items()]


def _stage(name: str, cpu_us: float, costs: Mapping[str, Cost]) -> Stage:
    per_second = costs[name].per_second if name in costs else None
    return Stage(name, cpu_us, 1e6 / cpu_us if cpu_us else None, per_second)

"""`diptych show`: what a dataset is, on a page of text."""

import itertools
import os
from collections.abc import Iterator

from reader.catalog import Dataset, open_dataset
from reader.contract import schema
from reader.contract.errors import UsageError
from reader.contract.record import parse_example
from reader.contract.statistics import Tally
from reader.contract.text import books_table, splits_table
from reader.shards import read_shard


def show(folder: str | os.PathLike[str], num_examples: int = 3) -> str:
    """Returns a page about a dataset: schema, splits, books, a few examples.

    Raises:
        DatasetError: There is no finished dataset, or its first shard is damaged.
        UsageError: The number is negative.
    """
    if num_examples < 0:
        raise UsageError(f"num must not be negative, got {num_examples}")
    return "\n".join(_lines(open_dataset(folder), num_examples))


def _lines(dataset: Dataset, num_examples: int) -> Iterator[str]:
    manifest = dataset.manifest
    image, tokenizer = manifest.image, manifest.tokenizer
    quality = f", quality {image.quality}" if image.format == "jpeg" else ""
    yield f"{manifest.name} in {dataset.folder} (format {manifest.format_version})"
    yield (f"images      {image.format}{quality}, resize {image.resize} {image.size}")
    yield f"tokenizer   {tokenizer.kind}, {tokenizer.vocab_size:,} tokens"
    yield ""
    yield from splits_table(manifest)
    yield ""
    yield from books_table(manifest.books)
    for split in manifest.splits:
        statistics = split.statistics
        yield ""
        yield f"{split.name:<16}{'smallest':>12}{'mean':>12}{'largest':>12}"
        for name in ("width", "height", "image_bytes", "caption_tokens"):
            yield _tally_line(name, getattr(statistics, name))
    yield ""
    yield "features"
    for feature in manifest.features:
        shape = "" if feature.shape == () else "[any]"
        yield f"  {feature.key:<20}{feature.dtype}{shape}"
    for split in manifest.splits:
        yield from _examples(dataset, split.name, num_examples)


def _tally_line(name: str, tally: Tally) -> str:
    mean = tally.sum / tally.count if tally.count else 0
    return f"  {name:<14}{tally.min:>12,}{mean:>12,.1f}{tally.max:>12,}"


def _examples(dataset: Dataset, split_name: str, num: int) -> Iterator[str]:
    (split,) = (s for s in dataset.manifest.splits if s.name == split_name)
    records = itertools.chain.from_iterable(
        read_shard(dataset.path(shard.file)) for shard in split.shards
    )
    for record in itertools.islice(records, num):
        example = parse_example(record.data)
        (key,), (width,), (height,) = (
            example[name] for name in (schema.KEY, schema.WIDTH, schema.HEIGHT)
        )
        yield ""
        yield f"{split_name}  {schema.display_path(key)}  {width} × {height}"
        for caption in example[schema.CAPTIONS]:
            yield f"  {caption.decode()}"

"""A dataset → a page about it, on disk."""

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from reader.contract.checks import check_at_least
from reader.contract.errors import UsageError
from reader.contract.host import import_library
from reader.contract.layout import REPORT
from reader.datasets.manifest_dataset import ManifestDataset, open_dataset
from reader.datasets.record_source import RecordSource, open_record_source
from reader.datasets.samples_table import read_table
from reader.storage.files import is_remote, replaced
from reader.tools.report import DEFAULT_SAMPLES
from reader.tools.report.captions import Spelling
from reader.tools.report.distributions import COUNTED, Statistics, captions_of
from reader.tools.report.gallery import examples_of
from reader.tools.report.page import Contents, render
from reader.tools.report.rejects import groups_of
from reader.tools.report.token_counts import TokenCounter

# About 25 MB of pictures.
MOST_SAMPLES = 500

# That become Python's objects at a time, however large a shard is.
_ROWS = 10_000

# Of the writing side, which a host that only reads need not have.
_LIBRARIES = ("jinja2", "PIL", "pyarrow")


class Written(NamedTuple):
    """A page that was written: where, how large, and how many examples it shows."""

    path: str
    num_bytes: int
    num_shown: int
    num_examples: int


def write_report(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    num_samples: int = DEFAULT_SAMPLES,
) -> Written:
    """Writes a page of HTML about a dataset: the same bytes for the same dataset.

    The page holds all that it needs. Held are one shard's table at a time, and the
    pictures.

    Args:
        folder: Of the dataset, here or in a bucket.
        output: The page's file, here; None for `report.html` in the folder.
        num_samples: Examples to show, fewer if there are not as many.

    Raises:
        DatasetError: There is no finished dataset, or one of its tables, its index, its
            tokenizer or its rejects are missing or damaged.
        OSError: The page cannot be written.
        UsageError: An argument is wrong, or a library is missing.
    """
    num_samples = check_at_least("samples", num_samples, 0)
    if num_samples > MOST_SAMPLES:
        raise UsageError(f"samples must be at most {MOST_SAMPLES}, got {num_samples}")
    folder = os.fspath(folder)
    path = _checked_output(folder, output)
    for module in _LIBRARIES:
        import_library(module, "diptych report", "jinja2 pillow pyarrow")
    contents = _contents_of(open_dataset(folder), num_samples)
    data = render(contents).encode()
    try:
        with replaced(path) as file:
            file.write(data)
    except OSError as error:
        told = f"{error.strerror} (--output=FILE names another place)"
        raise OSError(error.errno, told, path) from error
    shown = len(contents.examples)
    return Written(path, len(data), shown, contents.manifest.num_examples)


def _checked_output(folder: str, output: str | os.PathLike[str] | None) -> str:
    """Returns the file to write.

    Raises:
        UsageError: It would not be on this machine, or not a page.
    """
    path = os.path.join(folder, REPORT) if output is None else os.fspath(output)
    if is_remote(path):
        raise UsageError(
            f"a report is written to this machine, not to {path}: name a file with "
            f"--output={REPORT}, and copy it there"
        )
    # Nobody overwrites a shard or the manifest with a page by mistake.
    if not path.lower().endswith((".html", ".htm")):
        raise UsageError(f"output must be a file that ends in .html, got {path}")
    if os.path.isdir(path):
        raise UsageError(f"output must be a file, {path} is a folder")
    parent = os.path.dirname(path)
    if output is not None and not os.path.isdir(parent or "."):
        raise UsageError(f"output must lie in a folder that exists, got {path}")
    return path


def _contents_of(dataset: ManifestDataset, num_samples: int) -> Contents:
    manifest = dataset.manifest
    spelling = Spelling(dataset.tokenizer(), manifest.tokenizer)
    num_captions = sum(s.statistics.caption_tokens.count for s in manifest.splits)
    counter = TokenCounter(spelling.tokenizer, num_captions)
    record_sources = _corpora_of(dataset)
    statistics = Statistics()
    for split, table in _tables_of(record_sources):
        statistics = statistics.add(split, table)
        counter.add(captions_of(table))
    return Contents(
        manifest=manifest,
        statistics=statistics,
        vocabulary=counter.vocabulary(manifest.tokenizer),
        spelling=spelling,
        examples=tuple(examples_of(record_sources, num_samples, spelling)),
        rejects=groups_of(dataset),
    )


def _corpora_of(dataset: ManifestDataset) -> dict[str, RecordSource]:
    """Returns the records of each split that has any."""
    names = [split.name for split in dataset.manifest.splits if split.num_examples]
    several = len(dataset.manifest.splits) > 1
    return {
        name: open_record_source([dataset.folder], name if several else None, None)
        for name in names
    }


def _tables_of(record_sources: Mapping[str, RecordSource]) -> Iterator[tuple[str, Any]]:
    """Yields the rows of all shards, some at a time, with the name of their split."""
    for split, source in record_sources.items():
        for shard in source.shards:
            table = read_table(source, shard, list(COUNTED))
            for first in range(0, len(table), _ROWS):
                yield split, table.slice(first, _ROWS)

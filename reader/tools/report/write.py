"""Writes the report of a dataset to an HTML file."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from reader.contract import samples
from reader.contract.checks import check_at_least
from reader.contract.errors import UsageError
from reader.contract.host import import_library
from reader.contract.layout import REPORT
from reader.datasets.layers import list_layers
from reader.datasets.manifest_dataset import ManifestDataset, open_dataset
from reader.datasets.open_sources import open_record_source
from reader.datasets.record_source import RecordSource
from reader.datasets.samples_table import read_table
from reader.distributions.column_statistics import ColumnCounter
from reader.selections.selection import list_selections
from reader.storage.files import is_remote, local_path, replaced
from reader.tools.report import DEFAULT_SAMPLES
from reader.tools.report.captions import Spelling
from reader.tools.report.distributions import COUNTED, Statistics, captions_of
from reader.tools.report.gallery import examples_of
from reader.tools.report.page import Contents, render
from reader.tools.report.rejects import groups_of
from reader.tools.report.token_counts import TokenCounter

# Maximum number of examples: about 25 MB of images.
MOST_SAMPLES = 500

# Number of rows to convert to Python objects at once, which bounds the memory.
_ROWS = 10_000

# Libraries of the writing side, which a host that only reads may lack.
_LIBRARIES = ("jinja2", "PIL", "pyarrow")


class Written(NamedTuple):
    """A page that was written.

    Attributes:
        path: Path of the HTML file.
        num_bytes: Size of the file in bytes.
        num_shown: Number of examples on the page.
        num_examples: Number of examples in the dataset.
    """

    path: str
    num_bytes: int
    num_shown: int
    num_examples: int


def write_report(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    num_samples: int = DEFAULT_SAMPLES,
) -> Written:
    """Writes a self-contained HTML page about a dataset.

    The same dataset gives the same page, byte for byte. Memory holds the table of one
    shard and the thumbnails.

    Args:
        folder: Folder of the dataset, local or in a bucket.
        output: Path of the local HTML file; None for `report.html` in the folder.
        num_samples: Maximum number of examples on the page.

    Raises:
        DatasetError: The folder holds no finished dataset, or a table, the index, the
            tokenizer or the rejects are missing or damaged.
        OSError: The page cannot be written.
        UsageError: An argument is invalid, or a library is not installed.
    """
    num_samples = check_at_least("samples", num_samples, 0)
    if num_samples > MOST_SAMPLES:
        raise UsageError(f"samples must be at most {MOST_SAMPLES}, got {num_samples}")
    folder = local_path(folder)
    path = _checked_output(folder, output)
    for module in _LIBRARIES:
        import_library(module, "diptych report", "jinja2 pillow pyarrow")
    contents = _contents_of(open_dataset(folder), num_samples)
    data = render(contents).encode()
    try:
        with replaced(path) as file:
            file.write(data)
    except OSError as error:
        message = f"{error.strerror} (use --output=FILE to write to another path)"
        raise OSError(error.errno, message, path) from error
    shown = len(contents.examples)
    return Written(path, len(data), shown, contents.manifest.num_examples)


def _checked_output(folder: str, output: str | os.PathLike[str] | None) -> str:
    """Returns the path of the file to write.

    Raises:
        UsageError: The path is remote, not an HTML file or in no existing folder.
    """
    path = os.path.join(folder, REPORT) if output is None else local_path(output)
    if is_remote(path):
        raise UsageError(
            f"a report must be a local file, got {path}: write it with "
            f"--output={REPORT}, then copy it there"
        )
    # Prevents overwriting a shard or the manifest by mistake.
    if not path.lower().endswith((".html", ".htm")):
        raise UsageError(f"output must be a file that ends in .html, got {path}")
    if os.path.isdir(path):
        raise UsageError(f"output must be a file, but {path} is a folder")
    parent = os.path.dirname(path)
    if output is not None and not os.path.isdir(parent or "."):
        raise UsageError(f"output must be in an existing folder, got {path}")
    return path


def _contents_of(dataset: ManifestDataset, num_samples: int) -> Contents:
    manifest = dataset.manifest
    spelling = Spelling(dataset.tokenizer(), manifest.tokenizer)
    num_captions = sum(s.statistics.caption_tokens.count for s in manifest.splits)
    counter = TokenCounter(spelling.tokenizer, num_captions)
    record_sources = _record_sources_of(dataset)
    statistics = Statistics()
    columns = ColumnCounter(manifest.features, manifest.num_examples)
    names = [samples.CAPTION_NAMES] if manifest.caption_names else []
    for split, table in _tables_of(record_sources, [*COUNTED, *names, *columns.keys]):
        statistics = statistics.add(split, table)
        columns.add(table)
        counter.add(captions_of(table))
    return Contents(
        manifest=manifest,
        statistics=statistics,
        vocabulary=counter.vocabulary(manifest.tokenizer),
        spelling=spelling,
        examples=tuple(examples_of(record_sources, num_samples, spelling)),
        rejects=groups_of(dataset),
        columns=tuple(columns.statistics()),
        selections=tuple(list_selections(dataset)),
        layers=tuple(list_layers(dataset)),
    )


def _record_sources_of(dataset: ManifestDataset) -> dict[str, RecordSource]:
    """Returns the record source of each split that has records."""
    names = [split.name for split in dataset.manifest.splits if split.num_examples]
    several = len(dataset.manifest.splits) > 1
    return {
        name: open_record_source([dataset.folder], name if several else None, None)
        for name in names
    }


def _tables_of(
    record_sources: Mapping[str, RecordSource], columns: Sequence[str]
) -> Iterator[tuple[str, Any]]:
    """Yields the rows of all shards in chunks, each with the name of its split."""
    for split, source in record_sources.items():
        for shard in source.shards:
            table = read_table(shard, columns)
            for first in range(0, len(table), _ROWS):
                yield split, table.slice(first, _ROWS)

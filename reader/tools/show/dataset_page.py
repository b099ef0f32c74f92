"""Formats a dataset for `diptych show`, as terminal text and as JSON."""

import dataclasses
import itertools
import textwrap
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

from reader.console.formatting import (
    by_line,
    counted,
    loading_text,
    reasons_text,
    size_text,
)
from reader.console.terminal import Terminal, printable, shortened
from reader.console.warnings import warnings_of
from reader.contract import schema
from reader.contract.manifest import Manifest
from reader.contract.record import parse_example
from reader.contract.schema import display_path
from reader.contract.statistics import Statistics, Tally
from reader.datasets.manifest_dataset import ManifestDataset
from reader.selections.selection import list_selections
from reader.storage.tfrecord_file import read_shard
from reader.tools.show.column_lines import column_fields, column_lines
from reader.tools.show.layer_lines import layer_fields, layer_lines

# Width of bars in columns; narrower on narrow terminals.
_BAR = 22
# Indentation of wrapped reasons, in columns.
_REASONS_INDENT = 13


class Shown(NamedTuple):
    """The displayed fields of an example.

    Attributes:
        split: Name of the split.
        key: Key, as displayable text.
        width: Width of the stored image in pixels.
        height: Height of the stored image in pixels.
        captions: All captions of the example.
        caption_names: Name of each caption; empty if captions have no names.
    """

    split: str
    key: str
    width: int
    height: int
    captions: list[str]
    caption_names: list[str]


def page(
    dataset: ManifestDataset, num_examples: int, terminal: Terminal
) -> Iterator[str]:
    """Yields lines of text about a dataset: splits, accounting, sizes, examples.

    Args:
        dataset: Dataset to describe.
        num_examples: Number of examples to show per split.
        terminal: Output terminal, for its width and colors.

    Raises:
        DatasetError: The first shard of a split is damaged or missing.
    """
    manifest = dataset.manifest
    title = terminal.paint(printable(manifest.name), "bold")
    yield f"{title} in {printable(dataset.folder)} (format {manifest.format_version})"
    num_bytes = sum(split.num_bytes for split in manifest.splits)
    yield (
        f"{counted(manifest.num_examples, 'example')} in "
        f"{counted(len(manifest.shards), 'shard')}, {size_text(num_bytes)}"
    )
    for part in (
        _splits,
        _selections,
        layer_lines,
        _accounting,
        _images,
        _tokens,
        _features,
        column_lines,
        _warnings,
        _loading,
    ):
        lines = [*part(dataset, terminal)]
        if lines:
            yield from ("", *lines)
    yield from _examples(dataset, num_examples, terminal)


def _heading(terminal: Terminal, text: str) -> str:
    return terminal.paint(text, "bold", "cyan")


def _splits(dataset: ManifestDataset, terminal: Terminal) -> Iterator[str]:
    manifest = dataset.manifest
    heading = f"{'split':<16}{'examples':>12}{'shards':>8}{'size':>12}"
    yield _heading(terminal, heading)
    for split in manifest.splits:
        share = _share(split.num_examples, manifest.num_examples)
        counts = f"{split.num_examples:>12,}{len(split.shards):>8,}"
        bar = terminal.bar(share, _bar_width(terminal, beside=58), "cyan").rstrip()
        line = f"{split.name:<16}{counts}{size_text(split.num_bytes):>12}  {bar}"
        yield f"{line} {share:.1%}"


def _selections(dataset: ManifestDataset, terminal: Terminal) -> Iterator[str]:
    listed = list_selections(dataset)
    if listed:
        yield _heading(terminal, f"{'selection':<16}{'examples':>12}")
    for name, _, selection, problem in listed:
        shown = shortened(printable(name), 16)
        if selection is None:
            label = terminal.paint("unusable:", "bold", "yellow")
            yield f"{shown:<16}{label} {printable(problem or '')}"
            continue
        share = _share(selection.num_examples, dataset.manifest.num_examples)
        bar = terminal.bar(share, _bar_width(terminal, beside=58), "cyan").rstrip()
        line = f"{shown:<16}{selection.num_examples:>12,}  {bar} {share:.1%}"
        yield f"{line}  {printable(selection.manifest.how)}".rstrip()


def _selection_fields(dataset: ManifestDataset) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "path": path,
            "num_examples": selection and selection.num_examples,
            "made_by": selection and dict(selection.manifest.made_by),
            "problem": problem,
        }
        for name, path, selection, problem in list_selections(dataset)
    ]


def _bar_width(terminal: Terminal, beside: int) -> int:
    return max(0, min(_BAR, terminal.width - beside))


def _indented(text: str, terminal: Terminal) -> Iterator[str]:
    indent = " " * _REASONS_INDENT
    yield from textwrap.wrap(
        text, terminal.width - 1, initial_indent=indent, subsequent_indent=indent
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _accounting(dataset: ManifestDataset, terminal: Terminal) -> Iterator[str]:
    accounting = dataset.manifest.accounting
    yield _heading(terminal, f"{accounting.found:,} keys found")
    rows = [("written", accounting.written, "green", "")]
    rows += [
        (line, sum(counts.values()), "yellow", reasons_text(counts))
        for line, counts in by_line(accounting).items()
    ]
    for line, count, color, reasons in rows:
        share = _share(count, accounting.found)
        width = _bar_width(terminal, beside=33)
        bar = terminal.bar(share, width, color).rstrip()
        more = f"  ({reasons})" if reasons else ""
        fits = 33 + width + len(more) <= terminal.width
        yield f"{count:>12,} {line:<12}{bar} {share:.1%}{more if fits else ''}"
        yield from () if fits else _indented(reasons, terminal)
    if accounting.dropped_captions:
        yield (
            f"{accounting.dropped_captions:>12,} unusable or short captions dropped "
            "from images with others"
        )


def _images(dataset: ManifestDataset, terminal: Terminal) -> Iterator[str]:
    yield f"{_heading(terminal, 'images')}  {_stored(dataset.manifest)}"
    statistics = statistics_of_all(dataset.manifest)
    yield from _tallies(
        {
            "width": statistics.width,
            "height": statistics.height,
            "bytes": statistics.image_bytes,
        }
    )


def _stored(manifest: Manifest) -> str:
    image = manifest.image
    quality = ""
    if image.format == "jpeg":
        sampling = ":".join(image.subsampling)
        quality = f", quality {image.quality}, {sampling}"
    return f"{image.format}{quality}, resize {image.resize} {image.size}"


def _tallies(tallies: dict[str, Tally | None]) -> Iterator[str]:
    yield f"  {'':<14}{'smallest':>12}{'mean':>12}{'largest':>12}"
    for name, tally in tallies.items():
        if tally is not None and tally.count:
            mean = tally.sum / tally.count
            yield f"  {name:<14}{tally.min:>12,}{mean:>12,.1f}{tally.max:>12,}"


def statistics_of_all(manifest: Manifest) -> Statistics:
    """Returns the merged statistics of all splits."""
    statistics = Statistics()
    for split in manifest.splits:
        statistics = statistics.merge(split.statistics)
    return statistics


def _tokens(dataset: ManifestDataset, terminal: Terminal) -> Iterator[str]:
    tokenizer = dataset.manifest.tokenizer
    statistics = statistics_of_all(dataset.manifest)
    num, unknown = statistics.caption_tokens.sum, statistics.unknown_tokens
    yield (
        f"{_heading(terminal, 'captions')}  {tokenizer.kind}, "
        f"{counted(tokenizer.vocab_size, 'id')}; {_share(unknown, num):.1%} of "
        f"{counted(num, 'token')} unknown"
    )
    yield from _tallies(
        {"tokens": statistics.caption_tokens, "per image": statistics.captions}
    )
    if dataset.manifest.caption_names:
        yield f"  names: {', '.join(map(printable, dataset.manifest.caption_names))}"
    if statistics.no_token_captions:
        yield f"  {counted(statistics.no_token_captions, 'caption')} without a token"


def _features(dataset: ManifestDataset, terminal: Terminal) -> Iterator[str]:
    yield _heading(terminal, f"{'features':<22}{'type':<10}values")
    for feature in dataset.manifest.features:
        length = 1 if feature.shape == () else feature.shape[0]
        yield f"  {feature.key:<20}{feature.dtype:<10}{length or 'any number'}"


def _warnings(dataset: ManifestDataset, terminal: Terminal) -> Iterator[str]:
    for warning in warnings_of(dataset.manifest):
        yield f"{terminal.paint('warning:', 'bold', 'yellow')} {warning}"


def _loading(dataset: ManifestDataset, terminal: Terminal) -> Iterator[str]:
    manifest = dataset.manifest
    split = next((s for s in manifest.splits if s.num_examples), None)
    if split is not None:
        yield _heading(terminal, "read it with")
        yield f"  {printable(loading_text(dataset.folder, split, manifest.image))}"


def _examples(dataset: ManifestDataset, num: int, terminal: Terminal) -> Iterator[str]:
    for shown in examples_of(dataset, num):
        yield ""
        key = terminal.paint(printable(shown.key), "bold")
        yield f"{shown.split}  {key}  {shown.width} × {shown.height}"
        names = (f"{name}: " for name in shown.caption_names)
        for caption, name in zip_longest(shown.captions, names, fillvalue=""):
            yield f"  {shortened(printable(name + caption), terminal.width - 2)}"


def examples_of(dataset: ManifestDataset, num: int) -> Iterator[Shown]:
    """Yields the first `num` examples of each split.

    Raises:
        DatasetError: The first shard of a split is damaged or missing.
    """
    for split in dataset.manifest.splits:
        paths = (dataset.path(shard.file) for shard in split.shards)
        records = itertools.chain.from_iterable(map(read_shard, paths))
        for record in itertools.islice(records, num):
            example = parse_example(record.data)
            yield Shown(
                split.name,
                display_path(example[schema.KEY][0]),
                example[schema.WIDTH][0],
                example[schema.HEIGHT][0],
                [text.decode(errors="replace") for text in example[schema.CAPTIONS]],
                schema.names_in(example),
            )


def page_fields(dataset: ManifestDataset, num_examples: int) -> dict[str, Any]:
    """Returns the content of `page` and the rest of the manifest, as JSON values.

    Raises:
        DatasetError: The first shard of a split is damaged or missing.
    """
    manifest = dataset.manifest
    return {
        "folder": dataset.folder,
        "name": manifest.name,
        "format_version": manifest.format_version,
        "num_examples": manifest.num_examples,
        "splits": [
            {
                "name": split.name,
                "num_examples": split.num_examples,
                "num_shards": len(split.shards),
                "num_bytes": split.num_bytes,
                "statistics": dataclasses.asdict(split.statistics),
            }
            for split in manifest.splits
        ],
        "selections": _selection_fields(dataset),
        "layers": layer_fields(dataset),
        "books": dataclasses.asdict(manifest.accounting),
        "image": dataclasses.asdict(manifest.image),
        "tokenizer": dataclasses.asdict(manifest.tokenizer),
        "caption_names": [*manifest.caption_names],
        "features": [feature._asdict() for feature in manifest.features],
        **column_fields(dataset),
        "fingerprints": dict(manifest.fingerprints),
        "config": dict(manifest.config),
        "versions": dict(manifest.versions),
        "warnings": [*warnings_of(manifest)],
        "examples": [shown._asdict() for shown in examples_of(dataset, num_examples)],
    }

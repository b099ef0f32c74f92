"""What `diptych select` prints: what is kept, and what became of the rest."""

import os
from collections.abc import Iterator
from typing import Any

from reader.console.formatting import counted
from reader.console.terminal import Terminal, printable
from reader.contract.layout import SELECTIONS_DIR
from reader.datasets.manifest_dataset import ManifestDataset
from reader.tools.select.make import Made

_BAR = 22
_REASONS = {
    "left_out_by_keys": "not in the list of keys",
    "left_out_by_where": "not meeting --where",
    "left_out_by_and": "not in a selection of --and",
    "left_out_by_not": "in a selection of --not",
    "left_out_by_missing": "without a value of --by",
    "left_out_by_top": "not among the largest of --by",
    "left_out_by_weight": "with a weight of 0",
}


def fields_of(dataset: ManifestDataset, made: Made, path: str | None) -> dict[str, Any]:
    """Returns what `--json` prints.

    Args:
        dataset: The dataset.
        made: What was made of it.
        path: Path of the selection; None if none is written.
    """
    return {
        "folder": dataset.folder,
        "path": path,
        "splits": [
            {"name": name, "num_selected": selected, "num_examples": num}
            for name, (selected, num) in _by_split(dataset, made).items()
        ],
        "books": dict(made.manifest.accounting),
        "made_by": dict(made.manifest.made_by),
        "sum_of_weights": made.weights,
        "unknown_keys": made.unknown,
    }


def lines_of(dataset: ManifestDataset, made: Made, terminal: Terminal) -> Iterator[str]:
    """Yields lines of text: what is kept of each split, and what is left out."""
    counts = made.manifest.accounting
    selected, num = counts["selected"], counts["examples"]
    share = selected / num if num else 0.0
    title = f"{selected:,} of {counted(num, 'example')} selected"
    yield f"{terminal.paint(title, 'bold')} ({share:.1%})"
    width = max(0, min(_BAR, terminal.width - 52))
    for name, (kept, of) in _by_split(dataset, made).items():
        part = kept / of if of else 0.0
        bar = terminal.bar(part, width, "cyan")
        yield f"  {name:<16}{kept:>12,} of {of:>12,}  {bar} {part:.1%}"
    for name, reason in _REASONS.items():
        if counts.get(name):
            yield f"{counts[name]:>12,} {reason}"
    if "keys" in counts:
        yield f"{counts['keys']:>12,} {_noun(counts['keys'], 'key')} in the list"
        if counts["keys_unknown"]:
            some = ", ".join(map(printable, made.unknown))
            yield f"{counts['keys_unknown']:>12,} of them unknown: {some}"
        if counts["keys_repeated"]:
            num = counts["keys_repeated"]
            yield f"{num:>12,} {_noun(num, 'repetition')} of keys"
    if made.weights is not None:
        num = int(made.weights)
        noun = _noun(num, "example")
        yield f"{num:>12,} {noun} in an epoch of all splits, by weight"
    yield from _hints(made, terminal)


def ending_of(
    dataset: ManifestDataset, made: Made, path: str | None, written: bool
) -> str:
    """Returns the last line: how to read the selection, or why it cannot be read.

    Args:
        dataset: The dataset.
        made: What was made of it.
        path: Path of the selection; None if none was asked for.
        written: Whether it was written, and not there already.
    """
    if path is None:
        return "nothing written: pass --name=NAME to train on these"
    shown = printable(path)
    if not written:
        return f"{shown} is this selection already"
    split = next(
        (name for name, (kept, _) in _by_split(dataset, made).items() if kept), None
    )
    if split is None:
        return f"written to {shown}"
    pattern = f"{dataset.folder.rstrip('/')}/{split}-*"
    if os.path.dirname(path) == dataset.path(SELECTIONS_DIR):
        shown = printable(os.path.basename(path))
    return f'read it with reader.load("{printable(pattern)}", select="{shown}", …)'


def _by_split(dataset: ManifestDataset, made: Made) -> dict[str, tuple[int, int]]:
    """Returns the number of selected and of all examples of each split."""
    counts, begin = {}, 0
    for split in dataset.manifest.splits:
        end = begin + split.num_examples
        counts[split.name] = int(made.keep[begin:end].sum()), split.num_examples
        begin = end
    return counts


def _hints(made: Made, terminal: Terminal) -> Iterator[str]:
    """Yields a warning if nothing is selected, or no key of a list is known."""
    warning = terminal.paint("warning:", "bold", "yellow")
    if made.manifest.accounting.get("keys") and made.known is not None:
        match = made.manifest.made_by["match"]
        kinds = {"key": "keys", "source": "paths of image files"}
        other = "source" if match == "key" else "key"
        yield (
            f"{warning} no {match} of the dataset is in the list. Its {kinds[match]} "
            f"are such as {printable(made.known)}; pass --match={other} if the list "
            f"holds {kinds[other]}"
        )
    elif made.manifest.accounting["examples"] and not made.keep.any():
        yield f"{warning} nothing is selected, and training on nothing is an error"


def _noun(num: int, noun: str) -> str:
    return noun if num == 1 else f"{noun}s"

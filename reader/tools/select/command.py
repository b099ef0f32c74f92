"""Command line of `diptych select`: what is kept, by split, and the file of it."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from reader.console.formatting import counted
from reader.console.main import print_json
from reader.console.parser import add_command, not_empty, refuse_set
from reader.console.terminal import Terminal, printable, terminal_of
from reader.contract.errors import UsageError
from reader.tools.flags import add_folder, add_json

if TYPE_CHECKING:
    from reader.datasets.manifest_dataset import ManifestDataset
    from reader.selections.selection import Selection
    from reader.tools.select.make import Choice, Made

_EXAMPLES = (
    "diptych select out --name=good --where='extra/clip_score > 0.3 and width >= 256'",
    "diptych select out --name=best --keys=scores.csv --top=1/3 --by=score",
    "diptych select out --name=rest --not=good",
    "diptych select out --name=often --weight=extra/quality",
    "diptych select out --where=\"key like 'park/*'\"   # only counts",
)
_BAR = 22


def add_parser(commands: Any) -> None:
    """Adds the command `select`."""
    parser = add_command(
        commands,
        "select",
        "OUT [--where=CONDITION] [--keys=FILE] [--name=NAME]",
        "Chooses records of a dataset to train on. Writes a selection, a bit per "
        "record, for reader.load(…, select=NAME). No image is read or copied.",
        group="choose what to train on",
        examples=_EXAMPLES,
    )
    add_folder(parser)
    choice = parser.add_argument_group(
        "what to choose", "A record has to meet all that is given."
    )
    choice.add_argument(
        "--where", metavar="CONDITION", help="condition on columns of samples/"
    )
    choice.add_argument(
        "--keys",
        metavar="FILE",
        type=not_empty,
        help="keys in a CSV, TSV or Parquet file, or one a line; - is standard input",
    )
    choice.add_argument(
        "--key_column",
        metavar="NAME",
        default="key",
        help="column of a table that holds the keys (%(default)s)",
    )
    choice.add_argument(
        "--match",
        choices=("key", "source"),
        default="key",
        help="what the list holds: keys, or paths of image files (%(default)s)",
    )
    for flag, text in (
        ("--and", "selection that holds the record"),
        ("--not", "selection that does not"),
    ):
        choice.add_argument(
            flag,
            dest=f"{flag[2:]}_",
            metavar="SELECTION",
            action="append",
            type=not_empty,
            default=[],
            help=f"{text}: name or path; may be repeated",
        )
    choice.add_argument(
        "--top",
        type=_top,
        metavar="N",
        help="number, or share such as 0.2 or 1/3, with the largest values of --by",
    )
    choice.add_argument("--by", metavar="COLUMN", help="column of numbers for --top")
    parser.add_argument(
        "--weight",
        metavar="COLUMN",
        help="copies of each record in an epoch, on average: from 0 to 255",
    )
    parser.add_argument(
        "--name", type=_name, metavar="NAME", help="write OUT/selections/NAME"
    )
    parser.add_argument(
        "--output", type=not_empty, metavar="FOLDER", help="write this folder instead"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace another selection"
    )
    add_json(parser)
    parser.set_defaults(run=_run, parser=parser)


def _top(text: str) -> Fraction:
    try:
        top = Fraction(text)
    except (ValueError, ZeroDivisionError):
        top = Fraction(0)
    if top <= 0 or (top > 1 and top.denominator > 1):
        raise argparse.ArgumentTypeError(
            f"must be a number such as 1000, or a share such as 0.2 or 1/3, got {text}"
        )
    return top


def _name(text: str) -> str:
    if not text or "/" in text or text.startswith("."):
        raise argparse.ArgumentTypeError(f"must be a name without /, got {text!r}")
    return text


def _run(namespace: argparse.Namespace) -> int:
    if (namespace.top is None) != (namespace.by is None):
        raise UsageError("--top and --by belong together: pass both or none")
    if namespace.keys is None:
        refuse_set(namespace, namespace.parser, ("key_column", "match"), "needs --keys")
    if namespace.name is not None and namespace.output is not None:
        raise UsageError("--name and --output both say where to write: pass one")
    from reader.contract.host import import_library
    from reader.datasets.manifest_dataset import open_dataset
    from reader.selections.selection import write_selection
    from reader.storage.files import local_path
    from reader.tools.select.make import Chooser

    import_library("pyarrow", "diptych select", "pyarrow")
    dataset = open_dataset(local_path(namespace.folder))
    path = _output(dataset, namespace)
    chooser = Chooser(dataset, _choice(dataset, namespace))
    with _progress(dataset) as on_shards:
        made = chooser.make(on_shards)
    written = path is not None and write_selection(
        path, made.manifest, made.files, overwrite=namespace.overwrite
    )
    if namespace.json:
        print_json(_fields(dataset, made, path))
        return 0
    for line in _lines(dataset, made, terminal_of(sys.stdout)):
        print(line)
    print(_ending(dataset, made, path, written))
    return 0


def _output(dataset: "ManifestDataset", namespace: argparse.Namespace) -> str | None:
    from reader.contract.layout import SELECTIONS_DIR
    from reader.storage.files import is_remote, local_path

    path = None
    if namespace.output is not None:
        path = local_path(namespace.output)
    elif namespace.name is not None:
        path = dataset.path(os.path.join(SELECTIONS_DIR, namespace.name))
    if path is not None and is_remote(path):
        raise UsageError(
            f"a selection must be written to a local folder, got {path}: pass "
            "--output=FOLDER, and copy it there"
        )
    return path


def _choice(dataset: "ManifestDataset", namespace: argparse.Namespace) -> "Choice":
    from reader.contract.conditions.where import parse_where
    from reader.tools.select.key_list import read_key_list
    from reader.tools.select.make import Choice

    keys = None
    if namespace.keys is not None:
        keys = read_key_list(namespace.keys, namespace.key_column)
    return Choice(
        where=None if namespace.where is None else parse_where(namespace.where),
        keys=keys,
        match=namespace.match,
        within=[_selection(dataset, name) for name in namespace.and_],
        without=[_selection(dataset, name) for name in namespace.not_],
        top=namespace.top,
        by=namespace.by,
        weight=namespace.weight,
    )


def _selection(dataset: "ManifestDataset", name: str) -> "Selection":
    from reader.selections.choose import opened_for

    return opened_for(dataset, name)


@contextlib.contextmanager
def _progress(dataset: "ManifestDataset") -> Iterator[Callable[[int], object]]:
    """Shows a progress bar if stderr is a terminal."""
    from tqdm import tqdm

    with tqdm(
        total=dataset.manifest.num_examples,
        unit=" examples",
        unit_scale=True,
        leave=False,
        delay=1,
        disable=None,  # Disables the bar unless stderr is a terminal.
    ) as bar:
        yield bar.update


def _by_split(dataset: "ManifestDataset", made: "Made") -> dict[str, tuple[int, int]]:
    """Returns the number of selected and of all examples of each split."""
    counts, begin = {}, 0
    for split in dataset.manifest.splits:
        end = begin + split.num_examples
        counts[split.name] = int(made.keep[begin:end].sum()), split.num_examples
        begin = end
    return counts


def _fields(
    dataset: "ManifestDataset", made: "Made", path: str | None
) -> dict[str, Any]:
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


_REASONS = {
    "left_out_by_keys": "not in the list of keys",
    "left_out_by_where": "do not meet --where",
    "left_out_by_and": "not in a selection of --and",
    "left_out_by_not": "in a selection of --not",
    "left_out_by_top": "not among the largest of --by",
    "left_out_by_weight": "have a weight of 0",
}


def _lines(
    dataset: "ManifestDataset", made: "Made", terminal: Terminal
) -> Iterator[str]:
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
        yield f"{counts['keys']:>12,} keys in the list"
        if counts["keys_unknown"]:
            some = ", ".join(map(printable, made.unknown))
            yield f"{counts['keys_unknown']:>12,} of them unknown: {some}"
        if counts["keys_repeated"]:
            yield f"{counts['keys_repeated']:>12,} repetitions of keys"
    if made.weights is not None:
        yield f"{int(made.weights):>12,} examples in an epoch, by weight"


def _ending(
    dataset: "ManifestDataset", made: "Made", path: str | None, written: bool
) -> str:
    if path is None:
        return "nothing written: pass --name=NAME to train on these"
    shown = printable(path)
    if not written:
        return f"{shown} holds just this already"
    split = next(
        (name for name, (kept, _) in _by_split(dataset, made).items() if kept), None
    )
    if split is None:
        return f"written to {shown}"
    pattern = f"{dataset.folder.rstrip('/')}/{split}-*"
    return f'read it with reader.load("{printable(pattern)}", select="{shown}", …)'

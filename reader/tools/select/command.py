"""Command line of `diptych select`: what is kept, by split, and the file of it."""

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from reader.console.main import print_json
from reader.console.parser import add_command, not_empty, refuse_set
from reader.console.terminal import terminal_of
from reader.contract.errors import UsageError
from reader.tools.flags import add_folder, add_json, add_layers

if TYPE_CHECKING:
    from reader.datasets.manifest_dataset import ManifestDataset
    from reader.tools.select.make import Choice

_EXAMPLES = (
    "diptych select out --name=good --where='extra/clip_score > 0.3 and width >= 256'",
    "diptych select out --name=best --keys=scores.csv --top=1/3 --by=score",
    "diptych select out --name=rest --not=good",
    "diptych select out --name=often --weight=extra/quality",
    "diptych select out --name=good --layers=clip-b32 --where='clip-b32/score > 0.3'",
    "diptych select out --where=\"key like 'park/*'\"   # only counts",
)


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
    choice.add_argument(
        "--weight",
        metavar="COLUMN",
        help="column of the copies of a record in an epoch, on average: 0 to 255",
    )
    add_layers(choice)
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
    top = Fraction(0)
    # 1.0 would be all records, and 1 is one: a share is less than 1.
    is_share = re.fullmatch(r"[0-9]*\.[0-9]+|[0-9]+/[0-9]+", text) is not None
    with contextlib.suppress(ValueError, ZeroDivisionError):
        top = Fraction(text if is_share else int(text))
    if top <= 0 or (is_share and top >= 1):
        raise argparse.ArgumentTypeError(
            "must be a number such as 1000, or a share of less than 1 such as 0.2 or "
            f"1/3, got {text!r}"
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
    if namespace.overwrite and namespace.name is None and namespace.output is None:
        raise UsageError("--overwrite needs --name or --output")
    from reader.contract.host import import_library
    from reader.datasets.manifest_dataset import open_dataset
    from reader.selections.selection import check_target, write_selection
    from reader.storage.files import local_path
    from reader.tools.select.make import Chooser
    from reader.tools.select.outcome import ending_of, fields_of, lines_of

    import_library("pyarrow", "diptych select", "pyarrow")
    dataset = open_dataset(local_path(namespace.folder))
    path = _output(dataset, namespace)
    if path is not None:
        check_target(path)
    chooser = Chooser(dataset, _choice(dataset, namespace))
    with _progress(dataset) as on_shards:
        made = chooser.make(on_shards)
    written = path is not None and write_selection(
        path, made.manifest, made.files, overwrite=namespace.overwrite
    )
    if namespace.json:
        print_json(fields_of(dataset, made, path))
        return 0
    for line in lines_of(dataset, made, terminal_of(sys.stdout)):
        print(line)
    print(ending_of(dataset, made, path, written))
    return 0


def _output(dataset: "ManifestDataset", namespace: argparse.Namespace) -> str | None:
    from reader.contract.layout import SELECTIONS_DIR
    from reader.storage.files import is_remote, local_path

    path = None
    if namespace.output is not None:
        path = local_path(namespace.output)
        path = path if is_remote(path) else os.path.normpath(path)
    elif namespace.name is not None:
        path = dataset.path(os.path.join(SELECTIONS_DIR, namespace.name))
    if path is not None and is_remote(path):
        raise UsageError(
            f"a selection must be written to a local folder, got {path}: pass "
            "--output=FOLDER, and copy it there"
        )
    if namespace.output is not None and path is not None and _is_within(path, dataset):
        raise UsageError(
            f"{namespace.output} is in the dataset's folder: pass --name=NAME to write "
            f"{dataset.path(SELECTIONS_DIR)}/NAME"
        )
    return path


def _is_within(path: str, dataset: "ManifestDataset") -> bool:
    """Returns whether a path is in a dataset's folder, but not in `selections/`."""
    from reader.contract.layout import SELECTIONS_DIR
    from reader.storage.files import is_remote

    if is_remote(dataset.folder):
        return False
    inside = os.path.relpath(os.path.realpath(path), os.path.realpath(dataset.folder))
    first, _, rest = inside.partition("/")
    return first != ".." and not (first == SELECTIONS_DIR and rest)


def _choice(dataset: "ManifestDataset", namespace: argparse.Namespace) -> "Choice":
    from reader.contract.conditions.where import parse_where
    from reader.selections.choose import opened_for
    from reader.tools.select.key_list import read_key_list
    from reader.tools.select.make import Choice

    where = None if namespace.where is None else parse_where(namespace.where)
    within = [opened_for(dataset, name) for name in namespace.and_]
    without = [opened_for(dataset, name) for name in namespace.not_]
    keys = None
    if namespace.keys is not None:
        keys = read_key_list(namespace.keys, namespace.key_column)
    return Choice(
        where=where,
        keys=keys,
        match=namespace.match,
        within=within,
        without=without,
        top=namespace.top,
        by=namespace.by,
        weight=namespace.weight,
        layers=namespace.layers or (),
    )


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

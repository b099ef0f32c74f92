"""Flags that several commands share."""

import argparse
from typing import Any

from reader.config import defaults
from reader.console.parser import not_empty

_METAVARS = {int: "N", float: "SHARE", str: "KIND"}
# Values of the flags that take one of a few words.
_WORDS = {
    "crop": "center, random, random_resized or none ",
    "dtype": "float32, bfloat16 or uint8 ",
    "remainder": "drop or pad ",
}


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Adds the argument `folder`: a dataset."""
    parser.add_argument(
        "folder", metavar="OUT", type=not_empty, help="the dataset's folder"
    )


def add_pattern(parser: argparse.ArgumentParser) -> None:
    """Adds the argument `pattern`: a dataset, or TFRecords from other tools."""
    parser.add_argument(
        "pattern",
        metavar="OUT",
        type=not_empty,
        help="the dataset's folder, or a glob of TFRecords",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds the flag `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_selected(group: Any) -> None:
    """Adds the flags `--select`, `--where` and `--layers`: what is read."""
    group.add_argument(
        "--select", metavar="SELECTION", type=not_empty, help="selection"
    )
    group.add_argument("--where", metavar="CONDITION", help="condition on columns")
    add_layers(group)


def add_layers(group: Any) -> None:
    """Adds the flag `--layers`, a tuple of names or paths; None if it is not given."""
    group.add_argument(
        "--layers",
        metavar="NAME,…",
        type=_names,
        help="layers, by name or path, whose columns conditions may name",
    )


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(
            f"must be names such as recap-v2,clip-b32, got {text!r}"
        )
    return names


def add_load_flags(group: Any, *names: str) -> None:
    """Adds flags that are arguments of `reader.load`, with its defaults.

    Args:
        group: Parser, or group of flags, to add them to.
        names: Names of arguments that `reader.config.defaults` has a value for.
    """
    for name in names:
        default = getattr(defaults, name.upper())
        group.add_argument(
            f"--{name}",
            type=type(default),
            metavar=_METAVARS[type(default)],
            default=default,
            help=f"{_WORDS.get(name, '')}(%(default)s)",
        )

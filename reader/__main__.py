"""The commands that need no Beam: `python -m reader show | verify`."""

import argparse
import sys
from typing import Any

from reader.contract.errors import DatasetError, UsageError


def add_show_parser(commands: Any) -> None:
    """Adds the command `show`."""
    parser = commands.add_parser(
        "show",
        help="show what a dataset is",
        description="Shows schema, splits, books and a few examples of a dataset.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="OUT", help="the dataset's folder")
    parser.add_argument(
        "--num", type=int, default=3, help="examples of each split (%(default)s)"
    )
    parser.set_defaults(run=_show)


def add_verify_parser(commands: Any) -> None:
    """Adds the command `verify`."""
    parser = commands.add_parser(
        "verify",
        help="check a dataset, byte for byte",
        description="Checks every checksum, count and key; lists all that is wrong.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="OUT", help="the dataset's folder")
    plan = parser.add_argument_group(
        "the order of an epoch",
        "With --epoch, walks the order of an epoch over all hosts instead, and tells "
        "whether each record is read once. Nothing is read.",
    )
    plan.add_argument("--epoch", type=int, metavar="N", help="which epoch, from 0")
    plan.add_argument("--split", help="where there are several")
    plan.add_argument(
        "--batch_size", type=int, default=192, help="over all hosts (%(default)s)"
    )
    plan.add_argument("--host_count", type=int, default=1, help="(%(default)s)")
    plan.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    plan.add_argument(
        "--remainder", default="drop", help="drop or pad, as in load (%(default)s)"
    )
    parser.set_defaults(run=_verify)


def _show(namespace: argparse.Namespace) -> int:
    from reader.page import show

    print(show(namespace.folder, namespace.num))
    return 0


def _walk(namespace: argparse.Namespace) -> int:
    from reader.walk import coverage

    names = ("batch_size", "host_count", "epoch", "split", "seed", "remainder")
    report = coverage(namespace.folder, **{n: getattr(namespace, n) for n in names})
    for problem in report.problems:
        print(problem, file=sys.stderr)
    print(
        f"epoch {namespace.epoch} over {namespace.host_count} hosts, of "
        f"{report.steps[0]:,} steps each: of {report.num_examples:,} examples "
        f"{report.num_once:,} once, {report.num_repeated:,} more than once, "
        f"{report.num_never:,} not at all ({report.num_left_over:,} make no batch)"
    )
    return 1 if report.problems else 0


def _verify(namespace: argparse.Namespace) -> int:
    if namespace.epoch is not None:
        return _walk(namespace)
    from reader.integrity import verify

    report = verify(namespace.folder)
    for problem in report.problems:
        print(problem, file=sys.stderr)
    shards, examples = (
        f"{report.num_shards:,} shards",
        f"{report.num_examples:,} examples",
    )
    if report.problems:
        print(f"{len(report.problems)} problems in {shards}, {examples} readable")
        return 1
    print(f"{shards}, {examples}: every checksum, count and key is right")
    return 0


def main(args: list[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m reader", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_show_parser(commands)
    add_verify_parser(commands)
    namespace = parser.parse_args(args)
    try:
        status: int = namespace.run(namespace)
    except (DatasetError, UsageError) as error:
        print(f"python -m reader: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        print(f"python -m reader: error: {error}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())

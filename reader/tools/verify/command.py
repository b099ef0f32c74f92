"""`diptych verify`: what is wrong, and the command that mends it."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from reader.config import defaults
from reader.console.formatting import counted, size_text
from reader.console.main import print_json
from reader.console.parser import add_command, not_empty, refuse_set
from reader.console.terminal import Terminal, printable, terminal_of

if TYPE_CHECKING:
    from reader.datasets.manifest_dataset import ManifestDataset
    from reader.tools.verify.dataset_check import Report

_EXAMPLES = (
    "diptych verify out",
    "diptych verify out --decode             # decodes every image as well",
    "diptych verify out --json | jq -r '.problems[].path'",
    "diptych verify out --epoch=0 --split=train --batch_size=256 --host_count=8",
)
# A process takes a third of a second to start, and checks this much in as long.
_BYTES_FOR_A_PROCESS = 256 << 20


def add_parser(commands: Any) -> None:
    """Adds the command `verify`."""
    parser = add_command(
        commands,
        "verify",
        "OUT [--decode] [--limit=N] [--json]",
        "Checks a dataset, byte for byte. Lists all that is wrong and the "
        "command that mends it. Ends with 0 if nothing is, 1 if something is, 2 for "
        "wrong usage.",
        group="maintain a dataset",
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "folder", metavar="OUT", type=not_empty, help="the dataset's folder"
    )
    parser.add_argument(
        "--decode", action="store_true", help="decode every image as well"
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=20,
        metavar="N",
        help="problems to print; --json has all (%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    plan = parser.add_argument_group(
        "the order of an epoch",
        "With --epoch, walks the order of an epoch over all hosts instead, and\n"
        "tells whether each record is read once. Nothing is read.",
    )
    plan.add_argument("--epoch", type=int, metavar="N", help="which, from 0")
    plan.add_argument("--split", metavar="NAME", help="where there are several")
    plan.add_argument(
        "--batch_size",
        type=int,
        metavar="N",
        default=192,
        help="over all hosts (%(default)s)",
    )
    plan.add_argument(
        "--host_count",
        type=int,
        metavar="N",
        default=defaults.HOST_COUNT,
        help="(%(default)s)",
    )
    plan.add_argument(
        "--seed", type=int, metavar="N", default=defaults.SEED, help="(%(default)s)"
    )
    plan.add_argument(
        "--remainder",
        metavar="KIND",
        default=defaults.REMAINDER,
        help="drop or pad, as in load (%(default)s)",
    )
    parser.set_defaults(run=_run, parser=parser)


_ORDER = ("split", "batch_size", "host_count", "seed", "remainder")


def _run(namespace: argparse.Namespace) -> int:
    if namespace.epoch is not None:
        why = "does not go with --epoch, which reads nothing"
        refuse_set(namespace, namespace.parser, ("decode", "limit"), why)
        return _walk(namespace)
    refuse_set(namespace, namespace.parser, _ORDER, "goes with --epoch")
    from reader.contract.checks import check_at_least
    from reader.datasets.manifest_dataset import open_dataset
    from reader.tools.verify.dataset_check import verify

    check_at_least("limit", namespace.limit, 0)
    dataset = open_dataset(namespace.folder)
    with _progress(dataset) as on_shard:
        report = verify(
            namespace.folder,
            decode=namespace.decode,
            workers=_workers(dataset),
            on_shard=on_shard,
        )
    if namespace.json:
        print_json(_fields(report, namespace.decode))
    else:
        _print(report, namespace.decode, namespace.limit)
    return 1 if report.problems else 0


def _workers(dataset: "ManifestDataset") -> int:
    from reader.contract.host import num_cores

    num_bytes = sum(shard.num_bytes for shard in dataset.manifest.shards)
    return max(1, min(num_cores(), num_bytes // _BYTES_FOR_A_PROCESS))


@contextlib.contextmanager
def _progress(dataset: "ManifestDataset") -> Iterator[Callable[[Any], object]]:
    """Shows on a terminal how far it has come."""
    from tqdm import tqdm

    total = sum(shard.num_bytes for shard in dataset.manifest.shards)
    with tqdm(
        total=total,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        leave=False,
        delay=1,
        disable=None,  # Unless it is a terminal.
    ) as bar:
        yield lambda shard: bar.update(shard.num_bytes)


def _fields(report: "Report", decoded: bool) -> dict[str, Any]:
    from reader.tools.verify.problems import repairs_of

    found = repairs_of(report.folder, report.problems)
    repairs = [command._asdict() for command in found]
    return {
        "folder": report.folder,
        "ok": not report.problems,
        "num_shards": report.num_shards,
        "num_examples": report.num_examples,
        "num_bytes": report.num_bytes,
        "decoded": decoded,
        "problems": [problem._asdict() for problem in report.problems],
        "repair": repairs,
        "mend": repairs,  # Its former name.
    }


def _print(report: "Report", decoded: bool, limit: int) -> None:
    out = terminal_of(sys.stdout)
    checked = (
        f"{counted(report.num_shards, 'shard')}, "
        f"{counted(report.num_examples, 'example')}"
    )
    if not report.problems:
        size = size_text(report.num_bytes)
        images = ", and every image decodes" if decoded else ""
        right = out.paint("every checksum, count and key is right", "green")
        print(f"{checked}, {size}: {right}{images}")
        return
    for problem in report.problems[:limit]:
        print(printable(str(problem)), file=sys.stderr)
    more = len(report.problems) - limit
    if more > 0:
        print(f"… and {more:,} more: --limit=N, or --json", file=sys.stderr)
    num = out.paint(counted(len(report.problems), "problem"), "bold", "red")
    print(f"{num} in {checked} readable")
    _print_mendings(report, terminal_of(sys.stderr))


def _print_mendings(report: "Report", err: Terminal) -> None:
    from reader.tools.verify.problems import repairs_of

    print("to mend it:", file=sys.stderr)
    for command, note in repairs_of(report.folder, report.problems):
        # As a comment of the shell, so that a line may be copied whole.
        print(f"  {err.paint(command, 'bold')}  # {note}", file=sys.stderr)


def _walk(namespace: argparse.Namespace) -> int:
    from reader.schedule.coverage import coverage

    settings = {name: getattr(namespace, name) for name in ("epoch", *_ORDER)}
    report = coverage(namespace.folder, **settings)
    if namespace.json:
        print_json({**report._asdict(), "problems": report.problems})
        return 1 if report.problems else 0
    for problem in report.problems:
        print(problem, file=sys.stderr)
    print(
        f"epoch {namespace.epoch} over {namespace.host_count} hosts, of "
        f"{report.steps[0]:,} steps each: of {report.num_examples:,} examples "
        f"{report.num_once:,} once, {report.num_repeated:,} more than once, "
        f"{report.num_never:,} not at all ({report.num_left_over:,} make no batch)"
    )
    return 1 if report.problems else 0

"""Command line of `diptych verify`: problems, and the commands that repair them."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from reader.console.formatting import counted, size_text
from reader.console.main import print_json
from reader.console.parser import add_command, refuse_set
from reader.console.terminal import Terminal, printable, terminal_of
from reader.tools.flags import add_folder, add_json, add_load_flags, add_selected

if TYPE_CHECKING:
    from reader.datasets.manifest_dataset import ManifestDataset
    from reader.tools.verify.dataset_check import Report

_EXAMPLES = (
    "diptych verify out",
    "diptych verify out --decode             # decodes every image as well",
    "diptych verify out --json | jq -r '.problems[].path'",
    "diptych verify out --epoch=0 --split=train --batch_size=256 --host_count=8",
)
# A process takes a third of a second to start. It checks this many bytes in that time.
_BYTES_FOR_A_PROCESS = 256 << 20


def add_parser(commands: Any) -> None:
    """Adds the command `verify`."""
    parser = add_command(
        commands,
        "verify",
        "OUT [--decode] [--limit=N] [--json]",
        "Checks a dataset, byte for byte. Lists all problems and the commands that "
        "repair them. Exits with 0 if there is no problem, 1 if there is one, 2 for "
        "wrong usage.",
        group="maintain a dataset",
        examples=_EXAMPLES,
    )
    add_folder(parser)
    parser.add_argument(
        "--decode", action="store_true", help="decode every image as well"
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=20,
        metavar="N",
        help="problems to print; --json lists all (%(default)s)",
    )
    add_json(parser)
    plan = parser.add_argument_group(
        "the order of an epoch",
        "With --epoch, computes the order of an epoch over all hosts instead, and\n"
        "checks that each record is read once. No record is read.",
    )
    plan.add_argument("--epoch", type=int, metavar="N", help="epoch, counted from 0")
    plan.add_argument(
        "--split", metavar="NAME", help="required if there are several splits"
    )
    plan.add_argument(
        "--batch_size",
        type=int,
        metavar="N",
        default=192,  # Divisible by every host_count that a run may have.
        help="examples per step, over all hosts (%(default)s)",
    )
    add_load_flags(plan, "host_count", "seed", "remainder")
    add_selected(plan)
    parser.set_defaults(run=_run, parser=parser)


_ORDER = (
    "split",
    "batch_size",
    "host_count",
    "seed",
    "remainder",
    "select",
    "where",
    "layers",
)


def _run(namespace: argparse.Namespace) -> int:
    if namespace.epoch is not None:
        why = "cannot be combined with --epoch, which reads no records"
        refuse_set(namespace, namespace.parser, ("decode", "limit"), why)
        return _walk(namespace)
    refuse_set(namespace, namespace.parser, _ORDER, "needs --epoch")
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
    """Shows a progress bar if stderr is a terminal."""
    from tqdm import tqdm

    total = sum(shard.num_bytes for shard in dataset.manifest.shards)
    with tqdm(
        total=total,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        leave=False,
        delay=1,
        disable=None,  # Disables the bar unless stderr is a terminal.
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
        "num_layers": report.num_layers,
        "decoded": decoded,
        "problems": [problem._asdict() for problem in report.problems],
        "repair": repairs,
        "mend": repairs,  # Former name of `repair`, kept for existing scripts.
    }


def _print(report: "Report", decoded: bool, limit: int) -> None:
    out = terminal_of(sys.stdout)
    checked = (
        f"{counted(report.num_shards, 'shard')}, "
        f"{counted(report.num_examples, 'example')}"
    )
    layers = ""
    if report.num_layers:
        layers = f", {counted(report.num_layers, 'layer')}"
    if not report.problems:
        size = size_text(report.num_bytes)
        images = ", and every image decodes" if decoded else ""
        correct = out.paint("all checksums, counts and keys are correct", "green")
        print(f"{checked}, {size}{layers}: {correct}{images}")
        return
    for problem in report.problems[:limit]:
        print(printable(str(problem)), file=sys.stderr)
    more = len(report.problems) - limit
    if more > 0:
        print(
            f"… and {more:,} more: use --limit=N or --json to list them",
            file=sys.stderr,
        )
    num = out.paint(counted(len(report.problems), "problem"), "bold", "red")
    print(f"{num} in {checked} readable{layers}")
    _print_repairs(report, terminal_of(sys.stderr))


def _print_repairs(report: "Report", err: Terminal) -> None:
    from reader.tools.verify.problems import repairs_of

    print("to repair:", file=sys.stderr)
    for command, note in repairs_of(report.folder, report.problems):
        # The note is a shell comment, so users can copy the whole line.
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
        f"epoch {namespace.epoch} on {counted(namespace.host_count, 'host')}, "
        f"{counted(report.steps[0], 'step')} each: of "
        f"{counted(report.num_examples, 'example')}, {report.num_once:,} are read "
        f"once, {report.num_repeated:,} more than once, {report.num_never:,} never "
        f"({report.num_left_over:,} in a dropped last batch)"
    )
    return 1 if report.problems else 0

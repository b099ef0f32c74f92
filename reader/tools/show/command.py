"""Command line of `diptych show`: a summary of a dataset, or the keys of a step."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from reader.console.main import print_json
from reader.console.parser import add_command, refuse_set
from reader.console.terminal import printable, terminal_of
from reader.contract.errors import UsageError
from reader.tools.flags import (
    add_json,
    add_load_flags,
    add_pattern,
    add_selected,
)

if TYPE_CHECKING:
    from reader.datasets.manifest_dataset import ManifestDataset

_EXAMPLES = (
    "diptych show out",
    "diptych show out --num=0 --json | jq .books",
    "diptych show 'others/*.tfrecord'        # TFRecords without a manifest",
    "diptych show out --split=train --step=1000 --batch_size=256 --seed=1",
)


def add_parser(commands: Any) -> None:
    """Adds the command `show`."""
    parser = add_command(
        commands,
        "show",
        "OUT [--num=N] [--step=N --batch_size=N …] [--json]",
        "Shows a dataset: splits, accounting of keys, sizes, examples. "
        "With --step, lists the keys that a training step reads, and what layers add.",
        group="inspect a dataset",
        examples=_EXAMPLES,
    )
    add_pattern(parser)
    parser.add_argument(
        "--num",
        type=int,
        metavar="N",
        default=3,
        help="examples per split (%(default)s)",
    )
    add_json(parser)
    step = parser.add_argument_group(
        "the keys of a step",
        "Same names and defaults as the arguments of reader.load.",
    )
    step.add_argument("--step", type=int, metavar="N", help="step, counted from 0")
    step.add_argument(
        "--split", metavar="NAME", help="required if there are several splits"
    )
    step.add_argument(
        "--batch_size", type=int, metavar="N", help="examples per step, over all hosts"
    )
    add_load_flags(step, "seed", "shuffle_bytes", "streams")
    step.add_argument(
        "--no_shuffle", dest="shuffle", action="store_false", help="shuffle=False"
    )
    add_load_flags(step, "host_index", "host_count", "remainder")
    add_selected(step)
    parser.set_defaults(run=_run, parser=parser)


def _run(namespace: argparse.Namespace) -> int:
    if namespace.num < 0:
        raise UsageError(f"num must not be negative, got {namespace.num}")
    if namespace.step is not None:
        return _show_step(namespace)
    refuse_set(namespace, namespace.parser, _STEP, "needs --step")
    from reader.datasets.foreign_source import no_pattern
    from reader.datasets.manifest_dataset import find_place, no_dataset
    from reader.storage.files import local_path, match

    namespace.pattern = local_path(namespace.pattern)
    place = find_place(namespace.pattern)
    if place.manifest is not None:
        _show_dataset(place.dataset(), namespace)
    elif place.names is None:
        raise no_pattern(place.folder)
    elif not match(namespace.pattern):
        raise no_dataset(namespace.pattern)
    else:
        _show_foreign(namespace)
    return 0


def _show_dataset(dataset: "ManifestDataset", namespace: argparse.Namespace) -> None:
    from reader.tools.show.dataset_page import page, page_fields

    if namespace.json:
        print_json(page_fields(dataset, namespace.num))
        return
    for line in page(dataset, namespace.num, terminal_of(sys.stdout)):
        print(line)


def _show_foreign(namespace: argparse.Namespace) -> None:
    from reader.tools.show.foreign_page import (
        foreign_fields,
        foreign_page,
        open_foreign,
    )

    source = open_foreign(namespace.pattern)
    if namespace.json:
        print_json(foreign_fields(source, namespace.num))
        return
    terminal = terminal_of(sys.stdout)
    for line in foreign_page(source, namespace.pattern, namespace.num, terminal):
        print(line)


_STEP = (
    "batch_size",
    "split",
    "shuffle",
    "seed",
    "shuffle_bytes",
    "streams",
    "host_index",
    "host_count",
    "remainder",
    "select",
    "where",
    "layers",
)


def _show_step(namespace: argparse.Namespace) -> int:
    from reader.tools.show.step_keys import step_keys

    if namespace.batch_size is None:
        raise UsageError(
            "--step needs --batch_size, which decides the records of each step"
        )
    settings = {name: getattr(namespace, name) for name in _STEP}
    found = step_keys(namespace.pattern, namespace.step, **settings)
    if namespace.json:
        fields = found._asdict()
        fields["places"] = [place._asdict() for place in found.places]
        print_json(fields)
        return 0
    from reader.tools.added_values import value_lines

    terminal = terminal_of(sys.stdout)
    title = (
        f"step {found.step:,}: step {found.step_of_epoch:,} of epoch {found.epoch:,}"
    )
    print(terminal.paint(title, "bold"))
    for place in found.places:
        if place.number is None:
            print(f"{'-':>12}  (padding)")
            continue
        text = place.problem or place.key or "(no key)"
        shard = os.path.basename(place.shard or "")
        print(f"{place.number:>12,}  {shard}  {printable(text)}")
        for line in value_lines(place.added, terminal):
            print(f"{'':>12}  {line}")
    return 0

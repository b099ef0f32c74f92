"""Command line of `diptych find`: the record of a key, or why it was not written."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from reader.console.main import print_json
from reader.console.parser import add_command
from reader.console.terminal import Terminal, printable, terminal_of
from reader.contract import samples
from reader.contract.schema import EXTRA
from reader.tools.flags import add_folder, add_json

if TYPE_CHECKING:
    from reader.tools.find.search import Added, Finding, Rejected, Written

_EXAMPLES = (
    "diptych find out park/0042                  # a key",
    "diptych find out photos/park/0042.jpg       # an image or caption file",
    "diptych find out 9f86d081884c7d65           # the SHA-256 of an image file",
    "diptych find out park/0042 --json | jq -r '.written[].shard'",
)
_MAX_SHOWN = 5


def add_parser(commands: Any) -> None:
    """Adds the command `find`."""
    parser = add_command(
        commands,
        "find",
        "OUT KEY|SHA256|PATH [--json]",
        "Finds a key, checksum or file in a dataset. Shows where it was written, why "
        "it was rejected, or, if it is not found, the nearest keys. Exits with 0 if it "
        "is found and 1 if not.",
        group="inspect a dataset",
        examples=_EXAMPLES,
    )
    add_folder(parser)
    parser.add_argument(
        "wanted",
        metavar="KEY|SHA256|PATH",
        help="a key; a checksum or its first digits; the path of an image or caption",
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(namespace: argparse.Namespace) -> int:
    from reader.tools.find.search import find

    finding = find(namespace.folder, namespace.wanted)
    if namespace.json:
        print_json(_fields(finding))
    else:
        print("\n".join(_lines(finding, namespace.folder, terminal_of(sys.stdout))))
    return 1 if finding.status == "unknown" else 0


def _fields(finding: "Finding") -> dict[str, Any]:
    return {
        "wanted": finding.wanted,
        "status": finding.status,
        "sha256": finding.sha256,
        "written": [
            record._asdict() | {"layers": [each._asdict() for each in record.layers]}
            for record in finding.written
        ],
        "rejected": [
            {"by": reject.by, "facts": reject.line._asdict()}
            for reject in finding.rejected
        ],
        "num_others": finding.num_others,
        "nearest": finding.nearest,
    }


def _lines(finding: "Finding", folder: str, terminal: Terminal) -> Iterator[str]:
    wanted = printable(finding.wanted)
    if finding.status == "unknown":
        state = terminal.paint("not found", "yellow")
        yield f"{wanted}: {state}; no key or source matches in {printable(folder)}"
        for key in finding.nearest:
            yield f"  nearest  {printable(key)}"
        return
    found = [_written(record, finding, folder, terminal) for record in finding.written]
    found += [_rejected(reject, terminal) for reject in finding.rejected]
    for place, lines in enumerate(found[:_MAX_SHOWN]):
        yield from ("",) if place else ()
        yield from lines
    if len(found) > _MAX_SHOWN:
        yield ""
        yield f"… and {len(found) - _MAX_SHOWN:,} more: --json lists all"
    if finding.num_others:
        yield ""
        yield f"{finding.num_others:,} more with the same content or a similar name"


def _written(
    record: "Written", finding: "Finding", folder: str, terminal: Terminal
) -> Iterator[str]:
    facts = record.facts
    key = terminal.paint(printable(facts[samples.KEY]), "bold")
    yield f"{key}: {terminal.paint('written', 'green')}{_BY[record.by]}"
    shard = f"{folder.rstrip('/')}/{record.shard}"
    yield f"  shard     {printable(shard)}, row {record.row:,}"
    yield f"  bytes     {facts[samples.LENGTH]:,} at offset {facts[samples.OFFSET]:,}"
    yield f"  index     {record.number:,} of {record.split}, in reader.open"
    yield f"  image     {_image(facts)}"
    if record.selections:
        yield f"  selected  {printable(', '.join(record.selections))}"
    for name, label in (
        (samples.SOURCE, "source"),
        (samples.CAPTION_SOURCE, "captions"),
    ):
        if name in facts:
            yield f"  {label:<8}  {printable(facts[name])}"
    yield f"  sha256    {facts[samples.SHA256]}"
    if (
        record.by == samples.SOURCE
        and finding.sha256
        and finding.sha256 != facts[samples.SHA256]
    ):
        yield f"            {finding.sha256} is the local file: it has changed"
    for name in filter(lambda name: name.startswith(EXTRA), facts):
        yield f"  {printable(name)}  {printable(str(facts[name]))}"
    captions = facts[samples.CAPTIONS]
    names = facts.get(samples.CAPTION_NAMES) or [""] * len(captions)
    for caption, num, name in zip(
        captions, facts[samples.NUM_TOKENS], names, strict=True
    ):
        named = f", {printable(name)}" if name else ""
        yield f'  caption   "{printable(caption)}" ({num} tokens{named})'
    for layer in record.layers:
        yield from (f"  {line}" for line in _layer_lines(layer, terminal))


def _layer_lines(added: "Added", terminal: Terminal) -> Iterator[str]:
    from reader.tools.added_values import value_lines

    if added.problem is not None:
        label = terminal.paint("cannot be read:", "bold", "yellow")
        yield f"{printable(added.layer)}  {label} {printable(added.problem)}"
    elif added.values:
        yield from value_lines(added.values, terminal)
    else:
        yield f"{printable(added.layer)}  has nothing for it"


_BY = {
    samples.KEY: "",
    "content": ", found by the file's content",
    samples.SHA256: ", found by its checksum",
    samples.SOURCE: ", found by the name of its image",
    samples.CAPTION_SOURCE: ", found by the name of its caption",
}


def _image(facts: dict[str, Any]) -> str:
    stored = f"{facts[samples.WIDTH]} × {facts[samples.HEIGHT]}"
    if samples.ORIGINAL_FORMAT not in facts:
        return stored
    original = f"{facts[samples.ORIGINAL_WIDTH]} × {facts[samples.ORIGINAL_HEIGHT]}"
    actions = ", ".join(facts[samples.ACTIONS]) or "untouched"
    return f"{facts[samples.ORIGINAL_FORMAT]}, {original} → {stored} ({actions})"


def _rejected(reject: "Rejected", terminal: Terminal) -> Iterator[str]:
    line = reject.line
    key = terminal.paint(printable(line.key), "bold")
    # An unpaired reject does not record whether its file is an image or a caption.
    by = "" if reject.by == samples.KEY else ", found by the name of its file"
    yield f"{key}: {terminal.paint('not written', 'red')}{by}"
    yield f"  reason    {line.reason}"
    if line.detail:
        yield f"  detail    {printable(line.detail)}"
    for source in line.source:
        yield f"  source    {printable(source)}"

"""The outcome of a job: its books, and whether they are good enough to publish."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.values import allowed
from beam_jobs.elements import Reject
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.pair_lists import read_all_rejects
from beam_jobs.workspace.workspace import Workspace
from reader.contract.json_values import dump_json
from reader.contract.manifest import KeyAccounting
from reader.contract.rejects import category_of, dump_rejects, rejected_key
from reader.contract.schema import display_path


class Outcome(NamedTuple):
    """What finalising found.

    Attributes:
        accounting: What became of every key.
        failures: Why the dataset was not published; empty if it was.
        examples: A few rejects of each reason, for the summary.
    """

    accounting: KeyAccounting
    failures: tuple[str, ...]
    examples: dict[str, list[str]]


def judge(
    config: JobConfig,
    found: int,
    written: int,
    rejects: list[Reject],
    dropped_captions: int,
) -> Outcome:
    """Returns the outcome of a job whose shards are all written."""
    accounting = KeyAccounting(
        found=found,
        written=written,
        not_written=dict(sorted(Counter(r.reason for r in rejects).items())),
        dropped_captions=dropped_captions,
    )
    failures = [*_imbalances(accounting), *_exceeded_limits(accounting, config)]
    return Outcome(accounting, tuple(failures), _some_of_each(rejects))


def rejected_plan(config: JobConfig, plan: JobPlan) -> Outcome | None:
    """Returns why a plan need not be carried out, or None.

    Files that do not pair are known before any image is read; a wrong folder of
    captions should not cost a day.
    """
    accounting = KeyAccounting(found=plan.found, written=0, not_written=plan.rejects)
    failures = tuple(_exceeded_limits(accounting, config))
    if not failures:
        return None
    workspace = Workspace(config.output)
    rejects = sorted(read_all_rejects(workspace))
    workspace.publish(workspace.too_many_rejects, reject_lines(rejects))
    return Outcome(accounting, failures, _some_of_each(rejects))


def _imbalances(accounting: KeyAccounting) -> Iterator[str]:
    if not accounting.balanced:
        yield (
            f"the counts do not add up: {accounting.found} keys found, "
            f"{accounting.written} written and "
            f"{sum(accounting.not_written.values())} not: this is a bug in diptych, "
            "please report it"
        )
    if not accounting.written:
        yield "not one example could be written"


def _exceeded_limits(accounting: KeyAccounting, config: JobConfig) -> Iterator[str]:
    lines: Counter[str] = Counter()
    for reason, count in accounting.not_written.items():
        lines[category_of(reason)] += count
    for line, limit, flag in (
        ("rejected", config.max_rejects, "max_rejects"),
        ("unpaired", config.max_unpaired, "max_unpaired"),
    ):
        if lines[line] > allowed(limit, accounting.found):
            yield (
                f"{lines[line]} of {accounting.found} keys are {line}, more than "
                f"--{flag}={limit}: raise the limit and run the command again "
                "(finished shards are kept), or mend the source and pass --overwrite"
            )


def _some_of_each(rejects: Iterable[Reject], num: int = 3) -> dict[str, list[str]]:
    some: dict[str, list[str]] = {}
    for reject in rejects:
        examples = some.setdefault(reject.reason, [])
        if len(examples) < num:
            sources = ", ".join(display_path(path) for path in reject.source)
            examples.append(_printable(f"{sources}: {reject.detail}"))
    return some


def _printable(text: str) -> str:
    """Escapes what could move a terminal's cursor: file names are anybody's."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def reject_lines(rejects: Iterable[Reject]) -> bytes:
    """Returns `rejects.jsonl` of rejects."""
    return dump_rejects(rejected_key(*reject) for reject in rejects)


def dump_outcome(outcome: Outcome) -> bytes:
    """Returns the bytes of `_build/outcome.json`."""
    return dump_json(
        outcome._asdict() | {"accounting": dataclasses.asdict(outcome.accounting)}
    )


def parse_outcome(data: bytes) -> Outcome:
    """Returns the outcome that `_build/outcome.json` holds."""
    fields = json.loads(data)
    return Outcome(
        KeyAccounting(**fields["accounting"]),
        tuple(fields["failures"]),
        fields["examples"],
    )

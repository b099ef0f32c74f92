"""The outcome of a job: its accounting, and whether the dataset may be published."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from beam_jobs.config.common_config import CommonConfig
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
    """The outcome of a job.

    Attributes:
        accounting: Number of keys found, written and not written.
        failures: Reasons why the dataset was not published. Empty if it was published.
        examples: Descriptions of a few rejects, as `{reason: descriptions}`.
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
    """Returns the outcome of a job after all shards are written.

    Args:
        config: Configuration of the job, with the limits on rejects.
        found: Number of keys found in the sources.
        written: Number of examples written.
        rejects: All rejects of the job.
        dropped_captions: Number of captions, unusable or too short, dropped from
            written examples.
    """
    accounting = KeyAccounting(
        found=found,
        written=written,
        not_written=dict(sorted(Counter(r.reason for r in rejects).items())),
        dropped_captions=dropped_captions,
    )
    failures = [*_imbalances(accounting), *exceeded_limits(accounting, config)]
    return Outcome(accounting, tuple(failures), some_of_each(rejects))


def rejected_plan(config: JobConfig, plan: JobPlan) -> Outcome | None:
    """Returns a failed outcome if a plan already exceeds the limits, or else None.

    Unpaired files are known before any image is read. This check makes a wrong
    `--captions` folder fail early, not after a day.
    """
    accounting = KeyAccounting(found=plan.found, written=0, not_written=plan.rejects)
    failures = tuple(exceeded_limits(accounting, config))
    if not failures:
        return None
    workspace = Workspace(config.output)
    rejects = sorted(read_all_rejects(workspace))
    workspace.publish(workspace.too_many_rejects, reject_lines(rejects))
    return Outcome(accounting, failures, some_of_each(rejects))


def _imbalances(accounting: KeyAccounting) -> Iterator[str]:
    if not accounting.balanced:
        yield (
            f"the counts do not add up: {accounting.found} keys found, "
            f"{accounting.written} written and "
            f"{sum(accounting.not_written.values())} not written: this is a bug in "
            "diptych, please report it"
        )
    if not accounting.written:
        yield "no example could be written"


_WITH_SHARDS = (
    "raise the limit and run the command again (finished shards are kept), or fix the "
    "source and pass --overwrite"
)


def exceeded_limits(
    accounting: KeyAccounting, config: CommonConfig, what_to_do: str = _WITH_SHARDS
) -> Iterator[str]:
    """Yields a message for each limit on keys that are not written.

    Args:
        accounting: Counts of all keys.
        config: Configuration with the limits.
        what_to_do: End of each message.
    """
    counts: Counter[str] = Counter()
    for reason, count in accounting.not_written.items():
        counts[category_of(reason)] += count
    for category, limit, flag in (
        ("rejected", config.max_rejects, "max_rejects"),
        ("unpaired", config.max_unpaired, "max_unpaired"),
    ):
        if counts[category] > allowed(limit, accounting.found):
            yield (
                f"{counts[category]} of {accounting.found} keys are {category}, more "
                f"than --{flag}={limit}: {what_to_do}"
            )


def some_of_each(rejects: Iterable[Reject], num: int = 3) -> dict[str, list[str]]:
    """Returns descriptions of a few rejects, as `{reason: descriptions}`."""
    some: dict[str, list[str]] = {}
    for reject in rejects:
        examples = some.setdefault(reject.reason, [])
        if len(examples) < num:
            sources = ", ".join(display_path(path) for path in reject.source)
            examples.append(_printable(f"{sources}: {reject.detail}"))
    return some


def _printable(text: str) -> str:
    """Escapes control characters, because file names are untrusted."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def reject_lines(rejects: Iterable[Reject]) -> bytes:
    """Serializes rejects to the bytes of `rejects.jsonl`."""
    return dump_rejects(rejected_key(*reject) for reject in rejects)


def dump_outcome(outcome: Outcome) -> bytes:
    """Serializes an outcome to the bytes of `_build/outcome.json`."""
    return dump_json(
        outcome._asdict() | {"accounting": dataclasses.asdict(outcome.accounting)}
    )


def parse_outcome(data: bytes) -> Outcome:
    """Parses the bytes of `_build/outcome.json`."""
    fields = json.loads(data)
    return Outcome(
        KeyAccounting(**fields["accounting"]),
        tuple(fields["failures"]),
        fields["examples"],
    )

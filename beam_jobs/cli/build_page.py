"""Formats the output of `diptych build`: plan, repair and outcome."""

from collections.abc import Iterator

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import EXCLUDED
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.writing.outcome import Outcome
from reader.console.formatting import accounting_table, size_text


def plan_page(plan: JobPlan) -> str:
    """Returns the text that `--plan_only` prints."""
    return "\n".join(_plan_lines(plan))


def _plan_lines(plan: JobPlan) -> Iterator[str]:
    yield f"{plan.found:,} keys found, {plan.num_pairs:,} with an image and a caption"
    for reason, count in plan.rejects.items():
        yield f"  {count:,} {reason}"
    yield from _ignored_lines(plan)
    yield f"{'split':<16}{'pairs':>12}{'shards':>8}{'~size':>12}"
    for split in plan.splits:
        size = size_text(split.num_pairs * plan.record_bytes)
        yield f"{split.name:<16}{split.num_pairs:>12,}{split.num_shards:>8,}{size:>12}"


def _ignored_lines(plan: JobPlan) -> Iterator[str]:
    if plan.ignored:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in plan.ignored.items())
        yield f"ignored files, neither image nor caption: {kinds}"
    for loop in plan.loops:
        yield f"link not followed, it points to a parent folder: {loop}"


def key_warnings(config: JobConfig, plan: JobPlan) -> list[str]:
    """Returns a warning if keys of `--exclude_keys` are in no source."""
    num_keys = len(config.read_excluded())
    num_unknown = num_keys - plan.rejects.get(EXCLUDED[0], 0)
    if not num_unknown:
        return []
    return [
        f"{num_unknown:,} of {num_keys:,} keys in --exclude_keys="
        f"{config.exclude_keys} are in no source: `diptych find` shows how a key is "
        "written, such as park/0042, without the file's suffix"
    ]


def repair_page(plan: JobPlan, repaired: tuple[str, ...]) -> str:
    """Returns the text that `--repair` prints for a complete dataset."""
    checked = f"all {plan.num_shards:,} shards checked, byte for byte"
    if not repaired:
        return f"{checked}: no damage found"
    lines = [f"{checked}: {len(repaired):,} damaged and repaired"]
    return "\n".join([*lines, *(f"  {name}" for name in repaired)])


def outcome_page(plan: JobPlan, outcome: Outcome) -> str:
    """Returns the counts of keys, with examples of rejects for each reason."""
    lines = [*accounting_table(outcome.accounting), *_ignored_lines(plan)]
    for reason, examples in outcome.examples.items():
        lines += [f"{reason}: {example}" for example in examples]
    return "\n".join(lines)

"""The counts of a layer, and whether it may be written."""

import itertools
import os
from collections.abc import Iterator
from typing import NamedTuple

from beam_jobs.config.layer_config import LayerConfig
from beam_jobs.elements import Reject
from beam_jobs.layers.base_records import BaseRecords
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.key_order import NUM_KEY_RANGES
from beam_jobs.planning.pair_lists import read_rejects
from beam_jobs.storage.files import publish
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.outcome import exceeded_limits, reject_lines, some_of_each
from reader.contract.additions.layer import LayerAccounting
from reader.contract.manifest import KeyAccounting
from reader.contract.schema import display_path


class LayerOutcome(NamedTuple):
    """What is known of a layer before it is written.

    Attributes:
        accounting: Number of keys and records.
        failures: Reasons why the layer is not written. Empty if it may be.
        examples: Descriptions of a few rejects, as `{reason: descriptions}`.
    """

    accounting: LayerAccounting
    failures: tuple[str, ...]
    examples: dict[str, list[str]]


def planned_outcome(
    workspace: Workspace, config: LayerConfig, plan: JobPlan
) -> LayerOutcome:
    """Returns the outcome of a plan, which is that of the layer if nothing fails."""
    added = config.base.num_examples if config.fill else plan.num_pairs
    accounting = accounting_of(config, plan, added)
    failures = tuple(_failures(workspace, config, plan))
    return LayerOutcome(accounting, failures, _examples(workspace, plan))


def accounting_of(config: LayerConfig, plan: JobPlan, added: int) -> LayerAccounting:
    """Returns the accounting of a layer.

    Args:
        config: Configuration of the layer.
        plan: Plan of the job.
        added: Number of records to which something is added.
    """
    return LayerAccounting(
        found=plan.found,
        written=plan.num_pairs,
        not_written=plan.rejects,
        filled=added - plan.num_pairs if config.fill else 0,
        records_without=config.base.num_examples - added,
    )


def _failures(
    workspace: Workspace, config: LayerConfig, plan: JobPlan
) -> Iterator[str]:
    if not plan.num_pairs:
        yield _nothing_matches(workspace, config, plan)
        return
    # Nothing is written yet, so other tables need no --overwrite.
    again = "raise the limit or fix the tables, and run the command again"
    yield from exceeded_limits(key_accounting(plan), config, again)
    lacking = config.base.num_examples - plan.num_pairs
    if config.replaced and not config.fill and lacking:
        yield (
            f"{lacking:,} of {config.base.num_examples:,} records have no captions in "
            "the tables, but a layer that replaces captions needs some for each: pass "
            "--fill=base to copy those of the dataset, or leave out --replaces"
        )


def key_accounting(plan: JobPlan) -> KeyAccounting:
    """Returns the accounting of the keys of a plan."""
    return KeyAccounting(
        found=plan.found, written=plan.num_pairs, not_written=plan.rejects
    )


def _nothing_matches(workspace: Workspace, config: LayerConfig, plan: JobPlan) -> str:
    if not plan.found:
        return f"no rows in {' and '.join(config.paths('table'))}"
    message = f"nothing of {plan.found:,} keys can be stored"
    unknown = (r for r in reject_lists(workspace) if r.reason == "unknown_key")
    if (reject := next(unknown, None)) is None:
        return message
    base = BaseRecords(config.dataset, config.base)
    key = display_path(reject.key)
    advice = "pass another --key_column"
    if os.path.splitext(key)[1]:
        advice = f"remove suffixes such as .jpg from the column, or {advice}"
    return (
        f'{message}: a key of the dataset is "{display_path(base.some_key())}", and a '
        f'key of the tables is "{key}": {advice}'
    )


def _examples(workspace: Workspace, plan: JobPlan) -> dict[str, list[str]]:
    """Returns a few rejects of each reason, without reading all lists if it can."""
    shown: list[Reject] = []
    wanted = {reason: min(3, count) for reason, count in plan.rejects.items()}
    for reject in reject_lists(workspace) if wanted else ():
        if wanted.get(reject.reason, 0):
            wanted[reject.reason] -= 1
            # The table alone does not tell which of its rows is meant.
            shown.append(reject._replace(source=(*reject.source, reject.key)))
        if not any(wanted.values()):
            break
    return dict(sorted(some_of_each(shown).items()))


def reject_lists(workspace: Workspace) -> Iterator[Reject]:
    """Yields the rejects of all key ranges, in order."""
    ranges = (read_rejects(workspace, number) for number in range(NUM_KEY_RANGES))
    yield from itertools.chain.from_iterable(ranges)


def _reject_parts(workspace: Workspace) -> Iterator[bytes]:
    """Yields the bytes of `rejects.jsonl`, by key range: there may be very many."""
    for number in range(NUM_KEY_RANGES):
        yield reject_lines(read_rejects(workspace, number))


def layer_reject_lines(workspace: Workspace) -> bytes:
    """Returns the bytes of a layer's `rejects.jsonl`."""
    return b"".join(_reject_parts(workspace))


def publish_rejects(workspace: Workspace, path: str) -> None:
    """Writes all rejects to a file, in the format of `rejects.jsonl`."""
    with publish(path, workspace.tmp) as file:
        for part in _reject_parts(workspace):
            file.write(part)

"""Compares the plan of finished shards with the current plan."""

from collections.abc import Callable, Iterator, Mapping

from beam_jobs.elements import Pair
from beam_jobs.job.touched_sources import untimed
from beam_jobs.planning.job_plan import JobPlan, parse_plan
from beam_jobs.planning.key_order import NUM_KEY_RANGES
from beam_jobs.planning.pair_lists import list_bytes, parse_pairs
from beam_jobs.storage.files import read_if_exists
from beam_jobs.workspace.commits import (
    Commit,
    committed_names,
    read_commit,
    read_commits,
)
from beam_jobs.workspace.workspace import Workspace
from reader.contract.errors import BuildError
from reader.contract.schema import display_path

_SHOWN = 3


def keep_plan_of_commits(workspace: Workspace) -> None:
    """Moves the plan of finished shards aside, and removes any other plan."""
    names = committed_names(workspace)
    commit = read_commit(workspace, names[0]) if names else None
    data = read_if_exists(workspace.plan)
    if commit and data and parse_plan(data).fingerprint == commit.plan:
        workspace.put_plan_aside()
    else:
        workspace.clear_plan()


# Adopts finished shards of an earlier plan, or returns False: `adopt_shards`.
Adopt = Callable[[Workspace, JobPlan, Mapping[str, Commit]], bool]


def check_commits(
    workspace: Workspace, plan: JobPlan, adopt: Adopt | None = None
) -> None:
    """Checks that all finished shards were written for this plan.

    Args:
        workspace: Workspace of the job.
        plan: Current plan.
        adopt: Function that adopts shards whose sources have only other modification
            times. None if plans have no times.

    Raises:
        BuildError: Sources or libraries have changed since an earlier attempt wrote
            shards.
    """
    names = committed_names(workspace)
    commits = zip(names, read_commits(workspace, names), strict=True)
    stale = {
        name: commit
        for name, commit in commits
        if commit is not None and commit.plan != plan.fingerprint
    }
    if stale and not (adopt and adopt(workspace, plan, stale)):
        changes = "; ".join(_differences(workspace, plan)) or "the sources have changed"
        raise BuildError(
            f"{workspace.output} holds {len(stale)} shards that an earlier attempt "
            f"wrote, and since then {changes}: choose another --output or pass "
            "--overwrite"
        )


def _differences(workspace: Workspace, plan: JobPlan) -> Iterator[str]:
    before = workspace.before()
    data = read_if_exists(before.plan)
    if data is None:
        return
    old = parse_plan(data)
    for name in sorted({*old.versions, *plan.versions}):
        was, now = (p.versions.get(name, "none") for p in (old, plan))
        if was != now:
            yield f"{name} has changed from {was} to {now}"
    yield from _differing_keys(before, workspace)


def _differing_keys(before: Workspace, now: Workspace) -> Iterator[str]:
    added: list[bytes] = []
    removed: list[bytes] = []
    changed: list[bytes] = []
    touched: list[bytes] = []
    for key_range in range(NUM_KEY_RANGES):
        data = [list_bytes(w.pairs(key_range)) for w in (before, now)]
        if data[0] != data[1]:
            old, new = (_by_key(parse_pairs(some)) for some in data)
            added += sorted(new.keys() - old.keys())
            removed += sorted(old.keys() - new.keys())
            for key in sorted(k for k in old.keys() & new.keys() if old[k] != new[k]):
                same = untimed(old[key]) == untimed(new[key])
                (touched if same else changed).append(key)
    for keys, change in (
        (added, "added"),
        (removed, "removed"),
        (changed, "changed"),
        # Of these, some shard's contents have changed, or nothing was compared.
        (touched, "changed or touched"),
    ):
        if keys:
            shown = ", ".join(map(display_path, keys[:_SHOWN]))
            more = ", …" if len(keys) > _SHOWN else ""
            pairs = "1 pair was" if len(keys) == 1 else f"{len(keys)} pairs were"
            yield f"{pairs} {change} ({shown}{more})"


def _by_key(pairs: Iterator[Pair]) -> dict[bytes, Pair]:
    return {pair.key: pair for pair in pairs}

"""Adopts finished shards whose sources have other modification times only.

Restoring a backup, copying to another disk or checking a repository out again gives a
file a new modification time. The contents decide whether the file has changed.
"""

import dataclasses
import hashlib
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import BadInput, Pair, ShardPlan
from beam_jobs.planning.job_plan import JobPlan, parse_plan
from beam_jobs.planning.key_order import NUM_KEY_RANGES
from beam_jobs.planning.pair_lists import list_bytes, pairs_of_shard, parse_pairs
from beam_jobs.sources.source_files import SourceFiles
from beam_jobs.storage.files import delete_file, read_file, read_if_exists
from beam_jobs.storage.parallel import map_in_order
from beam_jobs.workspace.commits import Commit, write_commit
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.shard_files import input_hash

# Files read ahead of the sum of their hashes.
_AHEAD = 64


def adopt_shards(
    workspace: Workspace,
    plan: JobPlan,
    commits: Mapping[str, Commit],
    config: JobConfig,
) -> bool:
    """Adopts the finished shards of an earlier plan for the current plan.

    A shard whose contents cannot be compared, because a key without a record was
    touched, is written again.

    Args:
        workspace: Workspace of the job.
        plan: Current plan.
        commits: Commit records of the earlier plan, by label of the shard.
        config: Configuration of the job.

    Returns:
        Whether all shards were adopted or will be written again. False if anything but
        modification times has changed.
    """
    if not _only_touched(workspace, plan):
        return False
    shards = [shard for shard in plan.shards() if shard.label in commits]
    comparison = _Comparison(workspace, plan, config)
    unknown: list[ShardPlan] = []
    with ThreadPoolExecutor(config.num_threads) as threads:
        for shard in tqdm(shards, "comparing", disable=not sys.stderr.isatty()):
            same = comparison.same(shard, commits[shard.label], threads)
            if same is None:
                unknown.append(shard)
            elif not same:
                return False
    for shard in shards:
        if shard in unknown:
            delete_file(workspace.commit(shard.label))
        else:
            adopted = dataclasses.replace(commits[shard.label], plan=shard.plan)
            write_commit(workspace, shard.label, adopted)
    return True


def _only_touched(workspace: Workspace, plan: JobPlan) -> bool:
    """Returns whether the earlier plan differs in modification times only."""
    before = workspace.before()
    data = read_if_exists(before.plan)
    if data is None:
        return False
    old = parse_plan(data)
    for name in ("splits", "versions", "key_ranges"):
        if getattr(old, name) != getattr(plan, name):
            return False
    if old.tokenizer.sha256 != plan.tokenizer.sha256:
        return False
    for key_range in range(NUM_KEY_RANGES):
        was, now = (list_bytes(w.pairs(key_range)) for w in (before, workspace))
        if was != now:
            old_pairs, pairs = (map(untimed, parse_pairs(data)) for data in (was, now))
            if [*old_pairs] != [*pairs]:
                return False
    return True


def untimed(pair: Pair) -> Pair:
    """Returns a pair without the modification times of its files."""
    return pair._replace(
        image=pair.image._replace(version=0),
        caption=pair.caption._replace(version=0),
        more=tuple(file._replace(version=0) for file in pair.more),
    )


class _Comparison:
    """Compares the sources of finished shards with what the shards were made from."""

    def __init__(self, workspace: Workspace, plan: JobPlan, config: JobConfig) -> None:
        self._workspace, self._plan, self._config = workspace, plan, config
        self._files = SourceFiles(config)
        self._before = workspace.before()
        self._plan_before = parse_plan(read_file(self._before.plan)).fingerprint

    def same(
        self, shard: ShardPlan, commit: Commit, threads: ThreadPoolExecutor
    ) -> bool | None:
        """Returns whether the sources are the same; None if that cannot be known."""
        pairs = self._pairs(self._workspace, shard)
        # The earlier plan is another one if a comparison was interrupted.
        known = commit.plan == self._plan_before
        was = self._pairs(self._before, shard) if known else {}
        touched = {key for key, pair in pairs.items() if pair != was.get(key)}
        rejected = {reject.key for reject in commit.rejects}
        if rejected & touched:
            return None
        if not touched:
            return True
        if self._config.dataset is not None:
            # The hashes of a commit record are those of the original files.
            return None
        written = [pair for key, pair in pairs.items() if key not in rejected]
        hashes = map_in_order(self._hash, written, threads, _AHEAD)
        return sum(hashes) % 2**256 == commit.input

    def _pairs(self, workspace: Workspace, shard: ShardPlan) -> dict[bytes, Pair]:
        pairs = pairs_of_shard(workspace, shard.name, self._plan, self._config)
        return {pair.key: pair for pair in pairs}

    def _hash(self, pair: Pair) -> int:
        try:
            captions = self._files.captions(pair).sha256
        except BadInput:
            return 0  # The pair had captions, so its file has changed.
        image = hashlib.sha256(self._files.image(pair)).hexdigest()
        return input_hash(pair.key, image + captions, self._files.values(pair))

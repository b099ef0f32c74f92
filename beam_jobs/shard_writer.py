"""ShardWriter: a shard's name → its files and its commit record.

It holds what a worker process sets up once: threads, tokenizer, bound on memory.
"""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from beam_jobs.commits import Commit, write_commit
from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Pair, Reject, ShardPlan
from beam_jobs.examples import Budget, Example, make_example
from beam_jobs.failures import noted
from beam_jobs.job_plan import JobPlan
from beam_jobs.lease import check_lease
from beam_jobs.pair_lists import pairs_of_shard
from beam_jobs.progress import ShardProgress
from beam_jobs.shard_files import publish_shard
from beam_jobs.sources.files import SourceFiles
from beam_jobs.storage.files import read_file
from beam_jobs.storage.parallel import map_in_order
from beam_jobs.workspace import Workspace
from reader.contract.tokenizers.registry import load_tokenizer

# Pairs each thread may be ahead of the one to be written next: enough that one large
# photograph does not make the others wait.
_AHEAD_PER_THREAD = 8
_TOGETHER = 4


class ShardWriter:
    """Writes one shard after the other."""

    def __init__(
        self, config: JobConfig, plan: JobPlan, lease: str, workspace: Workspace
    ) -> None:
        """Takes the configuration, the plan, the job's lease, and where to write."""
        self.workspace = workspace
        self._config = config
        self._plan = plan
        self._lease = lease
        self._files = SourceFiles(config)
        self._budget = Budget()
        self._threads = ThreadPoolExecutor(config.num_threads)
        data = read_file(self.workspace.tokenizer)
        self._tokenizer = load_tokenizer(plan.tokenizer, data)

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown(cancel_futures=True)

    def write(
        self, shard: ShardPlan, count: Callable[[Example | Reject], None]
    ) -> Commit:
        """Writes a shard and, last, its commit record.

        Args:
            shard: The shard.
            count: Is shown each example or reject that was made.

        Raises:
            BuildError: Another job has taken over.
            OSError: A file could not be read or written.
        """
        with noted(self.workspace, shard.label):
            check_lease(self.workspace, self._lease)
            return self._write(shard, count)

    def _write(
        self, shard: ShardPlan, count: Callable[[Example | Reject], None]
    ) -> Commit:
        pairs = pairs_of_shard(self.workspace, shard.name, self._plan, self._config)
        ahead = _AHEAD_PER_THREAD * self._config.num_threads
        made = map_in_order(self._make, pairs, self._threads, ahead, _TOGETHER)
        progress = ShardProgress(self.workspace, shard.label)

        def counted() -> Iterator[Example | Reject]:
            for one in progress.watch(made):
                count(one)
                yield one
            # Before anything is published: a job that came after may have other plans.
            check_lease(self.workspace, self._lease)

        with contextlib.closing(made), progress:
            commit = publish_shard(
                self.workspace, shard, counted(), self._config.columns
            )
            check_lease(self.workspace, self._lease)
            write_commit(self.workspace, shard.label, commit)
        return commit

    def _make(self, pair: Pair) -> Example | Reject:
        return make_example(
            pair,
            self._files,
            self._config,
            self._tokenizer,
            self._plan.tokenizer.unknown_id,
            self._budget,
        )

"""WriteShards: a shard's name → the shard, its index, its samples, its commit record.

One element is one shard, and images never leave the DoFn that reads them: what crosses
a shuffle is names. A shard is published by renaming, and its commit record after it, so
that a job cut off anywhere goes on with the first shard that has no commit record.
"""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_jobs.commits import Commit, finished, write_commit
from beam_jobs.elements import Pair, Reject, ShardPlan
from beam_jobs.examples import Budget, Example, make_example
from beam_jobs.failures import noted
from beam_jobs.options import JobConfig
from beam_jobs.pair_lists import pairs_of_shard
from beam_jobs.pool import map_in_order
from beam_jobs.progress import ShardProgress
from beam_jobs.shard_files import publish_shard
from beam_jobs.sources.files import SourceFiles
from beam_jobs.workspace import Workspace
from reader.contract.manifest import TokenizerSpec
from reader.contract.tokenizers.loading import load_tokenizer

# Pairs each thread may be ahead of the one to be written next: enough that one large
# photograph does not make the others wait.
_AHEAD_PER_THREAD = 8


class WriteShards(beam.PTransform):
    """Writes shards: `ShardPlan` → the number of examples in the shard."""

    def __init__(self, config: JobConfig, tokenizer: TokenizerSpec) -> None:
        """Takes the job's configuration, and the tokenizer that was planned."""
        super().__init__()
        self._config = config
        self._tokenizer = tokenizer

    def expand(self, shards: beam.PCollection[ShardPlan]) -> beam.PCollection[int]:
        """Writes those that no earlier attempt has finished."""
        return shards | "Write" >> beam.ParDo(
            _WriteShardFn(self._config, self._tokenizer)
        )


class _WriteShardFn(beam.DoFn):
    def __init__(self, config: JobConfig, tokenizer: TokenizerSpec) -> None:
        self._config = config
        self._spec = tokenizer
        self._written = Metrics.counter("examples", "written")
        self._skipped = Metrics.counter("shards", "already_finished")
        self._image_bytes = Metrics.distribution("examples", "image_bytes")

    def setup(self) -> None:
        self._workspace = Workspace(self._config.output)
        self._files = SourceFiles(self._config)
        self._budget = Budget()
        self._threads = ThreadPoolExecutor(self._config.num_threads)
        data = self._workspace.read_if_exists(self._workspace.tokenizer)
        self._tokenizer = load_tokenizer(self._spec, data or b"")

    def teardown(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def process(self, shard: ShardPlan) -> Iterator[int]:
        commit = finished(self._workspace, shard)
        if commit is not None:
            self._skipped.inc()
        else:
            with noted(self._workspace, shard.label):
                commit = self._write(shard)
        yield commit.shard.num_examples

    def _write(self, shard: ShardPlan) -> Commit:
        pairs = pairs_of_shard(self._workspace, shard.name, self._config)
        ahead = _AHEAD_PER_THREAD * self._config.num_threads
        made = map_in_order(self._make, pairs, self._threads, ahead)
        progress = ShardProgress(self._workspace, shard.label)
        with contextlib.closing(made), progress:
            counted = map(self._count, progress.watch(made))
            commit = publish_shard(
                self._workspace, shard, counted, self._config.columns
            )
            write_commit(self._workspace, shard.label, commit)
        return commit

    def _make(self, pair: Pair) -> Example | Reject:
        return make_example(
            pair,
            self._files,
            self._config,
            self._tokenizer,
            self._spec.unknown_id,
            self._budget,
        )

    def _count(self, made: Example | Reject) -> Example | Reject:
        if isinstance(made, Reject):
            Metrics.counter("rejects", made.reason).inc()
        else:
            self._written.inc()
            self._image_bytes.update(made.num_image_bytes)
        return made

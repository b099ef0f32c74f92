"""Writes a shard of a dataset, encoding its examples in a pool of threads.

A writer is created once per worker process. It holds the threads, the tokenizer and
the limit on memory.
"""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Pair, Reject, ShardPlan
from beam_jobs.encoding.codecs import configure_thread
from beam_jobs.encoding.example import Budget, Example, make_example
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.pair_lists import pairs_of_shard
from beam_jobs.sources.source_files import SourceFiles
from beam_jobs.storage.files import read_file
from beam_jobs.storage.parallel import map_in_order
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.samples_table import dump_samples, sample_row
from beam_jobs.writing.shard_files import Account, Writer
from reader.contract import samples
from reader.contract.samples import columns_of
from reader.contract.statistics import Statistics, statistics_of
from reader.contract.tokenizers.registry import load_tokenizer

# Number of pairs that each thread may be ahead of the next pair to write. It is large
# enough that one large photograph does not block the other threads.
_AHEAD_PER_THREAD = 8
# Number of pairs in one thread's task.
_TOGETHER = 4


class ShardWriter(Writer[Example]):
    """Writes shards, one at a time, encoding examples in a pool of threads."""

    def __init__(
        self, config: JobConfig, plan: JobPlan, lease: str, workspace: Workspace
    ) -> None:
        """Starts the threads and loads the tokenizer.

        Args:
            config: Configuration of the job.
            plan: Plan of the job.
            lease: Token of the output's lease, held by the running job.
            workspace: Workspace that shards are written to.
        """
        super().__init__(workspace, lease)
        self._config = config
        self._plan = plan
        self._files = SourceFiles(config)
        self._budget = Budget()
        self._threads = ThreadPoolExecutor(
            config.num_threads, initializer=configure_thread
        )
        data = read_file(self.workspace.tokenizer)
        self._tokenizer = load_tokenizer(plan.tokenizer, data)

    def close(self) -> None:
        """Shuts down the threads."""
        self._threads.shutdown(cancel_futures=True)

    @contextlib.contextmanager
    def making(self, shard: ShardPlan) -> Iterator[Iterator[Example | Reject]]:
        """Encodes the examples of a shard while the block runs."""
        pairs = pairs_of_shard(self.workspace, shard.name, self._plan, self._config)
        ahead = _AHEAD_PER_THREAD * self._config.num_threads
        made = map_in_order(self._make, pairs, self._threads, ahead, _TOGETHER)
        with contextlib.closing(made):
            yield made

    def account(self) -> "_Account":
        """Returns an empty account of a shard."""
        return _Account(self._config)

    def _make(self, pair: Pair) -> Example | Reject:
        return make_example(
            pair,
            self._files,
            self._config,
            self._tokenizer,
            self._plan.tokenizer.unknown_id,
            self._budget,
        )


class _Account(Account[Example]):
    """Rows and statistics of a shard, collected while it is written."""

    def __init__(self, config: JobConfig) -> None:
        super().__init__()
        self._columns = config.columns
        self._features = config.features
        self._image_bytes: list[int] = []
        self._num_unknown = 0

    def add(self, example: Example, offset: int, length: int) -> None:
        """Adds a record with its byte offset and its length in bytes."""
        self.rows.append(sample_row(example, offset, length, self._columns))
        self._image_bytes.append(example.num_image_bytes)
        self._num_unknown += example.num_unknown
        self.dropped_captions += example.captions.dropped
        self.add_input(
            example.pair.key,
            example.image.sha256 + example.captions.sha256,
            example.pair.values,
        )

    def samples(self) -> bytes:
        """Returns the bytes of the samples table."""
        return dump_samples(self.rows, columns_of(self._features))

    def statistics(self) -> Statistics:
        """Returns the statistics of the records."""
        return statistics_of(
            widths=[row[samples.WIDTH] for row in self.rows],
            heights=[row[samples.HEIGHT] for row in self.rows],
            image_bytes=self._image_bytes,
            num_tokens=[row[samples.NUM_TOKENS] for row in self.rows],
            num_unknown=self._num_unknown,
        )

"""WriteShards: a shard's name → the shard, its index, its samples, its commit record.

One element is one shard, and images never leave the DoFn that reads them: what crosses
a shuffle is names. A shard is published by renaming, and its commit record after it, so
that a job cut off anywhere goes on with the first shard that has no commit record.
"""

from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Reject, ShardPlan
from beam_jobs.encoding.codecs import configure_codecs
from beam_jobs.encoding.example import Example
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.workspace.commits import finished
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.shard_writer import ShardWriter


class WriteShards(beam.PTransform):
    """Writes shards: `ShardPlan` → the number of examples in the shard."""

    def __init__(self, config: JobConfig, plan: JobPlan, lease: str) -> None:
        """Takes the configuration, the plan, and the lease of the job at work."""
        super().__init__()
        self._fn = _WriteShardFn(config, plan, lease)

    def expand(self, shards: beam.PCollection[ShardPlan]) -> beam.PCollection[int]:
        """Writes those that no earlier attempt has finished."""
        return shards | "Write" >> beam.ParDo(self._fn)


class ShardFn(beam.DoFn):
    """A DoFn that writes shards, and counts what it does for the engine's own pages."""

    def __init__(self, config: JobConfig, plan: JobPlan, lease: str) -> None:
        """Takes the configuration, the plan, and the lease of the job at work."""
        self._config = config
        self._plan = plan
        self._lease = lease
        self._written = Metrics.counter("examples", "written")
        self._image_bytes = Metrics.distribution("examples", "image_bytes")

    def setup(self) -> None:
        """Starts threads and loads the tokenizer, once in each worker."""
        configure_codecs()
        self._writer = ShardWriter(
            self._config, self._plan, self._lease, self.workspace()
        )

    def workspace(self) -> Workspace:
        """Returns where shards are written."""
        return Workspace(self._config.output)

    def teardown(self) -> None:
        """Ends the threads."""
        self._writer.close()

    def count(self, made: Example | Reject) -> None:
        """Counts an example or a reject."""
        if isinstance(made, Reject):
            Metrics.counter("rejects", made.reason).inc()
        else:
            self._written.inc()
            self._image_bytes.update(made.num_image_bytes)


class _WriteShardFn(ShardFn):
    def __init__(self, config: JobConfig, plan: JobPlan, lease: str) -> None:
        super().__init__(config, plan, lease)
        self._skipped = Metrics.counter("shards", "already_finished")

    def process(self, shard: ShardPlan) -> Iterator[int]:
        workspace = self._writer.workspace
        with noted(workspace, shard.label):
            commit = finished(workspace, shard, check_bytes=self._config.repair)
        if commit is not None:
            self._skipped.inc()
        else:
            commit = self._writer.write(shard, self.count)
        yield commit.shard.num_examples

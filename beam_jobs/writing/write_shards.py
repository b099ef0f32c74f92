"""WriteShards: plan of a shard → shard, text index, samples table and commit record.

One element of the pipeline is one shard. Images never leave the DoFn that reads them,
so only names cross a shuffle. A shard is published with an atomic rename, and then its
commit record is written. An interrupted job resumes with the shards that have no commit
record.
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
    """Writes shards: `ShardPlan` → number of examples in the shard."""

    def __init__(self, config: JobConfig, plan: JobPlan, lease: str) -> None:
        """Initializes the transform.

        Args:
            config: Configuration of the job.
            plan: Plan of the job.
            lease: Token of the output's lease, held by the running job.
        """
        super().__init__()
        self._fn = _WriteShardFn(config, plan, lease)

    def expand(self, shards: beam.PCollection[ShardPlan]) -> beam.PCollection[int]:
        """Writes the shards that no earlier attempt has finished."""
        return shards | "Write" >> beam.ParDo(self._fn)


class ShardFn(beam.DoFn):
    """Base class of DoFns that write shards, with metrics for the engine."""

    def __init__(self, config: JobConfig, plan: JobPlan, lease: str) -> None:
        """Initializes the DoFn.

        Args:
            config: Configuration of the job.
            plan: Plan of the job.
            lease: Token of the output's lease, held by the running job.
        """
        self._config = config
        self._plan = plan
        self._lease = lease
        self._written = Metrics.counter("examples", "written")
        self._image_bytes = Metrics.distribution("examples", "image_bytes")

    def setup(self) -> None:
        """Creates the shard writer, once per worker."""
        configure_codecs()
        self._writer = ShardWriter(
            self._config, self._plan, self._lease, self.workspace()
        )

    def workspace(self) -> Workspace:
        """Returns the workspace that shards are written to."""
        return Workspace(self._config.output)

    def teardown(self) -> None:
        """Shuts down the threads of the shard writer."""
        self._writer.close()

    def count(self, made: Example | Reject) -> None:
        """Updates the metrics with an example or a reject."""
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

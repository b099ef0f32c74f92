"""WriteShards: plan of a shard → shard, text index, samples table and commit record.

One element of the pipeline is one shard. Images never leave the DoFn that reads them,
so only names cross a shuffle. A shard is published with an atomic rename, and then its
commit record is written. An interrupted job resumes with the shards that have no commit
record.
"""

from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_jobs.config.common_config import CommonConfig
from beam_jobs.elements import Reject, ShardPlan
from beam_jobs.encoding.codecs import configure_codecs
from beam_jobs.encoding.example import Example
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.workspace.commits import finished
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.shard_files import Writer, Written

# Makes a writer from the configuration, the plan, the lease and the workspace.
MakeWriter = Callable[[Any, JobPlan, str, Workspace], Writer[Any]]


class WriteShards(beam.PTransform):
    """Writes shards: `ShardPlan` → number of examples in the shard."""

    def __init__(
        self, config: CommonConfig, plan: JobPlan, lease: str, writer: MakeWriter
    ) -> None:
        """Initializes the transform.

        Args:
            config: Configuration of the job.
            plan: Plan of the job.
            lease: Token of the output's lease, held by the running job.
            writer: Class of the writer.
        """
        super().__init__()
        self._fn = _WriteShardFn(config, plan, lease, writer)

    def expand(self, shards: beam.PCollection[ShardPlan]) -> beam.PCollection[int]:
        """Writes the shards that no earlier attempt has finished."""
        return shards | "Write" >> beam.ParDo(self._fn)


class ShardFn(beam.DoFn):
    """Base class of DoFns that write shards, with metrics for the engine."""

    def __init__(
        self, config: CommonConfig, plan: JobPlan, lease: str, writer: MakeWriter
    ) -> None:
        """Initializes the DoFn.

        Args:
            config: Configuration of the job.
            plan: Plan of the job.
            lease: Token of the output's lease, held by the running job.
            writer: Class of the writer.
        """
        self._config = config
        self._plan = plan
        self._lease = lease
        self._make_writer = writer
        self._written = Metrics.counter("examples", "written")
        self._image_bytes = Metrics.distribution("examples", "image_bytes")

    def setup(self) -> None:
        """Creates the shard writer, once per worker."""
        configure_codecs()
        self._writer = self._make_writer(
            self._config, self._plan, self._lease, self.workspace()
        )

    def workspace(self) -> Workspace:
        """Returns the workspace that shards are written to."""
        return Workspace(self._config.output)

    def teardown(self) -> None:
        """Shuts down the threads of the shard writer."""
        self._writer.close()

    def count(self, made: Written | Reject) -> None:
        """Updates the metrics with a record or a reject."""
        if isinstance(made, Reject):
            Metrics.counter("rejects", made.reason).inc()
        else:
            self._written.inc()
        if isinstance(made, Example):
            self._image_bytes.update(made.num_image_bytes)


class _WriteShardFn(ShardFn):
    def __init__(
        self, config: CommonConfig, plan: JobPlan, lease: str, writer: MakeWriter
    ) -> None:
        super().__init__(config, plan, lease, writer)
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

"""Engines: what runs a pipeline.

On one machine that is Beam's FnApiRunner, made here. Beam's `DirectRunner` would first
try to download another engine, and run a different one where it cannot.
"""

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.portability.portable_runner import JobServiceHandle
from apache_beam.runners.runner import PipelineResult
from apache_beam.transforms import environments

from beam_jobs.engines import local_worker
from beam_jobs.engines.dataflow import DATAFLOW, dataflow_explained, described
from beam_jobs.engines.options import is_local, runner_of
from beam_jobs.storage.beam_internals import release_late_workers
from reader.contract.errors import BuildError

_Wire = Callable[[beam.Pipeline], object]


def run_pipeline(options: PipelineOptions, wire: _Wire) -> None:
    """Runs the pipeline that `wire` wires, and waits for its end.

    Raises:
        BuildError: The engine is not there, does not take the pipeline, or reports that
            it did not end well.
    """
    with _explained(options):
        result = _submitted(options, wire)
        try:
            state = result.wait_until_finish() or result.state
        except KeyboardInterrupt:
            # It would go on, and cost, where nobody looks.
            result.cancel()
            raise
    if state != "DONE":
        raise BuildError(f"the engine ended in state {state}: see its log")


def dry_run(options: PipelineOptions, wire: _Wire) -> str:
    """Checks a pipeline as Beam does for Dataflow; tells what would be submitted."""
    with _explained(options):
        return described(_submitted(options, wire).job)


def _submitted(options: PipelineOptions, wire: _Wire) -> PipelineResult:
    runner = _local_runner(options) if is_local(options) else None
    pipeline = beam.Pipeline(runner=runner, options=options)
    wire(pipeline)
    return pipeline.run()


@contextlib.contextmanager
def _explained(options: PipelineOptions) -> Iterator[None]:
    """Says in a line what an engine that is elsewhere says in a page."""
    with contextlib.ExitStack() as stack:
        if runner_of(options) == DATAFLOW:
            stack.enter_context(dataflow_explained())
        try:
            yield
        except (grpc.FutureTimeoutError, grpc.RpcError) as error:
            raise BuildError(
                f"the engine does not answer ({type(error).__name__}): is it running, "
                "and is its address right?"
            ) from error


def _local_runner(options: PipelineOptions) -> fn_runner.FnApiRunner:
    """Makes the local engine such that its worker processes see the options too."""
    provision = beam_provision_api_pb2.ProvisionInfo(
        pipeline_options=JobServiceHandle.encode_pipeline_options(
            options.get_all_options()
        )
    )
    release_late_workers()
    many = options.view_as(DirectOptions).direct_num_workers > 1
    return fn_runner.FnApiRunner(
        default_environment=_worker_processes() if many else None,
        provision_info=fn_runner.ExtendedProvisionInfo(provision),
    )


def _worker_processes() -> environments.Environment:
    command = f"exec {shlex.quote(sys.executable)} -m {local_worker.__name__}"
    return environments.SubprocessSDKEnvironment.from_command_string(command)

"""Runs a pipeline on the requested engine.

The local engine is Beam's FnApiRunner. Beam's `DirectRunner` would first try to
download another engine, and fall back to a different one if the download fails.
"""

import contextlib
from collections.abc import Callable, Iterator

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.portability.portable_runner import JobServiceHandle
from apache_beam.runners.runner import PipelineResult

from beam_jobs.engines.beam_workers import (
    close_workers,
    death_behind,
    worker_environment,
)
from beam_jobs.engines.dataflow import DATAFLOW, dataflow_explained, described
from beam_jobs.engines.options import is_local, runner_of
from beam_jobs.engines.request_metrics import add_retries_of
from reader.contract.errors import BuildError

_Wire = Callable[[beam.Pipeline], object]


def run_pipeline(options: PipelineOptions, wire: _Wire) -> None:
    """Builds a pipeline with `wire`, runs it and waits until it finishes.

    Raises:
        BuildError: The engine cannot be reached, rejects the pipeline or reports a
            failure.
    """
    with _explained(options):
        result = _submitted(options, wire)
        try:
            state = result.wait_until_finish() or result.state
        except KeyboardInterrupt:
            # Otherwise a remote job would keep running, and costing money.
            result.cancel()
            raise
    # An engine that cannot report its metrics has done its work all the same.
    with contextlib.suppress(BuildError, NotImplementedError), _explained(options):
        add_retries_of(result)
    if state != "DONE":
        raise BuildError(f"the engine finished in state {state}: see its log")


def dry_run(options: PipelineOptions, wire: _Wire) -> str:
    """Checks a pipeline for Dataflow and returns a summary, without running it."""
    with _explained(options):
        return described(_submitted(options, wire).job)


def _submitted(options: PipelineOptions, wire: _Wire) -> PipelineResult:
    runner = _local_runner(options) if is_local(options) else None
    pipeline = beam.Pipeline(runner=runner, options=options)
    wire(pipeline)
    return pipeline.run()


@contextlib.contextmanager
def _explained(options: PipelineOptions) -> Iterator[None]:
    """Converts long errors of engines to a `BuildError` with a short message."""
    with contextlib.ExitStack() as stack:
        if runner_of(options) == DATAFLOW:
            stack.enter_context(dataflow_explained())
        try:
            yield
        except KeyboardInterrupt:
            close_workers()
            raise
        except (grpc.FutureTimeoutError, grpc.RpcError) as error:
            raise BuildError(
                f"the engine does not answer ({type(error).__name__}): check that it "
                "is running and that its address is correct"
            ) from error
        except RuntimeError as error:
            if (death := death_behind(error)) is None:
                raise
            raise BuildError(
                f"{death}, possibly out of memory: lower --workers or --threads and "
                "run the command again; finished shards are kept"
            ) from error


def _local_runner(options: PipelineOptions) -> fn_runner.FnApiRunner:
    """Makes the local engine and passes the options to its worker processes."""
    provision = beam_provision_api_pb2.ProvisionInfo(
        pipeline_options=JobServiceHandle.encode_pipeline_options(
            options.get_all_options()
        )
    )
    many = options.view_as(DirectOptions).direct_num_workers > 1
    return fn_runner.FnApiRunner(
        default_environment=worker_environment() if many else None,
        provision_info=fn_runner.ExtendedProvisionInfo(provision),
    )

"""Engines: what runs a pipeline, chosen and set up from Beam's own options.

On one machine that is Beam's FnApiRunner, made here. Beam's `DirectRunner` would first
try to download another engine, and run a different one where it cannot.
"""

import logging
from collections.abc import Callable

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability import local_job_service
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.portability.portable_runner import JobServiceHandle
from apache_beam.runners.runner import create_runner

from beam_jobs.options import JobConfig
from reader.contract.errors import BuildError, UsageError

LOCAL_RUNNERS = (None, "DirectRunner", "FnApiRunner")

# Beam's default, 300 s, is a deadline for the whole job: a longer one loses its client.
_JOB_SERVER_TIMEOUT_SECONDS = 30 * 24 * 3600
_BEAM_DEFAULT_TIMEOUT_SECONDS = 300


def engine_options(config: JobConfig, beam_args: list[str]) -> PipelineOptions:
    """Returns Beam's options for the engine that was asked for.

    Raises:
        UsageError: Two flags contradict each other.
    """
    options = PipelineOptions(beam_args)
    if is_local(options):
        _set_up_local(config, options, beam_args)
    else:
        _check_runner(options)
    portable = options.view_as(PortableOptions)
    if portable.job_server_timeout == _BEAM_DEFAULT_TIMEOUT_SECONDS:
        portable.job_server_timeout = _JOB_SERVER_TIMEOUT_SECONDS
    return options


def is_local(options: PipelineOptions) -> bool:
    """Tells whether the pipelines run on this machine, in our own engine."""
    return options.view_as(StandardOptions).runner in LOCAL_RUNNERS


def _check_runner(options: PipelineOptions) -> None:
    name = options.view_as(StandardOptions).runner
    try:
        runner = create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"--runner={name}: {error}") from error
    errors = PipelineOptionsValidator(options, runner).validate()
    if errors:
        raise UsageError(f"--runner={name}: {' '.join(errors)}")


def _set_up_local(
    config: JobConfig, options: PipelineOptions, beam_args: list[str]
) -> None:
    for arg in beam_args:
        if arg.startswith(("--direct_", "--num_workers")):
            raise UsageError(f"{arg}: say --workers=N instead")
    direct = options.view_as(DirectOptions)
    direct.direct_num_workers = config.num_workers
    many = config.num_workers > 1
    direct.direct_running_mode = "multi_processing" if many else "in_memory"
    # Workers print what they log, and the engine prints it again. What stops a worker
    # comes to us as an exception, and to the person as one message.
    logging.getLogger(local_job_service.__name__).setLevel(logging.ERROR)
    for name in ("apache_beam.runners.common", "apache_beam.runners.worker.data_plane"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    options.view_as(WorkerOptions).default_sdk_harness_log_level = "WARNING"


def run_pipeline(
    options: PipelineOptions, build: Callable[[beam.Pipeline], object]
) -> None:
    """Runs the pipeline that `build` wires, and waits for its end.

    Raises:
        BuildError: The engine reports that it did not end well.
    """
    runner = _local_runner(options) if is_local(options) else None
    pipeline = beam.Pipeline(runner=runner, options=options)
    build(pipeline)
    try:
        result = pipeline.run()
        state = result.wait_until_finish() or result.state
    except (grpc.FutureTimeoutError, grpc.RpcError) as error:
        raise BuildError(
            f"the engine does not answer ({type(error).__name__}): is it running, and "
            "is its address right?"
        ) from error
    if state != "DONE":
        raise BuildError(f"the engine ended in state {state}: see its log")


def _local_runner(options: PipelineOptions) -> fn_runner.FnApiRunner:
    """Makes the local engine such that its worker processes see the options too."""
    provision = beam_provision_api_pb2.ProvisionInfo(
        pipeline_options=JobServiceHandle.encode_pipeline_options(
            options.get_all_options()
        )
    )
    return fn_runner.FnApiRunner(
        provision_info=fn_runner.ExtendedProvisionInfo(provision)
    )

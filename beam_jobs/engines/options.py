"""Beam's options for the engine that was asked for, checked before any work."""

import atexit
import logging
import os
import shutil
import tempfile

from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
    TestOptions,
    WorkerOptions,
)
from apache_beam.options.pipeline_options_validator import PipelineOptionsValidator
from apache_beam.runners.portability import local_job_service, stager
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.runner import create_runner

from beam_jobs.config.job_config import JobConfig
from beam_jobs.engines.dataflow import DATAFLOW, check_dataflow, check_paths
from beam_jobs.engines.worker_wheel import NAME, write_worker_wheel
from beam_jobs.storage.beam_internals import use_beam_options
from reader.contract.errors import UsageError

_PRISM = "PrismRunner"
LOCAL_RUNNERS = (None, "DirectRunner", "FnApiRunner")

# Beam's default, 300 s, is a deadline for the whole job: a longer one loses its client.
_JOB_SERVER_TIMEOUT_SECONDS = 30 * 24 * 3600
_BEAM_DEFAULT_TIMEOUT_SECONDS = 300


def engine_options(config: JobConfig, beam_args: list[str]) -> PipelineOptions:
    """Returns Beam's options for the engine that was asked for.

    Raises:
        UsageError: Two flags contradict each other, or one is missing.
    """
    options = PipelineOptions(beam_args)
    if is_local(options):
        _set_up_local(config, options, beam_args)
    else:
        _check_runner(config, options)
        _stage_ourselves(options)
    if is_dry_run(options) and runner_of(options) != DATAFLOW:
        raise UsageError(
            f"--dry_run is {DATAFLOW}'s: --plan_only plans, and writes nothing"
        )
    use_beam_options(options)
    portable = options.view_as(PortableOptions)
    if portable.job_server_timeout == _BEAM_DEFAULT_TIMEOUT_SECONDS:
        portable.job_server_timeout = _JOB_SERVER_TIMEOUT_SECONDS
    return options


def runner_of(options: PipelineOptions) -> str | None:
    """Returns the name of the engine that was asked for."""
    name: str | None = options.view_as(StandardOptions).runner
    return name


def is_local(options: PipelineOptions) -> bool:
    """Tells whether the pipelines run on this machine, in our own engine."""
    return runner_of(options) in LOCAL_RUNNERS


def is_dry_run(options: PipelineOptions) -> bool:
    """Tells whether a job is only to be checked, by Beam's flag."""
    return bool(options.view_as(TestOptions).dry_run)


def _check_runner(config: JobConfig, options: PipelineOptions) -> None:
    name = runner_of(options)
    try:
        runner = create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"--runner={name}: {error}") from error
    if name == DATAFLOW:
        check_dataflow(options)
        check_paths(config)
    if config.plan_only:
        raise UsageError(f"plan_only plans on this machine: leave out --runner={name}")
    errors = PipelineOptionsValidator(options, runner).validate()
    if errors:
        raise UsageError(f"--runner={name}: {' '.join(errors)}")


def _stage_ourselves(options: PipelineOptions) -> None:
    """Sends our own wheel along, unless workers have us already.

    Those of a custom container do, and those that are started beside the engine.
    """
    setup = options.view_as(SetupOptions)
    has_container = options.view_as(WorkerOptions).sdk_container_image
    environment = options.view_as(PortableOptions).environment_type
    if environment is None and runner_of(options) == _PRISM:
        environment = "LOOPBACK"  # As Beam has it.
    given = [*(setup.extra_packages or ()), *filter(None, [setup.setup_file])]
    started_elsewhere = environment not in (None, "DOCKER")
    if has_container or started_elsewhere or any(map(_is_ours, given)):
        return
    # Until the process ends: the engine takes the file when a pipeline is submitted.
    folder = tempfile.mkdtemp(prefix="diptych-wheel-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    wheel = write_worker_wheel(folder)
    setup.extra_packages = [*(setup.extra_packages or ()), wheel]
    # It warns of wheels for other machines; ours is for all.
    logging.getLogger(stager.__name__).setLevel(logging.ERROR)


def _is_ours(package: str) -> bool:
    """Tells whether a package is ours: a wheel or an sdist by name, or a checkout."""
    folder, name = os.path.split(os.path.abspath(package))
    return name.startswith(f"{NAME}-") or os.path.isdir(f"{folder}/beam_jobs")


def _set_up_local(
    config: JobConfig, options: PipelineOptions, beam_args: list[str]
) -> None:
    for arg in beam_args:
        if arg.startswith(("--direct_", "--num_workers")):
            raise UsageError(f"{arg}: say --workers=N instead")
    direct = options.view_as(DirectOptions)
    direct.direct_num_workers = config.num_workers
    # In this process, or in those that `beam_jobs.engines` starts.
    direct.direct_running_mode = "in_memory"
    # Workers print what they log, and the engine prints it again. What stops a worker
    # comes to us as an exception, and to the person as one message.
    for name in (
        "apache_beam.runners.common",
        "apache_beam.runners.worker.data_plane",
        local_job_service.__name__,
        fn_runner.__name__,
    ):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    options.view_as(WorkerOptions).default_sdk_harness_log_level = "WARNING"

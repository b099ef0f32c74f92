"""Makes and checks Beam's options for the requested engine, before any work."""

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

from beam_jobs.config.common_config import CommonConfig
from beam_jobs.engines.dataflow import DATAFLOW, check_dataflow, check_paths
from beam_jobs.engines.worker_wheel import NAME, write_worker_wheel
from beam_jobs.storage.beam_internals import use_beam_options
from reader.contract.errors import UsageError

_PRISM = "PrismRunner"
LOCAL_RUNNERS = (None, "DirectRunner", "FnApiRunner")

# Beam's default, 300 s, is a deadline for the whole job: a longer job loses its client.
_JOB_SERVER_TIMEOUT_SECONDS = 30 * 24 * 3600
_BEAM_DEFAULT_TIMEOUT_SECONDS = 300


def engine_options(config: CommonConfig, beam_args: list[str]) -> PipelineOptions:
    """Returns Beam's options for the requested engine.

    Raises:
        UsageError: Two flags contradict each other, or a required flag is missing.
    """
    options = PipelineOptions(beam_args)
    if is_local(options):
        _set_up_local(config, options, beam_args)
    else:
        _check_runner(config, options)
        _stage_ourselves(options)
    if is_dry_run(options) and runner_of(options) != DATAFLOW:
        raise UsageError(
            f"--dry_run needs --runner={DATAFLOW}: use --plan_only to plan without "
            "writing"
        )
    use_beam_options(options)
    portable = options.view_as(PortableOptions)
    if portable.job_server_timeout == _BEAM_DEFAULT_TIMEOUT_SECONDS:
        portable.job_server_timeout = _JOB_SERVER_TIMEOUT_SECONDS
    return options


def runner_of(options: PipelineOptions) -> str | None:
    """Returns the name in `--runner`, or None if no runner is requested."""
    name: str | None = options.view_as(StandardOptions).runner
    return name


def is_local(options: PipelineOptions) -> bool:
    """Returns whether the pipelines run in the local engine on this machine."""
    return runner_of(options) in LOCAL_RUNNERS


def is_dry_run(options: PipelineOptions) -> bool:
    """Returns whether Beam's flag `--dry_run` is set, which only checks the job."""
    return bool(options.view_as(TestOptions).dry_run)


def _check_runner(config: CommonConfig, options: PipelineOptions) -> None:
    name = runner_of(options)
    try:
        runner = create_runner(name)
    except (ValueError, ImportError, AttributeError) as error:
        raise UsageError(f"--runner={name}: {error}") from error
    if name == DATAFLOW:
        check_dataflow(options)
        check_paths(config)
    if config.plan_only:
        raise UsageError(f"plan_only runs on this machine: leave out --runner={name}")
    errors = PipelineOptionsValidator(options, runner).validate()
    if errors:
        raise UsageError(f"--runner={name}: {' '.join(errors)}")


def _stage_ourselves(options: PipelineOptions) -> None:
    """Adds Diptych's wheel to the staged packages unless workers already have Diptych.

    Workers in a custom container and workers started beside the engine have it.
    """
    setup = options.view_as(SetupOptions)
    has_container = options.view_as(WorkerOptions).sdk_container_image
    environment = options.view_as(PortableOptions).environment_type
    if environment is None and runner_of(options) == _PRISM:
        environment = "LOOPBACK"  # The default of Beam for Prism.
    given = [*(setup.extra_packages or ()), *filter(None, [setup.setup_file])]
    started_elsewhere = environment not in (None, "DOCKER")
    if has_container or started_elsewhere or any(map(_is_ours, given)):
        return
    # Kept until the process ends: the engine reads the wheel at each submission.
    folder = tempfile.mkdtemp(prefix="diptych-wheel-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    wheel = write_worker_wheel(folder)
    setup.extra_packages = [*(setup.extra_packages or ()), wheel]
    # Beam's stager warns about platform-specific wheels, and this one is not.
    logging.getLogger(stager.__name__).setLevel(logging.ERROR)


def _is_ours(package: str) -> bool:
    """Returns whether a package is Diptych: a wheel, an sdist or a checkout."""
    folder, name = os.path.split(os.path.abspath(package))
    return name.startswith(f"{NAME}-") or os.path.isdir(f"{folder}/beam_jobs")


def _set_up_local(
    config: CommonConfig, options: PipelineOptions, beam_args: list[str]
) -> None:
    for arg in beam_args:
        if arg.startswith(("--direct_", "--num_workers")):
            raise UsageError(f"{arg} is not supported: use --workers=N instead")
    direct = options.view_as(DirectOptions)
    direct.direct_num_workers = config.num_workers
    # Workers run in this process, or in processes that `beam_jobs.engines` starts.
    direct.direct_running_mode = "in_memory"
    # Workers print their logs, and the engine prints them again. An error that stops a
    # worker is raised in this process and shown to the user as a single message.
    for name in (
        "apache_beam.runners.common",
        "apache_beam.runners.worker.data_plane",
        local_job_service.__name__,
        fn_runner.__name__,
    ):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    options.view_as(WorkerOptions).default_sdk_harness_log_level = "WARNING"

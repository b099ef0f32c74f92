"""Wraps every private name of Apache Beam that the job uses, as of `BEAM_VERSION`.

The module is in `storage` because the stores, its lowest-level users, need Beam's
options. After an upgrade of Beam, tests/beam_jobs/storage/test_beam_internals.py shows
which private names have changed.
"""

import argparse

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

BEAM_VERSION = "2.77"


def use_beam_options(options: PipelineOptions) -> None:
    """Sets the options of Beam's file systems before a pipeline exists.

    A pipeline would set them itself, but only when it runs.
    """
    FileSystems.set_options(options)


def beam_options() -> PipelineOptions:
    """Returns the options of the pipeline that this process runs.

    In a worker process, Beam passes the options only to its own file systems.
    """
    return FileSystems._pipeline_options or PipelineOptions([])


def beam_flags() -> argparse.ArgumentParser:
    """Returns a parser of all of Beam's flags.

    Beam's own parser only warns about unknown flags.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    return parser


def release_late_workers() -> None:
    """Stops workers that connect only after the job was interrupted.

    Beam's local engine stops only the connected workers but waits for all of them, so
    it would wait forever.
    """
    # Imported here so that the stores do not load the engine's modules.
    from apache_beam.runners.portability.fn_api_runner import worker_handlers

    class Connection(worker_handlers.ControlConnection):
        def close(self) -> None:
            if self._state == worker_handlers.BeamFnControlServicer.UNSTARTED_STATE:
                self.push(worker_handlers.BeamFnControlServicer._DONE_MARKER)
            super().close()

    if worker_handlers.ControlConnection.__module__ != __name__:
        worker_handlers.ControlConnection = Connection


def run_local_worker(args: list[str]) -> None:
    """Runs Beam's worker process without printing a traceback.

    The error that stops a worker also reaches the launcher as an exception, and the
    launcher shows a single message.

    Args:
        args: `sys.argv` of the process.
    """
    from apache_beam.runners.worker import sdk_worker, sdk_worker_main

    # The module prints nothing else, and its logs go to the launcher.
    sdk_worker.print = lambda *_, **__: None
    sdk_worker_main.main(args)

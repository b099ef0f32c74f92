"""Every private name of Apache Beam that the job uses, written for `BEAM_VERSION`.

It is in this room because stores, the lowest users, need Beam's options. After an
upgrade of Beam, tests/beam_jobs/storage/test_beam_internals.py shows what has moved.
"""

import argparse

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

BEAM_VERSION = "2.77"


def use_beam_options(options: PipelineOptions) -> None:
    """Makes options known before there is a pipeline, which would do so itself."""
    FileSystems.set_options(options)


def beam_options() -> PipelineOptions:
    """Returns the options of the pipeline that this process works for.

    Beam hands them to its file systems in each worker process, and to nobody else.
    """
    return FileSystems._pipeline_options or PipelineOptions([])


def beam_flags() -> argparse.ArgumentParser:
    """Returns a parser of all flags of Beam, whose own parser only warns of others."""
    parser = argparse.ArgumentParser(allow_abbrev=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)
    return parser


def release_late_workers() -> None:
    """Lets a worker go that connects only after the job was interrupted.

    Beam's local engine tells those alone that are connected to end, and then waits for
    all of them: forever.
    """
    # Imported here: stores must not wait for the engine's modules.
    from apache_beam.runners.portability.fn_api_runner import worker_handlers

    class Connection(worker_handlers.ControlConnection):
        def close(self) -> None:
            if self._state == worker_handlers.BeamFnControlServicer.UNSTARTED_STATE:
                self.push(worker_handlers.BeamFnControlServicer._DONE_MARKER)
            super().close()

    if worker_handlers.ControlConnection.__module__ != __name__:
        worker_handlers.ControlConnection = Connection


def run_local_worker(args: list[str]) -> None:
    """Runs Beam's worker process without the page of traceback that it prints.

    What stops a worker reaches the launcher as an exception, which shows one message.

    Args:
        args: The process's `sys.argv`.
    """
    from apache_beam.runners.worker import sdk_worker, sdk_worker_main

    # It prints nothing else; what it logs goes to the launcher.
    sdk_worker.print = lambda *_, **__: None
    sdk_worker_main.main(args)

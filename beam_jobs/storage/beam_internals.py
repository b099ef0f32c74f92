"""Wraps the private names of Apache Beam around its options, as of `BEAM_VERSION`.

The module is in `storage` because the stores, its lowest-level users, need the options.
Those of the local engine are in `engines/beam_workers.py`. After an upgrade of Beam,
the tests of both modules show which private names have changed.
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


def add_beam_flags(parser: argparse.ArgumentParser) -> None:
    """Adds all of Beam's flags to a parser that resolves conflicts.

    Beam's own parser only warns about unknown flags.
    """
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)

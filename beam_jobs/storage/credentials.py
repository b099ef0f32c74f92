"""Beam's options, wherever this code runs: addresses and credentials of stores."""

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions


def use_beam_options(options: PipelineOptions) -> None:
    """Takes options before there is a pipeline, which would make them known."""
    FileSystems.set_options(options)


def beam_options() -> PipelineOptions:
    """Returns the options of the pipeline that this process works for.

    Beam hands them to its file systems in each worker process, and to nobody else.
    """
    return FileSystems._pipeline_options or PipelineOptions([])

"""The private names of Beam's options still exist and behave as expected."""

import argparse
from importlib.metadata import version

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs.storage.beam_internals import (
    BEAM_VERSION,
    add_beam_flags,
    beam_options,
    use_beam_options,
)


def test_they_were_tried_with_the_version_that_is_installed():
    assert version("apache-beam").startswith(f"{BEAM_VERSION}.")


def test_options_come_back_as_they_were_set(monkeypatch):
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)
    assert beam_options().get_all_options() == PipelineOptions([]).get_all_options()
    options = PipelineOptions(["--job_name=here"])
    use_beam_options(options)
    assert beam_options() is options


def test_flags_are_those_that_beam_lists_itself():
    options = PipelineOptions([]).get_all_options()
    parser = argparse.ArgumentParser(conflict_handler="resolve")
    add_beam_flags(parser)
    dests = {action.dest for action in parser._actions}
    assert {"runner", "project", "temp_location"} <= dests
    assert set(options) <= dests

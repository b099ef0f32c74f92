"""The private names of Beam that the job uses still exist and behave as expected."""

import inspect
from importlib.metadata import version

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.worker import sdk_worker, sdk_worker_main

from beam_jobs.storage.beam_internals import (
    BEAM_VERSION,
    beam_flags,
    beam_options,
    release_late_workers,
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
    dests = {action.dest for action in beam_flags()._actions}
    assert {"runner", "project", "temp_location"} <= dests
    assert set(options) <= dests


def test_a_worker_that_connects_late_is_told_to_end(monkeypatch):
    # Another test of this process may have run a job, which replaces the class.
    (own,) = (
        cls
        for cls in worker_handlers.ControlConnection.__mro__
        if cls.__name__ == "ControlConnection"
    )
    monkeypatch.setattr(worker_handlers, "ControlConnection", own)
    release_late_workers()
    release_late_workers()  # Idempotent.
    patched = worker_handlers.ControlConnection
    assert patched.__mro__[1] is own
    connection = patched()
    connection.close()
    done = worker_handlers.BeamFnControlServicer._DONE_MARKER
    assert connection._push_queue.get(timeout=1) is done


def test_a_worker_prints_by_a_name_of_its_own_module():
    # run_local_worker replaces `print`, which has no effect unless the module calls it.
    assert "print(" in inspect.getsource(sdk_worker)
    assert callable(sdk_worker_main.main)

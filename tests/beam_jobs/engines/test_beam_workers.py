"""The private names of Beam's engine still exist and behave as expected."""

import inspect

import pytest
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.worker import data_plane, sdk_worker, sdk_worker_main

from beam_jobs.engines import beam_workers


def test_attributes_that_are_replaced_are_used_by_beam():
    control = inspect.getsource(worker_handlers.ControlConnection)
    for name in ("self._read_thread.start()", "self._futures_by_id", "self._state"):
        assert name in control
    data = inspect.getsource(data_plane._GrpcDataChannel)
    for name in ("self._read_inputs(elements_iterator)", "self._to_send.get"):
        assert name in data
    assert "if self._closed:" in data
    assert beam_workers._CHANNEL_CLOSED in data


def test_a_worker_prints_by_a_name_of_its_own_module():
    # run_beam_worker replaces `print`, which has no effect unless the module calls it.
    assert "print(" in inspect.getsource(sdk_worker)
    assert callable(sdk_worker_main.main)


@pytest.mark.parametrize(
    ("message", "deaths", "told"),
    [
        ("Channel closed prematurely.", ["it died of SIGKILL"], "it died of SIGKILL"),
        ("Channel closed prematurely.", [], "a worker process died"),
        ("another error", ["it died of SIGKILL"], None),
    ],
)
def test_deaths_explain_only_the_errors_that_they_cause(
    monkeypatch, message, deaths, told
):
    monkeypatch.setattr(beam_workers, "_deaths", deaths)
    assert beam_workers.death_behind(RuntimeError(message)) == told

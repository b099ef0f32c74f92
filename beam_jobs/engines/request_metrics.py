"""Counts the requests to object stores that a job repeated, in all its processes.

Workers add theirs to the metrics of the pipeline, and the launcher adds up the metrics
of its pipelines and its own repeated requests.
"""

import contextlib
import sys
import threading
from collections.abc import Iterator

from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

from beam_jobs.storage.files import num_repeated_requests

_NAMESPACE, _NAME = "object_stores", "retried"

_lock = threading.Lock()
_counted = 0  # Repeated requests of this process that are in some metrics.
_in_pipelines = 0


def count_retries() -> None:
    """Adds the requests that this process repeated since the last call to the metrics.

    Called by a `DoFn`, whose pipeline the metrics belong to.
    """
    global _counted
    with _lock:
        retried = num_repeated_requests()
        new, _counted = retried - _counted, retried
    if new:
        Metrics.counter(_NAMESPACE, _NAME).inc(new)


def add_retries_of(result: PipelineResult) -> None:
    """Adds up what the workers of a finished pipeline counted.

    Raises:
        NotImplementedError: The engine has no metrics.
    """
    global _in_pipelines
    wanted = MetricsFilter().with_namespace(_NAMESPACE).with_name(_NAME)
    found = result.metrics().query(wanted)["counters"]
    with _lock:
        _in_pipelines += sum(counter.result or 0 for counter in found)


def _retries() -> int:
    with _lock:
        return _in_pipelines + num_repeated_requests() - _counted


@contextlib.contextmanager
def retries_reported() -> Iterator[None]:
    """Prints how many requests the pipelines that run meanwhile repeated, if any."""
    before = _retries()
    try:
        yield
    finally:
        if retried := _retries() - before:
            print(
                f"requests to object stores that failed and were repeated: {retried:,}",
                file=sys.stderr,
            )

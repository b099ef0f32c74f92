"""Connects worker processes to Beam's local engine.

Beam's own handler of worker processes waits forever for a worker that dies before it
has connected. This one uses private names of Beam, as of the `BEAM_VERSION` in
`storage/beam_internals.py`.
"""

import contextlib
import queue
import sys
import threading
from collections.abc import Callable

import grpc
from apache_beam.portability.api import endpoints_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner, worker_handlers
from apache_beam.transforms import environments
from google.protobuf import json_format, text_format

from beam_jobs.engines.worker_process import WorkerProcess

# Beam's error message if the connection of a worker ends.
_CHANNEL_CLOSED = "Channel closed prematurely"

_URN = "diptych:env:worker_process:v1"

# Handlers whose workers have not been closed.
_open: list["_Handler"] = []

# Descriptions of the deaths of workers of the running pipeline.
_deaths: list[str] = []


class WorkerEnvironment(environments.SubprocessSDKEnvironment):
    """Environment whose workers are processes started by `WorkerProcess`."""

    def to_runner_api_parameter(self, context: object) -> tuple[str, bytes]:
        """Returns the name by which the engine finds the handler, and no payload."""
        return _URN, b""


environments.Environment.register_urn(_URN, bytes)(
    WorkerEnvironment.from_runner_api_parameter
)


@worker_handlers.WorkerHandler.register_environment(_URN, bytes)
class _Handler(worker_handlers.GrpcWorkerHandler):
    """Starts a worker process, and aborts all that waits for it when it dies."""

    def __init__(
        self,
        payload: bytes,
        state: worker_handlers.StateServicer,
        provision_info: fn_runner.ExtendedProvisionInfo,
        grpc_server: worker_handlers.GrpcServer,
    ) -> None:
        super().__init__(state, provision_info, grpc_server)
        self._process: WorkerProcess | None = None
        self._closed = threading.Event()
        # Beam's threads would print a traceback if the connection ended.
        control, data = self.control_conn, self.data_conn
        control._read_thread = threading.Thread(
            target=_quiet(control._read),
            daemon=True,  # Ctrl-C may leave a connection open.
        )
        data._read_inputs = _quiet(data._read_inputs)
        _open.append(self)

    def start_worker(self) -> None:
        control = endpoints_pb2.ApiServiceDescriptor(url=self.control_address)
        options = self.provision_info.provision_info.pipeline_options
        environ = {
            "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(control),
            "PIPELINE_OPTIONS": json_format.MessageToJson(options),
            "WORKER_ID": self.worker_id,
        }
        unstarted = worker_handlers.BeamFnControlServicer.UNSTARTED_STATE
        self._process = WorkerProcess(
            environ,
            is_connected=lambda: self.control_conn._state != unstarted,
            on_death=self._abort,
        )

    def close(self) -> None:
        if self._process is not None:
            self._process.release()
        self.control_conn.close()
        with contextlib.suppress(grpc.RpcError):  # Raised again, of the dead worker.
            self.data_conn.close()
        self.stop_worker()
        _open.remove(self)

    def stop_worker(self) -> None:
        self._closed.set()
        if self._process is not None:
            self._process.join()

    def _abort(self, description: str) -> None:
        _deaths.append(description)
        error = RuntimeError(_CHANNEL_CLOSED)
        control, data = self.control_conn, self.data_conn
        push = control.push

        def push_aborted(request):  # type: ignore[no-untyped-def]
            future = push(request)
            if future is not None:
                future.abort(error)
            return future

        control.push = push_aborted
        for future in list(control._futures_by_id.values()):
            future.abort(error)
        data._closed = True
        # The engine may be waiting for room in the queue to the worker.
        while not self._closed.is_set():
            with contextlib.suppress(queue.Empty):
                data._to_send.get(timeout=0.1)


def _quiet(read: Callable[..., None]) -> Callable[..., None]:
    """Wraps a function of a thread that reads from a worker until it ends or dies."""

    def read_quietly(*args: object) -> None:
        with contextlib.suppress(grpc.RpcError):
            read(*args)

    return read_quietly


def worker_environment() -> environments.Environment:
    """Returns the environment of a pipeline whose workers are processes."""
    _deaths.clear()
    return WorkerEnvironment.from_command_string("")


def close_workers() -> None:
    """Closes the workers that the engine leaves if Ctrl-C interrupts their closing."""
    while _open:
        _open[-1].close()


def death_behind(error: Exception) -> str | None:
    """Returns how a worker died, if its death is the cause of an engine's error."""
    if _CHANNEL_CLOSED not in str(error):
        return None
    return _deaths[0] if _deaths else "a worker process died"


def run_beam_worker() -> None:
    """Runs Beam's worker in this process, without printing a traceback.

    The error that stops a worker also reaches the launcher as an exception, and the
    launcher shows a single message.
    """
    from apache_beam.runners.worker import sdk_worker, sdk_worker_main

    # The module prints nothing else.
    sdk_worker.print = lambda *_, **__: None
    sdk_worker_main.main(sys.argv)

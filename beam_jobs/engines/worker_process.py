"""Starts worker processes of this machine and watches them until they end."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from tqdm import tqdm

BEAT_SECONDS = 1

# A busy machine may delay beats by seconds, and a start by more.
_SILENT_BEATS = 60
_GRACE_BEATS = 3


class WorkerProcess:
    """A worker process and the thread that watches it.

    The worker writes a byte per second to a pipe. The pipe closes when the worker ends,
    for whatever reason, and stays silent while the worker is stopped.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        is_connected: Callable[[], bool],
        on_death: Callable[[str], object],
    ) -> None:
        """Starts the process.

        Args:
            environ: Environment variables that the process gets besides this one's.
            is_connected: Function that returns whether the worker has connected.
            on_death: Callback, called with a description of the end if the process ends
                before `release`.

        Raises:
            OSError: The process cannot be started.
        """
        self._is_connected = is_connected
        self._on_death = on_death
        self._released = threading.Event()
        self._beats, beats_out = os.pipe()
        try:
            self._process = _start(beats_out, environ)
        except BaseException:
            os.close(self._beats)
            raise
        finally:
            os.close(beats_out)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Lets the process end, and kills it if it has not ended after 3 s."""
        self._released.set()

    def join(self) -> None:
        """Waits until the process has ended, at most a few seconds after `release`."""
        self._thread.join()

    def _watch(self) -> None:
        self._wait_for_end()
        os.close(self._beats)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_BEATS * BEAT_SECONDS)
        self._process.kill()  # Does nothing if it has ended.
        status = self._process.wait()
        if not self._released.is_set():
            self._on_death(_description(status))

    def _wait_for_end(self) -> None:
        """Waits for the end of the process, or kills it some time after `release`.

        Time is counted in missed beats. A clock would also count the time for which
        this process itself was stopped, as by Ctrl-Z.
        """
        missed = released = 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._beats, selectors.EVENT_READ)
            while True:
                beat = bool(selector.select(BEAT_SECONDS))
                if beat and not os.read(self._beats, 1):
                    return
                missed = 0 if beat and self._is_connected() else missed + 1
                if missed == _SILENT_BEATS:
                    self._warn()
                if self._released.is_set():
                    released += 1
                    if released > _GRACE_BEATS:
                        self._process.kill()

    def _warn(self) -> None:
        seconds = _SILENT_BEATS * BEAT_SECONDS
        tqdm.write(
            f"worker process {self._process.pid} has not answered for {seconds} s; it "
            "may be stopped, or wait for memory or for a disk. The job waits for it. "
            f"To end the job, press Ctrl-C or kill {self._process.pid}; finished "
            "shards are kept",
            file=sys.stderr,
        )


def _start(beats_out: int, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    script = Path(__file__).resolve().with_name("local_worker.py")
    path = module_path()
    # The launcher's path is passed as JSON, since `PYTHONPATH` cannot hold a colon. It
    # is also set there, for what Python imports before it starts the script.
    settings = json.dumps([BEAT_SECONDS, str(script.parents[2]), path])
    python_path = os.pathsep.join(part for part in path if os.pathsep not in part)
    command = [sys.executable, "-P", str(script), str(beats_out), settings]
    # The worker inherits the blocked signal, so Ctrl-C in a terminal reaches only this
    # process, which releases its workers.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    process = None
    try:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environ, "PYTHONPATH": python_path},
            stdin=subprocess.DEVNULL,
            pass_fds=[beats_out],
        )
        return process
    finally:
        try:
            # Raises KeyboardInterrupt if Ctrl-C was pressed meanwhile.
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        except BaseException:
            if process is not None:
                process.kill()
                process.wait()
            raise


def module_path() -> list[str]:
    """Returns where workers find modules: where this process does, but for its folder.

    A file in the working folder may have the name of a module, such as `queue.py`.
    """
    # Python ignores entries that are not text, such as a `Path`.
    texts = [path for path in sys.path if isinstance(path, str) and path]
    return [path for path in texts if not _is_working_folder(path)]


def _is_working_folder(path: str) -> bool:
    try:
        return os.path.samefile(path, os.curdir)
    except OSError:  # Either does not exist.
        return False


def _description(status: int) -> str:
    if status >= 0:
        return f"a worker process ended with exit status {status}"
    try:
        return f"a worker process died of {signal.Signals(-status).name}"
    except ValueError:  # A real-time signal, which has no name.
        return f"a worker process died of signal {-status}"

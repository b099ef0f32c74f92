"""Runs Python programs in forks of a process that has imported what they import.

Beam takes two seconds to import, TensorFlow four. A process does so once, before it has
run any operation or started any thread pool, and a fork of it is the process of each
program: it leads a session, as a program in a terminal, has its own arguments, folder,
environment and output, and ends as Python ends.

    python fork_server.py SOCKET -m beam_jobs show out

has a server run a program here, for a shell.
"""

import contextlib
import faulthandler
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).parents[2]

# Has a program write where its threads are to its standard error.
_SHOW_THREADS = signal.SIGUSR2


class ForkServer:
    """`with ForkServer("numpy") as server: server.start(["-m", "reader", "show"])`.

    Attributes:
        path: Path of the socket.
    """

    def __init__(self, *modules: str) -> None:
        self._modules = modules

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        self.path = f"{self._folder.name}/socket"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen()
            # It ends once its standard input does, however this process ends.
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(listener.fileno()), *self._modules],
                pass_fds=[listener.fileno()],
                stdin=subprocess.PIPE,
                env=environment(),
            )
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def start(
        self,
        words: Sequence[object],
        *,
        cwd: str | os.PathLike[str] = ".",
        env: Mapping[str, str] | None = None,
        outputs: Sequence[int] = (),
    ) -> "Fork":
        """Starts a program.

        Args:
            words: `-m`, a module and its arguments, or a script and its arguments.
            cwd: Its folder.
            env: Its environment. By default, that of this process.
            outputs: File descriptors of its standard output and error. By default,
                files that `Fork.communicate` returns.
        """
        fork = Fork()
        with open(os.devnull) as nothing:
            fds = [nothing.fileno(), *(outputs or fork.outputs)]
            program = [str(word) for word in words]
            fork.connect(self.path, program, os.path.abspath(cwd), env, fds)
        return fork


class Fork:
    """A program that was started, with the methods of `subprocess.Popen`.

    Attributes:
        pid: Its process id, which is that of its session.
        returncode: Its exit status, negative for the signal that ended it; None before
            its end is known.
    """

    pid: int
    returncode: int | None = None

    def __init__(self) -> None:
        # Both are gone when this object is.
        self._files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115

    @property
    def outputs(self) -> list[int]:
        """Its standard output and error."""
        return [file.fileno() for file in self._files]

    def connect(
        self,
        path: str,
        words: Sequence[str],
        cwd: str,
        env: Mapping[str, str] | None,
        fds: Sequence[int],
    ) -> None:
        """Has the server at a socket start the program."""
        self._socket = socket.socket(socket.AF_UNIX)
        # Libraries of other tests set a default timeout.
        self._socket.settimeout(None)
        self._socket.connect(path)
        request = [words, cwd, dict(os.environ if env is None else env)]
        socket.send_fds(self._socket, [b"\0"], fds)
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        self._answers = self._socket.makefile()
        self.pid = int(self._answers.readline())

    def poll(self) -> int | None:
        """Returns its exit status, or None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end and returns its exit status."""
        if self.returncode is None:
            if not select.select([self._socket], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = int(self._answers.readline())
            self._answers.close()
            self._socket.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for its end and returns what it wrote.

        Raises:
            subprocess.TimeoutExpired: It did not end in time; with what it wrote, and
                where its threads are.
        """
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired as error:
            os.kill(self.pid, _SHOW_THREADS)
            time.sleep(1)
            error.add_note(_content(self._files[1]))
            raise
        out, err = map(_content, self._files)
        return out, err

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless its end is known."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)

    def kill_session(self) -> None:
        """Kills it and all processes of its session's group, and waits for its end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def environment() -> dict[str, str]:
    """Returns the environment of a process that imports what is tested."""
    path = os.environ.get("PYTHONPATH", "")
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), path])),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _serve(fd: int, modules: Sequence[str]) -> list[str]:
    """Forks until standard input ends; returns the arguments, in each fork."""
    del sys.path[0]  # What a script has there is the folder of the script.
    for name in modules:
        importlib.import_module(name)
    # Collecting garbage would copy the pages that a fork shares with this process.
    gc.collect()
    gc.freeze()
    listener = socket.socket(fileno=fd)
    for connection in _connections(listener):
        if not os.fork():
            listener.close()
            return _watched(connection)
        connection.close()
    os._exit(0)


def _connections(listener: socket.socket) -> Iterator[socket.socket]:
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        # Watchers that have ended. The time that they took counts as this process's.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if sys.stdin in ready:
            return
        yield listener.accept()[0]


def _watched(connection: socket.socket) -> list[str]:
    """Tells the process id of the program and its status; returns in the program."""
    _, fds, *_ = socket.recv_fds(connection, 1, 3)
    words, cwd, env = json.loads(connection.makefile().readline())
    if child := os.fork():
        for fd in fds:
            os.close(fd)
        # Who asked may be gone.
        with contextlib.suppress(OSError):
            connection.sendall(b"%d\n" % child)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with contextlib.suppress(OSError):
            connection.sendall(b"%d\n" % status)
        os._exit(0)
    connection.close()
    os.setsid()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    # The server's may be files where these are pipes.
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(
        2, "w", buffering=1, errors="backslashreplace", closefd=False
    )
    faulthandler.register(_SHOW_THREADS, file=2)
    # A shell that starts something in the background has it ignore the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    return words


def _run(words: list[str]) -> None:
    """Runs a program as Python does, in what is the main module from here on."""
    if words[0] == "-m":
        sys.path.insert(0, os.getcwd())
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        return
    sys.path.insert(0, str(Path(words[0]).parent))
    sys.argv = words
    main: Any = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    main.__file__ = words[0]
    exec(compile(Path(words[0]).read_bytes(), words[0], "exec"), vars(main))


if __name__ == "__main__":
    if sys.argv[1].isdecimal():
        _run(_serve(int(sys.argv[1]), sys.argv[2:]))
    else:
        program = Fork()
        program.connect(sys.argv[1], sys.argv[2:], os.getcwd(), None, [0, 1, 2])
        sys.exit(program.wait())

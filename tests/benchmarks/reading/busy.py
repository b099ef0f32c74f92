"""Keeps a core busy with pure Python, in a thread of this process or in a process.

Both take a core from reading. Only the thread holds the GIL of the process that trains,
so the ratio of the two shows how much reading waits for the GIL.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

# It ends with its parent, however that ends.
_SPIN = "import os\nwhile os.getppid() == {}:\n    for _ in range(10**6): pass"


@contextlib.contextmanager
def _thread() -> Iterator[None]:
    ended = threading.Event()

    def spin() -> None:
        while not ended.is_set():
            pass

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    yield
    ended.set()
    thread.join()


@contextlib.contextmanager
def _process() -> Iterator[None]:
    command = [sys.executable, "-c", _SPIN.format(os.getpid())]
    with subprocess.Popen(command) as process:
        yield
        process.kill()


BESIDE: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "": contextlib.nullcontext,
    "thread": _thread,
    "process": _process,
}

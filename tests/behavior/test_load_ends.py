"""How programs end that read batches: soon, by themselves, and without a word."""

import contextlib
import os
import random
import signal
import sys
import threading
import time
from typing import Any

import pytest
from patience import SOON_SECONDS
from training_scripts import Ended, run_program, seconds_until_gone

slow = pytest.mark.slow

# Once in every run of the tests, and twenty times with `pytest -m soak`.
repeated = pytest.mark.parametrize(
    "times", [1, pytest.param(20, marks=pytest.mark.soak)]
)

BEGIN = """
import os, random, sys, threading, time
import reader

def load(**more):
    settings = {"split": "train", "batch_size": 8, "image_size": 32, "epochs": None}
    return reader.load(sys.argv[1], **{**settings, **more})

def take(iterator, num=5):
    return [next(iterator) for _ in range(num)]

def ready():
    print("ready", flush=True)
"""

THREADS = """
def read(batches):
    for _ in batches:
        pass

def start(**more):
    batches = load(**more)
    for _ in range(3):
        threading.Thread(target=read, args=(batches,), daemon=True).start()
    take(iter(batches))
    time.sleep(random.random() / 5)
"""


@pytest.fixture
def run(scripts, dataset):
    def run(code: str, *args: object, **more: Any) -> Ended:
        return scripts.run(BEGIN + code, dataset, *args, **more)

    return run


@repeated
@pytest.mark.parametrize(
    ("code", "status", "last_line"),
    [
        (
            "class Cycle: pass\n"
            "cycle = Cycle(); cycle.itself = cycle; cycle.kept = iter(load())\n"
            "kept = iter(load()); take(kept); take(cycle.kept); ready()",
            0,
            "",
        ),
        # Windows of few records: TensorFlow calls Python all the time.
        (
            "kept = iter(load(outputs=['tokens'], batch_size=48, prefetch=8))\n"
            "take(kept, 50); ready()",
            0,
            "",
        ),
        (
            "for number, _ in enumerate(load(prefetch=8).prefetch(4)):\n"
            "    if number == 5: ready(); sys.exit(3)",
            3,
            "",
        ),
        (
            "for number, _ in enumerate(load()):\n"
            "    if number == 5: ready(); raise ValueError(number)",
            1,
            "ValueError: 5",
        ),
        (THREADS + "start(); ready(); sys.exit(3)", 3, ""),
    ],
    ids=["kept", "small", "exit", "raise", "threads"],
)
def test_a_program_ends_with_iterators_that_live(run, times, code, status, last_line):
    for _ in range(times):
        run(code).check(status, last_line)


@pytest.mark.parametrize(
    "code",
    [
        "kept = iter(load().map(len).take(9).prefetch(2)); take(kept)\n"
        "more = load(epochs=1).as_numpy_iterator(); take(more); ready()",
        pytest.param(
            "adapters = reader.as_numpy, reader.as_torch, reader.as_jax\n"
            "kept = [iter(adapter(load())) for adapter in adapters]\n"
            "for iterator in kept: take(iterator)\n"
            "ready()",
            marks=slow,
        ),
        "batches = load(); kept = iter(batches); ready()",
        "import atexit\n"
        "kept = iter(load()); take(kept); atexit.register(take, kept); ready()",
    ],
    ids=["derived", "adapters", "first", "atexit"],
)
def test_a_program_ends_with_other_iterators(run, code):
    run(code).check()


@repeated
@pytest.mark.parametrize(
    "code",
    [
        "kept = iter(load(prefetch=4).prefetch(2)); take(kept); ready()\n"
        "while True: take(kept)",
        THREADS + "start(); ready(); time.sleep(60)",
        # Python is busy most of the time. It allocates nothing: Ctrl-C in a callback of
        # the garbage collector is lost, and JAX has one.
        "kept = iter(reader.as_numpy(load())); take(kept); ready()\n"
        "for batch in kept: sum(range(100_000))",
    ],
    ids=["prefetch", "threads", "busy"],
)
def test_ctrl_c_ends_a_program_with_one_traceback(run, times, code):
    def press(pid: int) -> None:
        time.sleep(random.random() / 2)
        os.killpg(pid, signal.SIGINT)
        again.append(threading.Timer(4, press_again, [pid]))
        again[-1].start()

    def press_again(pid: int) -> None:
        """As people do. TensorFlow and JAX lose one in some hundred, and read on."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGINT)
            again.append(threading.Timer(4, press_again, [pid]))
            again[-1].start()

    for _ in range(times):
        again: list[threading.Timer] = []
        ended = run(code, act=press)
        again[-1].cancel()
        ended.check(-signal.SIGINT, "KeyboardInterrupt", seconds=2 * SOON_SECONDS)


READS = "kept = iter(load()); take(kept); ready()\nwhile True: take(kept)"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (signal.SIGTERM, READS),
        (signal.SIGKILL, READS),
        # The child has copies of whatever the parent holds.
        (
            signal.SIGKILL,
            "kept = iter(load()); take(kept)\n"
            "if not os.fork(): time.sleep(60)\n"
            "ready(); time.sleep(60)",
        ),
    ],
    ids=["terminated", "killed", "forked"],
)
def test_workers_end_with_a_program_that_is_killed(run, kind, code):
    """As a notebook ends its kernel."""
    ended = run(code, act=lambda pid: os.kill(pid, kind))
    assert ended.status == -kind and ended.err == []
    assert seconds_until_gone(ended.pid) < SOON_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.killpg(ended.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    "code",
    [
        # Whatever is opened next becomes standard input.
        "os.close(0)",
        "os.closerange(0, 3); sys.stdout = sys.stderr = None",
        "import resource, signal\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "sys.stdin = sys.stdout = None",
    ],
    ids=["no-stdin", "no-files", "few-files"],
)
def test_unusual_processes_read(run, code):
    run(code + "\nkept = iter(load()); assert len(take(kept)) == 5").check()


FULL = """
import ctypes, subprocess
if ctypes.CDLL(None).unshare(0x20000): print("no rights"); sys.exit()
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "x", "/dev/shm"]
subprocess.run(mount, check=True)
try:
    with open("/dev/shm/full", "wb") as file: file.write(b"x" * (64 << 20))
except OSError as error:
    assert error.errno == 28
kept = [take(iter(load(batch_size=24, image_size=512))) for _ in range(3)]
print("read")
"""


def test_shared_memory_of_containers_may_be_full(run):
    ended = run(FULL)
    if ended.out == "no rights\n":
        pytest.skip("only root mounts another /dev/shm")
    ended.check()
    assert ended.out == "read\n"


# There is no `if __name__ == "__main__"`.
PROGRAM = BEGIN + "kept = iter(load())\ntake(kept)\nprint('done')\n"


@pytest.mark.parametrize(
    "how", ["file", "-c", *(pytest.param(x, marks=slow) for x in ("-m", "stdin"))]
)
def test_a_program_may_be_started_in_any_way_and_anywhere(dataset, tmp_path, how):
    (tmp_path / "package").mkdir()
    script = tmp_path / "package" / "train.py"
    script.write_text(PROGRAM)
    working = tmp_path / "working"
    working.mkdir()
    for name in ("queue", "random", "select", "socket", "struct", "simplejpeg"):
        (working / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    for name in ("numpy", "cv2", "reader"):
        (working / name).mkdir()
    # A program itself would import the wrong ones without -P, which workers need not.
    words, folder = {
        "file": ([str(script)], working),
        "-c": (["-P", "-c", PROGRAM], working),
        "-m": (["-m", "package.train"], tmp_path),
        "stdin": (["-P", "-"], working),
    }[how]
    with script.open() as stdin:
        command = [sys.executable, *words, str(dataset)]
        ended = run_program(command, cwd=folder, stdin=stdin)
    ended.check()
    assert ended.out == "done\n"

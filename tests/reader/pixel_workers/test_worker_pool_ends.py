"""How pixel workers end, and what ends them: always soon, and without a word."""

import contextlib
import gc
import operator
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from patience import PATIENCE_SECONDS, SOON_SECONDS
from toy_engine import ScriptEngine

from reader.pixel_workers.worker_pool import PixelWorkers
from reader.pixels.errors import PixelWorkerError

SUPPORT = Path(sys.modules["toy_engine"].__file__).parent
ROOT = SUPPORT.parents[1]

# Children, threads, descriptors and mappings.
_Held = tuple[set[int], int, int, int]

# Once in every run of the tests, and twenty times with `pytest -m soak`.
repeated = pytest.mark.parametrize(
    "times", [1, pytest.param(20, marks=pytest.mark.soak)]
)


def script(workers: PixelWorkers, *words: str):
    n = len(words)
    return workers.make([word.encode() for word in words], None, np.zeros((n, 1)))


def pids_of(workers: PixelWorkers, num_workers: int) -> list[int]:
    rows = script(workers, *["sleep:0.02"] * 4 * num_workers)
    # Other tests of this process may have left servers that are its children too.
    pids = [child.pid for child in psutil.Process().children() if is_worker(child)]
    assert {int(pid) for pid in rows[:, 0]} <= {*pids}
    return pids


def is_worker(process: psutil.Process) -> bool:
    return "reader.pixel_workers.worker" in process.cmdline()


@pytest.fixture(autouse=True)
def nothing_is_left():
    """No process, thread, descriptor or mapping is left by a test."""
    gc.collect()
    before = _held()
    yield
    gc.collect()
    # Workers that nobody has closed are not waited for. What other tests have left may
    # go meanwhile.
    end = time.monotonic() + SOON_SECONDS
    while not _is_within(_held(), before):
        assert time.monotonic() < end, (_held(), before)
        time.sleep(0.01)


def _is_within(now: _Held, before: _Held) -> bool:
    return all(mine <= most for mine, most in zip(now, before, strict=True))


def _held() -> _Held:
    maps = Path("/proc/self/maps").read_text()
    children = {child.pid for child in psutil.Process().children()}
    fds = len(os.listdir("/proc/self/fd"))
    return children, threading.active_count(), fds, maps.count("memfd:diptych")


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def seconds_until_gone(pids: list[int], most: float = SOON_SECONDS) -> float:
    begin = time.monotonic()
    while not all(map(is_gone, pids)):
        assert time.monotonic() - begin < most
        time.sleep(0.01)
    return time.monotonic() - begin


@repeated
@pytest.mark.parametrize(
    ("word", "end"),
    [
        ("kill:9", "died of SIGKILL"),
        ("kill:11", "died of SIGSEGV"),
        ("kill:7", "died of SIGBUS"),
        ("exit:3", "ended with exit status 3"),
        ("exit:0", "ended with exit status 0"),
    ],
)
def test_the_end_of_a_worker_is_an_error_that_names_it(times, word, end):
    for _ in range(times):
        workers = PixelWorkers(ScriptEngine(), 3)
        script(workers, "x")
        begin = time.monotonic()
        with pytest.raises(PixelWorkerError, match=end):
            script(workers, *["x"] * 20, word, *["x"] * 20)
        assert time.monotonic() - begin < SOON_SECONDS
        with pytest.raises(PixelWorkerError, match=end):
            script(workers, "x")
        workers.close()


@repeated
def test_a_worker_that_dies_is_noticed_while_the_others_are_busy(times):
    for _ in range(times):
        workers = PixelWorkers(ScriptEngine(), 4)
        victim = random.choice(pids_of(workers, 4))
        killed = threading.Event()

        def batches(_: int, workers=workers, killed=killed) -> None:
            # On a busy machine, the kill itself may be seconds away.
            while not killed.is_set():
                script(workers, *["sleep:0.001"] * 9)
            stop = time.monotonic() + SOON_SECONDS
            while time.monotonic() < stop:
                script(workers, *["sleep:0.001"] * 9)

        with ThreadPoolExecutor(4) as threads:
            done = [threads.submit(batches, i) for i in range(4)]
            time.sleep(random.random() / 5)
            os.kill(victim, signal.SIGKILL)
            killed.set()
            for future in done:
                with pytest.raises(PixelWorkerError, match="SIGKILL"):
                    future.result()
        workers.close()


@repeated
def test_workers_killed_at_random_give_right_batches_or_an_error(times):
    for _ in range(times):
        workers = PixelWorkers(ScriptEngine(), 3)
        pids = pids_of(workers, 3)
        killer = threading.Timer(
            random.random() / 10, os.kill, (random.choice(pids), signal.SIGKILL)
        )
        killer.start()
        with pytest.raises(PixelWorkerError, match="SIGKILL"):
            for size in range(10**6):
                rows = script(workers, *["x" * (size % 100)] * 50)
                assert (rows[:, 3] == size % 100).all()
                del rows
        killer.join()
        workers.close()


class UnreadableEngine(ScriptEngine):
    def __reduce__(self):
        return operator.truediv, (1, 0)


def test_a_worker_that_cannot_start_is_an_error(capfd):
    workers = PixelWorkers(UnreadableEngine(), 2)
    with pytest.raises(PixelWorkerError, match="ended with exit status 1"):
        script(workers, "x")
    workers.close()
    assert "ZeroDivisionError" in capfd.readouterr().err


@repeated
def test_closing_ends_the_calls_that_wait(times):
    for _ in range(times):
        workers = PixelWorkers(ScriptEngine(), 2)
        pids = pids_of(workers, 2)
        with ThreadPoolExecutor(20) as threads:
            waiting = [threads.submit(script, workers, "sleep:60") for _ in range(20)]
            time.sleep(0.05)
            begin = time.monotonic()
            workers.close()
            for future in waiting:
                with pytest.raises(PixelWorkerError, match="closed"):
                    future.result()
        assert time.monotonic() - begin < SOON_SECONDS
        assert all(map(is_gone, pids))
        workers.close()
        with pytest.raises(PixelWorkerError, match="closed"):
            script(workers, "x")


@pytest.mark.parametrize("seconds", [0, 0.05])
def test_a_default_timeout_of_sockets_changes_nothing(seconds):
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)  # As other libraries do.
    try:
        workers = PixelWorkers(ScriptEngine(), 2)
        for _ in range(2):
            rows = script(workers, "x", *["sleep:0.2"] * 9)
            assert rows[:, 3].tolist() == [1] + [9] * 9
    finally:
        socket.setdefaulttimeout(before)
    workers.close()


@repeated
def test_workers_end_with_the_last_reference(times):
    for _ in range(times):
        workers = PixelWorkers(ScriptEngine(), 2)
        pids = pids_of(workers, 2)
        rows = script(workers, "abc")
        del workers
        gc.collect()
        assert seconds_until_gone(pids) < SOON_SECONDS
        assert rows[0, 3] == 3
        del rows


@repeated
def test_an_interrupted_call_leaves_workers_that_work(times):
    def interrupt() -> None:
        time.sleep(0.1)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    workers = PixelWorkers(ScriptEngine(), 2)
    for _ in range(times):
        script(workers, "x")
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            script(workers, "sleep:60")
        thread.join()
        assert script(workers, *["xy"] * 50)[:, 3].tolist() == [2] * 50
    workers.close()


@repeated
def test_a_forked_child_has_workers_of_its_own(times):
    for _ in range(times):
        workers = PixelWorkers(ScriptEngine(), 2)
        pids = pids_of(workers, 2)
        kept = script(workers, "abcd")
        with ThreadPoolExecutor(3) as threads:
            busy = [threads.submit(script, workers, "sleep:0.1") for _ in range(3)]
            child = os.fork()
            if not child:
                with contextlib.suppress(BaseException):
                    rows = script(workers, *["xyz"] * 20)
                    assert not set(rows[:, 0]) & set(pids)
                    assert rows[:, 3].tolist() == [3] * 20
                    assert kept[0, 3] == 4
                    workers.close()
                    os._exit(7)
                os._exit(1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
            assert [future.result()[0, 3] for future in busy] == [9, 9, 9]
        assert pids_of(workers, 2) == pids
        workers.close()
        del kept


PROGRAM = """
import ctypes, os, signal, sys, threading, time
import numpy as np
from toy_engine import ScriptEngine
from reader.pixels.errors import PixelWorkerError
from reader.pixel_workers.worker_pool import PixelWorkers

workers = PixelWorkers(ScriptEngine(), 3)

def script(*words):
    encoded = [word.encode() for word in words]
    return workers.make(encoded, None, np.zeros((len(words), 1)))

print(*{int(row[0]) for row in script(*["sleep:0.05"] * 24)}, flush=True)

def for_ever():
    while True:
        script(*["spin:0.01"] * 9)

def wait():
    try:
        for_ever()
    except PixelWorkerError:  # At the end of the program.
        pass

def ready():
    print("ready", file=sys.stderr, flush=True)
    print("ready", flush=True)

def start(**more):
    for _ in range(4):
        threading.Thread(target=wait, **more).start()
    time.sleep(0.2)
"""

NUMPY_FUNCTION = """
import tensorflow as tf
from reader.records.python_calls import call_python

def images(encoded):
    return workers.make(encoded, None, np.zeros((len(encoded), 1)))

data = tf.data.Dataset.from_tensors(tf.constant([b"spin:0.005"] * 16)).repeat()
data = data.map(
    lambda x: call_python(images, [x], tf.float64), num_parallel_calls=3
).prefetch(2)
iterator = iter(data)
for _ in range(5):
    next(iterator)
ready()
"""


@contextlib.contextmanager
def running(code: str):
    """Runs a program; returns it, and the workers that it started."""
    path = [str(ROOT), str(SUPPORT), os.environ.get("PYTHONPATH", "")]
    process = subprocess.Popen(
        [sys.executable, "-W", "always::ResourceWarning", "-c", PROGRAM + code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
        start_new_session=True,
    )
    with process:
        try:
            pids = [int(pid) for pid in process.stdout.readline().split()]
            assert len(pids) > 1, process.stderr.read()
            yield process, pids
        finally:
            process.kill()


@repeated
@pytest.mark.parametrize(
    ("code", "status", "last_line"),
    [
        ("", 0, ""),
        ("kept = script('x')", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("start(daemon=True)", 0, ""),
        ("start(daemon=True); sys.exit(3)", 3, ""),
        ("start(daemon=True); raise ValueError(5)", 1, "ValueError: 5"),
        ("start(daemon=True); workers.self = workers", 0, ""),
        ("start(daemon=True); os._exit(4)", 4, ""),
        ("pid = os.fork()\nif pid: os.wait()\nsys.exit(3)", 3, ""),
        (NUMPY_FUNCTION + "sys.exit(3)", 3, ""),
        (NUMPY_FUNCTION + "raise ValueError(5)", 1, "ValueError: 5"),
    ],
)
def test_a_program_ends_without_a_word(times, code, status, last_line):
    for _ in range(times):
        with running(code) as (process, pids):
            _, errors = process.communicate(timeout=PATIENCE_SECONDS)
            said = errors.rpartition("ready\n")[2].splitlines()
            assert (said or [""])[-1] == last_line
            assert bool(said) == bool(last_line)
            assert process.returncode == status
            assert seconds_until_gone(pids) < SOON_SECONDS


@repeated
@pytest.mark.parametrize(
    "code", ["ready(); for_ever()", NUMPY_FUNCTION + "list(iterator)"]
)
def test_ctrl_c_ends_a_program_with_one_traceback(times, code):
    for _ in range(times):
        with running(code) as (process, pids):
            assert process.stdout.readline() == "ready\n"
            time.sleep(random.random() / 2)
            os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE_SECONDS)
            assert errors.count("Traceback") == 1
            assert errors.splitlines()[-1].startswith("KeyboardInterrupt")
            assert seconds_until_gone(pids) < SOON_SECONDS


@repeated
@pytest.mark.parametrize(
    "code",
    [
        "time.sleep(60)",
        "script('sleep:60')",
        "script(*['spin:60'] * 90)",
        "start()",
        # The child has copies of whatever the parent holds.
        "if not os.fork(): time.sleep(6)\ntime.sleep(60)",
        "if not ctypes.CDLL(None).fork(): time.sleep(6)\ntime.sleep(60)",
    ],
)
def test_workers_do_not_outlive_a_parent_that_is_killed(times, code):
    for _ in range(times):
        with running(code) as (process, pids):
            time.sleep(0.3)
            process.kill()
            assert seconds_until_gone(pids) < SOON_SECONDS
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

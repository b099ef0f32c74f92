"""Worker processes: where they look for modules, and each way in which they can end."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forks import Forks, wait_for
from patience import PATIENCE_SECONDS

import beam_jobs
from beam_jobs.__main__ import main
from beam_jobs.engines import worker_process
from beam_jobs.engines.worker_process import WorkerProcess
from beam_jobs.sample_data import write_sample

# As the console script does, leaves the working folder out.
DIPTYCH = [sys.executable, "-P", "-m", "beam_jobs"]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("workers") / "s"
    write_sample(str(folder), 60)
    return folder


def build_args(source: Path, output: Path) -> list[str]:
    folders = [f"--images={source}/images", f"--captions={source}/captions"]
    return ["build", *folders, f"--output={output}", "--num_shards=6", "--workers=2"]


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="names files in /proc")
def test_workers_need_no_file_that_a_flag_names(source, tmp_path, capsys):
    """Workers elsewhere do not have it; this name is of no other process."""
    named = tmp_path / "keys.txt"
    named.write_text("scene-00003\n")
    with named.open() as file:
        descriptor = fcntl.fcntl(file, fcntl.F_DUPFD, 500)
    flag = f"--exclude_keys=/proc/self/fd/{descriptor}"
    try:
        status = main([*build_args(source, tmp_path / "out"), flag, "--plan_only"])
    finally:
        os.close(descriptor)
    assert status == 0
    assert "1 excluded_key" in capsys.readouterr().out


@contextlib.contextmanager
def started(*args: str, command: list[str], **kwargs):
    """A whole process, in a session of its own, as in a terminal."""
    process = subprocess.Popen(
        [*command, *args],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **kwargs,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@contextlib.contextmanager
def job(forks: Forks, args: list[str]):
    """A build, in a session of its own."""
    process = forks.start_command(args)
    try:
        yield process
    finally:
        process.kill_session()


def said_at_the_end(process) -> list[str]:
    """All lines of a command but those of its progress, printed every 10 s."""
    lines = process.communicate(timeout=PATIENCE_SECONDS)[1].splitlines()
    return [line for line in lines if not is_progress(line)]


def is_progress(line: str) -> bool:
    return bool(re.search(r"(planned|rejects), \d+ s$", line))


def workers_of(process) -> list[int]:
    """The worker processes, as soon as both are there."""

    def workers() -> list[int]:
        command = ["pgrep", "-P", str(process.pid), "-f", "local_worker"]
        found = subprocess.run(command, capture_output=True, text=True).stdout.split()
        return [int(pid) for pid in found]

    found: list[int] = []

    def both() -> bool:
        found[:] = workers()
        return len(found) == 2

    wait_for(both, process)
    return found


@pytest.fixture
def shadows(tmp_path) -> Path:
    """A folder of files and folders with the names of all modules that are imported."""
    folder = tmp_path / "here"
    folder.mkdir()
    installed = ("numpy", "grpc", "google", "apache_beam", "PIL", "cv2", "tqdm")
    for name in (*sys.stdlib_module_names, *installed):
        (folder / f"{name}.py").write_text("raise SystemExit('not for Diptych')")
    for name in ("reader", "beam_jobs"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('nor this')")
    return folder


def test_nothing_is_imported_from_the_working_folder(source, shadows, tmp_path):
    output = tmp_path / "out"
    args = build_args(source, output)
    with started(*args, command=DIPTYCH, cwd=shadows) as process:
        assert said_at_the_end(process) == []
        assert process.returncode == 0
    script = tmp_path / "check.py"
    script.write_text(
        "import sys, reader\n"
        "if __name__ == '__main__':\n"
        "    assert not reader.verify(sys.argv[1], workers=2).problems\n"
    )
    checked = subprocess.run(
        [sys.executable, script, output],
        cwd=shadows,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_workers_run_the_diptych_of_the_launcher(source, tmp_path):
    """A checkout with another Diptych on the path, in a folder with a colon."""
    checkout = tmp_path / "check: out"
    for name in ("beam_jobs", "reader"):
        shutil.copytree(Path(beam_jobs.__file__).parents[1] / name, checkout / name)
        other = tmp_path / "installed" / name
        other.mkdir(parents=True)
        (other / "__init__.py").write_text("raise SystemExit('another Diptych')")
    (checkout / "queue.py").write_text("raise SystemExit('not for Diptych')")
    # The launcher has loaded the module, so a file of the checkout is no harm to it.
    run = (
        "import queue, sys, pathlib\n"
        f"sys.path[:0] = [{str(checkout)!r}, pathlib.Path('p')]\n"
        f"sys.path[2:2] = [{str(tmp_path / 'installed')!r}]\n"
        "from beam_jobs.__main__ import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-P", "-c", run]
    args = build_args(source, tmp_path / "out")
    with started(*args, command=command, cwd=checkout) as process:
        assert said_at_the_end(process) == []
        assert process.returncode == 0


@pytest.mark.parametrize("seconds", [0, 0.3])
def test_a_worker_that_dies_at_the_start_ends_the_job(forks, source, tmp_path, seconds):
    args = build_args(source, tmp_path / "out")
    with job(forks, args) as process:
        victim = workers_of(process)[1]
        time.sleep(seconds)
        os.kill(victim, signal.SIGKILL)
        (line,) = said_at_the_end(process)
        assert process.returncode == 1
    assert "a worker process died of SIGKILL, possibly out of memory" in line


def test_a_worker_that_dies_of_a_signal_without_a_name_ends_the_job(
    forks, source, tmp_path
):
    with job(forks, build_args(source, tmp_path / "out")) as process:
        os.kill(workers_of(process)[1], signal.SIGRTMIN + 6)
        (line,) = said_at_the_end(process)
        assert process.returncode == 1
    assert f"a worker process died of signal {signal.SIGRTMIN + 6}" in line


def test_a_worker_that_cannot_start_ends_the_job(source, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if any('local_worker' in arg for arg in sys.orig_argv): os._exit(7)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    args = build_args(source, tmp_path / "out")
    environment = {**os.environ, "PYTHONPATH": path}
    with started(*args, command=DIPTYCH, env=environment) as process:
        (line,) = said_at_the_end(process)
        assert process.returncode == 1
    assert "a worker process ended with exit status 7" in line


def test_ctrl_c_in_a_terminal_is_one_line(forks, source, tmp_path):
    args = build_args(source, tmp_path / "out")
    with job(forks, args) as process:
        workers_of(process)
        time.sleep(1)
        os.killpg(process.pid, signal.SIGINT)
        (line,) = said_at_the_end(process)
        assert process.returncode == 130
    assert "run the same command again to resume" in line


def test_ctrl_c_ends_a_job_whose_worker_is_stopped(forks, source, tmp_path):
    args = build_args(source, tmp_path / "out")
    with job(forks, args) as process:
        stopped = workers_of(process)[0]
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert len(said_at_the_end(process)) == 1
        assert process.returncode == 130
        assert not Path(f"/proc/{stopped}").exists()


def test_ctrl_c_while_the_engine_closes_its_workers_ends_all(source, tmp_path):
    """The engine then leaves the other worker, which waits for more work."""
    run = (
        "import signal, sys\n"
        "from beam_jobs.__main__ import main\n"
        "from beam_jobs.engines.worker_process import WorkerProcess\n"
        "join = WorkerProcess.join\n"
        "def interrupted(self):\n"
        "    WorkerProcess.join = join\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "WorkerProcess.join = interrupted\n"
        "status = main(sys.argv[1:])\n"
        "input()\n"
        "sys.exit(status)\n"
    )
    command = [sys.executable, "-P", "-c", run]
    args = build_args(source, tmp_path / "out")
    with started(*args, command=command, stdin=subprocess.PIPE) as process:
        workers = workers_of(process)
        message = next(line for line in process.stderr if not is_progress(line))
        assert "run the same command again to resume" in message
        assert not any(map(is_running, workers))
        process.communicate("\n", timeout=PATIENCE_SECONDS)
        assert process.returncode == 130


def test_workers_end_with_a_launcher_that_is_killed(forks, source, tmp_path):
    with job(forks, build_args(source, tmp_path / "out")) as process:
        workers = workers_of(process)
        os.kill(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(is_running(worker) for worker in workers):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def test_a_worker_that_does_not_answer_is_named(monkeypatch, capfd):
    monkeypatch.setattr(worker_process, "_SILENT_BEATS", 1)
    deaths: list[str] = []
    process = WorkerProcess({}, is_connected=lambda: False, on_death=deaths.append)
    process.join()  # Beam's worker ends, as it is not told where to connect.
    said = capfd.readouterr().err
    assert f"worker process {process._process.pid} has not answered for 1 s" in said
    assert deaths == ["a worker process ended with exit status 1"]

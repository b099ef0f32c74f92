"""Storage: files are published atomically and read with retries."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from beam_jobs.storage import files as storage
from beam_jobs.storage.files import publish, publish_bytes, read_file


@pytest.fixture
def tmp(tmp_path: Path) -> str:
    return str(tmp_path / "tmp")


def left_in(folder: str) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


# Publishing.


def test_a_file_appears_when_it_is_complete(tmp_path, tmp):
    path = tmp_path / "deep" / "er" / "file"
    with publish(str(path), tmp) as file:
        file.write(b"one, ")
        file.flush()
        assert not path.exists()
        file.write(b"two")
    assert path.read_bytes() == b"one, two"
    assert left_in(tmp) == []


def test_an_earlier_file_stays_until_the_new_one_is_complete(tmp_path, tmp):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with publish(str(path), tmp) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, OSError])
def test_an_exception_leaves_nothing_and_goes_on(tmp_path, tmp, error):
    path = tmp_path / "file"
    with pytest.raises(error), publish(str(path), tmp) as file:
        file.write(b"half")
        raise error
    assert not path.exists()
    assert left_in(tmp) == []


def test_an_exception_leaves_an_earlier_file_as_it_was(tmp_path, tmp):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match="no"), publish(str(path), tmp) as file:
        file.write(b"half")
        raise ValueError("no")
    assert path.read_bytes() == b"old"
    assert left_in(tmp) == []


def test_a_reader_meets_one_version_or_the_other_and_nothing_between(tmp_path, tmp):
    path = tmp_path / "file"
    versions = {bytes([n]) * 100_000 for n in range(2)}
    publish_bytes(str(path), min(versions), tmp)
    stop = threading.Event()
    met: set[bytes] = set()

    def read() -> None:
        while not stop.is_set():
            met.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(30):
        for version in sorted(versions):
            publish_bytes(str(path), version, tmp)
    stop.set()
    reader.join()
    assert met <= versions


def test_writers_of_one_file_do_not_mix(tmp_path, tmp):
    path = tmp_path / "file"
    versions = [bytes([n]) * 50_000 for n in range(4)]
    opened = threading.Barrier(4, timeout=30)

    def write(version: bytes) -> None:
        with publish(str(path), tmp) as file:
            opened.wait()
            for byte in (version[:20_000], version[20_000:]):
                file.write(byte)

    threads = [threading.Thread(target=write, args=(one,)) for one in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in versions
    assert left_in(tmp) == []


def test_a_process_that_is_killed_has_published_nothing(tmp_path, tmp):
    path = tmp_path / "file"
    code = f"""
import os, signal
from beam_jobs.storage.files import publish
with publish({str(path)!r}, {tmp!r}) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not path.exists()
    assert len(left_in(tmp)) == 1


def test_bytes_are_on_the_disk_before_the_name_is(tmp_path, tmp, monkeypatch):
    seen: list[tuple[str, int]] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        fsync(descriptor)
        seen.append(("fsync", os.fstat(descriptor).st_size))

    def watched_replace(source: str, target: str) -> None:
        seen.append(("replace", os.stat(source).st_size))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    publish_bytes(str(tmp_path / "file"), b"12345", tmp)
    assert seen[:2] == [("fsync", 5), ("replace", 5)]


def test_an_empty_file_is_published_too(tmp_path, tmp):
    publish_bytes(str(tmp_path / "file"), b"", tmp)
    assert (tmp_path / "file").read_bytes() == b""


def test_a_name_as_long_as_a_file_system_allows_is_published(tmp_path, tmp):
    path = tmp_path / ("x" * 255)
    publish_bytes(str(path), b"1", tmp)
    assert path.read_bytes() == b"1"


# Reading.


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """Records the seconds of each wait, without waiting."""
    seconds: list[float] = []
    monkeypatch.setattr(storage.time, "sleep", seconds.append)
    return seconds


@pytest.mark.parametrize("name", ["a", b"a", "line\nbreak", b"not \xff UTF-8"])
def test_a_file_is_read_whole(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    with open(path, "wb") as file:
        file.write(b"x" * 100_000)
    given = path if isinstance(name, bytes) else os.fsdecode(path)
    assert read_file(given) == b"x" * 100_000


@pytest.mark.parametrize(
    ("at_most", "expected"),
    [(0, b""), (1, b"1"), (4, b"1234"), (5, b"12345"), (6, b"12345"), (-1, b"12345")],
)
def test_no_more_is_read_than_asked_for(tmp_path, at_most, expected):
    (tmp_path / "file").write_bytes(b"12345")
    assert read_file(str(tmp_path / "file"), at_most=at_most) == expected


def test_a_missing_file_is_told_at_once(tmp_path, waits):
    with pytest.raises(FileNotFoundError) as caught:
        read_file(str(tmp_path / "missing"))
    assert caught.value.filename == str(tmp_path / "missing")
    assert waits == []


def test_a_folder_is_told_at_once(tmp_path, waits):
    with pytest.raises(IsADirectoryError):
        read_file(str(tmp_path))
    assert waits == []


def test_another_error_is_told_after_some_patience(tmp_path, waits):
    os.symlink("loop", tmp_path / "loop")
    with pytest.raises(OSError, match="symbolic links") as caught:
        read_file(str(tmp_path / "loop"))
    assert caught.value.filename == str(tmp_path / "loop")
    assert waits == [0.1, 0.5]


def test_an_error_that_passes_is_not_told(tmp_path, monkeypatch):
    path = tmp_path / "file"
    os.symlink("file", path)

    def repair(seconds: float) -> None:
        path.unlink()
        path.write_bytes(b"back again")

    monkeypatch.setattr(storage.time, "sleep", repair)
    assert read_file(str(path)) == b"back again"

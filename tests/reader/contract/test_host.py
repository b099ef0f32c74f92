"""Processes of this host: where workers find modules, how they ended."""

import subprocess
import sys

import pytest

from reader.contract.host import exit_description, module_path


def test_workers_look_where_the_launcher_does(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    here = ["", ".", str(tmp_path), str(tmp_path / "link"), tmp_path]
    monkeypatch.setattr(sys, "path", [*here, "/else/where", "/a:b", "sub"])
    assert module_path() == ["/else/where", "/a:b", "sub"]


@pytest.mark.parametrize(
    ("code", "description"),
    [
        ("exit(3)", "ended with exit status 3"),
        ("kill(getpid(), 9)", "died of SIGKILL"),
        ("kill(getpid(), 40)", "died of signal 40"),
    ],
)
def test_the_end_of_a_process_has_a_name(code, description):
    done = subprocess.run(
        [sys.executable, "-c", f"from os import kill, getpid; {code}"]
    )
    assert exit_description(done.returncode) == description

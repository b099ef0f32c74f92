"""Processes of this host: where workers find modules, how they ended."""

import subprocess
import sys
from pathlib import Path

import pytest

from reader.contract.host import exit_description, module_path


def test_workers_import_what_the_launcher_would(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "/else/where"])
    path = module_path()
    assert path[0] == "/else/where"
    assert [p for p in path[1:] if not (Path(p) / "reader").is_dir()] == []


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

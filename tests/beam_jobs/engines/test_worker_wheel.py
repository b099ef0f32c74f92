"""The wheel that remote workers install."""

import subprocess
import sys
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from beam_jobs.engines.worker_wheel import requirements, write_worker_wheel
from reader.contract.version import __version__

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return Path(write_worker_wheel(str(tmp_path_factory.mktemp("wheel"))))


def test_it_holds_both_packages_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if ".dist-info/" not in n}
    assert names == {
        path.relative_to(ROOT).as_posix()
        for package in ("beam_jobs", "reader")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_it_asks_for_what_the_writing_side_needs_and_no_tensorflow(wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"diptych-{__version__}.dist-info/METADATA").decode()
    asked = Parser().parsestr(text).get_all("Requires-Dist")
    assert asked == requirements()
    assert any(line.startswith("apache-beam") for line in asked)
    assert not any("tensorflow" in line for line in asked)
    # The client of buckets, as the extras ask for it.
    assert asked[-1].startswith("obstore")
    assert f"\n    {asked[-1]}\n" in (ROOT / "setup.cfg").read_text()


def test_pip_installs_it_and_python_finds_it_there(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv/bin/python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q"]
    install += ["--no-deps", "--no-index", "--disable-pip-version-check", wheel]
    subprocess.run(install, check=True)
    code = "import beam_jobs, importlib.metadata as m; print(beam_jobs.__file__)\n"
    code += "print(m.version('diptych'), *m.files('diptych'), sep='\\n')"
    done = subprocess.run(
        [python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    where, version, *files = done.stdout.splitlines()
    assert where.startswith(str(tmp_path / "venv"))
    assert version == __version__
    assert "beam_jobs/pipeline.py" in files


def test_the_same_modules_make_the_same_wheel(wheel, tmp_path):
    again = write_worker_wheel(str(tmp_path))
    assert Path(again).read_bytes() == wheel.read_bytes()

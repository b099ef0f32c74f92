"""The local engine writes the same bytes with any workers and threads.

The other engines are tested in tests/engines.
"""

from pathlib import Path

import pytest

from beam_jobs.__main__ import main
from beam_jobs.sample_data import write_sample


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("engines") / "s"
    write_sample(str(folder), 60)
    (folder / "captions/alone.txt").write_text("a caption with no picture")
    return folder


@pytest.fixture(scope="module")
def in_memory(source, tmp_path_factory) -> dict[str, bytes]:
    return built(source, tmp_path_factory.mktemp("in_memory") / "out")


def built(source: Path, output: Path, *flags: str) -> dict[str, bytes]:
    folders = [f"--images={source}/images", f"--captions={source}/captions"]
    shape = ["--splits=train=0.7,validation=0.3", "--num_shards=6"]
    assert main(["build", *folders, f"--output={output}", *shape, *flags]) == 0
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }


def test_threads_change_nothing(source, in_memory, tmp_path):
    assert built(source, tmp_path / "out", "--threads=7") == in_memory


def test_worker_processes_change_nothing(source, in_memory, tmp_path):
    flags = ("--workers=2", "--threads=1")
    assert built(source, tmp_path / "out", *flags) == in_memory


@pytest.mark.parametrize("runner", ["DirectRunner", "FnApiRunner"])
def test_names_of_local_runners_mean_the_local_engine(
    source, in_memory, tmp_path, runner
):
    assert built(source, tmp_path / "out", f"--runner={runner}") == in_memory

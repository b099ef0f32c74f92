"""The commands of docs/inspecting.md that look at a dataset, with what they show.

Numbers may differ with the versions of libraries; words, keys and rows do not.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/inspecting.md").read_text()
BLOCKS = re.findall(r"```console\n(.*?)```", PAGE, re.S)
COMMANDS = [
    (command, "".join(output))
    for block in BLOCKS
    for command, *output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.M)
]


@pytest.fixture(scope="module")
def run(shell_path) -> Callable[[str, Path], str]:
    """`run(command, folder)` returns what it says on stderr, and then on stdout."""

    def run(command: str, folder: Path) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env={**os.environ, "PATH": shell_path},
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr
        return done.stderr + done.stdout

    return run


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Path:
    """Where `dataset` is what the page says, and `broken` too."""
    folder = tmp_path_factory.mktemp("operations")
    run("diptych sample shapes --num=200", folder)
    (folder / "shapes/captions/alone.txt").write_text("no picture")
    (folder / "shapes/images/scene-00007.png").write_text("broken")
    (build,) = re.findall(r"^(diptych build --images=shapes.*\\\n.*)$", PAGE, re.M)
    run(build, folder)
    shutil.copytree(folder / "dataset", folder / "broken")
    with (folder / "broken/train-00001-of-00003.tfrecord").open("r+b") as shard:
        shard.seek(5000)
        shard.write(b"x")
    (folder / "broken/index/blocks.bin").unlink()
    return folder


def words(text: str) -> list[str]:
    """The lines of a text, in order of the alphabet, without numbers and bars."""
    plain = re.sub(r"[0-9a-f]{64}|[\d,.]+|[█▏▎▍▌▋▊▉]+", "0", text)
    return sorted(" ".join(line.split()) for line in plain.splitlines())


def test_there_are_commands_to_run():
    names = {command.split()[1] for command, _ in COMMANDS}
    assert names == {"show", "find", "verify"}


@pytest.mark.parametrize(("command", "shown"), COMMANDS, ids=[c for c, _ in COMMANDS])
def test_a_command_shows_what_the_page_says(run, folder, command, shown):
    assert words(run(command, folder)) == words(shown)

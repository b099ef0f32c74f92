"""The README's commands and snippets, run one after the other as a reader would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
INSTALLS = [
    "pip install . && diptych demo out\n",
    "pip install -e '.[dev]' && pytest\n",
]


def test_the_two_commands_come_first():
    # .ci/run runs them word for word, in fresh environments.
    assert [text for _, text in BLOCKS[:2]] == INSTALLS


def test_commands_and_snippets_work_in_order(tmp_path):
    assert len(BLOCKS) > 5
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"}
    python = ""
    for language, text in BLOCKS[2:]:
        if language == "python":
            python += text
            continue
        subprocess.run(
            ["bash", "-euc", text], cwd=tmp_path, env=environment, check=True
        )
    done = subprocess.run(
        [sys.executable, "-c", python],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # The snippets print a caption each, decoded from ids and as stored.
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize("page", ["README.md", *map(str, Path(ROOT).glob("docs/*.md"))])
def test_links_within_the_project_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", text):
        assert ((ROOT / page).parent / target).exists(), target


def test_flags_in_the_docs_exist():
    from beam_jobs.__main__ import _parser

    commands = next(a for a in _parser()._actions if a.dest == "command").choices
    known = {
        flag
        for parser in commands.values()
        for action in parser._actions
        for flag in action.option_strings
    }
    beams = {"--runner", "--job_endpoint", "--environment_type"}
    for page in (ROOT / "README.md", ROOT / "docs/writing.md"):
        named = set(re.findall(r"(?<![\w-])--[a-z_]+", page.read_text()))
        assert named <= known | beams

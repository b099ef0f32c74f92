"""What holds of the README alone; its blocks are run by tests/docs/test_pages.py."""

import re
from pathlib import Path

from pages import blocks_of

ROOT = Path(__file__).parents[2]
INSTALLS = [
    "pip install . && diptych demo out\n",
    "pip install -e '.[dev]' && pytest\n",
]


def test_the_two_commands_come_first():
    # .ci/run runs them word for word, in fresh environments.
    commands = [
        block.text for block in blocks_of("README.md") if block.language == "sh"
    ]
    assert commands[:2] == INSTALLS


def test_flags_in_the_docs_exist():
    from beam_jobs.__main__ import _parser

    commands = next(a for a in _parser()._actions if a.dest == "command").choices
    known = {
        flag
        for parser in commands.values()
        for action in parser._actions
        for flag in action.option_strings
    }
    known |= set(_parser()._option_string_actions)
    beams = {"--runner", "--job_endpoint", "--environment_type"}
    for page in (
        "README.md",
        "docs/tokenizers.md",
        "docs/writing.md",
        "docs/sources.md",
        "docs/tables.md",
        "docs/start.md",
        "docs/rebuilding.md",
    ):
        named = set(re.findall(r"(?<![\w-])--[a-z_]+", (ROOT / page).read_text()))
        assert named <= known | beams

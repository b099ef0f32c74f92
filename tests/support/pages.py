"""The code blocks of a Markdown page, run one after the other as a reader would.

A page is a session: its shell blocks and its Python blocks share a folder, and the
Python blocks their names. A block that cannot be run where the tests are says so in the
line before it,

    <!-- not run: needs Google's service -->

and is held against the command line and the public names all the same.

    python tests/support/pages.py docs/start.md

runs a page in the current folder. Each takes a process of its own, as readers do:
PyTorch and TensorFlow, or two backends of Keras, do not always share one.
"""

import ast
import configparser
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from markdown_it import MarkdownIt

import beam_jobs
import reader
from beam_jobs.__main__ import _parser
from beam_jobs.cli.build_flags import config_from
from beam_jobs.cli.settings_flags import check_beam_args
from reader.console.parser import underscored

ROOT = Path(__file__).parents[2]
RUN = ("python", "sh")
# What is shown and not run; `text` is also what is drawn, and `console` what was typed
# and answered: tests/docs/test_inspecting_page.py runs these.
SHOWN = ("console", "dockerfile", "json", "text")

_NOT_RUN = re.compile(r"<!-- not run: (\S.*?) -->\s*\Z", re.S)
_PUBLIC: dict[str, ModuleType] = {"beam_jobs": beam_jobs, "reader": reader}
# In commands for somebody else's machine, and in those that leave out what was said.
_ELLIPSIS = "…"


class Block(NamedTuple):
    """A code block.

    Attributes:
        page: Where it is, below the project's root.
        line: Number of its first line of code, from 1.
        language: As its fence says; empty if it is indented, or says none.
        text: The code.
        not_run: Why it is not run; empty if it is.
    """

    page: str
    line: int
    language: str
    text: str
    not_run: str

    @property
    def runs(self) -> bool:
        """Returns whether it is run."""
        return self.language in RUN and not self.not_run

    @property
    def where(self) -> str:
        """Returns where it is, as compilers put it."""
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    """Returns the code blocks of a page, in order."""
    tokens = MarkdownIt("commonmark").parse((ROOT / page).read_text())
    blocks = []
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type not in ("fence", "code_block") or token.map is None:
            continue
        reason = None
        if before is not None and before.type == "html_block":
            reason = _NOT_RUN.search(before.content)
        line = token.map[0] + (2 if token.type == "fence" else 1)
        not_run = reason[1] if reason else ""
        language = token.info.split(" ")[0]
        blocks.append(Block(page, line, language, token.content, not_run))
    return blocks


def run_page(page: str, given: dict[str, Any]) -> None:
    """Runs the blocks of a page in the current folder.

    Args:
        page: Below the project's root.
        given: Names that its Python blocks take for granted.
    """
    names = {"__name__": "__main__", **given}
    for block in blocks_of(page):
        if block.runs and block.language == "python":
            exec(compile_block(block), names)
        elif block.runs:
            run_shell(block)


def compile_block(block: Block) -> Any:
    """Compiles Python, so that a traceback shows the page's own lines."""
    lines = "\n" * (block.line - 1)
    return compile(lines + block.text, str(ROOT / block.page), "exec")


def run_shell(block: Block) -> None:
    """Runs shell commands, as this interpreter's environment has them."""
    path, scripts = os.environ["PATH"], str(Path(sys.executable).parent)
    if scripts not in path.split(os.pathsep):
        path = os.pathsep.join([scripts, path])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.text],
        env={**os.environ, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{block.where}:\n{done.stdout}{done.stderr}"


def check_unrun(block: Block) -> None:
    """Holds a block that is not run against the options and names that there are."""
    if block.language == "python":
        _check_calls(ast.parse(block.text), block)
        return
    subprocess.run(["bash", "-nc", block.text], check=True)
    for command in _commands(block.text):
        _check_command(command, block)


def _commands(text: str) -> list[list[str]]:
    lines = text.replace("\\\n", " ").splitlines()
    split = [shlex.split(line, comments=True) for line in lines]
    return [words for words in split if words]


def _check_command(words: list[str], block: Block) -> None:
    if words[:2] == ["pip", "install"]:
        for extra in re.findall(r"diptych\[(\w+)\]", " ".join(words)):
            assert extra in _extras(), f"{block.where}: no extra {extra}"
    if words[0] != "diptych":
        return
    args = underscored([word for word in words[1:] if word != _ELLIPSIS])
    if _ELLIPSIS in words:
        args += ["--images=photos", "--captions=texts", "--output=out"]
    namespace, rest = _parser().parse_known_args(args)
    if namespace.command == "build":
        check_beam_args(rest, namespace.job_parser)
        config_from(namespace)
    else:
        assert not rest, f"{block.where}: {rest}"


def _extras() -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return list(setup["options.extras_require"])


def _check_calls(tree: ast.AST, block: Block) -> None:
    """Holds the keyword arguments of calls of public names against these."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        match call.func:
            case ast.Attribute(value=ast.Name(id=package), attr=name) if (
                package in _PUBLIC
            ):
                public = getattr(_PUBLIC[package], name)
                keywords = {key.arg: None for key in call.keywords if key.arg}
                try:
                    inspect.signature(public).bind_partial(**keywords)
                except TypeError as error:
                    raise AssertionError(f"{block.where}: {name}: {error}") from None


if __name__ == "__main__":
    from taken_for_granted import names

    run_page(sys.argv[1], names(sys.argv[1]))

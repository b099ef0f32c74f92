"""What is wrong with a dataset, and what mends it: values, and nothing else."""

import os
import shlex
from collections.abc import Iterable
from typing import Literal, NamedTuple

# repair      the sources are asked again: `diptych build … --repair`
# overwrite   the manifest itself is wrong, so that nothing can be held against it
# remove      it is no part of the dataset
# permit      it may not be read, which nothing that is built again would change
Remedy = Literal["repair", "overwrite", "remove", "permit"]


class Problem(NamedTuple):
    """One thing that is wrong.

    Attributes:
        path: The file.
        what: Is wrong with it.
        offset: Of the record, in bytes; None if it is not about a record.
        key: Of the record, as it is shown; None if that is not known.
        remedy: What mends it.
    """

    path: str
    what: str
    offset: int | None = None
    key: str | None = None
    remedy: Remedy = "repair"

    def __str__(self) -> str:
        """Returns it as a line."""
        at = "" if self.offset is None else f" at byte {self.offset}"
        key = "" if self.key is None else f' (key "{self.key}")'
        return f"{self.path}{at}: {self.what}{key}"


def unreadable(path: str, error: OSError) -> Problem:
    """Returns the problem that a file could not be read."""
    if isinstance(error, FileNotFoundError):
        return Problem(path, "missing")
    what = f"cannot be read ({error.strerror or error})"
    denied = isinstance(error, PermissionError)
    return Problem(path, what, remedy="permit" if denied else "repair")


class RepairCommand(NamedTuple):
    """A command that mends something, and what there is to know about it."""

    command: str
    note: str


def repairs_of(folder: str, problems: Iterable[Problem]) -> list[RepairCommand]:
    """Returns the commands that mend some problems, in the order to run them."""
    problems = list(problems)
    remedies = {problem.remedy for problem in problems}
    output = f"--output={quoted(folder)}"
    found = [
        RepairCommand(f"rm -- {quoted(problem.path)}", "it is no part of the dataset")
        for problem in problems
        if problem.remedy == "remove"
    ]
    denied = dict.fromkeys(_denied(p.path) for p in problems if p.remedy == "permit")
    note = "it may not be read; verify again when it may"
    found += [RepairCommand(f"chmod u+rX -- {quoted(path)}", note) for path in denied]
    if "overwrite" in remedies:
        note = "the command that built it, with --overwrite: it begins anew"
        found.append(RepairCommand(f"diptych build … {output} --overwrite", note))
    elif "repair" in remedies:
        note = "the command that built it, with --repair"
        found.append(RepairCommand(f"diptych build … {output} --repair", note))
    return found


def _denied(path: str) -> str:
    """Returns what denies access: a file, or the folder that it is in."""
    folder = os.path.dirname(path)
    return path if not folder or os.access(folder, os.X_OK) else folder


def quoted(path: str) -> str:
    r"""Returns a path as a shell takes it, of which nothing moves a cursor.

    >>> quoted("two words"), quoted("two\nlines")
    ("'two words'", "$'two\\nlines'")
    """
    if path.isprintable():
        return shlex.quote(path)
    return "$'" + "".join(map(_escaped, path)) + "'"


def _escaped(char: str) -> str:
    if char.isprintable() and char not in "\\'":
        return char
    if char == "\n":
        return r"\n"
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))

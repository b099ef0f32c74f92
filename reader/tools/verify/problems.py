"""Problems of a dataset, and the commands that repair them."""

import os
import shlex
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from reader.contract.layout import LAYERS_DIR

# repair      read the sources again: `diptych build … --repair`
# overwrite   build again: the manifest itself is wrong and nothing can be checked
#             against it
# remove      delete the file: it is not part of the dataset
# permit      grant read permission: rebuilding would not change it
# select      select again, or remove the selection; the dataset itself is intact
# layer       repair the layer: `diptych layer … --repair`
# new_layer   make the layer again: it is of another build, or its layer.json is wrong
Remedy = Literal[
    "repair", "overwrite", "remove", "permit", "select", "layer", "new_layer"
]


class Problem(NamedTuple):
    """A problem with a file or record.

    Attributes:
        path: Path of the file.
        what: Description of the problem.
        offset: Byte offset of the record in its shard; None if the problem concerns
            the whole file.
        key: Key of the record, as displayable text; None if unknown.
        remedy: Kind of repair: `repair`, `overwrite`, `remove`, `permit`, `select`,
            `layer` or `new_layer`.
    """

    path: str
    what: str
    offset: int | None = None
    key: str | None = None
    remedy: Remedy = "repair"

    def __str__(self) -> str:
        """Returns the problem as one line of text."""
        at = "" if self.offset is None else f" at byte {self.offset}"
        key = "" if self.key is None else f' (key "{self.key}")'
        return f"{self.path}{at}: {self.what}{key}"


def unreadable(path: str, error: OSError) -> Problem:
    """Returns the problem of a file that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return Problem(path, "missing")
    what = f"cannot be read ({error.strerror or error})"
    denied = isinstance(error, PermissionError)
    return Problem(path, what, remedy="permit" if denied else "repair")


class RepairCommand(NamedTuple):
    """A shell command that repairs a problem.

    Attributes:
        command: Shell command.
        note: Explanation of the command.
    """

    command: str
    note: str


def repairs_of(folder: str, problems: Iterable[Problem]) -> list[RepairCommand]:
    """Returns the commands that repair the problems, in the order to run them."""
    problems = list(problems)
    remedies = {problem.remedy for problem in problems}
    output = f"--output={quoted(folder)}"
    found = [
        RepairCommand(f"rm -- {quoted(problem.path)}", "not part of the dataset")
        for problem in problems
        if problem.remedy == "remove"
    ]
    found += [
        RepairCommand(
            f"diptych select {quoted(folder)} … --output={quoted(problem.path)} "
            "--overwrite",
            "with the flags it was made with; or remove the folder",
        )
        for problem in problems
        if problem.remedy == "select"
    ]
    found += _layer_commands(folder, problems)
    denied = dict.fromkeys(_denied(p.path) for p in problems if p.remedy == "permit")
    note = "no read permission; run verify again afterwards"
    found += [RepairCommand(f"chmod u+rX -- {quoted(path)}", note) for path in denied]
    if "overwrite" in remedies:
        note = "the original build command with --overwrite: rebuilds everything"
        found.append(RepairCommand(f"diptych build … {output} --overwrite", note))
    elif "repair" in remedies:
        note = "the original build command with --repair"
        found.append(RepairCommand(f"diptych build … {output} --repair", note))
    return found


def _layer_commands(
    folder: str, problems: Iterable[Problem]
) -> Iterator[RepairCommand]:
    """Yields a command for each layer that has problems."""
    again: dict[str, bool] = {}
    inside = os.path.join(folder, LAYERS_DIR, "")
    for problem in problems:
        if problem.remedy in ("layer", "new_layer"):
            name = problem.path.removeprefix(inside).partition("/")[0]
            again[name] = again.get(name, False) or problem.remedy == "new_layer"
    for name, is_new in again.items():
        command = f"diptych layer {quoted(folder)} --name={quoted(name)} …"
        if is_new:
            note = "with the flags it was made with; or remove the folder"
            yield RepairCommand(f"{command} --overwrite", note)
        else:
            yield RepairCommand(f"{command} --repair", "the original layer command")


def _denied(path: str) -> str:
    """Returns the path that denies access: the file or its folder."""
    folder = os.path.dirname(path)
    return path if not folder or os.access(folder, os.X_OK) else folder


def quoted(path: str) -> str:
    r"""Returns a path quoted for a shell, with control characters escaped.

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

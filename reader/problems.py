"""What is wrong with a dataset, and what mends it: values, and nothing else."""

import shlex
from collections.abc import Iterable
from typing import Literal, NamedTuple

# repair      the sources are asked again: `diptych build … --repair`
# overwrite   the manifest itself is wrong, so that nothing can be held against it
# remove      it is no part of the dataset
Remedy = Literal["repair", "overwrite", "remove"]


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


class Mending(NamedTuple):
    """A command that mends something, and what there is to know about it."""

    command: str
    note: str


def mendings(folder: str, problems: Iterable[Problem]) -> list[Mending]:
    """Returns the commands that mend some problems, in the order to run them."""
    problems = list(problems)
    remedies = {problem.remedy for problem in problems}
    output = f"--output={shlex.quote(folder)}"
    found = [
        Mending(f"rm -- {shlex.quote(problem.path)}", "it is no part of the dataset")
        for problem in problems
        if problem.remedy == "remove"
    ]
    if "overwrite" in remedies:
        note = "the command that built it, with --overwrite: it begins anew"
        found.append(Mending(f"diptych build … {output} --overwrite", note))
    elif "repair" in remedies:
        note = "the command that built it, with --repair"
        found.append(Mending(f"diptych build … {output} --repair", note))
    return found

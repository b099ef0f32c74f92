"""Globs in buckets, with the meaning they have on a disk."""

import re

_MAGIC = re.compile(r"[*?[]")
_PARTS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^]]*\]|.", re.DOTALL)


def fixed_folder(pattern: str) -> str:
    """Returns the folder that all files of a glob lie below.

    >>> fixed_folder("gs://bucket/a/b*/c.tar")
    'gs://bucket/a'
    """
    magic = _MAGIC.search(pattern)
    return pattern[: magic.start() if magic else None].rpartition("/")[0]


def glob_expression(pattern: str) -> re.Pattern[str]:
    """Returns what a name must match: `*` and `?` stay in a folder, `**` does not."""
    return re.compile("".join(map(_expression_of, _PARTS.findall(pattern))), re.DOTALL)


def _expression_of(part: str) -> str:
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if part in wild:
        return wild[part]
    if part.startswith("[") and len(part) > 2:
        inside = part[1:-1].replace("\\", "\\\\")
        return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
    return re.escape(part)

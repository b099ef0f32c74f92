"""Names of captions: what a build says of them, parsed and checked."""

import re
from collections.abc import Mapping, Sequence

from reader.contract.errors import UsageError
from reader.contract.schema import BASE_CAPTIONS

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_SUFFIX = re.compile(r"\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
# What `caption` of the reader may be besides names and their weights.
_STRATEGIES = ("first", "random", "all")


def parse_list(text: str) -> tuple[str, ...]:
    """Parses a list such as `alt,recap`."""
    return tuple(part.strip() for part in text.split(","))


def parse_caption_files(text: str) -> dict[str, str]:
    """Parses suffixes such as `alt:.txt,recap:.recap.txt` to `{name: suffix}`.

    Raises:
        UsageError: The text has another form, or a name is repeated.
    """
    files: dict[str, str] = {}
    for part in parse_list(text):
        name, colon, suffix = part.partition(":")
        if not colon or name in files:
            raise UsageError(
                "write the suffix of each name once, like alt:.txt,recap:.recap.txt, "
                f'got "{text}"'
            )
        files[name] = suffix
    return files


def check_caption_names(field: str, names: Sequence[str]) -> None:
    """Checks the names of captions.

    Args:
        field: Name of the field, for the message.
        names: Names; without any, captions have none.

    Raises:
        UsageError: A name is repeated, has other characters than letters, digits, `_`,
            `.` and `-`, or means something else to the reader.
    """
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{field} names {name} twice: leave one of them out")
        if not _NAME.fullmatch(name):
            hint = (
                ": give each column a name with caption_names"
                if field == "caption_columns"
                else ""
            )
            raise UsageError(
                "the name of a caption must be letters, digits, _, . and -, at most "
                f'100, beginning with a letter or digit, got "{name}" in {field}{hint}'
            )
        if name == BASE_CAPTIONS or name in _STRATEGIES:
            meaning = (
                "captions without a name"
                if name == BASE_CAPTIONS
                else f'captions chosen by caption="{name}"'
            )
            raise UsageError(
                f'"{name}" cannot be the name of a caption, because the reader takes '
                f"it for {meaning}: use another name in {field}"
            )


def check_caption_files(files: Mapping[str, str]) -> None:
    """Checks the suffixes of caption files, `{name: suffix}`.

    Raises:
        UsageError: A suffix is not one such as `.txt` or `.recap.txt`, or is repeated.
    """
    for suffix in files.values():
        if not _SUFFIX.fullmatch(suffix):
            raise UsageError(
                "a suffix in caption_files must be like .txt or .recap.txt, got "
                f'"{suffix}"'
            )
    suffixes = [suffix.lower() for suffix in files.values()]
    for suffix in suffixes:
        if suffixes.count(suffix) > 1:
            raise UsageError(f"two names in caption_files have the suffix {suffix}")

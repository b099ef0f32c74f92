"""Parses flag values to exact numbers and checks the values of a JobConfig."""

import contextlib
import math
import re
from collections.abc import Sequence
from datetime import date
from fractions import Fraction

from beam_jobs.storage.addresses import (
    HUB,
    SOURCE_SCHEMES,
    check_address,
    scheme_of,
    split_path,
)
from reader.contract.errors import UsageError
from reader.contract.layout import ALL_SPLITS, is_split_name

_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_UNITS |= {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def allowed(limit: str | int, found: int) -> int:
    """Returns the number of keys that a limit such as `20` or `0.5%` allows.

    Args:
        limit: A count, or a percentage of all keys.
        found: Number of all keys.

    Raises:
        UsageError: The limit is neither a count nor a percentage up to 100.
    """
    text = str(limit)
    if re.fullmatch(r"[0-9]+", text):
        return int(text)
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", text)
    if match is None or Fraction(match[1]) > 100:
        raise UsageError(
            f'a limit must be a count or a percentage up to 100, got "{text}": '
            "write 20 or 0.5%"
        )
    return int(Fraction(match[1]) * found / 100)


def parse_splits(text: str) -> dict[str, Fraction]:
    """Parses splits such as `train=0.9,validation=0.1` to `{name: share}`.

    Raises:
        UsageError: The text has another form, or a split is repeated.
    """
    splits: dict[str, Fraction] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\w+)\s*=\s*(\d*\.?\d+|\d+/0*[1-9]\d*)\s*", part)
        if match is None:
            raise UsageError(
                f'write splits like train=0.9,validation=0.1, got "{text}"'
            )
        if match[1] in splits:
            raise UsageError(f'split {match[1]} is repeated in "{text}"')
        splits[match[1]] = Fraction(match[2])
    return splits


def parse_size(text: str) -> int:
    """Parses a size such as `128MiB`, `1GB` or `4096` to bytes.

    Raises:
        UsageError: The text has another form.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise UsageError(f'write a size like 128MiB, 1GB or 4096, got "{text}"')
    return int(Fraction(match[1]) * unit)


def parse_delimiter(text: str) -> str:
    r"""Parses a delimiter: a character, or `tab` or `\t` for a tab."""
    return "\t" if text in ("tab", r"\t") else text


def check_delimiter(field: str, value: str | None) -> None:
    """Checks that an optional delimiter is one character that can separate cells.

    Raises:
        UsageError: The value is not one character, or is a space, a quote, a line end
            or not UTF-8.
    """
    if value is None:
        return
    if len(value) != 1 or value in ' "\r\n' or "\ud800" <= value <= "\udfff":
        raise UsageError(
            f'{field} must be one character, such as ";", "|" or tab, and not a space '
            f"or a quote, got {value!r}"
        )


def check_range(
    field: str,
    value: float | None,
    at_least: float | None = None,
    at_most: float | None = None,
    why: str = "",
) -> None:
    """Checks that an optional number is finite and in range.

    Args:
        field: Name of the field, for the message.
        value: Number to check. None is accepted.
        at_least: Smallest value allowed. None for no lower bound.
        at_most: Largest value allowed. None for no upper bound.
        why: Reason for the lower bound, appended to it in the message.

    Raises:
        UsageError: The number is out of range or not finite.
    """
    if value is None:
        return
    if not math.isfinite(value):
        raise UsageError(f"{field} must be a finite number, got {value}")
    low = -math.inf if at_least is None else at_least
    high = math.inf if at_most is None else at_most
    if low <= value <= high:
        return
    if at_most is None:
        bounds = f"at least {at_least}{why}"
    else:
        bounds = f"at most {at_most}" if at_least is None else f"from {low} to {high}"
    raise UsageError(f"{field} must be {bounds}, got {value}")


def check_paths(field: str, paths: Sequence[str]) -> None:
    """Checks that paths are local or in a bucket, and different.

    Raises:
        UsageError: The scheme is not supported, the bucket or folder is missing, or a
            path is given twice.
    """
    for path in paths:
        if paths.count(path) > 1:
            raise UsageError(f"{field} is given twice with the same value: {path}")
        _check_path(field, path)


_ON_THE_HUB = re.compile(r"hf://datasets/[^/@]+/[^/@]+(@[^/]+)?/.*[^/]")


def _check_path(field: str, path: str) -> None:
    scheme = scheme_of(path)
    if scheme == HUB:
        _check_hub(field, path)
    check_address(path, what=field, schemes=SOURCE_SCHEMES)
    if scheme is None:
        return
    if scheme not in SOURCE_SCHEMES:
        raise UsageError(
            f"{field} must be a local path, gs://BUCKET/…, s3://BUCKET/… or "
            f"az://CONTAINER/…, got {path}"
        )
    if not all(split_path(path)):
        raise UsageError(f"{field} must name a bucket and a folder in it, got {path}")


def _check_hub(field: str, path: str) -> None:
    if field == "output":
        raise UsageError(
            f"a dataset is not written to the hub: choose a folder or a bucket instead "
            f"of {path}, and upload it with hf upload"
        )
    if not _ON_THE_HUB.fullmatch(path):
        raise UsageError(f"{field} must be hf://datasets/USER/NAME/PATH, got {path}")


def check_not_empty(field: str, value: str) -> None:
    """Checks that a text is not blank.

    Raises:
        UsageError: The text is empty or only white space.
    """
    if not value.strip():
        raise UsageError(f"{field} must not be empty")


def check_text(field: str, value: str | None) -> None:
    """Checks that an optional text is not blank and can be stored as JSON.

    Raises:
        UsageError: The text is blank or cannot be encoded as UTF-8.
    """
    if value is None:
        return
    check_not_empty(field, value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{field} must be UTF-8, got {value!r}") from error


def check_version(field: str, value: str) -> None:
    """Checks that a version has the form `major.minor.patch`.

    Raises:
        UsageError: The version has another form.
    """
    if not re.fullmatch(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}", value, re.ASCII):
        raise UsageError(f'{field} must be three numbers such as 1.0.0, got "{value}"')


def check_date(field: str, value: str | None) -> None:
    """Checks that an optional date exists and has the form `YYYY-MM-DD`.

    Raises:
        UsageError: The date does not exist or has another form.
    """
    if value is None:
        return
    day = None
    with contextlib.suppress(ValueError):
        day = date.fromisoformat(value)
    # Python also accepts 20251231 and week dates.
    if day is None or day.isoformat() != value:
        raise UsageError(f'{field} must be a date such as 2025-12-31, got "{value}"')


def check_url(field: str, value: str | None) -> None:
    """Checks that an optional URL begins with `http://` or `https://`.

    Raises:
        UsageError: The value is not such a URL.
    """
    if value is not None and not re.fullmatch(r"https?://[^\s/]\S*", value):
        raise UsageError(f'{field} must be http://… or https://…, got "{value}"')


def check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    """Checks that a value is one of the choices.

    Raises:
        UsageError: The value is not one of the choices.
    """
    if value not in choices:
        raise UsageError(f'{field} must be one of {", ".join(choices)}, got "{value}"')


def check_encoding(encoding: str) -> None:
    """Checks that Python has a text encoding of this name.

    Raises:
        UsageError: Python has no such text encoding.
    """
    try:
        with contextlib.suppress(UnicodeDecodeError):
            b"?".decode(encoding, errors="surrogateescape")
    except (LookupError, UnicodeError) as error:
        raise UsageError(
            f'caption_encoding must be a text encoding such as cp1252, got "{encoding}"'
        ) from error


def check_splits(splits: dict[str, Fraction]) -> None:
    """Checks the names and shares of splits.

    Raises:
        UsageError: A name cannot be part of a file name, a share is not positive, or
            the shares do not sum to 1.
    """
    for name, share in splits.items():
        if name == ALL_SPLITS:
            raise UsageError(
                f'a split cannot be called "{name}", which means all splits together '
                "in TensorFlow Datasets: use another name, such as train"
            )
        if not is_split_name(name):
            raise UsageError(
                "a split's name must have up to 100 lower-case letters, digits and _, "
                f'and begin with a letter, got "{name}"'
            )
        if share <= 0:
            raise UsageError(f"the share of {name} must be positive, got {share}")
    total = sum(splits.values())
    if total != 1:
        raise UsageError(
            f"shares of splits must sum to 1, got {float(total)!r}: "
            "write, for example, train=0.9,validation=0.1"
        )

"""Values of flags: text to exact numbers."""

import contextlib
import math
import re
from datetime import date
from fractions import Fraction

from beam_jobs.storage.object_store import SCHEMES, scheme_of, split_path
from reader.contract.errors import UsageError
from reader.contract.layout import ALL_SPLITS, is_split_name

_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_UNITS |= {"KB": 10**3, "MB": 10**6, "GB": 10**9}


def allowed(limit: str | int, found: int) -> int:
    """Returns how many of `found` keys a limit allows: `20`, or `0.5%` of them.

    Raises:
        UsageError: It is neither a count nor a percentage up to 100.
    """
    text = str(limit)
    if re.fullmatch(r"[0-9]+", text):
        return int(text)
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)%", text)
    if match is None or Fraction(match[1]) > 100:
        raise UsageError(
            f'a limit is a count or a percentage up to 100, got "{text}": '
            "write 20 or 0.5%"
        )
    return int(Fraction(match[1]) * found / 100)


def parse_splits(text: str) -> dict[str, Fraction]:
    """Returns `{name: share}` of `train=0.9,validation=0.1`.

    Raises:
        UsageError: It is not of that form.
    """
    splits: dict[str, Fraction] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\w+)\s*=\s*(\d*\.?\d+|\d+/0*[1-9]\d*)\s*", part)
        if match is None:
            raise UsageError(
                f'splits are written train=0.9,validation=0.1, got "{text}"'
            )
        if match[1] in splits:
            raise UsageError(f'split {match[1]} is named twice in "{text}"')
        splits[match[1]] = Fraction(match[2])
    return splits


def parse_size(text: str) -> int:
    """Returns bytes of a size such as `128MiB`, `1GB` or `4096`.

    Raises:
        UsageError: It is not of that form.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise UsageError(f'a size is written 128MiB, 1GB or 4096, got "{text}"')
    return int(Fraction(match[1]) * unit)


def check_range(
    field: str,
    value: float | None,
    at_least: float | None = None,
    at_most: float | None = None,
    why: str = "",
) -> None:
    """Checks a number that may be left out.

    Raises:
        UsageError: It is out of range, or not finite.
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


def check_path(field: str, path: str | None) -> None:
    """Checks that a path is one of this machine, or an address in a bucket.

    Raises:
        UsageError: It is in a store that is not known, or names no bucket.
    """
    if path is None:
        return
    if re.match(r"(gs|s3):/?[^/]", path):
        raise UsageError(f"{field} wants two slashes: gs://BUCKET/…, got {path}")
    scheme = scheme_of(path)
    if scheme is None:
        return
    if scheme not in SCHEMES:
        raise UsageError(
            f"{field} must be a local path, gs://BUCKET/… or s3://BUCKET/…, got {path}"
        )
    if not all(split_path(path)):
        raise UsageError(f"{field} must name a bucket and a folder in it, got {path}")


def check_not_empty(field: str, value: str) -> None:
    """Checks that there is something in a text.

    Raises:
        UsageError: There is not.
    """
    if not value.strip():
        raise UsageError(f"{field} must not be empty")


def check_text(field: str, value: str | None) -> None:
    """Checks that a text that may be left out is one that JSON can hold.

    Raises:
        UsageError: It is empty, or holds bytes that are not UTF-8.
    """
    if value is None:
        return
    check_not_empty(field, value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{field} must be UTF-8, got {value!r}") from error


def check_version(field: str, value: str) -> None:
    """Checks a version of three numbers.

    Raises:
        UsageError: It is none.
    """
    if not re.fullmatch(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}", value, re.ASCII):
        raise UsageError(f'{field} must be three numbers such as 1.0.0, got "{value}"')


def check_date(field: str, value: str | None) -> None:
    """Checks a date that may be left out.

    Raises:
        UsageError: It is no day, or written in another way.
    """
    if value is None:
        return
    day = None
    with contextlib.suppress(ValueError):
        day = date.fromisoformat(value)
    # Python reads 20251231 as well, and weeks.
    if day is None or day.isoformat() != value:
        raise UsageError(f'{field} must be a day such as 2025-12-31, got "{value}"')


def check_url(field: str, value: str | None) -> None:
    """Checks an address of the web that may be left out.

    Raises:
        UsageError: It is none.
    """
    if value is not None and not re.fullmatch(r"https?://[^\s/]\S*", value):
        raise UsageError(f'{field} must be http://… or https://…, got "{value}"')


def check_choice(field: str, value: str, choices: tuple[str, ...]) -> None:
    """Checks that a value is one of a few.

    Raises:
        UsageError: It is not.
    """
    if value not in choices:
        raise UsageError(f'{field} must be one of {", ".join(choices)}, got "{value}"')


def check_encoding(encoding: str) -> None:
    """Checks that Python knows an encoding of text of this name.

    Raises:
        UsageError: It does not.
    """
    try:
        with contextlib.suppress(UnicodeDecodeError):
            b"?".decode(encoding, errors="surrogateescape")
    except (LookupError, UnicodeError) as error:
        raise UsageError(
            "caption_encoding must be an encoding of text such as cp1252, "
            f'got "{encoding}"'
        ) from error


def check_splits(splits: dict[str, Fraction]) -> None:
    """Checks names and shares of splits.

    Raises:
        UsageError: A name cannot be part of a file's, or the shares are not one.
    """
    for name, share in splits.items():
        if name == ALL_SPLITS:
            raise UsageError(
                f'a split cannot be called "{name}", which to TensorFlow Datasets is '
                "all splits together: call it train, for example"
            )
        if not is_split_name(name):
            raise UsageError(
                "a split's name is made of up to 100 lower-case letters, digits and _ "
                f'and begins with a letter, got "{name}"'
            )
        if share <= 0:
            raise UsageError(f"the share of {name} must be positive, got {share}")
    total = sum(splits.values())
    if total != 1:
        raise UsageError(
            f"shares of splits must sum to 1, got {float(total)!r}: "
            "write for example train=0.9,validation=0.1"
        )

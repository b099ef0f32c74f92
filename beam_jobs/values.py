"""Values of flags: text to exact numbers."""

import re
from fractions import Fraction

from reader.contract.errors import UsageError

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

"""Parses the JSON file that marks an addition to a dataset as complete."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from reader.contract.errors import DatasetError
from reader.contract.layout import FORMAT_VERSION

_T = TypeVar("_T")


def parse_addition(
    data: bytes,
    where: str,
    kind: str,
    again: str,
    make: Callable[[Mapping[str, Any]], _T],
) -> _T:
    """Returns what `make` makes of the fields of the file.

    Args:
        data: Bytes of the file.
        where: Path of the file, for error messages.
        kind: Kind of addition that it has to be: `selection` or `layer`.
        again: How to make the addition again, for error messages.
        make: Function of the fields; its errors mean that the file is another.

    Raises:
        DatasetError: The bytes are not such a file, or of a newer format.
    """
    try:
        fields = json.loads(data)
        if fields["kind"] != kind:
            raise ValueError(f"its kind is {fields['kind']!r}")
        if fields["format_version"] > FORMAT_VERSION:
            raise DatasetError(
                f"{where}: format_version {fields['format_version']} is newer than "
                f"this reader ({FORMAT_VERSION}): upgrade diptych"
            )
        return make(fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DatasetError(
            f"{where} is not a {kind} ({error!r}): restore it, or {again}"
        ) from error

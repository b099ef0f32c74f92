"""Builds dataclasses from JSON with type checks, and dumps reproducible JSON."""

import functools
import json
import typing
from collections.abc import Mapping
from typing import Any


def known_fields(cls: type[Any], fields: Mapping[str, Any]) -> Any:
    """Builds a dataclass from JSON fields and checks numbers, strings and mappings.

    Unknown fields are ignored, so later versions can add fields.

    Raises:
        TypeError: A field is missing or has another type.
    """
    types = _types_of(cls)  # type: ignore[arg-type]
    known = {name: value for name, value in fields.items() if name in types}
    for name, value in known.items():
        plain = types[name] in (int, str, int | None)
        if plain and not isinstance(value, types[name]):
            wanted = getattr(types[name], "__name__", types[name])
            raise TypeError(f"{name} must be {wanted}, got {value!r}")
    for name in ("not_written", "files"):
        if not isinstance(known.get(name, {}), Mapping):
            raise TypeError(f"{name} must be an object, got {known[name]!r}")
    return cls(**known)


@functools.cache
def _types_of(cls: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def dump_json(value: Any) -> bytes:
    """Serializes a value as JSON; equal values give equal bytes.

    Keys are sorted, other characters than ASCII are escaped, and one newline ends the
    JSON.
    """
    return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode()

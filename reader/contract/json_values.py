"""From what JSON holds to frozen values, with the types looked at."""

import functools
import json
import typing
from collections.abc import Mapping
from typing import Any


def known_fields(cls: type[Any], fields: Mapping[str, Any]) -> Any:
    """Makes a dataclass of the fields that it has, and checks the plain ones' types."""
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
    """Returns JSON that is equal for equal values: sorted keys, UTF-8, one newline."""
    return (json.dumps(value, sort_keys=True, indent=1) + "\n").encode()

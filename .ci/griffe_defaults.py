"""Shows the values of defaults on API pages, where signatures name a constant.

`reader.load` takes its defaults from `reader.config.defaults`, their only place; a page
with `crop=defaults.CROP` would tell its reader nothing.
"""

import re
from typing import Any

import griffe

_DEFAULTS = "reader.config.defaults"


class Extension(griffe.Extension):
    """Replaces `defaults.NAME` in signatures by the constant's source."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Handles all functions of a package, once it is loaded."""
        if pkg.path == _DEFAULTS.partition(".")[0]:
            constants = pkg[_DEFAULTS.partition(".")[2]].attributes
            self._resolve(pkg, {name: str(c.value) for name, c in constants.items()})

    def _resolve(self, owner: Any, values: dict[str, str]) -> None:
        for member in owner.members.values():
            if member.is_alias:
                continue
            if member.is_function:
                for parameter in member.parameters:
                    default = str(parameter.default)
                    if name := re.fullmatch(r"defaults\.(\w+)", default):
                        parameter.default = values[name[1]]
            elif member.is_module or member.is_class:
                self._resolve(member, values)

"""The arguments of `load` and `stream` → their configuration."""

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from reader.config.image_config import image_config
from reader.config.read_config import (
    ReadConfig,
    Resources,
    folder_name,
    output_names,
)

_OF_IMAGES = tuple(inspect.signature(image_config).parameters)
_OF_RESOURCES = tuple(field.name for field in dataclasses.fields(Resources))
_OTHERS = tuple(field.name for field in dataclasses.fields(ReadConfig))


def config_of(arguments: Mapping[str, Any]) -> ReadConfig:
    """Returns the configuration of arguments by name; skips those of patterns.

    Raises:
        UsageError: A value is out of range. The message names the argument and shows
            its value.
    """

    def named(names: tuple[str, ...]) -> dict[str, Any]:
        return {name: arguments[name] for name in names if name in arguments}

    resources = {**named(_OF_RESOURCES), "cache": folder_name(arguments["cache"])}
    settings = {**named(_OTHERS), "outputs": output_names(arguments["outputs"])}
    return ReadConfig(
        images=image_config(**named(_OF_IMAGES)),
        resources=Resources(**resources),
        **settings,
    )

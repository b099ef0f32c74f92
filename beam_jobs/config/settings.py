"""What each field of JobConfig declares once: its flag, its bounds, its part in builds.

`JobConfig` checks values by it, the command line makes flags of it, and the fingerprint
leaves out what does not change the output.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

# Headings of `diptych build --help`, in this order.
SOURCES = "sources: one of these"
COLUMNS = "columns of a table, or of WebDataset's JSON"
OUTPUT = "output"
SPLITS = "splits and shards"
IMAGES = "images"
CAPTIONS = "captions"
LIMITS = "limits: a count, or a percentage of all keys"
MACHINE = "this machine"
ABOUT = "what is said of the dataset to other tools"
GROUPS = (
    SOURCES,
    COLUMNS,
    OUTPUT,
    SPLITS,
    IMAGES,
    CAPTIONS,
    LIMITS,
    MACHINE,
    ABOUT,
)


class Setting(NamedTuple):
    """What a field declares besides its type and default.

    Attributes:
        group: Heading of its flag in `--help`.
        help: Help text of its flag; `%(default)s` is the default.
        metavar: Placeholder of its value in `--help`.
        parse: Makes a value of the flag's text; raises `UsageError` on bad text.
        choices: Values allowed; empty for any.
        at_least: Smallest value allowed.
        at_most: Largest value allowed.
        is_path: Whether it is the path, glob or address of files.
        changes_output: Whether it is part of the configuration's fingerprint.
        images: For a field that names a source by itself: whether the source also
            takes `images`. None for every other field.
        has_columns: For such a field: whether the source has columns to carry through.
        about: The field of `reader.contract.manifest.About` that it becomes.
    """

    group: str
    help: str
    metavar: str | None = None
    parse: Callable[[str], Any] = str
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    is_path: bool = False
    changes_output: bool = True
    images: Literal["required", "optional", "excluded"] | None = None
    has_columns: bool = True
    about: str | None = None


def setting(
    group: str,
    help: str,
    default: Any = None,
    *,
    default_factory: Callable[[], Any] | None = None,
    **declared: Any,
) -> Any:
    """Returns a dataclass field with a default that carries a `Setting`."""
    metadata = metadata_of(group, help, **declared)
    if default_factory is not None:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def metadata_of(group: str, help: str, **declared: Any) -> dict[Any, Any]:
    """Returns the metadata of a field that carries a `Setting` of the arguments."""
    return {Setting: Setting(group, help, **declared)}


def settings_of(cls: type) -> dict[str, Setting]:
    """Returns `{field: setting}` of a dataclass whose fields were made by `setting`."""
    return {field.name: field.metadata[Setting] for field in dataclasses.fields(cls)}


def defaults_of(cls: type) -> dict[str, Any]:
    """Returns `{field: default}` of a dataclass; None for a field without one."""
    return {field.name: _default(field) for field in dataclasses.fields(cls)}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default

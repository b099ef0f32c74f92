"""The declaration of a configuration's field: its flag, its bounds and its role.

`JobConfig` and `LayerConfig` check values against the declarations, and the command
line makes flags from them. The fingerprint leaves out fields that do not change the
output.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

# Headings of `diptych build --help` and `diptych layer --help`, in order.
SOURCES = "sources: one of these"
ADDED = "what is added"
COLUMNS = "columns of a table, or of WebDataset's JSON"
OUTPUT = "output"
SPLITS = "splits and shards"
IMAGES = "images"
CAPTIONS = "captions"
LIMITS = "limits: a count, or a percentage of all keys"
MACHINE = "this machine"
ABOUT = "metadata for other tools"
GROUPS = (
    SOURCES,
    ADDED,
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
    """The declaration of a field, besides its type and default.

    Attributes:
        group: Heading of the flag in `--help`.
        help: Help text of the flag. `%(default)s` stands for the default.
        metavar: Placeholder of the value in `--help`.
        parse: Function that converts the flag's text to a value. Raises `UsageError`
            for invalid text.
        choices: Values allowed. Empty if every value is allowed.
        at_least: Smallest value allowed. None for no lower bound.
        at_most: Largest value allowed. None for no upper bound.
        is_path: Whether the value is a local path, a glob or an address in a bucket.
        several: Whether several values are allowed, each with a flag of its own.
        changes_output: Whether the field is part of the configuration's fingerprint.
        since_format_1: Whether the field is newer than format 1. Its default is how
            every dataset before it was built, and is left out of the fingerprint.
        images: Whether the source that the field names needs, accepts or excludes the
            `images` folder. None if the field is not a source on its own.
        reads_files: Whether the field says how to read files of images, captions or
            rows. A finished dataset as the source does not need it.
        about: Name of the field in `reader.contract.manifest.About` that gets the
            value. None if the field is not metadata.
    """

    group: str
    help: str
    metavar: str | None = None
    parse: Callable[[str], Any] = str
    choices: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None
    is_path: bool = False
    several: bool = False
    changes_output: bool = True
    since_format_1: bool = False
    images: Literal["required", "optional", "excluded"] | None = None
    reads_files: bool = False
    about: str | None = None


def setting(
    group: str,
    help: str,
    default: Any = None,
    *,
    default_factory: Callable[[], Any] | None = None,
    **declared: Any,
) -> Any:
    """Returns a dataclass field with a default and a `Setting` as its metadata."""
    metadata = metadata_of(group, help, **declared)
    if default_factory is not None:
        return dataclasses.field(default_factory=default_factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def metadata_of(group: str, help: str, **declared: Any) -> dict[Any, Any]:
    """Returns dataclass metadata that holds a `Setting` with the arguments."""
    return {Setting: Setting(group, help, **declared)}


def as_in(cls: type, field: str, **changes: Any) -> Any:
    """Returns a dataclass field with the default and the setting of another class's.

    Args:
        cls: The other class.
        field: Name of its field.
        changes: Attributes of the setting that differ.
    """
    declared = settings_of(cls)[field]._replace(**changes)
    return dataclasses.field(
        default=defaults_of(cls)[field], metadata={Setting: declared}
    )


def settings_of(cls: type) -> dict[str, Setting]:
    """Returns `{field: setting}` for the fields made by `setting`."""
    return {
        field.name: field.metadata[Setting]
        for field in dataclasses.fields(cls)
        if Setting in field.metadata
    }


def defaults_of(cls: type) -> dict[str, Any]:
    """Returns `{field: default}` for a dataclass; None stands for no default."""
    return {field.name: _default(field) for field in dataclasses.fields(cls)}


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default

"""A row of any source → what it says of a key."""

from collections.abc import Mapping, Sequence
from typing import Any

from beam_jobs.config.columns import BadCell, Value
from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import BadInput, Entry, ListTask, SourceFile
from beam_jobs.sources.paths import composed, key_of, place_of
from beam_jobs.sources.table_rows import Row
from reader.contract.layout import ALL_SPLITS, is_split_name


def entry_of_row(
    row: Row, task: ListTask, folder: bytes, roots: Sequence[bytes], config: JobConfig
) -> Entry:
    """Returns what a row of a table says.

    Args:
        row: The row.
        task: The table, and which of its columns hold images and captions.
        folder: Where its relative names begin, below the first root.
        roots: Folders that names may lead to.
        config: Which columns are carried through.
    """
    # A row that names no image is a key of its own, so that the books have it.
    unnamed = Entry(b"%b:%d" % (task.path, row.number), task.path, row.number)
    if row.wrong is not None:
        return unnamed._replace(flaw=("bad_row", row.wrong))
    cells = row.cells
    try:
        image = _image_of(cells.get(task.image_column), folder, roots)
    except BadInput as error:
        return _keyed(unnamed, cells, config, flaw=(error.reason, error.detail))
    named = unnamed._replace(key=key_of(image.path), image=image)
    return filled(named, cells, cells.get(task.caption_column), config)


def filled(
    entry: Entry, cells: Mapping[str, Any], captions: Any, config: JobConfig
) -> Entry:
    """Returns an entry with the captions, values, split and key that its row gives."""
    try:
        return _keyed(
            entry._replace(
                texts=texts_of(captions),
                values=values_of(cells, config),
                split=_split_of(cells, config),
            ),
            cells,
            config,
        )
    except BadInput as error:
        return _keyed(entry, cells, config, flaw=(error.reason, error.detail))


def _keyed(
    entry: Entry,
    cells: Mapping[str, Any],
    config: JobConfig,
    flaw: tuple[str, str] | None = None,
) -> Entry:
    """Returns an entry under the key that its row gives, if there is a column of keys.

    Without one, or where the cell is no key, it stays under the one that it has.
    """
    entry = entry._replace(flaw=flaw)
    if config.key_column is None:
        return entry
    key = cells.get(config.key_column)
    try:
        if isinstance(key, bool) or not isinstance(key, (str, int)) or key == "":
            raise ValueError
        encoded = str(key).encode("utf-8", errors="surrogateescape")
    except ValueError:
        wrong = ("bad_value", f"column {config.key_column}: {key!r} is no key")
        return entry._replace(flaw=flaw or wrong)
    return entry._replace(key=composed(encoded))


def _image_of(cell: Any, folder: bytes, roots: Sequence[bytes]) -> SourceFile:
    if cell is None or cell == "":
        raise BadInput("unpaired_caption", "the row names no image")
    if not isinstance(cell, str):
        raise BadInput(
            "bad_value", f"{type(cell).__name__} in place of an image's name"
        )
    return place_of(cell, folder, roots)


def texts_of(cell: Any) -> tuple[str, ...]:
    """Returns the captions of a cell: a text, a list of texts, or null for none.

    Raises:
        BadInput: `bad_value`: it is something else.
    """
    cells = cell if isinstance(cell, list) else [cell]
    for one in cells:
        if one is not None and not isinstance(one, str):
            raise BadInput("bad_value", f"{one!r:.60} in place of a caption")
    return tuple(one for one in cells if one is not None)


def values_of(cells: Mapping[str, Any], config: JobConfig) -> tuple[Value, ...]:
    """Returns the values of the columns that are carried through.

    Raises:
        BadInput: `bad_value`: a cell is not of its column's type.
    """
    values = []
    for column in config.columns:
        try:
            values.append(column.value_of(cells.get(column.name)))
        except BadCell as error:
            raise BadInput("bad_value", f"column {column.name}: {error}") from error
    return tuple(values)


def _split_of(cells: Mapping[str, Any], config: JobConfig) -> str | None:
    if config.split_column is None:
        return None
    split = cells.get(config.split_column)
    if not isinstance(split, str) or not is_split_name(split):
        raise BadInput(
            "bad_value",
            f"column {config.split_column}: {split!r:.60} is no split: "
            "these are called in lower-case letters, digits and _, and not "
            f"{ALL_SPLITS}",
        )
    return split

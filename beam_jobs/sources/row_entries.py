"""Converts rows of tables and JSON objects to entries."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from beam_jobs.config.columns import BadCell, Column, Value
from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import BadInput, Entry, ListTask, SourceFile
from beam_jobs.inputs.paths import composed, key_of, place_of
from beam_jobs.inputs.table_rows import Row
from reader.contract.layout import ALL_SPLITS, is_split_name

# Returns the key and the file of the image that a cell names or holds, or raises
# `BadInput`.
ImageOf = Callable[[Any], tuple[bytes, SourceFile]]


def entry_of_row(
    row: Row, task: ListTask, image_of: ImageOf, config: JobConfig
) -> Entry:
    """Returns the entry of a table row.

    Args:
        row: Row of the table.
        task: Task of the table, with the names of the image and caption columns.
        image_of: Function that returns the image of a cell.
        config: Configuration of the job, with the columns to read.
    """
    # A row without an image gets its own key, so that the accounting counts the row.
    unnamed = Entry(b"%b:%d" % (_name_of(task), row.number), task.path, row.number)
    if row.wrong is not None:
        return unnamed._replace(flaw=("bad_row", row.wrong))
    cells = row.cells
    try:
        key, image = image_of(cells.get(task.image_column))
    except BadInput as error:
        return _keyed(unnamed, cells, config, flaw=(error.reason, error.detail))
    column = task.caption_column
    named = unnamed._replace(
        key=key,
        image=image,
        lacks=lack_of(cells, column, config.caption_columns),
    )
    return filled(named, cells, captions_of(cells, column, config), config)


def _name_of(task: ListTask) -> bytes:
    """Returns a name of a table that no other table of the job has."""
    if task.roots[0] == 0:
        return task.path
    return os.path.join(task.root, task.path)


def captions_of(cells: Mapping[str, Any], column: str, config: JobConfig) -> Any:
    """Returns what the cells of a row or the fields of an object hold of captions.

    With `caption_columns`, that is `{name: cell}`, and otherwise one cell.
    """
    if not config.caption_columns:
        return cells.get(column)
    return {name: cells.get(column) for name, column in config.named_columns.items()}


def lack_of(cells: Mapping[str, Any], column: str, named: Sequence[str] = ()) -> str:
    """Returns why the cells of a row or the fields of an object hold no caption.

    Args:
        cells: Cells or fields by their names.
        column: Name of the column of captions.
        named: Names of the columns of captions instead, if each has a name.
    """
    if named:
        return f"its {' and '.join(named)} are null or missing"
    if column not in cells:
        return f'it has no field "{column}"'
    if cells[column] == []:
        return "its list of captions is empty"
    return "its caption is null"


def filled(
    entry: Entry, cells: Mapping[str, Any], captions: Any, config: JobConfig
) -> Entry:
    """Returns an entry with the captions, values, split and key of its row."""
    try:
        named = None
        if config.names_of_captions:
            named = named_texts_of(captions, config.names_of_captions)
        return _keyed(
            entry._replace(
                texts=texts_of(captions) if named is None else tuple(named.texts),
                names=None if named is None else tuple(named.names),
                values=values_of(cells, config.columns_read),
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
    """Returns an entry with the key from the key column of its row.

    The entry keeps its key if there is no key column or the cell is not a valid key.
    """
    entry = entry._replace(flaw=flaw)
    if config.key_column is None:
        return entry
    try:
        return entry._replace(key=key_in(cells, config.key_column))
    except BadInput as error:
        return entry._replace(flaw=flaw or (error.reason, error.detail))


def key_in(cells: Mapping[str, Any], column: str) -> bytes:
    """Returns the key in a column of a row.

    Raises:
        BadInput: `bad_value` if the cell is not a valid key.
    """
    key = cells.get(column)
    try:
        if isinstance(key, bool) or not isinstance(key, (str, int)) or key == "":
            raise ValueError
        encoded = str(key).encode("utf-8", errors="surrogateescape")
    except ValueError:
        raise BadInput("bad_value", f"column {column}: {key!r} is no key") from None
    return composed(encoded)


def image_named(
    cell: Any, folder: bytes, roots: Sequence[bytes], bases: Sequence[int]
) -> tuple[bytes, SourceFile]:
    """Returns the key and the file of the image that a cell names.

    Args:
        cell: Cell of the column of image paths.
        folder: Path of the base folder for relative image paths, relative to the first
            root.
        roots: Absolute paths of the folders that images may be in.
        bases: Indices of the roots that relative names may be relative to.

    Raises:
        BadInput: The cell names no image, or one that is not below the roots.
    """
    if cell is None or cell == "":
        raise BadInput("unpaired_caption", "the row names no image")
    if not isinstance(cell, str):
        raise BadInput(
            "bad_value", f"{type(cell).__name__} in place of an image's name"
        )
    image = place_of(cell, folder, roots, bases)
    return key_of(image.path), image


def texts_of(cell: Any) -> tuple[str, ...]:
    """Returns the captions of a cell: a text, a list of texts, or null for no caption.

    Raises:
        BadInput: `bad_value` if the cell has another type.
    """
    texts = cell if isinstance(cell, list) else [cell]
    for text in texts:
        if text is not None and not isinstance(text, str):
            hint = ": pass --caption_names" if isinstance(text, dict) else ""
            raise BadInput("bad_value", f"{text!r:.60} in place of a caption{hint}")
    return tuple(text for text in texts if text is not None)


class NamedTexts(NamedTuple):
    """Captions and the name of each; empty if it has none."""

    texts: list[str]
    names: list[str]

    def add(self, name: str, texts: Iterable[str]) -> None:
        """Adds captions of one name."""
        self.texts.extend(texts)
        self.names.extend([name] * (len(self.texts) - len(self.names)))


def named_texts_of(cell: Any, names: Sequence[str]) -> NamedTexts:
    """Returns the captions of a cell with their names.

    A cell is `{name: captions}`, where captions are what `texts_of` takes; a list, in
    which a caption may be `{"name": name, "text": captions}`; or what `texts_of` takes.

    Args:
        cell: Cell of a table, or field of a JSON object.
        names: Names that captions may have.

    Raises:
        BadInput: `bad_value` if the cell is something else, or a name is not among the
            names.
    """
    found = NamedTexts([], [])
    if isinstance(cell, dict):
        for name in cell:
            _check_name(name, names)
        captions = {name: texts_of(cell[name]) for name in names if name in cell}
        # An empty cell of a CSV stands for no caption, if there is another.
        full = {name: any(map(str.strip, texts)) for name, texts in captions.items()}
        for name, texts in captions.items():
            if full[name] or not any(full.values()):
                found.add(name, texts)
        return found
    for item in cell if isinstance(cell, list) else [cell]:
        if isinstance(item, dict):
            name = item.get("name")
            name = "" if name is None else name
            if name != "":
                _check_name(name, names)
            found.add(name, texts_of(item.get("text")))
        else:
            found.add("", texts_of(item))
    return found


def _check_name(name: Any, names: Sequence[str]) -> None:
    if name not in names:
        raise BadInput(
            "bad_value",
            f"{name!r:.60} is no name of captions: these are {', '.join(names)}",
        )


def values_of(cells: Mapping[str, Any], columns: Iterable[Column]) -> tuple[Value, ...]:
    """Returns the values of columns in a row.

    Raises:
        BadInput: `bad_value` if a cell does not match the type of its column.
    """
    values = []
    for column in columns:
        try:
            values.append(column.value_of(cells.get(column.name)))
        except BadCell as error:
            raise BadInput("bad_value", f"column {column.name}: {error}") from error
    return tuple(values)


def _split_of(cells: Mapping[str, Any], config: JobConfig) -> str | None:
    if config.split_column is None:
        return None
    return split_named(cells, config.split_column)


def split_named(cells: Mapping[str, Any], column: str) -> str:
    """Returns the split that a column of a row names.

    Raises:
        BadInput: `bad_value` if the cell is not the name of a split.
    """
    split = cells.get(column)
    if not isinstance(split, str) or not is_split_name(split):
        raise BadInput(
            "bad_value",
            f"column {column}: {split!r:.60} is no split: "
            "these are called in lower-case letters, digits and _, and not "
            f"{ALL_SPLITS}",
        )
    return split

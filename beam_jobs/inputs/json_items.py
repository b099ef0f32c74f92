"""Streams the items of the arrays in a JSON object, such as the images of COCO."""

import codecs
import itertools
import os
from collections.abc import Iterator
from typing import Any

import ijson

from beam_jobs.elements import BadInput
from beam_jobs.storage.files import open_file
from reader.contract.errors import BuildError

# Number of items of an array that are inspected before the job starts. A single item
# may lack some fields.
_NUM_INSPECTED = 1000


def items_of(path: bytes, name: str) -> Iterator[Any]:
    """Yields the items of an array; nothing if the file has no such array.

    Args:
        path: Path of the file.
        name: Field of the top-level object that holds the array.

    Raises:
        BuildError: The file is not valid JSON.
    """
    try:
        with open_file(path) as file:
            if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
                file.seek(0)
            yield from ijson.items(file, f"{name}.item", use_float=True)
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise BuildError(
            f"{os.fsdecode(path)} is not valid JSON: {_first_line(error)}: download it "
            "again"
        ) from error


def _first_line(error: Exception) -> str:
    """Returns an error's message without the later lines, which draw an arrow."""
    message = error.args[0] if len(error.args) == 1 else str(error)
    if isinstance(message, bytes):  # The text around the error is not UTF-8.
        message = message.decode(errors="replace")
    return str(message).splitlines()[0]


def first_items(path: bytes, name: str) -> list[dict[str, Any]]:
    """Returns the objects among the first 1,000 items of an array.

    Raises:
        BuildError: The file is not valid JSON.
    """
    items = itertools.islice(items_of(path, name), _NUM_INSPECTED)
    return [item for item in items if isinstance(item, dict)]


def field_of(item: Any, name: str, *types: type) -> Any:
    """Returns a field of an item.

    Raises:
        BadInput: `bad_row` if the item is not an object, or its field has none of the
            types.
    """
    value = item.get(name) if isinstance(item, dict) else None
    # To Python, a bool is an int, and `True` the same key of a dict as 1.
    if not isinstance(value, types) or isinstance(value, bool):
        raise BadInput("bad_row", f"{value!r:.60} in place of its {name}")
    return value

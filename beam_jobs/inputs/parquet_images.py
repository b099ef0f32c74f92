"""Reads images in the cells of Parquet tables, as the Hugging Face hub has them.

A cell is `binary` or a struct of `bytes` and `path`. A table is read by row group and,
in it, in batches of a few megabytes: never a whole file.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_jobs.inputs.parquet_rows import cells_of, is_text, opened, stored_type

# Fields of the struct.
_BYTES, _PATH = "bytes", "path"

_is = pa.types
_BINARIES = (_is.is_binary, _is.is_large_binary, _is.is_binary_view)

# Bytes of images in a batch, unless a single one has more.
_BATCH_BYTES = 8 << 20
# Bytes that are read at a time. A column of a row group may have 500 MB.
_READ_BYTES = 8 << 20
_PATHS_PER_BATCH = 4096


class ImageColumn(NamedTuple):
    """A column of images.

    Attributes:
        data: Path of the column of bytes in the Parquet schema.
        names: Path of the column of names, or None if images have none.
    """

    data: str
    names: str | None


class ImageCell(NamedTuple):
    """A cell of a column of images, without its bytes.

    Attributes:
        row: Number of the row, from 0.
        name: Name of the image, or None.
        column: Path of the column of bytes in the Parquet schema.
        chunk: Size in bytes of all images in its row group, uncompressed.
        is_null: Whether the cell has no bytes.
    """

    row: int
    name: str | None
    column: str
    chunk: int
    is_null: bool


def image_column_of(schema: pa.Schema, name: str) -> ImageColumn | None:
    """Returns a column as a column of images, or None if its type is another."""
    type_ = stored_type(schema.field(name).type)
    if _is_binary(type_):
        return ImageColumn(name, None)
    if not _is.is_struct(type_):
        return None
    fields = {field.name: field.type for field in type_}
    if not _is_binary(fields.get(_BYTES, pa.null())):
        return None
    has_names = is_text(fields.get(_PATH, pa.null()))
    return ImageColumn(f"{name}.{_BYTES}", f"{name}.{_PATH}" if has_names else None)


def _is_binary(type_: pa.DataType) -> bool:
    return any(is_kind(stored_type(type_)) for is_kind in _BINARIES)


def read_image_cells(file: Any, column: ImageColumn) -> Iterator[ImageCell]:
    """Yields the cells of a column, without reading their bytes.

    The bytes of a row group are read only if some may be null, as its statistics say.
    """
    table = opened(file)
    images = opened(file, _READ_BYTES)
    names = _names(table, column)
    row = 0
    for group in range(table.num_row_groups):
        chunk = _chunk_of(table, group, column.data)
        nulls = _nulls(images, group, column.data)
        for _ in range(table.metadata.row_group(group).num_rows):
            size = chunk.total_uncompressed_size
            yield ImageCell(row, next(names), column.data, size, next(nulls))
            row += 1


def read_images(file: Any, column: str) -> Iterator[pa.Buffer | None]:
    """Yields the images of a table in the order of its rows. None for a null.

    Args:
        file: Open Parquet file.
        column: Path of the column of bytes in the Parquet schema.
    """
    table = opened(file, _READ_BYTES)
    for group in range(table.num_row_groups):
        yield from _images(table, group, column)


def read_image(file: Any, column: str, row: int) -> bytes:
    """Returns the image in a row, for which half of its row group is read on average.

    Args:
        file: Open Parquet file.
        column: Path of the column of bytes in the Parquet schema.
        row: Number of the row, from 0.
    """
    table = opened(file, _READ_BYTES)
    for group in range(table.num_row_groups):
        num_rows = table.metadata.row_group(group).num_rows
        if row < num_rows:
            break
        row -= num_rows
    images = _images(table, group, column)
    for _ in range(row):
        next(images)
    image = next(images)
    return b"" if image is None else bytes(image)


def _chunk_of(table: pq.ParquetFile, group: int, column: str) -> Any:
    """Returns the metadata of a column in a row group."""
    metadata = table.metadata.row_group(group)
    chunks = (metadata.column(number) for number in range(metadata.num_columns))
    return next(chunk for chunk in chunks if chunk.path_in_schema == column)


def _names(table: pq.ParquetFile, column: ImageColumn) -> Iterator[str | None]:
    if column.names is None:
        yield from itertools.repeat(None)
        return
    for batch in table.iter_batches(
        _PATHS_PER_BATCH, columns=[column.names], use_threads=False
    ):
        yield from cells_of(_leaf(batch.column(0), _PATH))


def _nulls(table: pq.ParquetFile, group: int, column: str) -> Iterator[bool]:
    statistics = _chunk_of(table, group, column).statistics
    if statistics and statistics.has_null_count and not statistics.null_count:
        yield from itertools.repeat(False)
    for image in _images(table, group, column):
        yield image is None


def _images(
    table: pq.ParquetFile, group: int, column: str
) -> Iterator[pa.Buffer | None]:
    num_bytes = _chunk_of(table, group, column).total_uncompressed_size
    num_rows = table.metadata.row_group(group).num_rows
    rows = max(1, _BATCH_BYTES * num_rows // max(1, num_bytes))
    for batch in table.iter_batches(
        min(rows, num_rows), row_groups=[group], columns=[column], use_threads=False
    ):
        for image in _leaf(batch.column(0), _BYTES):
            yield image.as_buffer()


def _leaf(array: pa.Array, field: str) -> pa.Array:
    """Returns the values behind extension types, dictionaries and a struct."""
    if isinstance(array.type, pa.BaseExtensionType):
        return _leaf(array.storage, field)
    if _is.is_dictionary(array.type):
        return _leaf(array.dictionary_decode(), field)
    if _is.is_struct(array.type):
        return _leaf(pc.struct_field(array, field), field)
    return array

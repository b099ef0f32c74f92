"""Copies images of Parquet tables to `_build/`, from where they are read in any order.

A shard has rows of all row groups, since the order of records is that of a hash. Read
in place, an image costs the row group around it: docs/sources.md has the figures.
"""

import hashlib
import os
from array import array

from beam_jobs.elements import UNSEEN, SourceFile
from beam_jobs.inputs.parquet_images import read_image, read_images
from beam_jobs.inputs.table_rows import open_parquet
from beam_jobs.storage.files import publish, read_file, read_if_exists
from beam_jobs.workspace.workspace import Workspace


class StagedImages:
    """Byte offsets of the staged images of a table."""

    def __init__(self, begins: "array[int]") -> None:
        """Initializes the offsets.

        Args:
            begins: Byte offset of each row's image, and of the end.
        """
        self._begins = begins

    def placed(self, file: SourceFile) -> SourceFile:
        """Returns the image of a cell with its size and its byte offset."""
        assert file.cell is not None
        begin, end = self._begins[file.offset : file.offset + 2]
        return file._replace(size=end - begin, cell=file.cell._replace(begin=begin))


def stage_images(
    workspace: Workspace, path: bytes, column: str, table: SourceFile
) -> StagedImages:
    """Copies the images of a table to `_build/`, unless an earlier attempt has.

    Args:
        workspace: Workspace of the job.
        path: Path of the table.
        column: Path of the column of bytes in the Parquet schema.
        table: Table, with its version.

    Raises:
        BuildError: The table is damaged.
        OSError: A file could not be read or written, or the table changed meanwhile.
    """
    place = _place_of(workspace, table.path, table.version, column)
    begins = array("q")
    if data := read_if_exists(f"{place}.offsets"):
        begins.frombytes(data)
        return StagedImages(begins)
    begins.append(0)
    # The next attempt uses the files, so they must survive a crash of the machine.
    with open_parquet(path) as source, publish(f"{place}.bin", workspace.tmp) as target:
        for image in read_images(source, column):
            size = 0 if image is None else target.write(image)
            begins.append(begins[-1] + size)
    read_file(path, at_most=1, version=table.version)
    workspace.publish(f"{place}.offsets", begins.tobytes())
    return StagedImages(begins)


def image_in_cell(workspace: Workspace, path: bytes, file: SourceFile) -> bytes:
    """Returns the image of a cell, from where it is staged or from its table.

    Args:
        workspace: Workspace of the job.
        path: Path of the table.
        file: Image of a cell.
    """
    cell = file.cell
    assert cell is not None
    if cell.begin == UNSEEN:
        with open_parquet(path) as table:
            return read_image(table, cell.column, file.offset)
    if not file.size:
        return b""
    place = _place_of(workspace, file.archive, file.version, cell.column)
    return read_file(f"{place}.bin", offset=cell.begin, at_most=file.size)


def _place_of(workspace: Workspace, table: bytes, version: int, column: str) -> str:
    """Returns the path of a table's staged images, without a suffix."""
    digest = hashlib.sha256(repr((table, version, column)).encode()).hexdigest()
    return os.path.join(workspace.images, digest[:16])

"""Converts cells that hold images to the images of entries, with their keys."""

import os
import posixpath

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import BadInput, Cell, ListTask, SourceFile
from beam_jobs.inputs.parquet_images import ImageCell
from beam_jobs.inputs.paths import below_root, composed, key_of
from beam_jobs.inputs.staged_images import StagedImages, stage_images
from beam_jobs.sources.row_entries import ImageOf
from beam_jobs.storage.files import status_of
from beam_jobs.workspace.workspace import Workspace


def images_in(task: ListTask, config: JobConfig) -> ImageOf:
    """Returns the function that finds the image in a cell of a table.

    If the task says so, the images are copied to `_build/` first.
    """
    path = os.path.join(task.root, task.path)
    table = SourceFile(task.path, version=status_of(path).version)
    staged: StagedImages | None = None

    def image_of(cell: ImageCell) -> tuple[bytes, SourceFile]:
        key, image = _described(cell, table)
        return key, image if staged is None else staged.placed(image)

    if task.stages_images:
        workspace = Workspace(config.output)
        staged = stage_images(workspace, path, task.image_bytes, table)
    return image_of


def _described(cell: ImageCell, table: SourceFile) -> tuple[bytes, SourceFile]:
    """Returns the key of a cell and its image.

    Raises:
        BadInput: The cell has no bytes, or its name leads to other folders.
    """
    if cell.is_null and cell.name:
        raise BadInput("missing_image", f"no bytes, only the path {cell.name!r:.200}")
    if cell.is_null:
        raise BadInput("unpaired_caption", "its image is null")
    if cell.name:
        name = cell.name.encode("utf-8", errors="surrogateescape")
        path = below_root(posixpath.normpath(name).lstrip(b"/"))
        key = key_of(path)
    else:
        path = b"%d" % (cell.row + 1)
        key = composed(os.path.join(os.path.splitext(table.path)[0], path))
    return key, SourceFile(
        path=os.path.join(table.path, path),
        version=table.version,
        archive=table.path,
        offset=cell.row,
        cell=Cell(cell.column, cell.chunk),
    )

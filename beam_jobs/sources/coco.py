"""Source `coco`: captions in COCO's JSON format, images in a folder.

    {"images": [{"id": 9, "file_name": "000000000009.jpg"}],
     "annotations": [{"id": 1, "image_id": 9, "caption": "A man."}]}

Captions of an image are sorted by annotation id. The file is parsed as a stream. The
other format of COCO's captions is in `split_file`.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Aside, BadInput, Entry, ListTask
from beam_jobs.inputs.json_items import field_of, first_items, items_of
from beam_jobs.inputs.paths import key_of, place_of
from beam_jobs.inputs.roots import common_folder, files_named, refuse_options
from beam_jobs.sources import split_file, table
from beam_jobs.sources.row_entries import filled, texts_of
from beam_jobs.storage.files import absolute
from reader.contract.errors import UsageError

ONE_CAPTION_PER_KEY = False
CAPTIONS_IN_FILES = False
# The folder of images.
roots = table.roots


def check(config: JobConfig) -> None:
    """Checks the COCO files and the image folder before the job starts.

    Raises:
        UsageError: A file or folder is missing or not readable, a requested column is
            not among the image fields, a file holds other annotations than captions,
            or an option for columns or names of captions is set.
        BuildError: A file is not valid JSON.
    """
    if config.caption_column is not None:
        raise UsageError(
            "caption_column needs a table: COCO captions are always in caption"
        )
    options = ("caption_columns", "caption_names")
    refuse_options(config, "COCO's captions, which have no names", *options)
    table.check(config)
    paths = files_named("coco", config)
    # By whether the file decides the splits, as split files do.
    kinds = {_check_file(path, config): path for path in paths}
    if len(kinds) > 1:
        raise UsageError(
            f"{os.fsdecode(kinds[True])} names the splits of its images, and "
            f"{os.fsdecode(kinds[False])} does not: build them one at a time"
        )


def _check_file(path: bytes, config: JobConfig) -> bool:
    """Checks the fields of a file's first items. Returns whether it names splits."""
    images = first_items(path, "images")
    _check_fields(path, images, config)
    if split_file.is_split_file(images):
        return split_file.names_splits(images, config)
    annotations = first_items(path, "annotations")
    if annotations and not any("caption" in item for item in annotations):
        raise UsageError(
            f"--coco={os.fsdecode(path)}: no annotation has a caption, only "
            f"{', '.join(_fields_of(annotations))}: pass the file of captions, such "
            "as captions_train2017.json"
        )
    return False


def _check_fields(path: bytes, images: list[dict[str, Any]], config: JobConfig) -> None:
    """Checks that the first images have the requested columns among their fields."""
    fields = _fields_of(images)
    requested = [column.name for column in config.columns_read]
    requested += [name for name in (config.key_column, config.split_column) if name]
    for name in requested:
        if name not in fields:
            raise UsageError(
                f'{os.fsdecode(path)}: no image has a field "{name}", only '
                f"{', '.join(fields)}"
            )


def _fields_of(items: list[dict[str, Any]]) -> list[str]:
    return sorted({name for item in items for name in item})


def list_tasks(config: JobConfig) -> list[ListTask]:
    """Returns one task per COCO file."""
    paths = files_named("coco", config)
    root = common_folder(paths)
    roots = tuple(range(len(config.paths("images"))))
    return [
        ListTask("coco", root, os.path.relpath(absolute(path), root), roots)
        for path in paths
    ]


def list_entries(task: ListTask, config: JobConfig) -> Iterator[Entry | Aside]:
    """Yields the entries of one COCO file: images first, then annotations.

    Raises:
        BuildError: The file is not valid JSON.
    """
    path = os.path.join(task.root, task.path)
    images = first_items(path, "images")
    if split_file.is_split_file(images):
        named = split_file.names_splits(images, config)
        yield from split_file.entries_of(task, roots(config), config, named=named)
        return
    keys: dict[int | str, bytes] = {}
    yield from _images(task, path, keys, config)
    yield from _annotations(task, path, keys)


def _images(
    task: ListTask, path: bytes, keys: dict[int | str, bytes], config: JobConfig
) -> Iterator[Entry]:
    places = roots(config)
    for number, image in enumerate(items_of(path, "images"), 1):
        unnamed = Entry(b"%b:images:%d" % (task.path, number), task.path)
        try:
            name = field_of(image, "file_name", str)
            id_ = field_of(image, "id", int, str)
            place = place_of(name, b"", places, task.roots)
        except BadInput as error:
            yield unnamed._replace(flaw=(error.reason, error.detail))
            continue
        named = unnamed._replace(
            key=key_of(place.path), image=place, lacks="no annotation has its id"
        )
        entry = filled(named, image, None, config)
        if keys.setdefault(id_, entry.key) != entry.key:
            flaw = ("conflicting_rows", f"another image has the id {id_}")
            entry = entry._replace(flaw=flaw)
        yield entry


def _annotations(
    task: ListTask, path: bytes, keys: dict[int | str, bytes]
) -> Iterator[Entry]:
    for number, annotation in enumerate(items_of(path, "annotations"), 1):
        unnamed = Entry(b"%b:annotations:%d" % (task.path, number), task.path, number)
        try:
            image = field_of(annotation, "image_id", int, str)
            key = keys.get(image)
            if key is None:
                raise BadInput("unpaired_caption", _no_image(image, keys))
            texts = texts_of(field_of(annotation, "caption", str, list))
        except BadInput as error:
            yield unnamed._replace(flaw=(error.reason, error.detail))
            continue
        rank = annotation.get("id")
        yield Entry(
            key,
            task.path,
            rank if isinstance(rank, int) else number,
            texts=texts,
            lacks="its annotation holds no caption",
        )


def _no_image(id_: int | str, keys: dict[int | str, bytes]) -> str:
    other: int | str = str(id_) if isinstance(id_, int) else _number_of(id_)
    if other not in keys:
        return f"no image has the id {id_}"
    return (
        f"no image has the id {json.dumps(id_)}, but one has {json.dumps(other)}: "
        "write ids everywhere as numbers, or everywhere as texts"
    )


def _number_of(text: str) -> int | str:
    is_number = text.isascii() and text.isdigit() and len(text) < 20
    return int(text) if is_number else text

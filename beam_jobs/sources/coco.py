"""Source `coco`: captions in COCO's JSON format, images in a folder.

    {"images": [{"id": 9, "file_name": "000000000009.jpg"}],
     "annotations": [{"id": 1, "image_id": 9, "caption": "A man."}]}

Captions of an image are sorted by annotation id. The file is parsed as a stream.
"""

import codecs
import contextlib
import itertools
import os
from collections.abc import Iterator
from typing import Any

import ijson

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Aside, BadInput, Entry, ListTask
from beam_jobs.inputs.paths import key_of, place_of
from beam_jobs.inputs.roots import common_folder, files_named
from beam_jobs.sources import table
from beam_jobs.sources.row_entries import filled, texts_of
from beam_jobs.storage.files import absolute, open_file
from reader.contract.errors import BuildError, UsageError

ONE_CAPTION_PER_KEY = False
CAPTIONS_IN_FILES = False
# The folder of images.
roots = table.roots

# Number of images whose fields are inspected before the job starts. A single image may
# lack some fields.
_NUM_INSPECTED_IMAGES = 1000


def check(config: JobConfig) -> None:
    """Checks the COCO files and the image folder before the job starts.

    Raises:
        UsageError: A file or folder is missing or not readable, a requested column is
            not among the image fields, or `caption_column` is set.
        BuildError: A file is not valid JSON.
    """
    if config.caption_column is not None:
        raise UsageError(
            "caption_column needs a table: COCO captions are always in caption"
        )
    table.check(config)
    for path in files_named("coco", config):
        _check_fields(path, config)


def _check_fields(path: bytes, config: JobConfig) -> None:
    """Checks that the first images have the requested columns among their fields."""
    requested = [column.name for column in config.columns]
    requested += [name for name in (config.key_column, config.split_column) if name]
    if not requested:
        return
    with _explained(path):
        images = list(itertools.islice(_items(path, "images"), _NUM_INSPECTED_IMAGES))
    fields = {name for image in images if isinstance(image, dict) for name in image}
    for name in requested:
        if name not in fields:
            raise UsageError(
                f'{os.fsdecode(path)}: no image has a field "{name}", only '
                f"{', '.join(sorted(fields))}"
            )


@contextlib.contextmanager
def _explained(path: bytes) -> Iterator[None]:
    try:
        yield
    except (ijson.JSONError, UnicodeDecodeError) as error:
        message = str(error).splitlines()[0]  # Later lines draw an arrow to the error.
        raise BuildError(
            f"{os.fsdecode(path)} is not valid JSON: {message}: download it again"
        ) from error


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
    keys: dict[Any, bytes] = {}
    with _explained(path):
        yield from _images(task, path, keys, config)
        yield from _annotations(task, path, keys)


def _images(
    task: ListTask, path: bytes, keys: dict[Any, bytes], config: JobConfig
) -> Iterator[Entry]:
    places = roots(config)
    for number, image in enumerate(_items(path, "images"), 1):
        unnamed = Entry(b"%b:images:%d" % (task.path, number), task.path)
        try:
            name, id_ = _field(image, "file_name", str), _field(image, "id", int, str)
            place = place_of(name, b"", places, task.roots)
        except BadInput as error:
            yield unnamed._replace(flaw=(error.reason, error.detail))
            continue
        named = unnamed._replace(key=key_of(place.path), image=place)
        entry = filled(named, image, None, config)
        if keys.setdefault(id_, entry.key) != entry.key:
            flaw = ("conflicting_rows", f"another image has the id {id_}")
            entry = entry._replace(flaw=flaw)
        yield entry


def _annotations(
    task: ListTask, path: bytes, keys: dict[Any, bytes]
) -> Iterator[Entry]:
    for number, annotation in enumerate(_items(path, "annotations"), 1):
        unnamed = Entry(b"%b:annotations:%d" % (task.path, number), task.path, number)
        try:
            image = _field(annotation, "image_id", int, str)
            key = keys.get(image)
            if key is None:
                raise BadInput("unpaired_caption", f"no image has the id {image}")
            texts = texts_of(_field(annotation, "caption", str, list))
        except BadInput as error:
            yield unnamed._replace(flaw=(error.reason, error.detail))
            continue
        rank = annotation.get("id")
        yield Entry(
            key, task.path, rank if isinstance(rank, int) else number, texts=texts
        )


def _items(path: bytes, name: str) -> Iterator[Any]:
    with open_file(path) as file:
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(0)
        yield from ijson.items(file, f"{name}.item", use_float=True)


def _field(item: Any, name: str, *types: type) -> Any:
    value = item.get(name) if isinstance(item, dict) else None
    if not isinstance(value, types):
        raise BadInput("bad_row", f"{value!r:.60} in place of its {name}")
    return value

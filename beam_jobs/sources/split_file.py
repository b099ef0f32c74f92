"""Karpathy's split files: captions of COCO and Flickr in one file, with their splits.

    {"dataset": "coco",
     "images": [{"filepath": "val2014", "filename": "COCO_val2014_000000000042.jpg",
                 "split": "restval", "sentences": [{"raw": "A man."}]}]}

They are `dataset_coco.json`, `dataset_flickr8k.json` and `dataset_flickr30k.json` of
A. Karpathy and L. Fei-Fei, "Deep Visual-Semantic Alignments for Generating Image
Descriptions", CVPR 2015. Those of Flickr have no `filepath`.
"""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import ANY_ROOT, BadInput, Entry, ListTask, SourceFile
from beam_jobs.inputs.json_items import field_of, items_of
from beam_jobs.inputs.paths import key_of, place_of
from beam_jobs.sources.row_entries import filled, split_named
from beam_jobs.storage.files import is_folder

# Images of COCO's validation part that are in neither `val` nor `test`. Results on
# these splits are of models that were trained on them too.
_TRAINED_ON_TOO = {"restval": "train"}


def is_split_file(images: Sequence[Mapping[str, Any]]) -> bool:
    """Returns whether a file has this format, by its first images."""
    return any("sentences" in image for image in images)


def names_splits(images: Sequence[Mapping[str, Any]], config: JobConfig) -> bool:
    """Returns whether the file decides the splits, by its first images.

    It does unless the configuration asks for other splits.
    """
    if config.split_column is not None or not config.leaves_splits_open:
        return False
    return any("split" in image for image in images)


def entries_of(
    task: ListTask, roots: Sequence[bytes], config: JobConfig, *, named: bool
) -> Iterator[Entry]:
    """Yields the entries of a file: one per image, and one per bad sentence.

    Args:
        task: Task of the file.
        roots: Absolute paths of the folders that images may be in.
        config: Configuration of the job, with the columns to read.
        named: Whether the file decides the splits.

    Raises:
        BuildError: The file is not valid JSON.
    """
    finder = _Finder(roots, task.roots)
    for number, image in enumerate(
        items_of(os.path.join(task.root, task.path), "images"), 1
    ):
        entry = unnamed = Entry(
            b"%b:images:%d" % (task.path, number), task.path, number
        )
        try:
            place = finder.place(image)
            entry = entry._replace(
                key=key_of(place.path), image=place, lacks="it has no sentences"
            )
            sentences = field_of(image, "sentences", list)
        except BadInput as error:
            yield entry._replace(flaw=(error.reason, error.detail))
            continue
        texts = []
        for place_in_list, sentence in enumerate(sentences, 1):
            try:
                texts.append(field_of(sentence, "raw", str))
            except BadInput as error:
                key = b"%b:sentences:%d" % (unnamed.key, place_in_list)
                flaw = (error.reason, error.detail)
                yield Entry(key, task.path, number, flaw=flaw)
        yield _with_split(filled(entry, image, texts, config), image, named)


def _with_split(entry: Entry, image: Mapping[str, Any], named: bool) -> Entry:
    if not named or entry.flaw is not None:
        return entry
    try:
        split = split_named(image, "split")
    except BadInput as error:
        return entry._replace(flaw=(error.reason, error.detail))
    return entry._replace(split=_TRAINED_ON_TOO.get(split, split))


class _Finder:
    """Finds the image files: in the folder `filepath`, if a folder of images has it.

    Images that were all moved into one folder have the same names there.
    """

    def __init__(self, roots: Sequence[bytes], bases: Sequence[int]) -> None:
        self._roots, self._bases = roots, bases
        self._exists = functools.cache(is_folder)

    def place(self, image: Any) -> SourceFile:
        name = field_of(image, "filename", str)
        if not image.get("filepath"):
            return self._place_of(name)
        place = self._place_of(f"{field_of(image, 'filepath', str)}/{name}")
        numbers = self._bases if place.root == ANY_ROOT else [place.root]
        folder = os.path.dirname(place.path)
        folders = (os.path.join(self._roots[number], folder) for number in numbers)
        return place if any(map(self._exists, folders)) else self._place_of(name)

    def _place_of(self, name: str) -> SourceFile:
        return place_of(name, b"", self._roots, self._bases)

"""Loads photographs, and unpacks their stored pixels without the reader."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

import reader

Region = tuple[int, int, int, int]
Size = tuple[int, int]


class Stored(NamedTuple):
    """A dataset of photographs, and its stored images as Pillow decodes them."""

    folder: Path
    form: str
    pictures: list[np.ndarray]

    @property
    def sizes(self) -> list[Size]:
        return [picture.shape[:2] for picture in self.pictures]


def unpacked(example: dict[str, list]) -> np.ndarray:
    (encoded,), (form,) = example["image/encoded"], example["image/format"]
    if form == b"raw":
        size = (example["image/height"][0], example["image/width"][0], 3)
        return np.frombuffer(encoded, np.uint8).reshape(size)
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image)


def load(folder: Path, **settings: Any) -> np.ndarray:
    """Loads all images, in written order."""
    settings = {"shuffle": False, "dtype": "uint8", "batch_size": 6, **settings}
    settings = {"remainder": "pad", "outputs": ("image", "valid"), **settings}
    batches = reader.load(f"{folder}/train-*", **settings)
    return np.concatenate(
        [images[valid] for images, valid in batches.as_numpy_iterator()]
    )

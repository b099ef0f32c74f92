"""What several peers do alike, in the way that their users write it."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reader.config.defaults import CROP_RATIO, CROP_SCALE
from reader.contract.host import num_cores
from tests.benchmarks.reading.roster import SIZE

CORES = num_cores()


def with_pillow(task: str) -> Callable[[Image.Image], NDArray[np.uint8]]:
    """Returns what makes uint8[224, 224, 3] of a picture."""
    if task == "center":
        return center_of
    return functools.partial(_transformed, torchvision_transform(task))


def torchvision_transform(task: str) -> Callable[[Any], Any]:
    """Returns torchvision's transform for pictures, or for tensors [3, h, w]."""
    from torchvision.transforms import v2

    steps = [v2.CenterCrop(SIZE)]
    if task == "random_resized":
        crop = v2.RandomResizedCrop(SIZE, CROP_SCALE, CROP_RATIO, antialias=True)
        steps = [crop, v2.RandomHorizontalFlip()]
    transform: Callable[[Any], Any] = v2.Compose(steps)
    return transform


def _transformed(transform: Callable[[Any], Any], image: Any) -> NDArray[np.uint8]:
    return np.array(transform(image.convert("RGB")))


def center_of(image: Image.Image) -> NDArray[np.uint8]:
    """Returns uint8[224, 224, 3]: the middle of a picture."""
    left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
    cut = image.convert("RGB").crop((left, top, left + SIZE, top + SIZE))
    return np.array(cut)


def cast(images: Any, dtype: str) -> Any:
    """Returns a batch of uint8 in PyTorch as it is, or as float32 in [0, 1]."""
    return images.float().div_(255) if dtype == "float32" else images

"""What several peers do alike, in the way that their users write it."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reader.contract.host import num_cores
from tests.benchmarks.reading.roster import SIZE

CORES = num_cores()


def center_of(image: Image.Image) -> NDArray[np.uint8]:
    """Returns uint8[224, 224, 3]: the middle of a picture."""
    left, top = (image.width - SIZE) // 2, (image.height - SIZE) // 2
    cut = image.convert("RGB").crop((left, top, left + SIZE, top + SIZE))
    return np.array(cut)


def decode_center(jpeg: bytes) -> NDArray[np.uint8]:
    """Returns uint8[224, 224, 3] with Pillow."""
    return center_of(Image.open(io.BytesIO(jpeg)))


def cast(images: Any, dtype: str) -> Any:
    """Returns a batch of uint8 in PyTorch as it is, or as float32 in [0, 1]."""
    return images.float().div_(255) if dtype == "float32" else images

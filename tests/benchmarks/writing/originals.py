"""The JPEGs that corpora are made of, with their captions.

photographs    JPEGs larger than 256 pixels, as they are, with EXIF and colour profiles
kept           the same at 256 pixels, baseline, bare: what a build keeps as it is
large          bare photographs of 10 megapixels or more; where there are too few,
               others enlarged to 12, with a sensor's noise
small          photographs squeezed to 64 × 64 pixels
"""

import io
import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

SIDE, SMALL_SIDE = 256, 64
# As many names as the largest corpus of photographs has.
_MOST = 6000
_NUM_LARGE, _LEAST_LARGE, _NUM_SMALL = 24, 8, 100
_LARGE_PIXELS, _ENLARGED_PIXELS = 10e6, 12e6
# Of 255, as a camera at a middling sensitivity.
_NOISE = 3


class Original(NamedTuple):
    """A JPEG and its caption, as their files have them."""

    jpeg: bytes
    caption: bytes


def originals(kind: str, images: Path, captions: Path) -> Iterator[Original]:
    """Yields what a corpus is made of, in an order that is always the same.

    Args:
        kind: One of `KINDS`.
        images: A folder of photographs, at any depth; others are passed over.
        captions: A folder of texts, each at its image's place: `a/b.jpg`, `a/b.txt`.
    """
    return KINDS[kind](_photographs(images, captions))


def _photographs(images: Path, captions: Path) -> Iterator[Original]:
    # A file with several names counts once.
    paths = {path.resolve(): path for path in sorted(images.rglob("*.*"))}
    names = list(paths.values())
    random.Random(0).shuffle(names)
    for name in names:
        text = captions / name.relative_to(images).with_suffix(".txt")
        if text.is_file() and name.is_file() and _is_sound(name):
            yield Original(name.read_bytes(), text.read_bytes())


def _is_sound(path: Path) -> bool:
    """Whether a file is a large enough JPEG that a bare loop too can decode."""
    try:
        with Image.open(path) as image:
            if image.format != "JPEG" or min(image.size) <= SIDE:
                return False
        simplejpeg.decode_jpeg(path.read_bytes(), "RGB", strict=True)
    except (UnidentifiedImageError, Image.DecompressionBombError, ValueError):
        return False
    return True


def _as_they_are(photographs: Iterable[Original]) -> Iterator[Original]:
    return itertools.islice(photographs, _MOST)


def _kept(photographs: Iterable[Original]) -> Iterator[Original]:
    for photograph in _as_they_are(photographs):
        image = _opened(photograph)
        shorter = min(image.size)
        width, height = (round(side * SIDE / shorter) for side in image.size)
        yield _encoded(image.resize((width, height)), 90, photograph)


def _large(photographs: Iterable[Original]) -> Iterator[Original]:
    every = list(_as_they_are(photographs))
    large = [one for one in every if _is_large_and_bare(one)]
    if len(large) >= _LEAST_LARGE:
        return iter(large[:_NUM_LARGE])
    return map(_enlarged, every[:_NUM_LARGE])


def _is_large_and_bare(photograph: Original) -> bool:
    """Whether a full decode and a filter give the pixels that are compared with."""
    image = Image.open(io.BytesIO(photograph.jpeg))
    is_bare = not image.getexif() and "icc_profile" not in image.info
    return is_bare and image.width * image.height >= _LARGE_PIXELS


def _enlarged(photograph: Original) -> Original:
    image = _opened(photograph)
    scale = (_ENLARGED_PIXELS / (image.width * image.height)) ** 0.5
    width, height = (round(side * scale) for side in image.size)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
    noise = np.random.default_rng(0).normal(0, _NOISE, pixels.shape)
    noisy = (pixels + noise).round().clip(0, 255).astype(np.uint8)
    return _encoded(Image.fromarray(noisy), 92, photograph)


def _small(photographs: Iterable[Original]) -> Iterator[Original]:
    for photograph in itertools.islice(photographs, _NUM_SMALL):
        squeezed = _opened(photograph).resize((SMALL_SIDE, SMALL_SIDE))
        yield _encoded(squeezed, 90, photograph)


def _opened(original: Original) -> Image.Image:
    return Image.open(io.BytesIO(original.jpeg)).convert("RGB")


def _encoded(image: Image.Image, quality: int, original: Original) -> Original:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return Original(file.getvalue(), original.caption)


KINDS: dict[str, Callable[[Iterable[Original]], Iterator[Original]]] = {
    "photographs": _as_they_are,
    "kept": _kept,
    "large": _large,
    "small": _small,
}

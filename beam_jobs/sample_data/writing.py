"""Writes a folder of sample pictures and captions."""

import random
from pathlib import Path

from beam_jobs.sample_data.captions import describe
from beam_jobs.sample_data.drawing import draw
from beam_jobs.sample_data.scenes import make_scene
from reader.contract.checks import check_at_least
from reader.contract.errors import UsageError

# Of several proportions, none beyond 3:2: captions rely on it for "left" and "above".
_SIZES = ((320, 240), (240, 320), (288, 288), (400, 300), (300, 400), (360, 240))
_SUFFIX_WEIGHTS = {".jpg": 8, ".jpeg": 1, ".png": 1}
_JPEG_QUALITY = 90


def write_sample(
    directory: str, num: int, *, seed: int = 0, captions_per_image: int = 1
) -> None:
    """Writes sample pictures and captions, the same bytes for the same arguments.

    Picture `images/scene-00000.jpg` goes with captions `captions/scene-00000.txt`, in
    UTF-8, one a line. Sizes vary, and so do suffixes: `.jpg`, `.jpeg` and `.png`.

    Args:
        directory: Where to write; made if missing, and refused unless empty.
        num: How many pictures to write.
        seed: Chooses the scenes, captions, sizes and suffixes.
        captions_per_image: How many captions to write of each picture. Five can
            always be had; repeats are not written.

    Raises:
        UsageError: A number is less than 1, or the directory is not an empty one.
    """
    check_at_least("num", num, 1)
    check_at_least("captions_per_image", captions_per_image, 1)
    target = Path(directory)
    _require_empty(target)
    images, captions = target / "images", target / "captions"
    for folder in (images, captions):
        folder.mkdir(parents=True)
    for index in range(num):
        scene = make_scene(index, seed=seed)
        lines = describe(scene, captions_per_image, seed=seed)
        size, suffix = _choose_format(index, seed)
        stem = f"scene-{index:05d}"
        draw(scene, *size).save(images / f"{stem}{suffix}", quality=_JPEG_QUALITY)
        text = "".join(f"{line}\n" for line in lines)
        # Bytes, so that no platform turns a newline into something else.
        (captions / f"{stem}.txt").write_bytes(text.encode())


def _choose_format(index: int, seed: int) -> tuple[tuple[int, int], str]:
    """Chooses a picture's (width, height) and suffix."""
    rng = random.Random(f"format {seed} {index}")
    [suffix] = rng.choices(list(_SUFFIX_WEIGHTS), list(_SUFFIX_WEIGHTS.values()))
    return rng.choice(_SIZES), suffix


def _require_empty(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError(
            f"directory must be a folder, got the file {str(target)!r}: "
            "name a new or an empty folder"
        )
    if target.exists() and any(target.iterdir()):
        raise UsageError(
            f"directory must be empty, got {str(target)!r} with files in it: "
            "name a new folder or empty this one"
        )

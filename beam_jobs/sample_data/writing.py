"""Writes a folder of sample images and captions."""

import random
from pathlib import Path

from beam_jobs.sample_data.captions import describe
from beam_jobs.sample_data.drawing import draw
from beam_jobs.sample_data.scenes import make_scene
from reader.contract.checks import check_at_least
from reader.contract.errors import UsageError

# Aspect ratios of at most 3:2, which captions rely on for "left" and "above".
_SIZES = ((320, 240), (240, 320), (288, 288), (400, 300), (300, 400), (360, 240))
_SUFFIX_WEIGHTS = {".jpg": 8, ".jpeg": 1, ".png": 1}
_JPEG_QUALITY = 90


def write_sample(
    directory: str, num: int, *, seed: int = 0, captions_per_image: int = 1
) -> None:
    """Writes sample images and captions. The same arguments write the same bytes.

    The captions of `images/scene-00000.jpg` are in `captions/scene-00000.txt`, in
    UTF-8, one per line. Image sizes and suffixes (`.jpg`, `.jpeg` and `.png`) vary.

    Args:
        directory: Folder to write to. Created if it does not exist; must be empty.
        num: Number of images to write.
        seed: Seed that chooses the scenes, captions, sizes and suffixes.
        captions_per_image: Largest number of captions of each image. Captions are
            distinct, and every scene has at least five.

    Raises:
        UsageError: A number is less than 1, or the directory is a file or not empty.
    """
    check_at_least("num", num, 1)
    check_at_least("captions_per_image", captions_per_image, 1)
    target = Path(directory).expanduser()
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
        # Bytes, because text mode converts newlines on some platforms.
        (captions / f"{stem}.txt").write_bytes(text.encode())


def _choose_format(index: int, seed: int) -> tuple[tuple[int, int], str]:
    """Chooses the (width, height) and the suffix of an image."""
    rng = random.Random(f"format {seed} {index}")
    [suffix] = rng.choices(list(_SUFFIX_WEIGHTS), list(_SUFFIX_WEIGHTS.values()))
    return rng.choice(_SIZES), suffix


def _require_empty(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError(
            f"directory must be a folder, got the file {str(target)!r}: "
            "pass a new or an empty folder"
        )
    if target.exists() and any(target.iterdir()):
        raise UsageError(
            f"directory must be empty, got {str(target)!r} with files in it: "
            "pass a new folder or empty this one"
        )

"""Pixels of photographs, against Pillow, torchvision, Keras and JAX.

For the expected pixels, Pillow decodes the stored bytes, crops and then resamples them.
docs/batches.md states the tolerances:

- Levels differ by at most two, since both sides round filter weights, rows and results.
- Levels of a JPEG at least four times as large as the target may differ more, since it
  is decoded at a reduced size.
"""

import importlib
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from photographs import Region, Size, Stored, load
from PIL import Image

from reader.config.image_config import ImageConfig
from reader.pixels.regions import regions_of
from reader.shuffle.randomness import Draws
from reader.storage.tfrecord_file import read_shard

# Expected images.


def central(size: Size, target: Size, fraction: float) -> Region:
    """Returns the expected center crop, `fraction` of the largest region."""
    scale = min(Fraction(size[0], target[0]), Fraction(size[1], target[1]))
    exact = [side * scale * Fraction(fraction) for side in target]
    # Sides that end in ½ are tested in test_crops.py.
    assert all(abs(side % 1 - Fraction(1, 2)) > 1e-9 for side in exact)
    height, width = (max(1, round(side)) for side in exact)
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def cut(picture: np.ndarray, region: Region) -> np.ndarray:
    top, left, height, width = region
    return picture[top : top + height, left : left + width]


def pillow(pixels: np.ndarray, target: Size) -> np.ndarray:
    image = Image.fromarray(pixels)
    return np.asarray(image.resize(target[::-1], Image.Resampling.BILINEAR))


def assert_near(
    image: np.ndarray, expected: np.ndarray, region: Region, form: str
) -> None:
    """Compares levels with the tolerances of docs/batches.md."""
    target, sides = image.shape[:2], region[2:]
    gap = np.abs(image.astype(int) - expected)
    shrink = min(side / to for side, to in zip(sides, target, strict=True))
    if form == "jpeg" and shrink >= 4:
        assert gap.mean() <= 2
        assert np.percentile(gap, 99) <= 25
        return
    assert gap.max() <= 2


def assert_all_near(images: np.ndarray, stored: Stored, regions: list[Region]) -> None:
    assert len(images) == len(stored.pictures)
    target = images.shape[1:3]
    for image, picture, region in zip(images, stored.pictures, regions, strict=True):
        expected = pillow(cut(picture, region), target)
        assert_near(image, expected, region, stored.form)


# Center crops and whole images.


@pytest.mark.parametrize(
    ("name", "target", "fraction"),
    [
        ("jpeg", (224, 224), 0.875),
        ("jpeg", (224, 224), 1.0),
        ("jpeg", (180, 260), 0.6901),
        ("jpeg", (310, 200), 1.0),
        ("jpeg", (97, 41), 0.3331),
        ("jpeg", (64, 64), 0.875),
        ("png", (310, 200), 1.0),
        ("png", (64, 64), 0.875),
        ("raw", (180, 260), 0.6901),
        ("raw", (64, 64), 0.875),
    ],
)
def test_a_center_crop_is_the_cut_that_pillow_resamples(
    stored_as, name, target, fraction
):
    stored = stored_as(name)
    images = load(stored.folder, image_size=target, crop_fraction=fraction)
    regions = [central(size, target, fraction) for size in stored.sizes]
    assert_all_near(images, stored, regions)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("jpeg", (224, 224)),
        ("jpeg", (50, 40)),
        ("png", (90, 301)),
        ("raw", (50, 40)),
    ],
)
def test_crop_none_is_the_whole_that_pillow_stretches(stored_as, name, target):
    stored = stored_as(name)
    images = load(stored.folder, image_size=target, crop="none", crop_fraction=0.5)
    assert_all_near(images, stored, [(0, 0, *size) for size in stored.sizes])


@pytest.mark.parametrize("form", ["png", "raw"])
def test_a_pure_cut_of_what_is_stored_without_loss_is_exact(stored_as, form):
    stored = stored_as(form)
    images = load(stored.folder, image_size=224)
    large = [min(size) == 256 for size in stored.sizes]
    assert sum(large) > 10
    for place in np.flatnonzero(large):
        picture = stored.pictures[place]
        region = central(picture.shape[:2], (224, 224), 0.875)
        assert np.array_equal(images[place], cut(picture, region))


@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ((64, 64), {"crop_fraction": 0.8731}),
        ((32, 48), {"crop_fraction": 0.9871}),
        ((100, 90), {"crop": "none"}),
        ((224, 224), {"crop_fraction": 0.8731}),
    ],
)
def test_jpegs_of_any_size_are_near_whether_or_not_a_smaller_one_is_decoded(
    stored_as, target, settings
):
    stored = stored_as("full")
    images = load(stored.folder, image_size=target, **settings)
    regions = [
        central(size, target, settings["crop_fraction"])
        if "crop_fraction" in settings
        else (0, 0, *size)
        for size in stored.sizes
    ]
    assert_all_near(images, stored, regions)


@pytest.mark.parametrize(
    ("target", "settings"),
    [((160, 200), {"crop_fraction": 0.8731}), ((60, 300), {"crop": "none"})],
)
def test_images_are_those_that_torchvision_resizes(stored_as, v2, target, settings):
    torch = importlib.import_module("torch")
    stored = stored_as("raw")
    images = load(stored.folder, image_size=target, **settings)
    for image, picture in zip(images, stored.pictures, strict=True):
        region = (0, 0, *picture.shape[:2])
        if "crop_fraction" in settings:
            region = central(picture.shape[:2], target, settings["crop_fraction"])
        pixels = torch.from_numpy(cut(picture, region).copy()).permute(2, 0, 1)
        # In floats: torchvision rounds its weights differently for uint8.
        exact = v2.resize(pixels.float(), [*target], antialias=True)
        expected = exact.permute(1, 2, 0).numpy()
        assert np.abs(image - expected).max() <= 1.51
        resized = v2.resize(pixels, [*target], antialias=True).permute(1, 2, 0).numpy()
        assert np.abs(image.astype(int) - resized).max() <= 2


def test_images_are_those_that_keras_resizes(stored_as):
    keras = importlib.import_module("keras")
    stored, target = stored_as("png"), (160, 200)
    images = load(stored.folder, image_size=target, crop_fraction=0.8731)
    for image, picture in zip(images, stored.pictures, strict=True):
        pixels = cut(picture, central(picture.shape[:2], target, 0.8731))
        resized = keras.ops.image.resize(
            pixels.astype("float32"), target, antialias=True
        )
        expected = keras.ops.convert_to_numpy(resized)
        assert np.abs(image - expected).max() <= 1.51


def test_images_are_those_that_jax_resizes(stored_as):
    jax = importlib.import_module("jax")
    stored, target = stored_as("raw"), (160, 200)
    images = load(stored.folder, image_size=target, crop_fraction=0.8731)
    # JAX compiles for each shape, so only a few are tested.
    for image, picture in zip(images[:4], stored.pictures, strict=False):
        pixels = cut(picture, central(picture.shape[:2], target, 0.8731))
        shape = (*target, 3)
        expected = jax.image.resize(pixels.astype("float32"), shape, "linear")
        assert np.abs(image - np.asarray(expected)).max() <= 1.51


# Random crops and flips.


def drawn(stored: Stored, crop: str, seed: int, **settings: Any) -> np.ndarray:
    """Returns the draws for `crop` in epoch 0, in written order."""
    config = ImageConfig(crop=crop, size=(1, 1), **settings)
    numbers = np.arange(len(stored.pictures))
    uses = {"crop": config.num_draws["crop"]}
    return Draws(seed, uses).of(numbers, np.zeros_like(numbers))


def random_regions(stored: Stored, target: Size, fraction: float, seed: int) -> list:
    regions = []
    draws = drawn(stored, "random", seed).tolist()
    for size, (row, column) in zip(stored.sizes, draws, strict=True):
        _, _, height, width = central(size, target, fraction)
        top = math.floor(row * (size[0] - height + 1))
        left = math.floor(column * (size[1] - width + 1))
        regions.append((top, left, height, width))
    return regions


@pytest.mark.parametrize(
    ("name", "target", "fraction"),
    [
        ("jpeg", (224, 224), 0.875),
        ("jpeg", (100, 130), 0.7071),
        ("jpeg", (60, 40), 0.9331),
        ("png", (60, 40), 0.9331),
        ("raw", (100, 130), 0.7071),
    ],
)
def test_a_random_crop_is_the_cut_at_its_draws_that_pillow_resamples(
    stored_as, name, target, fraction
):
    stored = stored_as(name)
    settings = {"crop": "random", "crop_fraction": fraction, "seed": 3}
    images = load(stored.folder, image_size=target, **settings)
    assert_all_near(images, stored, random_regions(stored, target, fraction, 3))


@pytest.mark.parametrize("name", ["jpeg", "raw", "full"])
def test_a_random_region_is_the_cut_that_pillow_resamples(stored_as, name):
    stored, target = stored_as(name), (96, 128)
    settings = {"scale": (0.2, 0.9), "ratio": (0.5, 1.5)}
    images = load(
        stored.folder,
        image_size=target,
        crop="random_resized",
        crop_scale=settings["scale"],
        crop_ratio=settings["ratio"],
        seed=4,
    )
    config = ImageConfig(size=target, crop="random_resized", **settings)
    draws = drawn(stored, "random_resized", 4)
    sizes = np.array(stored.sizes, np.int32)
    regions = list(map(tuple, regions_of(sizes, draws, config).tolist()))
    assert len({region[2:] for region in regions}) > 12
    assert_all_near(images, stored, regions)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("jpeg", {}),
        ("jpeg", {"crop": "none"}),
        ("jpeg", {"crop": "random_resized"}),
        ("png", {"crop": "random"}),
        ("raw", {}),
    ],
)
def test_a_mirrored_image_is_the_other_one_mirrored_exactly(stored_as, name, settings):
    stored = stored_as(name)
    settings = {"image_size": (60, 90), "seed": 5, **settings}
    upright = load(stored.folder, **settings)
    flipped = load(stored.folder, flip=True, **settings)
    numbers = np.arange(len(upright))
    (draws,) = Draws(5, {"flip": 1}).of(numbers, np.zeros_like(numbers)).T
    assert 0 < (draws < 0.5).sum() < len(draws)
    expected = [
        image[:, ::-1] if draw < 0.5 else image
        for image, draw in zip(upright, draws, strict=True)
    ]
    assert np.array_equal(flipped, expected)


# TFRecords from other tools.


@pytest.mark.parametrize("crop", ["center", "none", "random"])
def test_images_of_others_are_cut_and_resampled_alike(stored_as, tmp_path, crop):
    target = (80, 110)
    jpegs, pngs = stored_as("jpeg"), stored_as("png")
    records = []
    for stored in (jpegs, pngs):
        for shard in sorted(stored.folder.glob("train-*.tfrecord")):
            records += [record.data for record in read_shard(str(shard))]
    with tf.io.TFRecordWriter(str(tmp_path / "train-00000-of-00001")) as writer:
        for record in records:
            writer.write(record)
    images = load(tmp_path, image_size=target, crop=crop, crop_fraction=0.8101, seed=2)
    both = Stored(tmp_path, "", jpegs.pictures + pngs.pictures)
    regions = {
        "none": [(0, 0, *size) for size in both.sizes],
        "center": [central(size, target, 0.8101) for size in both.sizes],
        "random": random_regions(both, target, 0.8101, 2),
    }[crop]
    num = len(jpegs.pictures)
    assert_all_near(images[:num], jpegs, regions[:num])
    assert_all_near(images[num:], pngs, regions[num:])

"""Pixels of photographs, against Pillow, torchvision, Keras and JAX.

What is compared with is decoded by Pillow from the very bytes that are stored, cut and
then resampled. docs/reading.md says how near that must be:

- at most one level, since each rounds to whole ones, from differently rounded weights;
- but for the outermost columns of a JPEG that is cut while it is decoded;
- and but for a JPEG three times as large as asked for, or more, where a smaller version
  is decoded: to photographs, that makes little difference.
"""

import importlib
import io
import math
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import reader
from reader.config.image_config import ImageConfig
from reader.contract.record import parse_example
from reader.decode.crops import regions_of
from reader.shuffle.randomness import Draws
from reader.storage.tfrecord_file import read_shard

Region = tuple[int, int, int, int]
Size = tuple[int, int]


class Stored(NamedTuple):
    """A dataset of photographs, and what Pillow makes of what is stored."""

    folder: Path
    form: str
    pictures: list[np.ndarray]

    @property
    def sizes(self) -> list[Size]:
        return [picture.shape[:2] for picture in self.pictures]


@pytest.fixture(scope="session")
def photographs(shared_data, tmp_path_factory) -> Path:
    """Every eighth of the shared photographs, with its caption, and the thinnest."""
    folder = tmp_path_factory.mktemp("photographs")
    files = sorted((shared_data / "pairs/images").iterdir())

    def thinness(file: Path) -> float:
        with Image.open(file) as image:
            return max(image.size) / min(image.size)

    for file in {*files[::8], max(files, key=thinness)}:
        shutil.copy(file, folder)
        shutil.copy(shared_data / f"pairs/captions/{file.stem}.txt", folder)
    return folder


@pytest.fixture(scope="session")
def stored_as(photographs, build, tmp_path_factory) -> Callable[[str], Stored]:
    """`stored_as("png")`: 256 pixels along the shorter side; `full`: JPEGs as is."""
    made: dict[str, Stored] = {}

    def stored_as(name: str) -> Stored:
        if name not in made:
            form = "jpeg" if name == "full" else name
            folder = build(
                photographs,
                photographs,
                tmp_path_factory.mktemp(name) / "out",
                image_format=form,
                resize="none" if name == "full" else "shorter_side",
                num_shards=2,
            )
            shards = sorted(folder.glob("train-*.tfrecord"))
            pictures = [
                unpacked(parse_example(record.data))
                for shard in shards
                for record in read_shard(str(shard))
            ]
            made[name] = Stored(folder, form, pictures)
        return made[name]

    return stored_as


def unpacked(example: dict[str, list]) -> np.ndarray:
    (encoded,), (form,) = example["image/encoded"], example["image/format"]
    if form == b"raw":
        size = (example["image/height"][0], example["image/width"][0], 3)
        return np.frombuffer(encoded, np.uint8).reshape(size)
    with Image.open(io.BytesIO(encoded)) as image:
        return np.asarray(image)


@pytest.fixture(scope="session")
def v2(torchvision) -> Any:
    """torchvision's functions."""
    return torchvision.transforms.v2.functional


def load(folder: Path, **settings: Any) -> np.ndarray:
    """All images, in the order written."""
    settings = {"shuffle": False, "dtype": "uint8", "batch_size": 6, **settings}
    settings = {"remainder": "pad", "outputs": ("image", "valid"), **settings}
    batches = reader.load(f"{folder}/train-*", **settings)
    return np.concatenate(
        [images[valid] for images, valid in batches.as_numpy_iterator()]
    )


# What is expected.


def central(size: Size, target: Size, fraction: float) -> Region:
    """`fraction` of the largest region of the target's aspect ratio, in the middle."""
    scale = min(Fraction(size[0], target[0]), Fraction(size[1], target[1]))
    exact = [side * scale * Fraction(fraction) for side in target]
    # Else it is a matter of rounding: tests/reader/test_regions.py.
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
    image: np.ndarray, expected: np.ndarray, region: Region, picture: Any, form: str
) -> None:
    """Compares levels, as near as docs/reading.md says."""
    target, sides = image.shape[:2], region[2:]
    gap = np.abs(image.astype(int) - expected)
    shrink = min(side / to for side, to in zip(sides, target, strict=True))
    if form == "jpeg" and shrink >= 3:
        assert gap.mean() <= 3
        assert np.percentile(gap, 99) <= 25
        return
    if form == "jpeg" and sides[1] < picture.shape[1]:
        # Enlarged, the outermost column is seen in as many more.
        margin = math.ceil(1.5 * max(1, target[1] / sides[1]))
        border = np.concatenate([gap[:, :margin], gap[:, -margin:]], axis=1)
        assert border.mean() <= 4
        gap = gap[:, margin:-margin]
    assert gap.max() <= 1


def assert_all_near(images: np.ndarray, stored: Stored, regions: list[Region]) -> None:
    assert len(images) == len(stored.pictures)
    target = images.shape[1:3]
    for image, picture, region in zip(images, stored.pictures, regions, strict=True):
        expected = pillow(cut(picture, region), target)
        assert_near(image, expected, region, picture, stored.form)


# A central region, or all of it.


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
        # In floats: its bytes have weights of their own rounding.
        exact = v2.resize(pixels.float(), [*target], antialias=True)
        expected = exact.permute(1, 2, 0).numpy()
        assert np.abs(image - expected).max() <= 0.51
        resized = v2.resize(pixels, [*target], antialias=True).permute(1, 2, 0).numpy()
        assert np.abs(image.astype(int) - resized).max() <= 1


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
        assert np.abs(image - expected).max() <= 0.51


def test_images_are_those_that_jax_resizes(stored_as):
    jax = importlib.import_module("jax")
    stored, target = stored_as("raw"), (160, 200)
    images = load(stored.folder, image_size=target, crop_fraction=0.8731)
    # Each shape is compiled anew: a few will do.
    for image, picture in zip(images[:4], stored.pictures, strict=False):
        pixels = cut(picture, central(picture.shape[:2], target, 0.8731))
        shape = (*target, 3)
        expected = jax.image.resize(pixels.astype("float32"), shape, "linear")
        assert np.abs(image - np.asarray(expected)).max() <= 0.51


# What is left to chance.


def drawn(stored: Stored, crop: str, seed: int, **settings: Any) -> np.ndarray:
    """Draws for `crop` of epoch 0, by the records' places in the order written."""
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
    sizes = tf.constant(stored.sizes, tf.int32)
    draws = tf.constant(drawn(stored, "random_resized", 4))
    regions = list(map(tuple, regions_of(sizes, draws, config).numpy().tolist()))
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


# Where a smaller version of a JPEG is decoded, nothing may be shifted by that.

STEEP = 0.23
RAMP = (761, 1019)
NUM_RAMPS = 24


@pytest.fixture(scope="module")
def ramps(tmp_path_factory) -> Path:
    """JPEGs whose red rises by `STEEP` downwards and green to the right, or fall.

    So that what is too bright and what is shifted can be told from each other.
    """
    folder = tmp_path_factory.mktemp("ramps")
    y, x = np.mgrid[: RAMP[0], : RAMP[1]]
    with tf.io.TFRecordWriter(str(folder / "train-00000-of-00001")) as writer:
        for number in range(NUM_RAMPS):
            sign = -1 if number % 2 else 1
            slopes = sign * STEEP * np.stack([y, x, 0 * x], axis=-1)
            # So that rounding to levels goes both ways alike.
            noise = np.random.default_rng(number).uniform(-4, 4, slopes.shape)
            pixels = slopes + noise + (245 if number % 2 else 10)
            file = io.BytesIO()
            image = Image.fromarray(pixels.round().astype(np.uint8))
            image.save(file, "JPEG", quality=100, subsampling=0)
            values = {"image/encoded": file.getvalue(), "image/caption": b"a ramp"}
            feature = {
                key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for key, value in values.items()
            }
            features = tf.train.Features(feature=feature)
            writer.write(tf.train.Example(features=features).SerializeToString())
    return folder


# Of an eighth, of a quarter and of a half, mostly.
@pytest.mark.parametrize(
    ("side", "crop"),
    [
        (32, "center"),
        (32, "random"),
        (64, "random_resized"),
        (120, "center"),
        (120, "random"),
    ],
)
def test_a_smaller_version_shows_the_same_place(ramps, side, crop):
    settings = {"image_size": side, "crop": crop, "seed": 6, "crop_scale": (0.3, 1.0)}
    images = load(ramps, batch_size=8, **settings).astype(float)
    config = ImageConfig(size=(side, side), crop=crop, scale=(0.3, 1.0))
    draws, numbers = None, np.arange(NUM_RAMPS)
    if crop != "center":
        uses = {"crop": config.num_draws["crop"]}
        draws = tf.constant(Draws(6, uses).of(numbers, np.zeros_like(numbers)))
    regions = regions_of(tf.constant([RAMP] * NUM_RAMPS), draws, config).numpy()
    assert (regions[:, 2:] >= 3 * side).all()
    places = (np.arange(side) + 0.5) / side - 0.5 / regions[:, 2:, np.newaxis]
    places = regions[:, :2, np.newaxis] + places * regions[:, 2:, np.newaxis]
    rises = np.where(numbers % 2, -1, 1)[:, np.newaxis, np.newaxis]
    expected = np.where(rises > 0, 10, 245) + rises * STEEP * places
    seen = np.stack([images[..., 0].mean(axis=2), images[..., 1].mean(axis=1)], axis=1)
    # There is nothing beyond the edge to go on rising.
    gap = (seen - expected)[:, :, 2:-2]
    assert np.abs(gap).max() < 1
    shift = (rises * gap).mean(axis=2) / STEEP
    # Of a pixel as it is stored, of which one of the smaller version has up to eight.
    assert np.abs(shift[::2] + shift[1::2]).mean() / 2 < 0.2
    assert np.abs((shift[::2] + shift[1::2]).mean(axis=0)).max() / 2 < 0.05


# Files of others, which each say their own size.


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


# Types, layouts, and what is subtracted.

SMALL = (48, 64)
KNOWN = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
}


@pytest.fixture(scope="module")
def levels(stored_as) -> np.ndarray:
    return load(stored_as("jpeg").folder, image_size=SMALL)


def load_small(stored_as: Any, **settings: Any) -> np.ndarray:
    return load(stored_as("jpeg").folder, image_size=SMALL, **settings)


def test_uint8_has_whole_levels(levels):
    assert levels.dtype == np.uint8
    assert levels.min() < 10
    assert levels.max() > 245


def test_float32_is_levels_divided_by_255(stored_as, levels):
    images = load_small(stored_as, dtype="float32")
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert np.abs(images - levels / 255).max() < 1e-7


def test_float32_is_the_default(stored_as):
    folder = stored_as("jpeg").folder
    batches = reader.load(f"{folder}/train-*", batch_size=2, image_size=SMALL)
    assert batches.element_spec["image"] == tf.TensorSpec((2, *SMALL, 3), tf.float32)


@pytest.mark.parametrize("normalize", [None, "imagenet"])
def test_bfloat16_is_float32_rounded(stored_as, normalize):
    images = load_small(stored_as, dtype="bfloat16", normalize=normalize)
    exact = load_small(stored_as, dtype="float32", normalize=normalize)
    assert images.dtype == tf.bfloat16.as_numpy_dtype
    # The upper half of a float32's bits, rounded to the nearest, and to even.
    bits = exact.view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16)
    assert np.array_equal(images.view(np.uint16), bits.astype(np.uint16))


@pytest.mark.parametrize(
    "normalize",
    [
        "imagenet",
        "clip",
        ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]],
        (0.5, 0.25),
        (0, 1),
        (np.float32(0.5), np.array([0.5, 0.25, 0.125])),
        ([0.5], (0.3, 0.2, 0.1)),
    ],
    ids=repr,
)
def test_normalized_images_are_those_of_torchvision(stored_as, levels, v2, normalize):
    torch = importlib.import_module("torch")
    mean, std = (
        np.broadcast_to(part, 3).astype(float).tolist()
        for part in KNOWN.get(
            normalize if isinstance(normalize, str) else "", normalize
        )
    )
    images = load_small(stored_as, dtype="float32", normalize=normalize)
    exact = torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 255
    expected = v2.normalize(exact, mean, std).permute(0, 2, 3, 1).numpy()
    assert images.dtype == np.float32
    assert np.abs(images - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("dtype", "normalize"),
    [("uint8", None), ("float32", None), ("float32", "clip"), ("bfloat16", "clip")],
)
def test_channels_first_is_a_transpose(stored_as, dtype, normalize):
    settings = {"dtype": dtype, "normalize": normalize}
    first = load_small(stored_as, data_format="channels_first", **settings)
    last = load_small(stored_as, **settings)
    assert first.shape == (len(last), 3, *SMALL)
    assert np.array_equal(first, last.transpose(0, 3, 1, 2))


def test_shape_and_type_are_known_beforehand(stored_as):
    batches = reader.load(
        f"{stored_as('jpeg').folder}/train-*",
        batch_size=4,
        image_size=SMALL,
        dtype="bfloat16",
        data_format="channels_first",
        crop="random_resized",
        flip=True,
        normalize="clip",
    )
    spec = batches.element_spec["image"]
    assert spec == tf.TensorSpec((4, 3, *SMALL), tf.bfloat16)


@pytest.mark.parametrize(
    ("settings", "black"),
    [
        ({"dtype": "uint8"}, 0),
        ({"dtype": "float32"}, 0),
        ({"dtype": "bfloat16", "data_format": "channels_first"}, 0),
        ({"dtype": "float32", "normalize": (0.5, 0.25)}, -2),
        ({"dtype": "uint8", "crop": "random", "flip": True}, 0),
        ({"dtype": "uint8", "crop": "random_resized", "flip": True}, 0),
    ],
    ids=repr,
)
def test_places_of_no_example_are_black(stored_as, settings, black):
    stored = stored_as("jpeg")
    num = len(stored.pictures)
    batches = reader.load(
        f"{stored.folder}/train-*",
        batch_size=num + 5,
        image_size=SMALL,
        shuffle=False,
        remainder="pad",
        outputs=("image", "valid"),
        **settings,
    )
    ((images, valid),) = batches.as_numpy_iterator()
    assert valid.tolist() == [True] * num + [False] * 5
    assert (images[num:].astype(np.float32) == black).all()
    whole = load(stored.folder, image_size=SMALL, **settings)
    assert np.array_equal(images[:num], whole)

"""Validation of the image arguments of `reader.load` before anything is read.

Each message names the argument, shows its value, and states the allowed values.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import reader
from reader.config.image_config import (
    RESIZED_TRIES,
    ImageConfig,
    image_size_pair,
    mean_and_std,
)

NAN, INF = math.nan, math.inf

RANGE = "(smallest, largest)"
NORMALIZE = ['"imagenet"', '"clip"', "(mean, std)", "std above 0"]


@pytest.fixture(scope="module")
def pictures(build, tmp_path_factory) -> Path:
    """Four images of 12 × 10 pixels."""
    source = tmp_path_factory.mktemp("pictures")
    for number in range(4):
        Image.new("RGB", (12, 10), (number, 0, 0)).save(source / f"{number}.png")
        (source / f"{number}.txt").write_text("a picture")
    return build(source, source, source / "out")


def load(folder: Path, **settings: Any) -> Any:
    settings = {"batch_size": 2, "image_size": 8, **settings}
    return reader.load(f"{folder}/train-*", **settings)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        # Size.
        ({"image_size": 0}, ["image_size must be positive", "0"]),
        ({"image_size": (8, -1)}, ["image_size must be positive", "(8, -1)"]),
        ({"image_size": (8, 8, 3)}, ["image_size must be an int or", "(8, 8, 3)"]),
        ({"image_size": 8.0}, ["image_size must be an int or", "8.0"]),
        ({"image_size": (8, NAN)}, ["image_size", "whole number", "nan"]),
        # Region.
        ({"crop": "middle"}, ['crop must be "center" or "random"', '"middle"']),
        ({"crop": "Center"}, ["crop must be", '"Center"']),
        ({"crop": True}, ["crop must be", "True"]),
        ({"crop": ["center"]}, ["crop must be", "['center']"]),
        ({"crop_fraction": 0}, ["crop_fraction must be above 0 and at most 1", "0"]),
        ({"crop_fraction": 1.001}, ["crop_fraction must be", "at most 1", "1.001"]),
        ({"crop_fraction": -1}, ["crop_fraction must be above 0", "-1"]),
        ({"crop_fraction": NAN}, ["crop_fraction must be above 0", "nan"]),
        ({"crop_fraction": INF}, ["crop_fraction must be above 0", "inf"]),
        ({"crop_fraction": "0.9"}, ["crop_fraction must be above 0", "'0.9'"]),
        ({"crop_fraction": None}, ["crop_fraction must be above 0", "None"]),
        ({"crop_fraction": True}, ["crop_fraction must be above 0", "True"]),
        ({"crop_scale": 0.5}, ["crop_scale must be", RANGE, "0.5"]),
        ({"crop_scale": None}, ["crop_scale must be", RANGE, "None"]),
        ({"crop_scale": (0.5,)}, ["crop_scale must be", RANGE, "(0.5,)"]),
        ({"crop_scale": (0.1, 0.2, 0.3)}, ["crop_scale must be", "(0.1, 0.2, 0.3)"]),
        ({"crop_scale": (0, 1)}, ["crop_scale must be", "positive", "(0, 1)"]),
        ({"crop_scale": (-0.1, 1)}, ["crop_scale must be", "positive", "(-0.1, 1)"]),
        ({"crop_scale": (1, 0.5)}, ["crop_scale must be", RANGE, "(1, 0.5)"]),
        ({"crop_scale": (0.5, 1.5)}, ["crop_scale", "at most 1", "(0.5, 1.5)"]),
        ({"crop_scale": (NAN, 1)}, ["crop_scale must be", "(nan, 1)"]),
        ({"crop_scale": (0.1, NAN)}, ["crop_scale must be", "(0.1, nan)"]),
        ({"crop_scale": ("a", "b")}, ["crop_scale must be", "('a', 'b')"]),
        ({"crop_scale": "ab"}, ["crop_scale must be", "'ab'"]),
        ({"crop_ratio": (0, 1)}, ["crop_ratio must be", "positive", "(0, 1)"]),
        ({"crop_ratio": (2, 1)}, ["crop_ratio must be", RANGE, "(2, 1)"]),
        ({"crop_ratio": (1, INF)}, ["crop_ratio must be", "(1, inf)"]),
        ({"crop_ratio": 4 / 3}, ["crop_ratio must be", "1.333"]),
        ({"crop_ratio": (True, 2)}, ["crop_ratio must be", "(True, 2)"]),
        (
            {"crop": "random", "image_size": None},
            ['crop="random"', "pass image_size"],
        ),
        (
            {"crop": "random_resized", "image_size": None},
            ['crop="random_resized"', "pass image_size"],
        ),
        ({"flip": 1}, ["flip must be True or False", "1"]),
        ({"flip": "yes"}, ["flip must be True or False", "'yes'"]),
        ({"flip": None}, ["flip must be True or False", "None"]),
        # Type and layout.
        ({"dtype": "float16"}, ['"float32" or "uint8" or "bfloat16"', '"float16"']),
        ({"dtype": "float"}, ["dtype must be", '"float"']),
        ({"dtype": None}, ["dtype must be", "None"]),
        ({"dtype": np.float32}, ["dtype must be", '"float32"', "numpy.float32"]),
        ({"data_format": "NCHW"}, ['"channels_last" or "channels_first"', '"NCHW"']),
        ({"data_format": None}, ["data_format must be", "None"]),
        (
            {"dtype": "uint8", "normalize": "imagenet"},
            ["normalize", 'dtype="uint8"', 'pass "float32" or "bfloat16"'],
        ),
        (
            {"dtype": "uint8", "normalize": (0, 1)},
            ["normalize", 'dtype="uint8"', 'pass "float32" or "bfloat16"'],
        ),
        ({"normalize": "coco"}, ['normalize must be "imagenet" or "clip"', '"coco"']),
        ({"normalize": True}, [*NORMALIZE, "True"]),
        ({"normalize": 0.5}, [*NORMALIZE, "0.5"]),
        ({"normalize": ()}, [*NORMALIZE, "()"]),
        ({"normalize": (0.5,)}, [*NORMALIZE, "(0.5,)"]),
        ({"normalize": (0.5, 0.5, 0.5)}, [*NORMALIZE, "(0.5, 0.5, 0.5)"]),
        ({"normalize": ((0.1, 0.2), 1)}, [*NORMALIZE, "((0.1, 0.2), 1)"]),
        ({"normalize": ((1, 2, 3, 4), 1)}, [*NORMALIZE, "((1, 2, 3, 4), 1)"]),
        ({"normalize": ((), 1)}, [*NORMALIZE, "((), 1)"]),
        ({"normalize": (0.5, 0)}, [*NORMALIZE, "(0.5, 0)"]),
        ({"normalize": (0.5, (1, 0, 1))}, [*NORMALIZE, "(0.5, (1, 0, 1))"]),
        ({"normalize": (0.5, -1)}, [*NORMALIZE, "(0.5, -1)"]),
        ({"normalize": (NAN, 1)}, [*NORMALIZE, "(nan, 1)"]),
        ({"normalize": (0.5, NAN)}, [*NORMALIZE, "(0.5, nan)"]),
        ({"normalize": (0.5, INF)}, [*NORMALIZE, "(0.5, inf)"]),
        ({"normalize": (0.5, (1, NAN, 1))}, [*NORMALIZE, "(0.5, (1, nan, 1))"]),
        ({"normalize": (None, None)}, [*NORMALIZE, "(None, None)"]),
        ({"normalize": ("a", "b")}, [*NORMALIZE, "('a', 'b')"]),
        ({"normalize": ("0.5", "0.5")}, [*NORMALIZE, "('0.5', '0.5')"]),
        ({"normalize": ("imagenet", "clip")}, [*NORMALIZE, "('imagenet', 'clip')"]),
        ({"normalize": [[[1, 1, 1]], [1]]}, [*NORMALIZE, "[[[1, 1, 1]], [1]]"]),
        ({"normalize": {"mean": 0, "std": 1}}, [*NORMALIZE, "{'mean': 0, 'std': 1}"]),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_a_wrong_argument_is_refused_at_once(pictures, settings, parts):
    with pytest.raises(reader.UsageError) as raised:
        load(pictures, **settings)
    for part in parts:
        assert part in str(raised.value)


# Iterating over these values gives numbers, but they are not valid means.
@pytest.mark.parametrize(
    "normalize",
    [
        ("5", "5"),
        ("123", "123"),
        (b"abc", b"abc"),
        ({0.1: "red", 0.2: "green", 0.3: "blue"}, 1),
        ({0.1, 0.2, 0.3}, 1),
        (True, True),
    ],
    ids=repr,
)
def test_strings_sets_and_flags_are_no_means(pictures, normalize):
    with pytest.raises(reader.UsageError, match="normalize must be"):
        load(pictures, normalize=normalize)


@pytest.mark.parametrize(
    "normalize", [(0.5, 1e-320), (0.5, 1e-45), (1e300, 1.0)], ids=repr
)
def test_what_float32_cannot_hold_is_refused_or_stays_finite(pictures, normalize):
    try:
        batches = load(pictures, normalize=normalize, outputs=("image",))
    except reader.UsageError as error:
        assert "normalize" in str(error)
    else:
        ((image,), *_) = batches.as_numpy_iterator()
        assert np.isfinite(image).all()


def test_an_array_in_place_of_a_word_is_refused_by_name(pictures):
    with pytest.raises(reader.UsageError, match="crop must be"):
        load(pictures, crop=np.array(["center", "none"]))


@pytest.mark.parametrize(
    "settings",
    [
        {"image_size": [8, 10]},
        {"image_size": np.int32(8)},
        {"crop_fraction": np.float32(0.5)},
        {"crop_fraction": 1},
        {"crop": "random_resized", "crop_scale": [0.1, 1]},
        {"crop": "random_resized", "crop_scale": (np.float64(0.1), 0.1)},
        {"crop": "random_resized", "crop_ratio": [1, 1]},
        {"normalize": [0.5, 0.5]},
        {"normalize": (np.float32(0.5), np.full(3, 0.5))},
        {"normalize": None, "dtype": "uint8"},
    ],
    ids=repr,
)
def test_numbers_of_any_kind_are_accepted(pictures, settings):
    ((image,), *_) = load(pictures, outputs=("image",), **settings).as_numpy_iterator()
    assert image.shape[::3] == (2, 3)
    assert image.shape[1] == 8


def test_what_is_wrong_is_told_though_no_image_is_asked_for(pictures):
    for settings in ({"crop": "middle"}, {"dtype": "int8"}, {"normalize": "coco"}):
        with pytest.raises(reader.UsageError):
            load(pictures, outputs=("caption",), **settings)


# Names.


def test_imagenet_is_what_torchvisions_models_were_trained_with(torchvision):
    theirs = torchvision.models.ResNet50_Weights.IMAGENET1K_V2.transforms()
    assert mean_and_std("imagenet") == (tuple(theirs.mean), tuple(theirs.std))


def test_clip_is_what_its_released_code_says():
    assert mean_and_std("clip") == (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    )


def test_one_number_is_that_of_all_three_channels():
    assert mean_and_std((0.5, [0.25])) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert mean_and_std(((1, 2, 3), 4)) == ((1.0, 2.0, 3.0), (4.0, 4.0, 4.0))
    assert mean_and_std(None) is None


@pytest.mark.parametrize(
    ("given", "pair"), [(None, None), (8, (8, 8)), ((3, 5), (3, 5)), ([3, 5], (3, 5))]
)
def test_a_size_is_height_and_width(given, pair):
    assert image_size_pair(given) == pair


# The dataclass.


def test_a_config_does_not_change_and_equals_its_like():
    config = ImageConfig(size=(8, 8), crop="random")
    assert config == ImageConfig(size=(8, 8), crop="random")
    assert hash(config) == hash(ImageConfig(size=(8, 8), crop="random"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.crop = "center"


@pytest.mark.parametrize(
    ("crop", "num"),
    [("center", 0), ("none", 0), ("random", 2), ("random_resized", 22)],
)
def test_draws_are_as_many_as_a_crop_needs(crop, num):
    assert RESIZED_TRIES == 10
    for flip in (False, True):
        config = ImageConfig(size=(8, 8), crop=crop, flip=flip)
        assert config.num_draws == {"crop": num, "flip": int(flip)}


def test_defaults_of_load_are_those_of_a_config(pictures):
    given = load(pictures).element_spec["image"]
    assert given.shape == (2, 8, 8, 3)
    assert given.dtype == ImageConfig().dtype
    words = {
        "crop": "center",
        "crop_fraction": 0.875,
        "crop_scale": (0.08, 1.0),
        "crop_ratio": (3 / 4, 4 / 3),
        "flip": False,
        "dtype": "float32",
        "normalize": None,
        "data_format": "channels_last",
    }
    assert {name: reader.load.__kwdefaults__[name] for name in words} == words
    for name, value in words.items():
        assert getattr(ImageConfig(), name.removeprefix("crop_")) == value

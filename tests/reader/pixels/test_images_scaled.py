"""Checks that decoding JPEGs at a reduced size does not shift them."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from photographs import load
from PIL import Image

from reader.config.image_config import ImageConfig
from reader.pixels.regions import regions_of
from reader.shuffle.randomness import Draws

STEEP = 0.23
RAMP = (761, 1019)
NUM_RAMPS = 24


@pytest.fixture(scope="module")
def ramps(tmp_path_factory) -> Path:
    """JPEGs whose red changes by `STEEP` per row and green by `STEEP` per column.

    Levels rise in half of the images and fall in the others, which distinguishes a
    shift from a difference in brightness.
    """
    folder = tmp_path_factory.mktemp("ramps")
    y, x = np.mgrid[: RAMP[0], : RAMP[1]]
    with tf.io.TFRecordWriter(str(folder / "train-00000-of-00001")) as writer:
        for number in range(NUM_RAMPS):
            sign = -1 if number % 2 else 1
            slopes = sign * STEEP * np.stack([y, x, 0 * x], axis=-1)
            # Noise makes rounding to levels unbiased.
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


# Mostly decoded at an eighth, a quarter and half of the size.
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
    draws, numbers = np.empty((NUM_RAMPS, 0)), np.arange(NUM_RAMPS)
    if crop != "center":
        uses = {"crop": config.num_draws["crop"]}
        draws = Draws(6, uses).of(numbers, np.zeros_like(numbers))
    regions = regions_of(np.array([RAMP] * NUM_RAMPS, np.int32), draws, config)
    assert (regions[:, 2:] >= 3 * side).all()
    places = (np.arange(side) + 0.5) / side - 0.5 / regions[:, 2:, np.newaxis]
    places = regions[:, :2, np.newaxis] + places * regions[:, 2:, np.newaxis]
    rises = np.where(numbers % 2, -1, 1)[:, np.newaxis, np.newaxis]
    expected = np.where(rises > 0, 10, 245) + rises * STEEP * places
    seen = np.stack([images[..., 0].mean(axis=2), images[..., 1].mean(axis=1)], axis=1)
    # At the edges, the ramp does not continue.
    gap = (seen - expected)[:, :, 2:-2]
    assert np.abs(gap).max() < 1
    shift = (rises * gap).mean(axis=2) / STEEP
    # In stored pixels; a pixel of the reduced image covers up to eight of them.
    assert np.abs(shift[::2] + shift[1::2]).mean() / 2 < 0.2
    # 0.1 pixels are 0.023 levels, less than rounding to whole levels twice may add.
    assert np.abs((shift[::2] + shift[1::2]).mean(axis=0)).max() / 2 < 0.1

"""Resampling, against Pillow's antialiased BILINEAR and against exact fractions."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reader.pixels.resample import resample, resample_part

SIDES = st.integers(1, 400)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


def pillow(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).astype(int)


def resampled(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    out = np.full((height, width, 3), 77, np.uint8)
    resample(pixels, out)
    return out


@settings(max_examples=200, deadline=None)
@given(
    height=SIDES, width=SIDES, target=st.tuples(SIDES, SIDES), seed=st.integers(0, 9)
)
def test_it_is_pillows_bilinear_within_two_levels(height, width, target, seed):
    pixels = noise(height, width, seed)
    gap = np.abs(resampled(pixels, *target) - pillow(pixels, *target))
    assert gap.max() <= 2


@pytest.mark.parametrize("num_bytes", [1, 100_000, 1 << 30])
def test_rows_that_are_multiplied_together_do_not_change_it(num_bytes, monkeypatch):
    pixels = noise(300, 250)
    expected = resampled(pixels, 100, 90)
    monkeypatch.setattr("reader.pixels.resample._CACHED_BYTES", num_bytes)
    assert np.array_equal(resampled(pixels, 100, 90), expected)


@pytest.mark.parametrize("side", [1, 2, 7, 8, 9, 224])
@pytest.mark.parametrize("size", [(3000, 2), (2, 3000), (2000, 1500)])
def test_large_images_and_odd_targets(size, side):
    pixels = noise(*size)
    assert np.abs(resampled(pixels, side, side) - pillow(pixels, side, side)).max() <= 2


def test_an_image_of_the_target_size_is_copied():
    pixels = noise(40, 50)
    assert np.array_equal(resampled(pixels, 40, 50), pixels)


@pytest.mark.parametrize("level", [0, 1, 128, 254, 255])
@pytest.mark.parametrize("target", [(17, 23), (90, 11), (11, 90), (90, 90)])
def test_one_color_stays_that_color(level, target):
    flat = np.full((57, 61, 3), level, np.uint8)
    assert (resampled(flat, *target) == level).all()


def test_any_view_is_read():
    pixels = noise(120, 200)
    part = pixels[10:110, 30:190]
    for target in ((50, 70), (150, 70), (50, 300), (150, 300)):
        expected = resampled(part.copy(), *target)
        assert np.array_equal(resampled(part, *target), expected)


def test_threads_do_not_share_arrays():
    from concurrent.futures import ThreadPoolExecutor

    images = [noise(60 + n, 90 - n, n) for n in range(40)]
    expected = [resampled(image, 31, 37) for image in images]
    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(lambda image: resampled(image, 31, 37), images)]
    assert all(map(np.array_equal, found, expected))


@settings(max_examples=100, deadline=None)
@given(
    place=st.fractions(0, 20, max_denominator=8),
    length=st.fractions(30, 40, max_denominator=8),
    target=st.integers(1, 20),
)
def test_a_part_between_pixels_has_the_weights_of_a_triangle(place, length, target):
    """One row of pixels, against the sums as they stand in Pillow's source."""
    values = np.random.default_rng(0).integers(0, 256, 64).tolist()
    pixels = np.repeat(np.array(values, np.uint8), 64 * 3).reshape(64, 64, 3)
    out = np.empty((target, 4, 3), np.uint8)
    resample_part(pixels, (float(place), 0.0), (float(length), 64.0), out)
    for number in range(target):
        expected = plain(values, Fraction(place), Fraction(length), target, number)
        assert abs(out[number, 0, 0] - expected) <= 1
    assert (out == out[:, :1, :1]).all()


def plain(
    values: list[int], begin: Fraction, length: Fraction, target: int, number: int
) -> Fraction:
    scale = length / target
    center = begin + (number + Fraction(1, 2)) * scale
    first, last = int(begin), -int(-(begin + length) // 1)
    weights = {
        place: max(Fraction(0), 1 - abs(place + Fraction(1, 2) - center) / scale)
        for place in range(first, min(last, len(values)))
    }
    total = sum(weights.values())
    return sum(weight * values[place] for place, weight in weights.items()) / total

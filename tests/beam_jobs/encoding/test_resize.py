"""Tests sizes against exact fractions, and pixels against Pillow and plain means."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from beam_jobs.config.job_settings import RESIZE_MODES
from beam_jobs.encoding.resize import plan_sizes, resize
from reader.contract.manifest import ImageSpec


def spec_of(mode: str, size: int, upscale: bool = False) -> ImageSpec:
    return ImageSpec(
        format="jpeg",
        quality=90,
        subsampling="420",
        resize=mode,
        size=size,
        upscale=upscale,
    )


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def distance(one: np.ndarray, other: np.ndarray) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())


# Sizes.

SIDES = st.integers(1, 20_000)
SIZES = st.integers(1, 2_000)


def rounded(exact: Fraction) -> int:
    """Returns the nearest whole number, halves up; at least 1."""
    return max(1, int(exact + Fraction(1, 2)))


@given(SIDES, SIDES, SIZES, st.booleans(), st.sampled_from(["shorter", "longer"]))
def test_one_side_gets_the_size_and_the_other_follows(h, w, size, upscale, which):
    side = min(h, w) if which == "shorter" else max(h, w)
    sizes = plan_sizes(h, w, spec_of(f"{which}_side", size, upscale))
    assert sizes.stored == sizes.scaled
    if side <= size and not upscale:
        assert sizes.stored == (h, w)
    else:
        scale = Fraction(size, side)
        assert sizes.stored == (rounded(h * scale), rounded(w * scale))


@given(SIDES, SIDES, SIZES, st.booleans())
def test_area_keeps_the_shape_at_about_so_many_pixels(h, w, size, upscale):
    stored = plan_sizes(h, w, spec_of("area", size, upscale)).stored
    if h * w <= size * size and not upscale:
        assert stored == (h, w)
        return
    for side, other, found in ((h, w, stored[0]), (w, h, stored[1])):
        # found − ½ ≤ size · √(side / other) < found + ½, squared.
        exact = Fraction(size * size * side, other)
        assert exact < Fraction(2 * found + 1, 2) ** 2
        assert found == 1 or Fraction(2 * found - 1, 2) ** 2 <= exact


@given(SIDES, SIDES, SIZES, st.booleans())
def test_crop_is_the_middle_of_what_shorter_side_gives(h, w, size, upscale):
    sizes = plan_sizes(h, w, spec_of("crop", size, upscale))
    assert sizes.scaled == plan_sizes(h, w, spec_of("shorter_side", size, upscale))[0]
    assert sizes.stored == tuple(min(side, size) for side in sizes.scaled)
    if upscale or min(h, w) >= size:
        assert sizes.stored == (size, size)


@given(SIDES, SIDES, SIZES, st.booleans())
def test_pad_is_a_square_around_what_longer_side_gives(h, w, size, upscale):
    sizes = plan_sizes(h, w, spec_of("pad", size, upscale))
    assert sizes.scaled == plan_sizes(h, w, spec_of("longer_side", size, upscale))[0]
    assert sizes.stored == (size, size)
    assert max(sizes.scaled) <= size


@given(SIDES, SIDES, SIZES, st.booleans())
def test_stretch_is_the_square(h, w, size, upscale):
    stored = plan_sizes(h, w, spec_of("stretch", size, upscale)).stored
    expected = (size, size) if upscale else (min(h, size), min(w, size))
    assert stored == expected


@given(SIDES, SIDES, SIZES, st.booleans())
def test_none_keeps_every_size(h, w, size, upscale):
    assert plan_sizes(h, w, spec_of("none", size, upscale)) == ((h, w), (h, w))


@given(SIDES, SIDES, SIZES, st.booleans(), st.sampled_from(RESIZE_MODES))
def test_sizes_are_the_same_on_the_side(h, w, size, upscale, mode):
    spec = spec_of(mode, size, upscale)
    turned = plan_sizes(w, h, spec)
    assert plan_sizes(h, w, spec) == (turned.scaled[::-1], turned.stored[::-1])


@given(SIDES, SIDES, SIZES, st.sampled_from(RESIZE_MODES))
def test_nothing_is_enlarged_unless_asked_for(h, w, size, mode):
    scaled = plan_sizes(h, w, spec_of(mode, size)).scaled
    assert 1 <= scaled[0] <= h
    assert 1 <= scaled[1] <= w


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((480, 640), (256, 341)),
        ((640, 480), (341, 256)),
        ((1000, 1001), (256, 256)),
        ((512, 513), (256, 257)),  # 256.5: halves go up.
        ((256, 9999), (256, 9999)),
        ((257, 257), (256, 256)),
        ((1, 9999), (1, 9999)),
    ],
)
def test_known_sizes_of_shorter_side(before, after):
    assert plan_sizes(*before, spec_of("shorter_side", 256)).stored == after


@pytest.mark.parametrize(
    ("mode", "upscale", "before", "after"),
    [
        ("longer_side", False, (480, 640), (192, 256)),
        ("longer_side", False, (1, 9999), (1, 256)),
        ("longer_side", True, (10, 20), (128, 256)),
        ("area", False, (480, 640), (222, 296)),
        ("area", False, (100, 200), (100, 200)),
        ("area", True, (100, 100), (256, 256)),
        ("crop", False, (480, 640), (256, 256)),
        ("crop", False, (100, 640), (100, 256)),
        ("crop", True, (100, 640), (256, 256)),
        ("pad", False, (10, 10), (256, 256)),
        ("stretch", False, (100, 640), (100, 256)),
        ("stretch", True, (100, 640), (256, 256)),
        ("shorter_side", True, (100, 200), (256, 512)),
    ],
)
def test_known_sizes_of_other_modes(mode, upscale, before, after):
    assert plan_sizes(*before, spec_of(mode, 256, upscale)).stored == after


# Pixels.


@pytest.mark.parametrize("ratio", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("shape", [(16, 24), (24, 16), (16, 16)])
def test_resizing_by_a_whole_ratio_is_pillows_box(ratio, shape):
    big = picture(shape[0] * ratio, shape[1] * ratio, ratio)
    expected = Image.fromarray(big).resize(shape[::-1], Image.Resampling.BOX)
    # Both implementations round, and Pillow also rounds the mean of each row.
    found = resize(big, spec_of("shorter_side", 16))
    assert distance(found, np.asarray(expected)) <= 1


def area_weights(before: int, after: int) -> np.ndarray:
    """Returns float64[after, before], the weight of each input pixel."""
    edges = np.arange(after + 1) * before / after
    low = np.maximum(edges[:-1, None], np.arange(before))
    high = np.minimum(edges[1:, None], np.arange(1, before + 1))
    return np.clip(high - low, 0, None) * after / before


@settings(max_examples=100)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 40),
    st.integers(0, 99),
    st.sampled_from(["shorter_side", "longer_side", "area", "stretch", "none"]),
)
def test_resizing_by_any_ratio_is_the_mean_over_the_area(h, w, size, seed, mode):
    big, spec = picture(h, w, seed), spec_of(mode, size)
    height, width = plan_sizes(h, w, spec).stored
    rows, columns = area_weights(h, height), area_weights(w, width)
    mean = np.einsum("ah,bw,hwc->abc", rows, columns, big.astype(float))
    found = resize(big, spec)
    assert found.shape == mean.shape
    assert np.abs(found - mean).max() <= 1


def keys_weights(before: int, after: int) -> np.ndarray:
    """Returns float64[after, before] of cubic convolution, a = −0.75, edges repeated.

    Source: R. Keys, Cubic convolution interpolation, 1981.
    """
    weights = np.zeros((after, before))
    for row in range(after):
        center = (row + 0.5) * before / after - 0.5
        for place in range(int(np.floor(center)) - 1, int(np.floor(center)) + 3):
            x, a = abs(place - center), -0.75
            if x <= 1:
                weight = (a + 2) * x**3 - (a + 3) * x**2 + 1
            else:
                weight = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
            weights[row, min(max(place, 0), before - 1)] += weight
    return weights


@pytest.mark.parametrize("mode", ["shorter_side", "longer_side", "area", "stretch"])
@pytest.mark.parametrize("shape", [(7, 11), (16, 16), (1, 5)])
def test_enlarging_is_cubic_convolution(mode, shape):
    small, spec = picture(*shape), spec_of(mode, 23, upscale=True)
    height, width = plan_sizes(*shape, spec).stored
    if height < shape[0] or width < shape[1]:
        pytest.fail("this is to enlarge both sides")
    rows, columns = keys_weights(shape[0], height), keys_weights(shape[1], width)
    exact = np.einsum("ah,bw,hwc->abc", rows, columns, small.astype(float))
    assert np.abs(resize(small, spec) - exact.clip(0, 255)).max() <= 1.5


def test_where_one_side_grows_and_the_other_shrinks_each_has_its_filter():
    pixels = picture(60, 10)
    found = resize(pixels, spec_of("stretch", 20, upscale=True))
    shrunk = np.einsum("ah,hwc->awc", area_weights(60, 20), pixels.astype(float))
    exact = np.einsum("bw,awc->abc", keys_weights(10, 20), shrunk)
    assert np.abs(found - exact.clip(0, 255)).max() <= 2.5


@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (33, 33), (12, 50), (9, 9)])
def test_crop_cuts_the_middle(shape):
    pixels = picture(*shape)
    scaled = resize(pixels, spec_of("shorter_side", 16))
    top, left = ((max(side, 16) - 16) // 2 for side in scaled.shape[:2])
    expected = scaled[top : top + 16, left : left + 16]
    assert (resize(pixels, spec_of("crop", 16)) == expected).all()


@pytest.mark.parametrize("shape", [(40, 61), (61, 40), (16, 16), (9, 12), (1, 1)])
def test_pad_lays_the_image_on_the_middle_of_a_white_square(shape):
    pixels = picture(*shape)
    scaled = resize(pixels, spec_of("longer_side", 16))
    height, width = scaled.shape[:2]
    expected = np.full((16, 16, 3), 255, np.uint8)
    top, left = (16 - height) // 2, (16 - width) // 2
    expected[top : top + height, left : left + width] = scaled
    assert (resize(pixels, spec_of("pad", 16)) == expected).all()


UNTOUCHED = [
    ("shorter_side", (30, 50)),
    ("longer_side", (30, 20)),
    ("area", (20, 45)),
    ("crop", (30, 30)),
    ("pad", (30, 30)),
    ("stretch", (30, 10)),
    ("none", (300, 10)),
]


@pytest.mark.parametrize(("mode", "shape"), UNTOUCHED)
def test_an_image_that_needs_no_change_is_returned_itself(mode, shape):
    pixels = picture(*shape)
    assert resize(pixels, spec_of(mode, 30)) is pixels

"""Crop regions, against plain Python and torchvision."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reader.config.image_config import RESIZED_TRIES, ImageConfig
from reader.pixels.regions import regions_of

SIZES = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
TARGETS = st.tuples(st.integers(1, 1024), st.integers(1, 1024))
FRACTIONS = st.floats(0.01, 1)
ALMOST_ONE = 1 - 2.0**-53
DRAWS = st.floats(0, ALMOST_ONE)
NUM_DRAWS = {"random": 2, "random_resized": 2 + 2 * RESIZED_TRIES}
# Tolerance for rounding: an exact side that ends in ½ may round either way.
HALF = 0.5 + 1e-6

Region = tuple[int, int, int, int]


def regions(sizes: Any, draws: Any = None, **settings: Any) -> list[Region]:
    config = ImageConfig(**{"size": (224, 224), **settings})
    sizes = np.asarray(sizes, np.int32)
    draws = np.empty((len(sizes), 0)) if draws is None else np.array(draws)
    made = regions_of(sizes, draws, config)
    assert made.dtype == np.int32
    return [tuple(row) for row in made.tolist()]


def assert_inside(region: Region, size: tuple[int, int]) -> None:
    top, left, height, width = region
    assert min(top, left) >= 0
    assert min(height, width) >= 1
    assert top + height <= size[0]
    assert left + width <= size[1]


def largest(size: tuple[int, int], target: tuple[int, int]) -> list[Fraction]:
    """Returns the exact sides of the largest region of the target's aspect ratio."""
    scale = min(Fraction(size[0], target[0]), Fraction(size[1], target[1]))
    return [side * scale for side in target]


def draws_for(crop: str, num: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((num, NUM_DRAWS[crop]))


# Regions of the target's aspect ratio.


@given(size=SIZES, target=TARGETS, fraction=FRACTIONS, draws=st.tuples(DRAWS, DRAWS))
@example((256, 341), (224, 224), 0.875, (0.0, ALMOST_ONE))
@example((1, 5000), (1024, 1), 0.01, (ALMOST_ONE, ALMOST_ONE))
@pytest.mark.parametrize("crop", ["center", "random"])
def test_sides_are_a_fraction_of_the_largest_region_of_that_shape(
    crop, size, target, fraction, draws
):
    settings = {"size": target, "fraction": fraction, "crop": crop}
    ((*corner, height, width),) = regions([size], [draws], **settings)
    assert_inside((*corner, height, width), size)
    for side, whole in zip((height, width), largest(size, target), strict=True):
        exact = float(whole * Fraction(fraction))
        assert abs(side - exact) <= HALF or (side == 1 and exact < 1)


@given(size=SIZES, target=TARGETS)
def test_the_largest_region_spans_the_image_one_way(size, target):
    ((top, left, height, width),) = regions([size], size=target, fraction=1.0)
    assert height == size[0] or width == size[1]
    assert top == 0 or left == 0


@given(size=SIZES, target=TARGETS, fraction=FRACTIONS)
def test_a_center_crop_has_equal_margins_or_one_pixel_less_up_and_left(
    size, target, fraction
):
    ((top, left, height, width),) = regions([size], size=target, fraction=fraction)
    assert size[0] - top - height - top in (0, 1)
    assert size[1] - left - width - left in (0, 1)


@given(size=SIZES, target=TARGETS, fraction=FRACTIONS, draws=st.tuples(DRAWS, DRAWS))
def test_a_random_crop_is_at_the_draws_share_of_the_places_there_are(
    size, target, fraction, draws
):
    settings = {"size": target, "fraction": fraction, "crop": "random"}
    ((top, left, height, width),) = regions([size], [draws], **settings)
    assert top == math.floor(draws[0] * (size[0] - height + 1))
    assert left == math.floor(draws[1] * (size[1] - width + 1))


def test_the_smallest_and_largest_draws_are_the_outermost_places():
    sizes = [(256 + more, 300) for more in range(200)]
    draws = [(0.0, ALMOST_ONE)] * 200
    for size, region in zip(sizes, regions(sizes, draws, crop="random"), strict=True):
        assert region[0] == 0
        assert region[1] + region[3] == size[1]


def test_256_stored_and_224_asked_for_is_a_pure_cut():
    sizes = [(256, width) for width in range(256, 1000)]
    sizes += [(height, 256) for height in range(256, 1000)]
    assert {region[2:] for region in regions(sizes)} == {(224, 224)}


@given(size=SIZES, target=TARGETS, fraction=FRACTIONS)
def test_crop_none_is_the_whole_image(size, target, fraction):
    settings = {"size": target, "fraction": fraction, "crop": "none"}
    assert regions([size], **settings) == [(0, 0, *size)]


@settings(max_examples=30)
@given(sizes=st.lists(SIZES, max_size=20), data=st.data())
@pytest.mark.parametrize("crop", ["center", "none", "random", "random_resized"])
def test_an_image_has_the_same_region_in_any_company(crop, sizes, data):
    sizes = np.array(sizes, np.int32).reshape(-1, 2)
    draws = draws_for(crop, len(sizes)) if crop in NUM_DRAWS else None
    together = regions(sizes, draws, crop=crop, size=(48, 64))
    some = data.draw(st.lists(st.sampled_from(range(len(sizes))))) if len(sizes) else []
    alone = regions(
        sizes[some], None if draws is None else draws[some], crop=crop, size=(48, 64)
    )
    assert alone == [together[place] for place in some]


# Regions of random area and shape.


def first_that_fits(
    size: tuple[int, int], draws: np.ndarray, scale: Any, ratio: Any
) -> Region | None:
    """Computes torchvision's get_params, with draws instead of its generator."""
    height, width = size
    for share, shape in draws[2:].reshape(-1, 2).tolist():
        area = height * width * (scale[0] + share * (scale[1] - scale[0]))
        low, high = map(math.log, ratio)
        aspect = math.exp(low + shape * (high - low))
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            top = math.floor(draws[0] * (height - tall + 1))
            return top, math.floor(draws[1] * (width - wide + 1)), tall, wide
    return None


RANGES = [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.5, 0.9), (0.2, 0.5)), ((1.0, 1.0), (1, 1))]


@given(size=SIZES, seed=st.integers(0, 1 << 30))
@pytest.mark.parametrize(("scale", "ratio"), RANGES)
def test_the_first_attempt_that_fits_is_taken(scale, ratio, size, seed):
    draws = draws_for("random_resized", 8, seed)
    settings = {"crop": "random_resized", "scale": scale, "ratio": ratio}
    found = regions([size] * 8, draws, **settings)
    for row, region in zip(draws, found, strict=True):
        assert_inside(region, size)
        expected = first_that_fits(size, row, scale, ratio)
        if expected is not None:
            assert region == expected


@given(size=SIZES, seed=st.integers(0, 1 << 30))
def test_area_and_shape_are_in_range_unless_nothing_fits(size, seed):
    draws = draws_for("random_resized", 8, seed)
    scale, ratio = RANGES[0]
    found = regions([size] * 8, draws, crop="random_resized")
    for row, (_, _, height, width) in zip(draws, found, strict=True):
        if first_that_fits(size, row, scale, ratio) is None:
            continue
        # Each side is rounded by at most half a pixel.
        assert (height + HALF) * (width + HALF) >= scale[0] * size[0] * size[1]
        assert (height - HALF) * (width - HALF) <= scale[1] * size[0] * size[1]
        assert (width + HALF) / (height - HALF) >= ratio[0]
        assert (width - HALF) / (height + HALF) <= ratio[1]


def test_the_size_asked_for_does_not_matter_to_random_regions():
    draws = draws_for("random_resized", 50)
    sizes = [(300, 400)] * 50
    one = regions(sizes, draws, crop="random_resized", size=(8, 8), fraction=0.1)
    assert one == regions(sizes, draws, crop="random_resized", size=(500, 20))


# Comparison with torchvision.


@pytest.fixture(scope="session")
def torchvision_regions(torchvision) -> Callable[..., np.ndarray]:
    """`torchvision_regions(size, num, scale=…, ratio=…)` returns int64[num, 4]."""
    import torch

    transforms = torchvision.transforms

    def torchvision_regions(
        size: tuple[int, int],
        num: int,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> np.ndarray:
        image = torch.zeros(1, 1, 1).expand(3, *size)
        crop = transforms.RandomResizedCrop.get_params
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return np.array([crop(image, [*scale], [*ratio]) for _ in range(num)])

    return torchvision_regions


def gap(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the Kolmogorov-Smirnov statistic of two samples."""
    values = np.concatenate([one, other])
    one, other = (
        np.searchsorted(np.sort(sample), values, side="right") / len(sample)
        for sample in (one, other)
    )
    return float(np.abs(one - other).max())


@pytest.mark.parametrize(
    ("size", "settings"),
    [
        ((375, 500), {}),
        ((500, 333), {}),
        ((256, 256), {}),
        ((100, 160), {}),
        ((17, 23), {}),
        ((300, 400), {"scale": (0.5, 1.0), "ratio": (0.5, 3.0)}),
        ((300, 400), {"scale": (0.25, 0.25), "ratio": (1.0, 1.0)}),
    ],
    ids=repr,
)
def test_regions_are_spread_as_those_of_torchvision(
    torchvision_regions, size, settings
):
    theirs = torchvision_regions(size, 3000, **settings)
    num = 30_000
    draws = draws_for("random_resized", num)
    ours = np.array(regions([size] * num, draws, crop="random_resized", **settings))
    # Samples of one distribution exceed a factor of 0.83 in half of all cases, and a
    # factor of 2 in one of 2,000.
    limit = 2 * math.sqrt((len(theirs) + num) / (len(theirs) * num))
    for what in (
        lambda top, left, height, width: height * width,
        lambda top, left, height, width: np.log(width / height),
        lambda top, left, height, width: top,
        lambda top, left, height, width: left,
        lambda top, left, height, width: 2 * top + height,
        lambda top, left, height, width: 2 * left + width,
        lambda top, left, height, width: height,
        lambda top, left, height, width: width,
    ):
        assert gap(what(*theirs.T), what(*ours.T)) < limit


EXTREME = [
    ((10, 4000), {}),
    ((4000, 10), {}),
    ((7, 333), {}),
    ((333, 7), {}),
    ((1, 900), {}),
    ((900, 1), {}),
    ((41, 2000), {"ratio": (0.3, 2.5), "scale": (0.9, 1.0)}),
    ((2000, 41), {"ratio": (0.3, 2.5), "scale": (0.9, 1.0)}),
    ((300, 400), {"ratio": (1.0, 1.0), "scale": (1.0, 1.0)}),
    ((401, 300), {"ratio": (1.0, 1.0), "scale": (1.0, 1.0)}),
    ((100, 130), {"ratio": (5.0, 6.0), "scale": (1.0, 1.0)}),
    ((100, 130), {"ratio": (0.1, 0.2), "scale": (1.0, 1.0)}),
    ((1, 1), {"scale": (0.01, 0.02)}),
    ((3, 3), {"scale": (0.01, 0.02)}),
]


@pytest.mark.parametrize(("size", "settings"), EXTREME, ids=repr)
def test_where_nothing_fits_the_region_is_the_central_one_of_torchvision(
    torchvision_regions, size, settings
):
    theirs = {tuple(row) for row in torchvision_regions(size, 3, **settings).tolist()}
    assert len(theirs) == 1  # The fallback is deterministic.
    draws = draws_for("random_resized", 20)
    ours = regions([size] * 20, draws, crop="random_resized", **settings)
    assert set(ours) == theirs


@given(short=st.integers(1, 30), long=st.integers(2000, 30_000), tall=st.booleans())
def test_the_central_region_of_any_thin_image_is_that_of_torchvision(
    torchvision_regions, short, long, tall
):
    size = (long, short) if tall else (short, long)
    (theirs,) = torchvision_regions(size, 1).tolist()
    (ours,) = regions([size], draws_for("random_resized", 1), crop="random_resized")
    assert ours == tuple(theirs)

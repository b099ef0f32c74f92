"""Tests that the bars of a histogram count every value in its range."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reader.distributions.distribution import Distribution
from reader.distributions.histogram import (
    even_histogram,
    octave_histogram,
    value_histogram,
)

VALUES = st.lists(st.integers(0, 10**6), min_size=1, max_size=300)


def distribution_of(values: list[int]) -> Distribution:
    distribution = Distribution()
    # In several parts, as tables are read.
    for part in np.array_split(np.array(values), 3):
        distribution = distribution.add(part)
    return distribution


@given(VALUES)
def test_a_distribution_is_what_numpy_says_of_all_values(values):
    distribution = distribution_of(values)
    assert distribution.total == len(values)
    assert (distribution.smallest, distribution.largest) == (min(values), max(values))
    for share in (0.01, 0.5, 0.99, 1):
        expected = np.quantile(values, share, method="inverted_cdf")
        assert distribution.quantile(share) == expected
    assert distribution.above(500) == sum(value > 500 for value in values)


@given(VALUES)
def test_even_bars_hold_each_value_once(values):
    histogram = even_histogram(distribution_of(values), str)
    assert sum(bar.value for bar in histogram.bars) == len(values)
    assert 5 <= len(histogram.bars) <= 40
    for bar in histogram.bars:
        low, _, high = bar.label.replace(" ", "").partition("–")
        low, high = float(low), float(high or low)
        assert bar.value == sum(low <= value <= high for value in values)
        assert (bar.height > 0) == (bar.value > 0)
        assert 0 <= bar.height <= 100


@given(VALUES.map(lambda values: [value + 1 for value in values]))
def test_bars_of_ratios_hold_each_value_once(values):
    for centered in (False, True):
        histogram = octave_histogram(distribution_of(values), str, centered=centered)
        assert sum(bar.value for bar in histogram.bars) == len(values)
        assert 5 <= len(histogram.bars) <= 40
        for bar in histogram.bars:
            low, high = map(float, bar.label.split(" – "))
            at_least = sum(low < value < high for value in values)
            at_most = sum(low <= value <= high for value in values)
            assert at_least <= bar.value <= at_most


@given(VALUES)
def test_bars_and_marks_are_in_order_and_inside(values):
    histogram = even_histogram(distribution_of(values), str)
    places = [bar.x for bar in histogram.bars]
    assert places == sorted(places)
    last = histogram.bars[-1]
    assert np.isclose(last.x + last.width, 100)
    marks = [mark.x for mark in histogram.marks]
    assert marks == sorted(marks)
    assert all(0 <= mark <= 100 for mark in marks)
    assert marks


def test_a_far_value_does_not_press_all_others_together():
    values = [*range(100), 10**6]
    histogram = even_histogram(distribution_of(values), str)
    assert sum(bar.value > 0 for bar in histogram.bars) > 15
    last = histogram.bars[-1]
    assert last.beyond
    assert last.label.endswith("– 1000000.0")


# Numbers that a float32 or an int64 holds, and those that are all alike.
NUMBERS = st.one_of(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.lists(st.integers(-9, 9), min_size=1),
    st.lists(st.floats(0, 1, width=32), min_size=1),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda x: [x] * 9),
)


@given(NUMBERS, st.sampled_from([10, 32]))
def test_a_value_histogram_counts_every_number_in_its_bar(values, most):
    numbers = np.array(values, np.float64)
    distribution = distribution_of(numbers)
    histogram = value_histogram(distribution, most)
    bars = histogram.bars
    assert sum(bar.value for bar in bars) == len(values)
    assert 5 <= len(bars) <= 2 * most
    edges = np.linspace(histogram.low, histogram.high, len(bars) + 1)
    inner = np.histogram(numbers, edges)[0]
    for place in range(1, len(bars) - 1):
        near = np.isclose(numbers[:, None], edges[place : place + 2]).any(axis=1).sum()
        assert abs(bars[place].value - inner[place]) <= near
    assert all(0 <= mark.x <= 100.001 for mark in histogram.marks)


def test_labels_have_the_digits_that_they_need():
    def labels(values: list[float], most: int = 10) -> list[str]:
        histogram = value_histogram(Distribution().add(np.array(values)), most)
        return [bar.label for bar in histogram.bars]

    assert labels([0.0, 0.24, 0.49])[:3] == [
        "0.00 – 0.05",
        "0.05 – 0.10",
        "0.10 – 0.15",
    ]
    assert labels([1, 2, 5]) == ["1", "2", "3", "4", "5"]
    assert labels([1.5, 5.5])[0] == "1.5 – 2.0"
    assert labels([0, 99])[0] == "0 – 9"
    assert labels([-100, -1])[0] == "-100 – -91"
    assert labels([0.9991, 0.9999])[0] == "0.9991 – 0.9992"

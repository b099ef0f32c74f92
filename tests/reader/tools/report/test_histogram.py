"""Tests that the bars of a histogram count every value in its range."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from reader.tools.report.distributions import Distribution
from reader.tools.report.histogram import even_histogram, octave_histogram

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

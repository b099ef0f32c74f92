"""Tests the statistics of columns against NumPy and Python over all rows."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.contract.schema import Feature
from reader.distributions import column_statistics
from reader.distributions.column_statistics import (
    QUANTILES,
    ColumnCounter,
    ListStatistics,
    NumberStatistics,
    TextStatistics,
)

FLOATS = st.one_of(st.floats(width=32), st.none())
INTS = st.integers(-(2**63), 2**63 - 1)


def counted(
    values: list[Any],
    type_: Any,
    shape: tuple[int | None, ...] = (),
    *,
    num_tables: int = 3,
    num_rows: int | None = None,
) -> Any:
    """Returns the statistics of values that are added in several tables."""
    dtype = {"string": "bytes", "float": "float32"}.get(str(_item(type_)), "int64")
    feature = Feature("extra/x", dtype, shape, "extra")
    counter = ColumnCounter([feature], num_rows or len(values))
    assert counter.keys == ["extra/x"]
    size = max(1, -(-len(values) // num_tables))
    for first in range(0, len(values), size):
        part = pa.array(values[first : first + size], type_)
        counter.add(pa.table({"extra/x": part}))
    (statistics,) = counter.statistics()
    assert (statistics.key, statistics.rows) == ("extra/x", len(values))
    return statistics


def _item(type_: Any) -> Any:
    return getattr(type_, "value_type", type_)


def check_numbers(found: Any, values: Iterable[Any], dtype: Any) -> None:
    given = np.array([value for value in values if value is not None], dtype)
    finite = given[np.isfinite(given)]
    assert isinstance(found, NumberStatistics)
    assert found.nan == np.isnan(given).sum()
    assert found.infinite == np.isinf(given).sum()
    assert found.every == 1
    if not len(finite):
        assert (found.min, found.mean, found.max) == (None, None, None)
        assert found.quantiles == {}
        return
    assert (dtype(found.min), dtype(found.max)) == (finite.min(), finite.max())
    assert found.mean == pytest.approx(finite.astype(np.float64).mean())
    assert [*found.quantiles] == [*QUANTILES]
    for share, value in found.quantiles.items():
        expected = np.quantile(finite, share, method="inverted_cdf")
        assert dtype(value) == dtype(expected)
    assert found.distribution.total == len(finite)


@given(st.lists(FLOATS, max_size=200))
def test_floats_are_counted_as_numpy_does(values):
    found = counted(values, pa.float32())
    check_numbers(found, values, np.float32)
    assert found.missing == sum(v is None or v != v for v in values)


@given(st.lists(INTS, max_size=200))
def test_whole_numbers_keep_every_digit(values):
    found = counted(values, pa.int64())
    check_numbers(found, values, np.int64)
    assert isinstance(found.min, int) or not values


def test_a_float_is_written_as_short_as_it_is_stored():
    found = counted([0.1, 0.7, 0.99995], pa.float32())
    assert (found.min, found.quantiles[0.5], found.max) == (0.1, 0.7, 0.99995)


@given(st.lists(st.one_of(st.none(), st.text(max_size=2)), max_size=200))
def test_texts_are_counted_as_python_does(values):
    found = counted(values, pa.string())
    expected = Counter(value for value in values if value)
    assert isinstance(found, TextStatistics)
    assert found.missing == sum(not value for value in values)
    assert found.empty == values.count("")
    assert (found.distinct, found.is_exact) == (len(expected), True)
    ranked = sorted(expected.items(), key=lambda item: (-item[1], item[0]))
    assert [*found.frequent] == ranked[: column_statistics.NUM_FREQUENT]


def test_lists_are_counted_by_their_length():
    values = [[1.0], [1, float("nan")], None, [], [float("nan")] * 3, [2, 3]]
    found = counted(values, pa.list_(pa.float32()), (None,))
    assert isinstance(found, ListStatistics)
    lengths = dict(zip(found.lengths.values, found.lengths.counts, strict=True))
    assert lengths == {0: 1, 1: 1, 2: 2, 3: 1}
    assert (found.nan, found.missing) == (2, 2)


def test_lists_of_one_length_have_missing_ones_too():
    values = [[1.0, 2.0], [float("nan")] * 2, [float("nan"), 1.0], None]
    found = counted(values, pa.list_(pa.float32(), 2), (2,))
    assert (found.nan, found.missing) == (2, 2)
    texts = [["a", ""], ["", ""], ["b", "c"]]
    found = counted(texts, pa.list_(pa.string(), 2), (2,))
    assert (found.nan, found.missing) == (0, 1)
    found = counted([[0, 1], [2, 3]], pa.list_(pa.int64(), 2), (2,))
    assert (found.nan, found.missing, found.lengths.total) == (0, 0, 2)


# Bounded memory.


def test_quantiles_of_very_many_rows_are_of_every_nth(monkeypatch):
    monkeypatch.setattr(column_statistics, "MOST_VALUES", 1000)
    rng = np.random.default_rng(0)
    values = rng.normal(size=30_500).astype(np.float32)
    values[[5, 700]] = [100, np.nan]
    found = counted(values.tolist(), pa.float32(), num_tables=7)
    assert found.every == 31
    chosen = values[::31]
    assert found.distribution.total == np.isfinite(chosen).sum() <= 1000
    # What is not a quantile is of all rows.
    assert (found.max, found.nan) == (100, 1)
    assert found.mean == pytest.approx(np.nanmean(values), abs=1e-4)
    assert found.quantiles[0.5] == pytest.approx(0, abs=0.1)
    shares = [np.mean(values <= found.quantiles[share]) for share in QUANTILES]
    assert np.allclose(shares, QUANTILES, atol=0.03)


def test_very_many_texts_keep_the_frequent_ones(monkeypatch):
    monkeypatch.setattr(column_statistics, "MOST_TEXTS", 100)
    values = [f"{n:05}" if n % 4 else "often" for n in range(4000)]
    found = counted(values, pa.string(), num_tables=40)
    assert (found.is_exact, found.frequent[0]) == (False, ("often", 1000))
    assert found.distinct == 100
    assert len(found.frequent) == column_statistics.NUM_FREQUENT


def test_long_texts_are_cut_and_stay_different():
    texts = ["x" * 100_000 + tail for tail in ("a", "b", "b")]
    found = counted(texts, pa.string())
    assert found.distinct == 2
    assert [count for _, count in found.frequent] == [2, 1]
    assert all(len(text) < 250 for text, _ in found.frequent)


def test_only_columns_carried_through_are_counted():
    features = [
        Feature("image/encoded", "bytes", (), "image"),
        Feature("extra/a", "int64", (), "extra"),
    ]
    assert ColumnCounter(features, 5).keys == ["extra/a"]

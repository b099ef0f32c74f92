"""Cells of each Arrow type, compared with NumPy, `datetime` and `decimal`."""

import datetime
import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.config.columns import BadCell, parse_columns
from beam_jobs.inputs.parquet_rows import NoCell, cells_of, has_cells, is_captions
from beam_jobs.inputs.table_rows import TextFormat, check_types, read_rows
from reader.contract.errors import BuildError, UsageError

UNITS = ("s", "ms", "us", "ns")
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
ONE = pa.field("a", pa.int8())

# Each type with a value and its cell.
CELLS: dict[pa.DataType, tuple[Any, Any]] = {
    pa.bool_(): (True, True),
    **{
        type_: (7, 7)
        for bits in (8, 16, 32, 64)
        for type_ in (getattr(pa, f"int{bits}")(), getattr(pa, f"uint{bits}")())
    },
    pa.float16(): (np.float16(0.1), float(np.float16(0.1))),
    pa.float32(): (0.1, float(np.float32(0.1))),
    pa.float64(): (0.1, 0.1),
    pa.string(): ("é", "é"),
    pa.large_string(): ("é", "é"),
    pa.string_view(): ("é", "é"),
    pa.date32(): (datetime.date(1969, 2, 3), "1969-02-03"),
    pa.date64(): (datetime.date(1969, 2, 3), "1969-02-03"),
    pa.time32("s"): (datetime.time(1, 2, 3), "01:02:03"),
    pa.time32("ms"): (datetime.time(1, 2, 3, 4000), "01:02:03.004000"),
    pa.time64("us"): (datetime.time(1, 2, 3, 4), "01:02:03.000004"),
    pa.time64("ns"): (datetime.time(1, 2, 3, 4), "01:02:03.000004"),
    **{pa.timestamp(unit): (0, "1970-01-01T00:00:00") for unit in UNITS},
    pa.timestamp("s", "UTC"): (0, "1970-01-01T00:00:00+00:00"),
    pa.timestamp("us", "Europe/Berlin"): (0, "1970-01-01T01:00:00+01:00"),
    pa.timestamp("ns", "-09:30"): (1, "1969-12-31T14:30:00.000000001-09:30"),
    pa.duration("s"): (-90, "-90"),
    pa.duration("ms"): (1500, "1.500"),
    pa.duration("us"): (1, "0.000001"),
    pa.duration("ns"): (1, "0.000000001"),
    pa.decimal32(5, 2): (Decimal("1.50"), "1.50"),
    pa.decimal64(12, 9): (Decimal("1E-8"), "0.000000010"),
    pa.decimal128(38, 0): (Decimal(10**37), "1" + "0" * 37),
    pa.decimal256(76, 76): (Decimal("-0." + "1" * 76), "-0." + "1" * 76),
    pa.dictionary(pa.int8(), pa.string()): ("é", "é"),
    pa.dictionary(pa.int64(), pa.int8()): (7, 7),
    pa.dictionary(pa.int8(), pa.timestamp("ns")): (0, "1970-01-01T00:00:00"),
    pa.json_(): ("{}", "{}"),
}
NULLS = pa.array([False, True, False])
# Makers of [[0, 1], null, [2, 3]] from an array of four values.
LISTS: dict[Any, Any] = {
    pa.list_: lambda flat: pa.ListArray.from_arrays([0, 2, 2, 4], flat, mask=NULLS),
    pa.large_list: lambda flat: pa.LargeListArray.from_arrays(
        [0, 2, 2, 4], flat, mask=NULLS
    ),
    pa.list_view: lambda flat: pa.ListViewArray.from_arrays(
        [0, 2, 2], [2, 0, 2], flat, mask=NULLS
    ),
    pa.large_list_view: lambda flat: pa.LargeListViewArray.from_arrays(
        [0, 2, 2], [2, 0, 2], flat, mask=NULLS
    ),
    lambda item: pa.list_(item, 2): lambda flat: pa.FixedSizeListArray.from_arrays(
        pa.concat_arrays([flat[:2], flat[:2], flat[2:]]), 2, mask=NULLS
    ),
}
REFUSED = (
    pa.binary(),
    pa.large_binary(),
    pa.binary_view(),
    pa.binary(3),
    pa.dictionary(pa.int8(), pa.binary()),
    pa.uuid(),
    pa.struct([ONE]),
    pa.map_(pa.string(), pa.int8()),
    pa.list_(pa.list_(pa.int8())),
    pa.list_(pa.struct([ONE])),
)
NOT_IN_PARQUET = (
    pa.month_day_nano_interval(),
    pa.sparse_union([ONE]),
    pa.dense_union([ONE]),
    pa.run_end_encoded(pa.int32(), pa.string()),
)


def array_of(type_: pa.DataType, values: list[Any]) -> pa.Array:
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(
            type_, pa.array(values, type_.storage_type)
        )
    if pa.types.is_dictionary(type_):
        flat = pa.array(values, type_.value_type)
        return flat.dictionary_encode().cast(type_)
    return pa.array(values, type_)


def read_back(folder: Path, array: pa.Array) -> list[Any]:
    """Returns the cells of an array that went through a Parquet file."""
    path = os.fsencode(folder / "a.parquet")
    pq.write_table(pa.table({"a": array}), os.fsdecode(path))
    return [row.cells["a"] for row in read_rows(path, ["a"], TextFormat())]


def test_every_type_of_arrow_has_a_rule():
    names = {name for name in dir(pa.lib) if name.startswith("Type_")}
    # pyarrow names these types and cannot make them.
    names -= {"Type_INTERVAL_MONTHS", "Type_INTERVAL_DAY_TIME"}
    extension = pa.json_().id
    listed = (*CELLS, *REFUSED, *NOT_IN_PARQUET, pa.null())
    listed += tuple(make(pa.int8()) for make in LISTS)
    known = {getattr(pa.lib, name) for name in names}
    assert {type_.id for type_ in listed} == known | {extension}


@pytest.mark.parametrize("type_", CELLS, ids=str)
def test_the_cells_of_a_type(tmp_path, type_):
    value, cell = CELLS[type_]
    array = array_of(type_, [value, None, value])
    assert has_cells(type_)
    for found in (cells_of(array), read_back(tmp_path, array)):
        assert found == [cell, None, cell]
        assert type(found[0]) is type(cell)
    assert cells_of(array[1:]) == [None, cell]


@pytest.mark.parametrize("make", LISTS.values(), ids=map(str, range(len(LISTS))))
@pytest.mark.parametrize("type_", CELLS, ids=str)
def test_the_cells_of_lists(tmp_path, type_, make):
    value, cell = CELLS[type_]
    array = make(array_of(type_, [value, None, value, value]))
    assert has_cells(array.type)
    assert cells_of(array) == [[cell, None], None, [cell, cell]]
    assert cells_of(array[1:]) == [None, [cell, cell]]
    if pa.types.is_fixed_size_list(array.type):
        array = array[2:]  # pyarrow does not read its nulls back.
    assert read_back(tmp_path, array) == cells_of(array)


@pytest.mark.parametrize("type_", REFUSED, ids=str)
def test_types_without_cells_are_refused_by_name(tmp_path, type_):
    columns = {"image": pa.array(["a.jpg"]), "caption": pa.array(["c"])}
    path = os.fsencode(tmp_path / "a.parquet")
    odd = array_of(type_, [None])
    pq.write_table(pa.table(columns | {"odd": odd}), os.fsdecode(path))
    message = r"a\.parquet: column odd has type .*: convert the column first"
    with pytest.raises(UsageError, match=message):
        check_types(path, "image", ["caption"], ["odd"])
    for names in (("odd", "caption"), ("image", "odd")):
        with pytest.raises(UsageError, match=r"column odd has type .*, not "):
            check_types(path, names[0], names[1:], [])
    check_types(path, "image", ["caption"], [])


@pytest.mark.parametrize("type_", NOT_IN_PARQUET, ids=str)
def test_types_that_parquet_cannot_hold(tmp_path, type_):
    with pytest.raises(pa.ArrowNotImplementedError):
        pq.write_table(pa.table({"a": pa.nulls(1, type_)}), tmp_path / "a.parquet")
    assert not has_cells(type_)


def test_captions_are_texts_or_lists_of_texts():
    texts = (pa.string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()))
    for text in texts:
        assert is_captions(text)
        assert all(is_captions(make(text)) for make in LISTS)
    assert is_captions(pa.null())
    assert not is_captions(pa.int8())
    assert not is_captions(pa.date32())
    assert not is_captions(pa.list_(pa.list_(pa.string())))


def test_a_column_of_nulls(tmp_path):
    assert read_back(tmp_path, pa.nulls(3)) == [None] * 3


@pytest.mark.parametrize("make", [*LISTS][:4])
def test_empty_lists_are_no_nulls(tmp_path, make):
    array = pa.array([[], None, [1]], make(pa.int8()))
    assert read_back(tmp_path, array) == [[], None, [1]]


def test_lists_of_fixed_size_with_nulls_are_named(tmp_path):
    array = pa.array([[1, 2], None], pa.list_(pa.int8(), 2))
    with pytest.raises(BuildError, match=r"a\.parquet: .* lists of any length in a"):
        read_back(tmp_path, array)


# Times, compared with NumPy.


def fraction(value: int, unit: str) -> str:
    nanoseconds = value % PER_SECOND[unit] * (10**9 // PER_SECOND[unit])
    if not nanoseconds:
        return ""
    digits = f"{nanoseconds:09}"
    return "." + (digits[:6] if digits.endswith("000") else digits)


def in_range(text: str) -> bool:
    """Whether a date of NumPy has a year from 1 to 9999."""
    return len(text.split("-")[0]) == 4 and text > "0001"


@given(st.integers(-(2**63) + 1, 2**63 - 1) | st.integers(-(10**12), 10**12))
@pytest.mark.parametrize("unit", UNITS)
def test_timestamps_are_written_as_numpy_does(unit, value):
    array = pa.array([value], pa.int64()).view(pa.timestamp(unit))
    seconds = str(np.datetime64(value // PER_SECOND[unit], "s"))
    (cell,) = cells_of(array)
    if in_range(seconds):
        assert cell == seconds + fraction(value, unit)
    else:
        assert isinstance(cell, NoCell)
        assert "outside years 1 to 9999" in repr(cell)


@given(st.integers(-(2**31), 2**31 - 1) | st.integers(-800_000, 3_000_000))
def test_dates_are_written_as_numpy_does(days):
    expected = str(np.datetime64(days, "D"))
    milliseconds = days * 86_400_000
    arrays = (
        pa.array([days], pa.int32()).view(pa.date32()),
        pa.array([milliseconds], pa.int64()).view(pa.date64()),
    )
    for array in arrays:
        (cell,) = cells_of(array)
        if in_range(expected):
            assert cell == expected
        else:
            assert "outside years 1 to 9999" in repr(cell)


@given(st.integers(-(2**31), 2**31 - 1) | st.integers(0, 86_400))
@pytest.mark.parametrize("unit", UNITS)
def test_times_are_of_a_day(unit, value):
    type_ = pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    array = pa.array([value], pa.int32()).cast(f"int{type_.bit_width}").view(type_)
    (cell,) = cells_of(array)
    seconds = value // PER_SECOND[unit]
    if 0 <= seconds < 86_400:
        clock = str(np.datetime64(seconds, "s")).split("T")[1]
        assert cell == clock + fraction(value, unit)
    else:
        assert "not within a day" in repr(cell)


@pytest.mark.parametrize("zone", ["America/St_Johns", "Asia/Kolkata", "+05:45", "utc"])
def test_a_zone_shows_in_the_offset(zone):
    summer = datetime.datetime(2050, 7, 1, 12, tzinfo=datetime.UTC)
    type_ = pa.timestamp("s", zone)
    array = pa.array([int(summer.timestamp())], pa.int64()).view(type_)
    (cell,) = cells_of(array)
    read = datetime.datetime.fromisoformat(cell)
    assert read == summer
    offsets = {"America/St_Johns": -150, "Asia/Kolkata": 330, "+05:45": 345, "utc": 0}
    assert read.utcoffset() == datetime.timedelta(minutes=offsets[zone])


@pytest.mark.parametrize(
    "zone", ["Mars/Phobos", "../../etc/passwd", "Europe", "+25:00", "+1", "UT\0C", "é"]
)
def test_an_unknown_zone_makes_bad_values(tmp_path, zone):
    array = pa.array([0, None], pa.timestamp("us", zone))
    bad, null = cells_of(array)
    assert repr(bad) == f"<unknown time zone {zone}>"
    assert null is None


def test_what_cannot_be_written_out_is_no_value_of_any_column(tmp_path):
    array = pa.array([2_932_897], pa.int32()).view(pa.date32())
    (cell,) = read_back(tmp_path, array)
    for spec in ("a:str", "a:int", "a:float", "a:bool", "a:str=x"):
        (column,) = parse_columns(spec)
        with pytest.raises(BadCell, match="outside years 1 to 9999"):
            column.value_of(cell)


@pytest.mark.parametrize(
    ("spec", "array", "value"),
    [
        ("a:float", pa.array([1500], pa.duration("ms")), 1.5),
        ("a:int", pa.array([0], pa.duration("ns")), 0),
        ("a:int", pa.array([Decimal("0E-8")], pa.decimal128(20, 8)), 0),
        ("a:float", pa.array([Decimal("1.50")]), 1.5),
        ("a:int", pa.array([5], pa.uint64()), 5),
        ("a:bool", pa.array([True]), 1),
        ("a:float", pa.array([0.5], pa.float16()), 0.5),
    ],
)
def test_cells_fit_their_columns(spec, array, value):
    (column,) = parse_columns(spec)
    assert column.value_of(cells_of(array)[0]) == value


# What the environment must not change.

READ = """
import json, sys
if sys.argv[2] == "without":
    sys.modules["pandas"] = None
else:
    import pandas
from beam_jobs.inputs.table_rows import TextFormat, read_rows
columns = sys.argv[3].split()
rows = read_rows(sys.argv[1].encode(), columns, TextFormat())
print(json.dumps([row.cells for row in rows], default=repr))
"""


def test_pandas_changes_nothing(tmp_path):
    values = (1_600_000_000_123_456_789, 0, -1)
    columns = {
        "ns": pa.array(values, pa.timestamp("ns")),
        "zone": pa.array(values, pa.timestamp("ns", "Europe/Berlin")),
        "list": pa.array([[value] for value in values], pa.list_(pa.timestamp("ns"))),
        "duration": pa.array(values, pa.duration("ns")),
        "time": pa.array([1, 2, 3], pa.time64("ns")),
    }
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table(columns), path)
    with_, without = (
        subprocess.run(
            [sys.executable, "-c", READ, path, how, " ".join(columns)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for how in ("with", "without")
    )
    assert with_ == without
    assert json.loads(with_)[0]["ns"] == "2020-09-13T12:26:40.123456789"


# Texts that are not UTF-8.


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.string_view()])
@pytest.mark.parametrize("nested", [False, True])
def test_bytes_that_do_not_decode_are_a_matter_of_their_cell(tmp_path, type_, nested):
    data = pa.array([b"fine", b"caf\xe9", None, "é".encode()])
    widths = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
    array = data.cast(widths.get(type_, pa.binary_view())).view(type_)
    expected = ["fine", "caf\udce9", None, "é"]
    if nested:
        array = pa.ListArray.from_arrays([0, 2, 4], array)
        expected = [expected[:2], expected[2:]]
    assert read_back(tmp_path, array) == expected

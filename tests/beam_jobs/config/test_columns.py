"""Conversion of table cells to values, compared with NumPy and plain arithmetic."""

import json
import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.config.columns import BadCell, Column, feature_values, parse_columns
from beam_jobs.config.job_config import JobConfig
from reader.contract.errors import UsageError
from reader.contract.record import parse_example, parse_halves, serialize_example


def column(spec: str) -> Column:
    (one,) = parse_columns(spec)
    return one


def stored(spec: str, cell: object) -> list[object]:
    """Returns the values that a record stores for a cell, parsed from its bytes."""
    one = column(spec)
    values = feature_values(one, one.value_of(cell))
    feature = one.feature
    data = serialize_example({feature.key: (feature.dtype, values)})
    (found,) = parse_example(data).values()
    return parse_halves(found[0]).tolist() if feature.dtype == "float16" else found


# Parsing of columns.


def test_columns_as_they_are_written():
    text = "score:float, url:str,emb:float[512],label:int=-1,ok:bool=false,a b é:str=x"
    text += ",half:float16,clip:float16[768]=0.5"
    assert [tuple(one) for one in parse_columns(text)] == [
        ("score", "float", None, None),
        ("url", "str", None, None),
        ("emb", "float", 512, None),
        ("label", "int", None, -1),
        ("ok", "bool", None, 0),
        ("a b é", "str", None, "x"),
        ("half", "float16", None, None),
        ("clip", "float16", 768, 0.5),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "score",
        "score:",
        ":int",
        "score:double",
        "score:float[0]",
        "score:float[-1]",
        "score:float[]",
        "score:float[3",
        "score:int=x",
        "score:int=1.5",
        "score:int=",
        "score:int=9223372036854775808",
        "score:float=inf",
        "score:float=1e39",
        "score:float16=65520",
        "ok:bool=maybe",
        "a/b:int",
        "a:int,,b:int",
        "a:int,",
        "a:int,a:str",
        "\udcff:int",
    ],
)
def test_columns_that_are_written_otherwise_are_refused(text):
    with pytest.raises(UsageError):
        parse_columns(text)


@pytest.mark.parametrize("spec", ["a:float", "a:float=nan", "a:float[3]=nan", "a:str"])
def test_the_configuration_stays_json_that_anyone_can_read(spec):
    def refuse(name: str) -> None:
        raise AssertionError(name)

    config = JobConfig(table="t.csv", output="o", columns=parse_columns(spec))
    text = json.dumps(config.fingerprint_fields())
    # The type's default is left out.
    assert json.loads(text, parse_constant=refuse)["columns"] == [
        spec.removesuffix("=nan")
    ]


# Integers.


@given(st.integers())
def test_whole_numbers_are_kept_or_refused(number):
    for cell in (number, str(number), f" {number} ", f"{number}.0", f"{number}."):
        if -(2**63) <= number < 2**63:
            assert stored("n:int", cell) == [number]
        else:
            with pytest.raises(BadCell):
                stored("n:int", cell)


@given(st.floats())
def test_of_fractions_only_whole_ones_are_whole_numbers(number):
    if math.isfinite(number) and number == int(number) and abs(number) < 2**63:
        assert stored("n:int", number) == [int(number)]
    elif number != -(2.0**63):
        with pytest.raises(BadCell):
            stored("n:int", number)


@pytest.mark.parametrize(
    "cell",
    [
        "1_000",
        "5.5",
        "1e3",
        "0x10",
        "",
        "x",
        "٥",
        "--1",
        "1 2",
        True,
        [1],
        {},
        b"1",
        "9" * 5000,
        "5.0.0",
        ".0",
        "\ud800",
        math.nan,
        math.inf,
    ],
)
def test_other_cells_are_no_whole_numbers(cell):
    with pytest.raises(BadCell):
        stored("n:int", cell)


# Floats.


@pytest.mark.parametrize(
    ("spec", "dtype"), [("x:float", np.float32), ("x:float16", np.float16)]
)
@given(
    number=st.floats(allow_nan=False)
    | st.integers(-(10**40), 10**40)
    | st.floats(-70_000, 70_000)
)
def test_fractions_are_rounded_as_numpy_rounds(spec, dtype, number):
    with np.errstate(over="ignore"):
        expected = dtype(number)
    for cell in (number, repr(number)):
        if np.isinf(expected) and math.isfinite(number):
            with pytest.raises(BadCell):
                stored(spec, cell)
        else:
            assert dtype(stored(spec, cell)[0]).tobytes() == expected.tobytes()


@pytest.mark.parametrize("cell", ["nan", "NaN", math.nan])
def test_what_is_no_number_may_be_a_fraction(cell):
    assert math.isnan(stored("x:float", cell)[0])


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "+inf", math.inf])
def test_infinities_are_kept(cell):
    assert stored("x:float", cell) == stored("x:float16", cell) == [float(cell)]


@pytest.mark.parametrize(
    "cell", ["1_0", "1e999", "-1e40", "1,5", "x", True, [1.0], b"1"]
)
def test_other_cells_are_no_fractions(cell):
    with pytest.raises(BadCell):
        stored("x:float", cell)


# Booleans.


@pytest.mark.parametrize("cell", [True, 1, "1", "true", "True", " TRUE "])
def test_true(cell):
    assert stored("b:bool", cell) == [1]


@pytest.mark.parametrize("cell", [False, 0, "0", "false", "False"])
def test_false(cell):
    assert stored("b:bool", cell) == [0]


@pytest.mark.parametrize("cell", ["", "yes", 2, -1, "01", [], "tru\ud800e", None])
def test_other_cells_are_neither(cell):
    with pytest.raises(BadCell):
        stored("b:bool", cell)


# Text.


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_is_kept_as_it_is(text):
    assert stored("s:str", text) == [text.encode()]


@pytest.mark.parametrize("cell", ["\ud800", "caf\udce9", [], {}, b"x"])
def test_other_cells_are_no_text(cell):
    with pytest.raises(BadCell):
        stored("s:str", cell)


@pytest.mark.parametrize(("cell", "text"), [(5, b"5"), (0.5, b"0.5"), ("", b"")])
def test_numbers_may_be_text(cell, text):
    assert stored("s:str", cell) == [text]


# Lists.


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_lists_are_kept_as_lists_or_as_their_json(numbers):
    spec = f"emb:float[{len(numbers)}]"
    expected = np.array(numbers, np.float32)
    for cell in (numbers, tuple(numbers), json.dumps(numbers)):
        np.testing.assert_array_equal(stored(spec, cell), expected)


@pytest.mark.parametrize(
    "cell",
    [
        [1, 2],
        [1, 2, 3, 4],
        "[1, 2]",
        "1 2 3",
        "[1, 2, 3",
        3,
        {},
        [1, None, 3],
        [[1], 2, 3],
        "[" * 100_000,
        '{"a": 1, "b": 2, "c": 3}',
        [1, "x", 3],
    ],
)
def test_lists_of_another_length_or_kind_are_refused(cell):
    with pytest.raises(BadCell):
        stored("emb:float[3]", cell)


# Nulls.


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("s:str", [b""]),
        ("s:str=none", [b"none"]),
        ("s:str[2]", [b"", b""]),
        ("n:int=-1", [-1]),
        ("n:int[3]=7", [7, 7, 7]),
        ("b:bool=true", [1]),
        ("x:float=0.1", [float(np.float32(0.1))]),
    ],
)
def test_a_null_becomes_the_default(spec, expected):
    assert stored(spec, None) == expected
    if spec != "s:str=none":
        # In a CSV, a null can only be an empty cell.
        assert stored(spec, "") == expected


def test_a_null_of_fractions_is_nan():
    assert np.isnan(stored("x:float", None)).all()
    assert np.isnan(stored("x:float[3]", "")).tolist() == [True] * 3


@pytest.mark.parametrize("spec", ["n:int", "b:bool", "n:int[2]"])
@pytest.mark.parametrize("cell", [None, ""])
def test_a_null_that_has_no_value_says_what_to_do(spec, cell):
    with pytest.raises(BadCell, match=rf"null: say .* {spec[0]}:(int|bool)=-1"):
        stored(spec, cell)


def test_messages_show_little_of_what_is_long():
    with pytest.raises(BadCell) as caught:
        stored("n:int", "x" * 10_000)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("spec", "cell", "value"),
    [
        ("a:str", Decimal("1.50"), "1.50"),
        ("a:float", Decimal("1.50"), 1.5),
        ("a:int", Decimal("7"), 7),
    ],
)
def test_decimals_are_as_they_would_be_in_a_csv(spec, cell, value):
    (column,) = parse_columns(spec)
    assert column.value_of(cell) == value
    assert column.value_of(value) == value

"""Finding a single value in a serialized Example, compared with protobuf's parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.contract.record import find_value, parse_example, serialize_example

VALUES = st.one_of(
    st.tuples(st.just("bytes"), st.lists(st.binary(max_size=300), max_size=3)),
    st.tuples(st.just("int64"), st.lists(st.integers(-(2**63), 2**63 - 1))),
    st.tuples(st.just("float32"), st.lists(st.floats(width=32, allow_nan=False))),
)
FEATURES = st.dictionaries(st.text(max_size=20), VALUES, max_size=6)
PIXELS = st.one_of(
    st.binary(max_size=400), st.integers(0, 70_000).map(lambda length: b"\n" * length)
)


@given(FEATURES, PIXELS, st.text(min_size=1, max_size=20))
def test_it_is_the_value_that_protobuf_reads_and_the_rest_is_the_rest(
    features, pixels, key
):
    data = serialize_example(features | {key: ("bytes", [pixels])})
    found = find_value(memoryview(data), key.encode())
    parsed = parse_example(data)
    assert [data[found.begin : found.end]] == parsed.pop(key)
    assert parse_example(found.rest) == parsed


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "pixels must have exactly one value"),
        ([b"one", b"two"], "pixels must have exactly one value"),
        (None, "feature pixels is missing"),
    ],
    ids=["no value", "two values", "no feature"],
)
def test_anything_but_one_value_is_an_error(values, message):
    features = {"other": ("bytes", [b"value"])}
    if values is not None:
        features["pixels"] = ("bytes", values)
    with pytest.raises(ValueError, match=message):
        find_value(memoryview(serialize_example(features)), b"pixels")


@given(st.data())
def test_what_is_cut_or_changed_is_found_or_an_error(data):
    whole = serialize_example({"a": ("int64", [1]), "pixels": ("bytes", [b"123"])})
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] = data.draw(st.integers(0, 255))
    for damaged in (whole[:place], bytes(changed)):
        try:
            found = find_value(memoryview(damaged), b"pixels")
        except ValueError:
            continue
        assert 0 <= found.begin <= found.end <= len(damaged)


def test_a_length_without_an_end_is_an_error():
    with pytest.raises(ValueError, match="no length at byte 1"):
        find_value(memoryview(b"\x0a" + b"\x80" * 20), b"pixels")

"""The bytes of `index/`, against a plain loop and against the framing itself."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.contract.index import (
    dump_lengths,
    dump_text_index,
    num_blocks,
    parse_blocks,
    parse_lengths,
    parse_text_index,
)

LENGTHS = st.lists(st.integers(17, 2**40), max_size=50)


def starts_of(lengths: list[int]) -> list[int]:
    starts, place = [], 0
    for length in lengths:
        starts.append(place)
        place += length
    return starts


@pytest.mark.parametrize(
    ("records", "blocks"), [(0, 0), (1, 1), (63, 1), (64, 1), (65, 2), (129, 3)]
)
def test_a_block_has_up_to_64_records(records, blocks):
    assert num_blocks(records) == blocks


@given(st.lists(st.integers(0, 2**63 - 1), max_size=20))
def test_blocks_are_little_endian_uint64(offsets):
    data = struct.pack(f"<{len(offsets)}Q", *offsets)
    assert parse_blocks(data).tolist() == offsets
    assert parse_blocks(data).dtype == np.int64


def test_blocks_that_are_cut_off_are_refused():
    with pytest.raises(ValueError, match="multiple"):
        parse_blocks(bytes(15))


@given(st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_lengths_are_little_endian_uint32(lengths):
    data = struct.pack(f"<{len(lengths)}I", *lengths)
    assert dump_lengths(lengths) == data
    assert parse_lengths(data).tolist() == lengths


def test_lengths_that_are_cut_off_are_refused():
    with pytest.raises(ValueError, match="multiple"):
        parse_lengths(bytes(7))


@given(LENGTHS)
def test_a_text_index_has_a_line_per_record(lengths):
    starts = starts_of(lengths)
    data = dump_text_index(starts, lengths)
    lines = [line.split(" ") for line in data.decode("ascii").splitlines()]
    assert [(int(a), int(b)) for a, b in lines] == list(
        zip(starts, lengths, strict=True)
    )
    assert not data or data.endswith(b"\n")


@given(LENGTHS)
def test_a_parsed_text_index_ends_where_the_last_record_does(lengths):
    offsets = parse_text_index(dump_text_index(starts_of(lengths), lengths))
    assert offsets.tolist() == [*starts_of(lengths), sum(lengths)]


def test_a_text_index_with_a_number_too_few_is_refused():
    with pytest.raises(ValueError, match="reshape"):
        parse_text_index(b"0 20\n20\n")

"""Tests the formatting of numbers, sizes and untrusted text."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.tools.report.display_text import (
    bytes_text,
    number_text,
    percent_text,
    shown,
)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1_000"), (1204224, "1_204_224"), (18.25, "18.2")],
)
def test_digits_are_in_groups_of_three(number, text):
    assert number_text(number) == text.replace("_", "\u202f")


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "0"),
        (0, 7, "0"),
        (1, 10**6, "< 0.1"),
        (10**6 - 1, 10**6, "> 99.9"),
        (7, 7, "100"),
        (1, 3, "33.3"),
    ],
)
def test_a_share_is_never_rounded_to_none_or_all(part, whole, text):
    assert percent_text(part, whole) == f"{text}\u202f%"


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(0, "0_B"), (1024, "1_KiB"), (130 << 20, "130_MiB")]
)
def test_sizes_do_not_break(num_bytes, text):
    assert bytes_text(num_bytes) == text.replace("_", "\u202f")


@given(st.text(), st.integers(1, 50))
def test_text_that_is_shown_hides_nothing_and_encodes(text, limit):
    result = shown(text, limit)
    result.encode()
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not [
        char
        for char in result
        if char not in "\u200c\u200d" and unicodedata.category(char) in hidden
    ]
    assert len(result) <= limit


def test_plain_text_is_shown_as_it_is():
    for text in ("a red circle", "<b> & \"'", "犬とcat", "👩\u200d👧", "مرحبا"):
        assert shown(text, 40) == text
    assert shown("abcdef", 5) == "abcd…"
    assert shown("a\ud800b", 40) == "a\\ud800b"
    assert shown("\ufdd0\U0001ffff", 40) == "\\ufdd0\\U0001ffff"


@pytest.mark.parametrize("alone", ["\u200d", "\ufe0f", "\U000e0100", "\u034f"])
def test_what_changes_the_character_before_it_is_written_out_where_there_is_none(alone):
    escaped = alone.encode("ascii", "backslashreplace").decode()
    assert shown(alone, 40) == escaped
    assert shown(f"a {alone}", 40) == f"a {escaped}"
    assert shown(f"a{alone}", 40) == f"a{alone}"


def test_letters_that_are_not_drawn_are_written_out():
    assert shown("a\u3164\uffa0b", 40) == "a\\u3164\\uffa0b"
    assert shown("a\U000e0080", 40) == "a\\U000e0080"

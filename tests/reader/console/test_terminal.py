"""Detecting the capabilities of a text stream and formatting text for it."""

import io

import pytest

from reader.console.terminal import Terminal, printable, shortened, terminal_of


class Tty(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "color"),
    [
        (Tty(), {}, True),
        (io.StringIO(), {}, False),
        (Tty(), {"NO_COLOR": "1"}, False),
        (Tty(), {"NO_COLOR": ""}, True),  # https://no-color.org: not empty.
        (Tty(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (Tty(), {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_colors_are_for_terminals_and_for_who_asks(stream, environ, color):
    assert terminal_of(stream, environ).color is color


def test_text_is_left_as_it_is_without_colors():
    assert Terminal().paint("text", "bold", "red") == "text"
    assert Terminal(color=True).paint("text", "bold") == "\x1b[1mtext\x1b[0m"


@pytest.mark.parametrize(
    ("share", "drawn"),
    [
        (0, "    "),
        (1, "████"),
        (0.5, "██  "),
        (0.625, "██▌ "),
        (1e-9, "▏   "),
        (9, "████"),
    ],
)
def test_a_bar_has_its_share_of_columns_and_never_hides_what_is_there(share, drawn):
    assert Terminal().bar(share, 4) == drawn


@pytest.mark.parametrize(
    ("share", "drawn"), [(0, "    "), (0.5, "##  "), (1e-9, "#   ")]
)
def test_a_bar_is_of_plain_characters_where_there_are_no_others(share, drawn):
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    assert terminal_of(ascii_only, {}).bar(share, 4) == drawn


def test_what_would_move_the_cursor_is_spelled_out():
    hostile = "\x1b[2J\rgone\n\u202ereversed\x00 \x07"
    assert printable(hostile) == r"\x1b[2J\rgone\n\u202ereversed\x00 \x07"
    assert printable("ünïcödé 犬 👍") == "ünïcödé 犬 👍"


@pytest.mark.parametrize(
    ("text", "width", "short"),
    [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("犬犬", 4, "犬犬"), ("犬犬犬", 5, "犬…")],
)
def test_text_is_cut_to_columns_not_characters(text, width, short):
    assert shortened(text, width) == short

"""Decodes and cleans captions, or rejects them."""

import codecs
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.elements import BadInput
from beam_jobs.inputs.captions import MAX_CAPTION_BYTES, clean_text, read_captions
from reader.contract.rejects import REASONS

TEXT = "Zwei rote Äpfel, 苹果 und 🍎"


def read(data: bytes, per_file: str = "one") -> list[str]:
    return list(read_captions(data, per_file=per_file).texts)


def refusal(data: bytes, per_file: str = "one") -> BadInput:
    with pytest.raises(BadInput) as caught:
        read(data, per_file)
    assert caught.value.reason in REASONS
    assert caught.value.detail
    return caught.value


# Encodings.


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        codecs.BOM_UTF8 + TEXT.encode(),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    ],
    ids=["UTF-8", "UTF-8 with BOM", "UTF-16 LE", "UTF-16 BE"],
)
@pytest.mark.parametrize("per_file", ["one", "lines"])
def test_unicode_is_read(data, per_file):
    assert read(data, per_file) == [TEXT]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lines_of_any_encoding_are_split_after_decoding(encoding):
    # U+0A0D and U+0D0A contain the bytes of line ends.
    text = "ein Satz \u0a05\nnoch einer \u0d0a\r\nਅ"
    assert read(text.encode(encoding), "lines") == [
        "ein Satz \u0a05",
        "noch einer \u0d0a",
        "ਅ",
    ]


@pytest.mark.parametrize("text", ["caf\xe9", "\xa9 2020", "\xc4pfel und Birnen"])
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
def test_latin_1_is_refused(text, encoding):
    error = refusal(text.encode(encoding))
    assert error.reason == "undecodable_caption"
    at = next(place for place, char in enumerate(text) if not char.isascii())
    assert f"at byte {at}" in error.detail
    assert "UTF-8" in error.detail


@pytest.mark.parametrize(
    "data",
    [
        b"a \xff b",
        b"\xed\xa0\x80",  # A surrogate.
        b"\xc0\x80",  # NUL, overlong.
        b"\xf4\x90\x80\x80",  # Above U+10FFFF.
        "ä".encode()[:1],
        codecs.BOM_UTF16_LE + b"a",
        codecs.BOM_UTF16_LE + b"\x00\xd8a\x00",  # Half a pair.
        "приве́т".encode("koi8-r", "replace"),
        "東京".encode("shift-jis"),
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_what_is_no_unicode_is_refused(data):
    assert refusal(data).reason == "undecodable_caption"


def test_utf_32_is_read_or_refused_but_never_garbled():
    data = codecs.BOM_UTF32_LE + "rot 🍎".encode("utf-32-le")
    try:
        assert read(data) == ["rot 🍎"]
    except BadInput as error:
        assert error.reason == "undecodable_caption"


def test_utf_16_without_a_bom_is_read_or_refused_but_never_garbled():
    try:
        assert read("красный мяч".encode("utf-16-le")) == ["красный мяч"]
    except BadInput as error:
        assert error.reason == "undecodable_caption"


# Empty captions.


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"\n\n\r\n\t \x0b\x0c",
        codecs.BOM_UTF8,
        codecs.BOM_UTF16_LE,
        codecs.BOM_UTF16_BE + "\u2003\n".encode("utf-16-be"),
        "\u00a0\u3000\u2028\u0085".encode(),
        "\u200b\ufeff\u00ad".encode(),
        b"\x01\x7f",
    ],
)
@pytest.mark.parametrize("per_file", ["one", "lines"])
def test_a_file_without_text_is_refused(data, per_file):
    error = refusal(data, per_file)
    assert error.reason == "empty_caption"
    assert f"{len(data)} bytes" in error.detail


def test_a_file_that_is_too_large_is_refused():
    assert len(read(b"a" * MAX_CAPTION_BYTES)[0]) == MAX_CAPTION_BYTES
    error = refusal(b"a" * (MAX_CAPTION_BYTES + 1))
    assert error.reason == "caption_too_large"
    assert str(MAX_CAPTION_BYTES) in error.detail


def test_a_file_that_is_too_large_is_refused_whatever_it_holds():
    data = b"\xff" * (MAX_CAPTION_BYTES + 1)
    assert refusal(data).reason == "caption_too_large"


# Lines.


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_in_any_of_three_ways(end):
    data = end.join(["one", "two", "three"]).encode()
    assert read(data, "lines") == ["one", "two", "three"]
    assert read(data + end.encode(), "lines") == ["one", "two", "three"]
    assert read(data, "one") == ["one two three"]


def test_line_ends_may_be_mixed():
    assert read(b"a\r\nb\rc\nd\n\re", "lines") == list("abcde")


def test_blank_lines_are_skipped():
    data = "\n one \n\n \t\n\u200b\ntwo\n\u3000\n\n".encode()
    assert read(data, "lines") == ["one", "two"]


def test_what_else_ends_lines_in_unicode_is_white_space_here():
    text = "a\u2028b\u2029c\x0bd\x0ce\x85f\x1cg"
    assert read(text.encode(), "lines") == ["a b c d e f g"]


def test_equal_lines_are_kept():
    assert read(b"a cat\na cat\n", "lines") == ["a cat", "a cat"]


# Cleaning.


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  a  red\tcircle \n", "a red circle"),
        ("a\u00a0red\u2003circle\u3000", "a red circle"),
        ("e\u0301te\u0301", "été"),
        ("\u1112\u1161\u11ab", "한"),
        ("\u212b", "Å"),
        ("\ufb01", "ﬁ"),  # NFC, not NFKC: a ligature stays.
        ("a\x00b\x07c\x1bd\x7fe\x9f", "abcde"),
        ("\ufeffa\ufeffb", "ab"),
        ("zero\u200bwidth", "zerowidth"),
        ("soft\u00adhyphen", "softhyphen"),
        ("\u202eright\u202c to \u2066left\u2069", "right to left"),
        ("\u200eעברית\u200f", "עברית"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # Persian needs this joiner.
        ("क्\u200dष", "क्\u200dष"),
        ("👩\u200d👩\u200d👧", "👩\u200d👩\u200d👧"),
        ("❤\ufe0f", "❤\ufe0f"),
        ("🏴\U000e0067\U000e0062\U000e007f", "🏴\U000e0067\U000e0062\U000e007f"),
        ("", ""),
    ],
)
def test_clean_text(text, clean):
    assert clean_text(text) == clean


def test_an_invisible_character_between_spaces_leaves_one_space():
    assert clean_text("a \u200b b") == "a b"


def test_letters_that_only_an_invisible_character_kept_apart_are_composed():
    assert clean_text("e\u200b\u0301") == "é"


CHARACTERS = st.characters(exclude_categories=["Cs"])
# Characters that cleaning treats specially, sampled more often than by chance.
SPECIAL = st.sampled_from(
    "a é e\u0301\u0327 \t\r\n\x00\x1c\x85\u00ad\u200b\u200d\u2028\ufeff"
)
TEXTS = st.text(CHARACTERS | SPECIAL, max_size=40)


@settings(max_examples=500)
@given(TEXTS)
def test_clean_text_is_clean(text):
    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert clean == clean.strip()
    assert "  " not in clean
    assert all(char == " " or not char.isspace() for char in clean)
    assert not any(unicodedata.category(char) == "Cc" for char in clean)


@settings(max_examples=300)
@given(TEXTS)
def test_no_visible_character_is_lost(text):
    def visible(text: str) -> str:
        kept = unicodedata.normalize("NFD", text)
        return "".join(
            sorted(
                char
                for char in kept
                if unicodedata.category(char) not in ("Cc", "Cf") and not char.isspace()
            )
        )

    assert visible(clean_text(text)) == visible(text)


@settings(max_examples=300)
@given(TEXTS, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_any_text_comes_out_clean_or_is_empty(text, encoding):
    data = text.encode(encoding)
    for per_file in ("one", "lines"):
        try:
            captions = read(data, per_file)
        except BadInput as error:
            if "\0" in text:
                assert error.reason == "undecodable_caption"
            else:
                assert error.reason == "empty_caption"
                assert not clean_text(text)
        else:
            assert all(captions)
            assert captions == [clean_text(caption) for caption in captions]
            assert " ".join(captions).split() == clean_text(text).split()


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_any_bytes_come_out_clean_or_are_refused(data):
    for per_file in ("one", "lines"):
        try:
            captions = read(data, per_file)
        except BadInput as error:
            assert error.reason in ("undecodable_caption", "empty_caption")
        else:
            assert captions == [clean_text(caption) for caption in captions]


# Real texts.


def test_every_real_text_comes_out_clean_or_is_refused(shared_data: Path):
    folder = shared_data / "text"
    if not folder.is_dir():
        pytest.skip(f"{folder}: no real texts")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert files
    for file in files:
        for per_file in ("one", "lines"):
            try:
                captions = read(file.read_bytes(), per_file)
            except BadInput as error:
                assert error.reason in REASONS, file
            else:
                assert captions == [clean_text(one) for one in captions], file
                assert all(captions), file


def test_naughty_strings_all_come_out(shared_data: Path):
    file = shared_data / "text" / "blns.txt"
    if not file.exists():
        pytest.skip(f"{file}: file not found")
    data = file.read_bytes()
    lines = [line for line in data.decode().split("\n") if clean_text(line)]
    assert read(data, "lines") == [
        clean_text(part) for line in lines for part in line.split("\r")
    ]

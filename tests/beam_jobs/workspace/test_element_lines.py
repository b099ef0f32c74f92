"""Tests the lines of pairs and rejects."""

from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.elements import Cell, Pair, Reject, SourceFile, StoredImage
from beam_jobs.workspace.element_lines import (
    dump_pair,
    dump_reject,
    load_pair,
    load_reject,
    path_of,
    text_of,
)
from reader.contract.rejects import REASONS

NFC, NFD = "caf\u00e9".encode(), "cafe\u0301".encode()

PATHS = st.binary(max_size=30) | st.sampled_from(
    [
        b"",
        b"line\nbreak",
        b"\r\x0b\x1c\x85",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\xed\xb2\x80",
        NFC,
        NFD,
        "\u2028\u2029\x85".encode(),
        "👩".encode(),
        b'"\\',
        "👩".encode()[:3],
    ]
)
STORED = StoredImage("jpeg", 1, 2, "png", 3, 4, "ff", ("resize",), True, False)
CELL = Cell("image.bytes", 10, 5)
SOURCE_FILES = st.builds(
    SourceFile,
    path=PATHS,
    size=st.integers(0, 2**50),
    version=st.integers(-(2**62), 2**62),
    root=st.integers(0, 9),
    archive=st.just(b""),
    offset=st.just(0),
    stored=st.none() | st.just(STORED),
    cell=st.none() | st.just(CELL),
) | st.builds(
    SourceFile,
    path=PATHS,
    size=st.integers(0, 2**50),
    version=st.integers(-(2**62), 2**62),
    archive=PATHS.filter(bool),
    offset=st.integers(0, 2**50),
    stored=st.none() | st.just(STORED),
    cell=st.none() | st.just(CELL),
)
SCALARS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
PAIRS = st.builds(
    Pair,
    key=PATHS,
    split=st.sampled_from(["train", "test"]),
    image=SOURCE_FILES,
    caption=SOURCE_FILES,
    texts=st.none() | st.lists(st.text() | st.just("\udcff\udc80")).map(tuple),
    values=st.lists(SCALARS | st.lists(SCALARS, min_size=1).map(tuple)).map(tuple),
    sha256=st.sampled_from(["", "00ff" * 16]),
    names=st.none() | st.lists(st.text()).map(tuple),
    more=st.lists(SOURCE_FILES, max_size=2).map(tuple),
)


@settings(max_examples=300)
@given(PATHS)
def test_a_path_is_the_same_after_being_text(path):
    assert path_of(text_of(path)) == path


@settings(max_examples=300)
@given(PAIRS)
def test_a_pair_is_the_same_after_being_a_line(made):
    line = dump_pair(made)
    assert load_pair(line) == made
    assert load_pair(line.encode()) == made
    # The line has no other line breaks and is valid in any file encoding.
    assert line.isascii()
    assert line.splitlines() == [line.removesuffix("\n")]


@settings(max_examples=300)
@given(
    st.builds(
        Reject,
        PATHS,
        st.lists(PATHS, max_size=4).map(tuple),
        st.sampled_from(["pair", "caption", "image"]),
        st.sampled_from(sorted(REASONS)),
        st.text(max_size=30),
    )
)
def test_a_reject_is_the_same_after_being_a_line(reject):
    line = dump_reject(reject)
    assert load_reject(line) == reject
    assert load_reject(line.encode()) == reject
    assert line.isascii()
    assert line.splitlines() == [line.removesuffix("\n")]


def test_lines_come_back_as_the_types_that_went():
    made = load_pair(
        dump_pair(Pair(b"k", "train", SourceFile(b"i", 1, 2), SourceFile(b"c", 3, 4)))
    )
    assert isinstance(made, Pair)
    assert isinstance(made.image, SourceFile)
    reject = load_reject(dump_reject(Reject(b"k", (b"s",), "pair", "not_a_file", "d")))
    assert isinstance(reject, Reject)
    assert isinstance(reject.source, tuple)

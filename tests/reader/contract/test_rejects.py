"""The lines of `rejects.jsonl`, read by JSON itself."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.contract.rejects import (
    REASONS,
    RejectedKey,
    category_of,
    dump_rejects,
    parse_reject,
    rejected_key,
    text_in_line,
)

TEXT = st.text(max_size=20)
REJECTS = st.builds(
    RejectedKey,
    key=TEXT,
    source=st.lists(TEXT, max_size=3).map(tuple),
    stage=st.sampled_from(["list", "pair", "caption", "image"]),
    reason=st.sampled_from(sorted(REASONS)),
    detail=TEXT,
)


@given(st.lists(REJECTS, max_size=5))
def test_each_reject_is_a_line_of_json_in_utf_8(rejects):
    lines = dump_rejects(rejects).split(b"\n")
    assert lines.pop() == b""
    fields = [json.loads(line.decode()) for line in lines]
    assert fields == [{**one._asdict(), "source": [*one.source]} for one in rejects]
    assert [*map(parse_reject, lines)] == rejects


def test_bytes_that_are_no_text_are_shown_and_do_not_break_the_line():
    one = rejected_key(b"caf\xe9", [b"caf\xe9.jpg"], "image", "damaged_image", "\udcff")
    (line,) = dump_rejects([one]).splitlines()
    assert parse_reject(line)[:2] == ("caf%E9", ("caf%E9.jpg",))
    assert line.isascii()


@given(TEXT, TEXT, TEXT)
def test_a_line_holds_the_bytes_of_each_of_its_texts(key, source, detail):
    one = RejectedKey(key, (source,), "pair", "bad_row", detail)
    line = dump_rejects([one])
    assert all(text_in_line(text) in line for text in (key, source))


def test_fields_of_later_versions_are_ignored():
    (line,) = dump_rejects([RejectedKey("a", (), "pair", "bad_row", "")]).splitlines()
    later = json.dumps({**json.loads(line), "color": "blue"}).encode()
    assert parse_reject(later) == parse_reject(line)


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"7", b"null", b"{}", b'{"key": "a", "source": 3}']
)
def test_what_is_no_such_line_is_a_value_error(line):
    with pytest.raises(ValueError, match=r"."):
        parse_reject(line)


def test_every_reason_has_a_category_and_later_ones_are_rejected():
    assert {*map(category_of, REASONS)} == {
        "unpaired",
        "rejected",
        "filtered",
        "duplicates",
    }
    assert category_of("a_reason_of_later") == "rejected"

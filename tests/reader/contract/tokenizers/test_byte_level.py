import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.contract.errors import UsageError
from reader.contract.tokenizers.byte_level import (
    DESCRIPTION,
    ByteTokenizer,
    bytes_spec,
)

TOKENIZER = ByteTokenizer(bytes_spec())
# All characters that a caption may have: all but halves of surrogate pairs.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def test_known_ids():
    assert TOKENIZER.encode("A é") == [0x41 + 4, 0x20 + 4, 0xC3 + 4, 0xA9 + 4]


@given(TEXTS)
def test_ids_are_those_of_byt5_plus_one(text):
    # ByT5 (Xue et al., 2022): three special tokens, then the bytes.
    byt5 = [byte + 3 for byte in text.encode()]
    assert TOKENIZER.encode(text) == [id_ + 1 for id_ in byt5]


@given(TEXTS)
def test_text_is_decoded_again(text):
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


@given(TEXTS, st.integers(0, 5))
def test_pad_start_and_end_are_left_out_when_decoding(text, pads):
    row = [2, *TOKENIZER.encode(text), 3] + [0] * pads
    assert TOKENIZER.decode(row) == text


def test_a_character_that_was_cut_is_marked():
    assert TOKENIZER.decode(TOKENIZER.encode("aé")[:2]) == "a\ufffd"


def test_half_a_surrogate_pair_becomes_a_question_mark():
    assert TOKENIZER.decode(TOKENIZER.encode("a\ud800b")) == "a?b"


@pytest.mark.parametrize("id_", [260, -1, 10**9])
def test_an_id_beyond_the_bytes_is_an_error(id_):
    with pytest.raises(UsageError, match=f"from 0 to 259, got {id_}"):
        TOKENIZER.decode([id_])


def test_the_file_says_what_the_spec_says():
    spec, described = bytes_spec(), json.loads(DESCRIPTION)
    assert (spec.kind, spec.vocab_size, TOKENIZER.vocab_size) == ("bytes", 260, 260)
    ids = (spec.pad_id, spec.unknown_id, spec.start_id, spec.end_id)
    assert ids == tuple(described[name] for name in ("pad", "unknown", "start", "end"))
    assert ids == (0, 1, 2, 3)
    assert described["byte_0"] == 4

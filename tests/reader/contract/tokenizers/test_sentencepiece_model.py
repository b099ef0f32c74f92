"""SentencePiece models, compared with the library."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

sentencepiece = pytest.importorskip("sentencepiece")

from reader.contract.errors import UsageError  # noqa: E402
from reader.contract.tokenizers.sentencepiece_model import (  # noqa: E402
    SentencePieceTokenizer,
    sentencepiece_spec,
)

TEXT = ["a red circle above a blue square", "two cats and a dog", "the sky is blue"]


def train(**more: object) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT * 10),
        model_writer=model,
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
        **more,
    )
    return model.getvalue()


@pytest.fixture(scope="module")
def small() -> bytes:
    """A model with pad 0, unknown 1, start 2, end 3."""
    return train(pad_id=0, unk_id=1, bos_id=2, eos_id=3)


def ids_of(data: bytes) -> tuple[int | None, ...]:
    spec = sentencepiece_spec(data)
    return spec.pad_id, spec.unknown_id, spec.start_id, spec.end_id


def test_special_ids_are_those_of_the_model(small):
    assert ids_of(small) == (0, 1, 2, 3)


def test_what_the_model_was_trained_without_is_none_and_the_pad_0():
    assert ids_of(train(pad_id=-1, unk_id=2, bos_id=-1, eos_id=0)) == (0, 2, None, 0)
    assert ids_of(train(pad_id=-1, unk_id=0, bos_id=1, eos_id=-1)) == (0, 0, 1, None)


def test_a_row_is_decoded_to_its_text(small):
    tokenizer = SentencePieceTokenizer(sentencepiece_spec(small), small)
    ids = tokenizer.encode("a blue cat")
    assert tokenizer.decode([2, *ids, 3, 0, 0]) == "a blue cat"
    with pytest.raises(UsageError, match="an id must be from 0 to"):
        tokenizer.decode([tokenizer.vocab_size])


def test_a_row_of_a_model_without_a_pad_is_decoded_to_its_text():
    data = train(pad_id=-1, unk_id=0, bos_id=1, eos_id=2)
    tokenizer = SentencePieceTokenizer(sentencepiece_spec(data), data)
    ids = tokenizer.encode("a blue cat")
    # 0 is also the unknown id, but after the end token it is padding.
    assert tokenizer.decode([1, *ids, 2, 0, 0]) == "a blue cat"


def test_what_is_no_model_is_refused(small):
    for data in (b"", b"\n\x0e\n\x05<unk>", small[: len(small) // 2], b"words"):
        with pytest.raises(UsageError, match="not a SentencePiece model"):
            sentencepiece_spec(data)


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_ids_are_those_of_the_library(shared_data, text):
    path = shared_data / "tokenizers/sentencepiece/test_model.model"
    data = path.read_bytes()
    library = sentencepiece.SentencePieceProcessor(model_file=str(path))
    spec = sentencepiece_spec(data)
    assert (spec.kind, spec.vocab_size) == ("sentencepiece", library.vocab_size())
    tokenizer = SentencePieceTokenizer(spec, data)
    pieces = library.encode_as_pieces(text)
    assert tokenizer.encode(text) == [library.piece_to_id(piece) for piece in pieces]
    assert tokenizer.decode(tokenizer.encode(text)) == library.decode_pieces(
        [library.id_to_piece(id_) for id_ in tokenizer.encode(text)]
    )

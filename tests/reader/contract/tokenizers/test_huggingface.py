"""Hugging Face's `tokenizer.json`, compared with the library and plain WordPiece."""

import json
import unicodedata
from typing import Any

import pytest

tokenizers = pytest.importorskip("tokenizers")
from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

from reader.contract.errors import UsageError  # noqa: E402
from reader.contract.tokenizers.huggingface import (  # noqa: E402
    HuggingFaceTokenizer,
    huggingface_spec,
)

WORDS = {"[UNK]": 0, "a": 1, "cat": 2, "red": 3, "<s>": 4, "</s>": 5, "dog": 9}


def words(**more: int) -> Tokenizer:
    """Returns a tokenizer of whole words, with the tokens of WORDS and more."""
    made = Tokenizer(models.WordLevel({**WORDS, **more}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def framing(made: Tokenizer, template: str, *tokens: str) -> Tokenizer:
    ids = [(token, made.token_to_id(token)) for token in tokens]
    made.post_processor = processors.TemplateProcessing(template, special_tokens=ids)
    return made


def load(made: Tokenizer) -> HuggingFaceTokenizer:
    data = made.to_str().encode()
    return HuggingFaceTokenizer(huggingface_spec(data), data)


def spec_of(made: Tokenizer) -> tuple[int | None, ...]:
    spec = huggingface_spec(made.to_str().encode())
    return spec.pad_id, spec.unknown_id, spec.start_id, spec.end_id


def test_start_and_end_are_what_the_tokenizer_puts_around_a_text():
    assert spec_of(framing(words(), "<s> $A </s>", "<s>", "</s>")) == (0, 0, 4, 5)
    assert spec_of(framing(words(), "<s> $A", "<s>")) == (0, 0, 4, None)
    assert spec_of(framing(words(), "$A </s>", "</s>")) == (0, 0, None, 5)
    assert spec_of(words()) == (0, 0, None, None)


def test_start_and_end_are_found_though_the_text_is_unknown():
    made = Tokenizer(models.WordLevel({"[UNK]": 0, "x": 1}, unk_token="[UNK]"))
    framing(made, "[UNK] $A x", "[UNK]", "x")
    assert spec_of(made) == (0, 0, 0, 1)


def test_several_tokens_on_a_side_are_refused_and_shown():
    made = framing(words(), "<s> red $A </s>", "<s>", "red", "</s>")
    with pytest.raises(UsageError, match=r"before a caption.*puts 2 \(<s> red\)"):
        spec_of(made)
    made = framing(words(), "$A red </s>", "red", "</s>")
    with pytest.raises(UsageError, match=r"after a caption.*puts 2 \(red </s>\)"):
        spec_of(made)


@pytest.mark.parametrize("pad", ["[PAD]", "<pad>", "<|pad|>"])
def test_the_pad_is_found_by_its_name(pad):
    assert spec_of(words(**{pad: 7}))[0] == 7


def test_the_pad_is_that_of_the_padding():
    made = words()
    made.enable_padding(pad_id=5, pad_token="</s>")
    assert spec_of(made)[0] == 5


def test_ids_may_have_gaps():
    data = words().to_str().encode()
    assert huggingface_spec(data).vocab_size == 10
    with pytest.raises(UsageError, match="from 0 to 9, got 10"):
        load(words()).decode([10])


def test_a_model_of_bytes_has_no_unknown():
    made = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    assert huggingface_spec(made.to_str().encode()).unknown_id is None


def test_the_unknown_of_a_unigram_model_is_given_by_its_number():
    made = Tokenizer(models.Unigram([("a", -1.0), ("<unk>", -2.0)], unk_id=1))
    assert huggingface_spec(made.to_str().encode()).unknown_id == 1


def test_truncation_and_padding_of_the_file_are_switched_off():
    made = framing(words(), "<s> $A </s>", "<s>", "</s>")
    made.enable_truncation(2)
    made.enable_padding(length=9, pad_id=0)
    assert load(made).encode("a red cat a red dog") == [1, 3, 2, 1, 3, 9]
    assert spec_of(made)[2:] == (4, 5)


def test_dropout_of_the_file_is_switched_off():
    vocab = {"a": 0, "b": 1, "ab": 2, "abab": 3}
    merges = [("a", "b"), ("ab", "ab")]
    data = Tokenizer(models.BPE(vocab, merges, dropout=0.9)).to_str().encode()
    tokenizer = HuggingFaceTokenizer(huggingface_spec(data), data)
    assert {tuple(tokenizer.encode("abab")) for _ in range(50)} == {(3,)}


def test_decoding_leaves_out_pad_start_and_end():
    made = framing(words(**{"[PAD]": 6}), "<s> $A </s>", "<s>", "</s>")
    assert load(made).decode([4, 1, 0, 2, 5, 6, 6]) == "a [UNK] cat"


def test_without_a_pad_of_its_own_a_caption_ends_at_its_end():
    vocab = {"!": 0, "a": 1, "</s>": 2}
    made = Tokenizer(models.WordLevel(vocab, unk_token="!"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    framed = load(framing(made, "$A </s>", "</s>"))
    assert framed.decode([1, 0, 2, 0, 0]) == "a !"
    # Without an end token, the id of the pad stays: only the mask marks padding.
    made.post_processor = None
    assert load(made).decode([1, 0]) == "a !"


@pytest.mark.parametrize(
    "fields",
    [
        {"model": {}},
        {"model": {"type": "WordLevel", "vocab": {"b": 0}, "unk_token": "[UNK]"}},
    ],
    ids=["no model", "nothing for the unknown"],
)
def test_what_the_library_does_not_read_is_refused(fields: dict[str, Any]):
    with pytest.raises(UsageError, match=r"not a tokenizer\.json that"):
        huggingface_spec(json.dumps(fields).encode())


# BERT's tokenizer, compared with the algorithm that its authors describe.


def bert_ids(text: str, vocabulary: dict[str, int]) -> list[int]:
    """Lower-cases, drops accents, splits punctuation and Han; longest match first."""
    ids = []
    for word in bert_words(text):
        start, pieces = 0, []
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in vocabulary:
                    break
            else:
                pieces = [vocabulary["[UNK]"]]
                break
            pieces.append(vocabulary[piece])
            start = end
        ids += pieces if len(word) <= 100 else [vocabulary["[UNK]"]]
    return ids


def bert_words(text: str) -> list[str]:
    shown = ""
    for char in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(char)
        ascii_sign = char.isascii() and char.isprintable() and not char.isalnum()
        if category == "Mn":
            continue
        alone = category[0] == "P" or ascii_sign or 0x4E00 <= ord(char) <= 0x9FFF
        shown += f" {char} " if alone else char
    return shown.split()


@pytest.mark.parametrize(
    "text",
    [
        "A red circle above a small blue square.",
        "It's black-and-white! 24/7, isn't it? $5 @home",
        "Ein großes Café; ÀÉÎ unaffable tokenization",
        "犬 and 猫が好き 东京 2023年",
        "antidisestablishmentarianism xqzzyxq 👍 wow",
        "Привет, МИР नमस्ते",
        "x" * 101 + " end",
    ],
)
def test_berts_ids_are_those_of_wordpiece(shared_data, text):
    folder = shared_data / "tokenizers/bert"
    lines = (folder / "bert_base_uncased_vocab.txt").read_text("utf-8").split("\n")
    vocabulary = {token: id_ for id_, token in enumerate(lines)}
    data = (folder / "tokenizer.json").read_bytes()
    tokenizer = HuggingFaceTokenizer(huggingface_spec(data), data)
    assert tokenizer.encode(text) == bert_ids(text, vocabulary)


def test_berts_special_tokens(shared_data):
    data = (shared_data / "tokenizers/bert/tokenizer.json").read_bytes()
    spec = huggingface_spec(data)
    assert (spec.pad_id, spec.unknown_id, spec.start_id, spec.end_id) == (
        0,
        100,
        101,
        102,
    )
    assert (spec.kind, spec.file, spec.vocab_size) == (
        "huggingface",
        "tokenizer.json",
        30_522,
    )
    tokenizer = HuggingFaceTokenizer(spec, data)
    row = [101, *tokenizer.encode("A red circle"), 102, 0, 0]
    assert tokenizer.decode(row) == "a red circle"

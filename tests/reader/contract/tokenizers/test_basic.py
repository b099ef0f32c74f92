import hashlib
import itertools
import string
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reader.contract.errors import DatasetError, UsageError
from reader.contract.tokenizers.basic import (
    END_ID,
    PAD_ID,
    SPECIAL_TOKENS,
    START_ID,
    UNKNOWN_ID,
    BasicTokenizer,
    basic_spec,
    dump_vocabulary,
    make_vocabulary,
    split_words,
)
from reader.contract.tokenizers.registry import load_tokenizer

# Any text, and text of difficult characters: scripts, marks, joiners, line ends.
HARD = (
    "aAéÉßİıΣσς犬とカー々가ไทยनमस्ते½²Ⅷ٣"
    "\u0301\u0323\u3099\ufe0f\u200d👍 -_'’!.,\t\n\r\u2028\xa0"
)
TEXTS = st.one_of(st.text(), st.text(HARD))
WORDS = st.text(string.ascii_lowercase + "éßя0", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        # The examples of the module's docstring.
        ("A red circle.", ["a", "red", "circle"]),
        ("It's black-and-white!", ["its", "blackandwhite"]),
        ("Ein großes Café, 24/7", ["ein", "großes", "café", "247"]),
        ("犬とcat", ["犬", "と", "cat"]),
        ("👍 ...", []),
        # Further cases.
        ("", []),
        (" \t\r\n\u2028\u3000 ", []),
        ("a\tb\nc\u2028d\u3000e", ["a", "b", "c", "d", "e"]),
        ("CAFE\u0301", ["café"]),
        ("Привет, МИР", ["привет", "мир"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("안녕하세요 세계", ["안녕하세요", "세계"]),
        ("東京タワー2023年", [*"東京タワー", "2023", "年"]),
        ("か\u3099", ["が"]),
        ("a\u200bb\u00adc", ["abc"]),
        ("x², ½ and Ⅷ", ["x²", "½", "and", "ⅷ"]),
        ("[PAD] [UNK]", ["pad", "unk"]),
        ("ＡＢＣ", ["ａｂｃ"]),
    ],
)
def test_text_is_split_by_the_documented_rules(text, words):
    assert split_words(text) == words


@given(TEXTS)
def test_no_word_is_empty_or_holds_white_space(text):
    for word in split_words(text):
        assert word
        assert word.split() == [word]


@given(TEXTS)
def test_no_word_holds_a_capital_letter(text):
    for word in split_words(text):
        assert word == word.lower()


@given(TEXTS)
def test_words_hold_letters_marks_and_digits_only(text):
    categories = {unicodedata.category(char)[0] for char in "".join(split_words(text))}
    assert categories <= {"L", "M", "N"}


@given(TEXTS, TEXTS)
def test_a_space_always_parts_words(one, other):
    # Lower-casing depends on neighboring letters (final sigma), but not across words.
    assert split_words(f"{one} {other}") == split_words(one) + split_words(other)


@given(TEXTS)
def test_composed_and_decomposed_text_give_equal_words(text):
    # Lower-cases first: some capitals decompose to letters with another lower case.
    composed = unicodedata.normalize("NFC", text.lower())
    decomposed = unicodedata.normalize("NFD", composed)
    assert split_words(composed) == split_words(decomposed)


@given(st.characters(exclude_categories=["Cs"]))
def test_splitting_what_one_character_gave_changes_nothing(char):
    words = split_words(char)
    assert split_words(" ".join(words)) == words


@given(TEXTS)
@example("e!\u0301")
@example("e\u200d\u0301")
def test_words_split_again_are_the_same_words(text):
    words = split_words(text)
    assert split_words(" ".join(words)) == words


@pytest.mark.parametrize("char", ["い", "ヴ", "ｱ", "々", "〇", "豈", "㐀", "𠮷", "ー"])
def test_a_han_or_kana_character_is_a_word_of_its_own(char):
    assert split_words(f"a{char}{char}b") == split_words(f"a {char} {char} b")
    assert len(split_words(f"a{char}{char}b")) == 4


@pytest.mark.parametrize(
    "char",
    ["〻", "〡", "〸", "\U0001b001", "\U0001b150", "\U0001affd"],
    ids=["iteration mark", "numeral 1", "numeral 10", "archaic", "small", "minnan"],
)
def test_a_rare_han_or_kana_character_is_a_word_of_its_own(char):
    assert len(split_words(f"a{char}{char}b")) == 4


# Ids.


@given(st.lists(WORDS, min_size=1, unique=True), st.data())
def test_words_of_the_vocabulary_are_encoded_and_decoded_again(vocabulary, data):
    tokenizer = BasicTokenizer([*SPECIAL_TOKENS, *vocabulary])
    words = data.draw(st.lists(st.sampled_from(vocabulary)))
    ids = tokenizer.encode(" ".join(words))
    assert ids == [vocabulary.index(word) + len(SPECIAL_TOKENS) for word in words]
    assert tokenizer.decode(ids) == " ".join(words)


@given(TEXTS)
def test_words_outside_the_vocabulary_are_unknown(text):
    ids = BasicTokenizer(SPECIAL_TOKENS).encode(text)
    assert ids == [UNKNOWN_ID] * len(split_words(text))


def test_special_ids_are_pad_0_unknown_1_start_2_end_3():
    assert (PAD_ID, UNKNOWN_ID, START_ID, END_ID) == (0, 1, 2, 3)


@given(st.sampled_from(SPECIAL_TOKENS))
def test_no_text_is_encoded_as_a_special_token(token):
    tokenizer = BasicTokenizer([*SPECIAL_TOKENS, "pad", "unk", "start", "end"])
    assert min(tokenizer.encode(f"{token} {token}x x{token}")) >= UNKNOWN_ID
    assert tokenizer.encode(token) == tokenizer.encode(token[1:-1])


def test_pad_start_and_end_are_left_out_when_decoding():
    tokenizer = BasicTokenizer([*SPECIAL_TOKENS, "a", "cat"])
    assert tokenizer.decode([START_ID, 4, UNKNOWN_ID, 5, END_ID, PAD_ID]) == (
        "a [UNK] cat"
    )


@pytest.mark.parametrize("id_", [6, 10**9, -1, -100])
def test_an_id_outside_the_vocabulary_is_an_error(id_):
    with pytest.raises(UsageError, match=f"from 0 to 5, got {id_}"):
        BasicTokenizer([*SPECIAL_TOKENS, "a", "cat"]).decode([id_])


@pytest.mark.parametrize("start", [(), ("a",), ("[PAD]", "[UNK]", "[END]", "[START]")])
def test_a_vocabulary_must_begin_with_the_special_tokens(start):
    with pytest.raises(DatasetError, match=r"must begin with \[PAD\], \[UNK\]"):
        BasicTokenizer([*start, "word"])


# The vocabulary.

COUNTS = st.dictionaries(WORDS, st.integers(1, 4), max_size=30)


@given(COUNTS)
def test_frequent_words_come_first_and_ties_by_code_point(counts):
    vocabulary = make_vocabulary(counts, vocab_size=1000, min_count=1)
    words = vocabulary[len(SPECIAL_TOKENS) :]
    assert tuple(vocabulary[: len(SPECIAL_TOKENS)]) == SPECIAL_TOKENS
    assert sorted(words) == sorted(counts)
    for word, following in itertools.pairwise(words):
        assert (-counts[word], word.encode("utf-32-be")) < (
            -counts[following],
            following.encode("utf-32-be"),
        )


def test_ties_go_by_code_point_and_not_by_utf_16():
    counts = {"\U00010400": 1, "\uff41": 1, "z": 1, "é": 1, "b": 2}
    vocabulary = make_vocabulary(counts, vocab_size=100, min_count=1)
    assert vocabulary[4:] == ["b", "z", "é", "\uff41", "\U00010400"]


@given(COUNTS, st.randoms(use_true_random=False))
def test_the_vocabulary_does_not_depend_on_the_order_of_counting(counts, rng):
    shuffled = list(counts.items())
    rng.shuffle(shuffled)
    made = (
        make_vocabulary(dict(items), vocab_size=9, min_count=2)
        for items in (shuffled, counts.items())
    )
    assert next(made) == next(made)


@given(COUNTS, st.integers(5, 40), st.integers(1, 5))
def test_the_vocabulary_keeps_to_its_size_and_least_count(counts, size, least):
    vocabulary = make_vocabulary(counts, vocab_size=size, min_count=least)
    frequent = [word for word, count in counts.items() if count >= least]
    assert len(vocabulary) == min(size, 4 + len(frequent))
    assert set(vocabulary[4:]) <= set(frequent)


# The file.


@given(st.lists(WORDS, unique=True))
def test_a_tokenizer_is_the_same_once_it_was_written(words):
    vocabulary = [*SPECIAL_TOKENS, *words]
    data = dump_vocabulary(vocabulary)
    loaded = load_tokenizer(basic_spec(vocabulary), data)
    text = " ".join([*words, "unknownword"])
    assert loaded.encode(text) == BasicTokenizer(vocabulary).encode(text)


@given(st.lists(TEXTS, max_size=5))
def test_words_of_any_text_survive_the_file(texts):
    words = sorted({word for text in texts for word in split_words(text)})
    vocabulary = [*SPECIAL_TOKENS, *words]
    loaded = load_tokenizer(basic_spec(vocabulary), dump_vocabulary(vocabulary))
    assert loaded.decode(range(4, len(vocabulary))) == " ".join(words)


def test_the_line_number_in_the_file_is_the_id():
    data = dump_vocabulary([*SPECIAL_TOKENS, "a", "café"])
    assert data == "[PAD]\n[UNK]\n[START]\n[END]\na\ncafé\n".encode()


def test_the_spec_holds_the_size_the_ids_and_the_sha256_of_the_file():
    vocabulary = [*SPECIAL_TOKENS, "a"]
    spec = basic_spec(vocabulary)
    assert spec.sha256 == hashlib.sha256(dump_vocabulary(vocabulary)).hexdigest()
    assert (spec.kind, spec.file, spec.vocab_size) == ("basic", "vocab.txt", 5)
    assert (spec.pad_id, spec.unknown_id, spec.start_id, spec.end_id) == (0, 1, 2, 3)


@given(st.data())
def test_a_changed_file_is_refused(data):
    vocabulary = [*SPECIAL_TOKENS, "a", "cat"]
    whole = dump_vocabulary(vocabulary)
    offset = data.draw(st.integers(0, len(whole) - 1))
    mask = data.draw(st.integers(1, 255))
    damaged = bytes(b ^ mask if i == offset else b for i, b in enumerate(whole))
    with pytest.raises(DatasetError, match=r"tokenizer/vocab\.txt has changed"):
        load_tokenizer(basic_spec(vocabulary), damaged)

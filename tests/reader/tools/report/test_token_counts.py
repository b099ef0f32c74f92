"""Tests token counts of all captions, and of a sample of many captions."""

from reader.contract.tokenizers.basic import SPECIAL_TOKENS, BasicTokenizer, basic_spec
from reader.tools.report.token_counts import TokenCounter

WORDS = [*SPECIAL_TOKENS, "a", "b", "c", "d", "e"]


def counted(num_captions: int, *parts: list[str]) -> tuple[int, dict[str, int]]:
    counter = TokenCounter(BasicTokenizer(WORDS), num_captions)
    for part in parts:
        counter.add(part)
    vocabulary = counter.vocabulary(basic_spec(WORDS))
    shown = (*vocabulary.frequent, *vocabulary.rare)
    return vocabulary.num_captions, {token.text: token.times for token in shown}


def test_all_captions_are_counted():
    assert counted(3, ["a a b", "a"], [], ["x"]) == (3, {"a": 3, "b": 1, "[UNK]": 1})


def test_of_very_many_captions_every_third_is_counted():
    parts = (["a", "b"], ["c"], ["d"], ["e", "e", "a", "b"])
    assert counted(2_500_000, *parts) == (3, {"a": 2, "d": 1})


def test_what_occurs_and_what_does_not_is_told_apart():
    counter = TokenCounter(BasicTokenizer(WORDS), 1)
    counter.add(["a b b x y"])
    vocabulary = counter.vocabulary(basic_spec(WORDS))
    assert vocabulary.size == 9
    assert vocabulary.num_tokens == 5
    assert vocabulary.num_unknown == 2
    assert vocabulary.num_used == 3
    assert vocabulary.num_once == 1
    assert [token.text for token in vocabulary.frequent] == ["[UNK]", "b"]
    assert [token.text for token in vocabulary.rare] == ["a"]

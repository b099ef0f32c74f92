"""Warnings about the dataset for users who want to train on it."""

from collections.abc import Iterator

from reader.console.formatting import counted
from reader.contract.manifest import Manifest, Split

# A caption model that lacks one word in ten is of little use.
_HIGH_UNKNOWN_RATE = 0.1
# In a script without spaces between words, such as Thai, a sentence becomes one token.
_HIGH_ONE_TOKEN_RATE = 0.5
_FEW_CAPTIONS = 10


def warnings_of(manifest: Manifest) -> Iterator[str]:
    """Yields warnings to read before training on a dataset."""
    for split in manifest.splits:
        if not split.num_examples:
            yield f"split {split.name} has no examples: give it a larger share"
        yield from _token_warnings(split, manifest)


def _token_warnings(split: Split, manifest: Manifest) -> Iterator[str]:
    kind, statistics = manifest.tokenizer.kind, split.statistics
    tokens, unknown = statistics.caption_tokens.sum, statistics.unknown_tokens
    if unknown > _HIGH_UNKNOWN_RATE * tokens:
        if "vocab_size" in manifest.config:
            advice = "add training captions, raise --vocab_size or lower --min_count"
        elif kind == "basic":
            advice = (
                "--tokenizer=basic counts the words of these captions, "
                "--tokenizer=bytes encodes any text"
            )
        else:
            advice = (
                "choose a tokenizer for this language, or --tokenizer=bytes, which "
                "encodes any text"
            )
        unit = "words" if kind == "basic" else "tokens"
        yield (
            f"{unknown / tokens:.0%} of the {unit} of {split.name} are not in the "
            f"vocabulary: {advice}"
        )
    if num := statistics.no_token_captions:
        have = "has" if num == 1 else "have"
        yield (
            f"{counted(num, 'caption')} of {split.name} {have} "
            "no token, only characters that the tokenizer drops, such as punctuation: "
            "--min_tokens=1 leaves such captions out"
        )
    captions, single = statistics.caption_tokens.count, statistics.one_token_captions
    if captions >= _FEW_CAPTIONS and (single or 0) > _HIGH_ONE_TOKEN_RATE * captions:
        yield (
            f"{(single or 0) / captions:.0%} of the captions of {split.name} are a "
            "single token: if they are sentences, in a script without spaces between "
            "words, use --tokenizer=bytes or a SentencePiece model"
        )

"""What a person should know before training on a dataset."""

from collections.abc import Iterator

from reader.contract.manifest import Manifest, Split

# A captioner that cannot say one word in ten is of little use.
_HIGH_UNKNOWN_RATE = 0.1
# Whole sentences become one token where a script has no spaces between words, as Thai.
_HIGH_ONE_TOKEN_RATE = 0.5
_FEW_CAPTIONS = 10


def warnings_of(manifest: Manifest) -> Iterator[str]:
    """Yields what a person should know before training on a dataset."""
    for split in manifest.splits:
        if not split.num_examples:
            yield f"split {split.name} holds no examples: give it a larger share"
        yield from _token_warnings(split, manifest.tokenizer.kind)


def _token_warnings(split: Split, kind: str) -> Iterator[str]:
    statistics = split.statistics
    tokens, unknown = statistics.caption_tokens.sum, statistics.unknown_tokens
    if unknown > _HIGH_UNKNOWN_RATE * tokens:
        advice = (
            "it takes more captions to train on, a higher --vocab_size or a lower "
            "--min_count"
            if kind == "basic"
            else "it was made for other texts; --tokenizer=bytes knows every one"
        )
        what = "words" if kind == "basic" else "tokens"
        yield (
            f"{unknown / tokens:.0%} of the {what} of {split.name} are not in the "
            f"vocabulary: {advice}"
        )
    captions, single = statistics.caption_tokens.count, statistics.one_token_captions
    if captions >= _FEW_CAPTIONS and (single or 0) > _HIGH_ONE_TOKEN_RATE * captions:
        yield (
            f"{(single or 0) / captions:.0%} of the captions of {split.name} are a "
            "single token: if they are sentences, in a script without spaces between "
            "words, use --tokenizer=bytes or a SentencePiece model"
        )

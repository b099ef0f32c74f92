"""Measures the unknown tokens of a language (docs/performance-notes-building.md).

    python tests/benchmarks/unknown_rate.py thai.txt hindi.txt arabic.txt chinese.txt

Each file holds a sentence a line, in UTF-8. The vocabulary is counted over every other
sentence and measured on those between, with the default size and least count.
"""

import argparse
from collections import Counter
from pathlib import Path

from beam_jobs.config.job_config import JobConfig
from beam_jobs.inputs.captions import clean_text
from reader.contract.tokenizers.basic import (
    UNKNOWN_ID,
    BasicTokenizer,
    make_vocabulary,
    split_words,
)
from reader.contract.tokenizers.byte_level import ByteTokenizer, bytes_spec
from reader.contract.tokenizers.protocol import Tokenizer


def sentences_of(path: Path) -> list[str]:
    """Returns the different sentences of a file, cleaned as captions are, in order."""
    lines = map(clean_text, path.read_text("utf-8").split("\n"))
    return list(dict.fromkeys(line for line in lines if line))


def train_basic(sentences: list[str]) -> BasicTokenizer:
    counts: Counter[str] = Counter()
    for sentence in sentences:
        counts.update(split_words(sentence))
    defaults = JobConfig(images="-", captions="-", output="-")
    size, least = defaults.vocab_size, defaults.min_count
    return BasicTokenizer(
        make_vocabulary(dict(counts), vocab_size=size, min_count=least)
    )


def measure(tokenizer: Tokenizer, sentences: list[str]) -> str:
    """Returns shares of unknown tokens and one-token sentences, and the mean length."""
    rows = [tokenizer.encode(sentence) for sentence in sentences]
    tokens = sum(map(len, rows))
    unknown = sum(row.count(UNKNOWN_ID) for row in rows) / tokens
    single = sum(len(row) == 1 for row in rows) / len(rows)
    return f"{unknown:>9.1%}{single:>11.1%}{tokens / len(rows):>8.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    titles = f"{'unknown':>9}{'one token':>11}{'length':>8}"
    print(f"{'':<14}{'sentences':>10}  {'basic':<28}  {'bytes':<28}")
    print(f"{'':<24}  {titles}  {titles}")
    for path in parser.parse_args().files:
        sentences = sentences_of(path)
        learnt, others = sentences[::2], sentences[1::2]
        basic = measure(train_basic(learnt), others)
        plain = measure(ByteTokenizer(bytes_spec()), others)
        print(f"{path.stem:<14}{len(others):>10,}  {basic}  {plain}")


if __name__ == "__main__":
    main()

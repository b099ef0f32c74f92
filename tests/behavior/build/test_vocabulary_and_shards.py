"""Vocabulary, statistics and shards."""

import hashlib
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from built_datasets import (
    SPLITS,
    all_records,
    build,
    file_of,
    manifest_of,
    picture,
    put,
    put_pairs,
    sentence,
    shards_of,
    words_of,
)
from PIL import Image

from beam_jobs.config.values import parse_splits
from beam_jobs.planning.key_order import split_of

# Vocabulary and statistics.


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 pairs, all of them sound."""
    source = tmp_path_factory.mktemp("plain") / "source"
    put_pairs(source, 120, seed=3)
    return source


def training_words(output: Path) -> Counter[str]:
    return Counter(
        word
        for split, _, records in shards_of(output)
        if split == "train"
        for record in records
        for caption in record.features["image/caption"]
        for word in words_of(caption.decode())
    )


@pytest.mark.parametrize(
    ("vocab_size", "min_count"), [(10_000, 1), (12, 1), (10_000, 40), (5, 1)]
)
def test_the_vocabulary_is_that_of_the_training_captions(
    plain, tmp_path, vocab_size, min_count
):
    limits = {"vocab_size": vocab_size, "min_count": min_count}
    build(plain, tmp_path / "out", splits=SPLITS, num_shards=3, **limits)
    counts = training_words(tmp_path / "out")
    frequent = [word for word in counts if counts[word] >= min_count]
    frequent.sort(key=lambda word: (-counts[word], word))
    expected = ["[PAD]", "[UNK]", "[START]", "[END]", *frequent][:vocab_size]
    data = (tmp_path / "out" / "tokenizer" / "vocab.txt").read_bytes()
    assert data == "".join(f"{word}\n" for word in expected).encode()
    spec = manifest_of(tmp_path / "out")["tokenizer"]
    assert spec["sha256"] == hashlib.sha256(data).hexdigest()
    assert spec["vocab_size"] == len(expected)
    if min_count == 40:
        assert 0 < len(frequent) < len(counts)


@pytest.mark.parametrize(
    ("splits", "training"),
    [("learn=0.5,train_not=0.5", "learn"), ("validation=0.5,train=0.5", "train")],
)
def test_words_are_learnt_from_train_or_else_from_the_first_split(
    tmp_path, splits, training
):
    for number in range(20):
        put(
            tmp_path / "source", f"{number}.png", file_of(Image.new("L", (4, 4)), "PNG")
        )
        put(tmp_path / "source", f"{number}.txt", f"word{number}")
    shares = parse_splits(splits)
    build(tmp_path / "source", tmp_path / "out", splits=shares)
    vocabulary = (tmp_path / "out" / "tokenizer" / "vocab.txt").read_text().split("\n")
    learnt = {n for n in range(20) if split_of(b"%d" % n, 0, shares) == training}
    assert 0 < len(learnt) < 20
    assert {n for n in range(20) if f"word{n}" in vocabulary} == learnt


def tally(values: list[int]) -> dict[str, int]:
    return {
        "count": len(values),
        "sum": sum(values),
        "min": min(values, default=0),
        "max": max(values, default=0),
    }


def test_the_statistics_are_those_of_a_plain_loop(plain, tmp_path):
    splits = parse_splits("train=0.6,validation=0.3,test=0.1")
    build(plain, tmp_path / "out", splits=splits, num_shards=6, vocab_size=9)
    records: dict[str, list[dict[str, list[Any]]]] = {}
    for split, _, some in shards_of(tmp_path / "out"):
        records.setdefault(split, []).extend(record.features for record in some)
    for split in manifest_of(tmp_path / "out")["splits"]:
        own = records[split["name"]]
        assert len(own) > 1
        assert split["statistics"] == {
            "width": tally([r["image/width"][0] for r in own]),
            "height": tally([r["image/height"][0] for r in own]),
            "image_bytes": tally([len(r["image/encoded"][0]) for r in own]),
            "captions": tally([len(r["caption/lengths"]) for r in own]),
            "caption_tokens": tally([n for r in own for n in r["caption/lengths"]]),
            "unknown_tokens": sum(r["caption/ids"].count(1) for r in own),
            "one_token_captions": sum(r["caption/lengths"].count(1) for r in own),
        }
        assert split["statistics"]["unknown_tokens"] > 0


def test_each_line_is_a_caption_when_asked_for(tmp_path):
    rng = random.Random(0)
    texts = {f"{n}": [sentence(rng) for _ in range(n % 4 + 1)] for n in range(12)}
    for key, lines in texts.items():
        put(tmp_path / "source", f"{key}.png", file_of(picture(rng), "PNG"))
        put(tmp_path / "source", f"{key}.txt", "\n".join(lines))
    build(tmp_path / "source", tmp_path / "out", captions_per_file="lines")
    for record in all_records(tmp_path / "out"):
        features = record.features
        lines = texts[features["image/source_id"][0].decode()]
        captions = [caption.decode() for caption in features["image/caption"]]
        assert captions == [line.strip() for line in lines]
        lengths = [len(words_of(caption)) for caption in captions]
        assert features["caption/lengths"] == lengths
        assert len(features["caption/ids"]) == sum(lengths)


# Shards.


@pytest.mark.parametrize("num_shards", [2, 7, 40])
def test_the_number_of_shards_is_that_over_all_splits(plain, tmp_path, num_shards):
    build(plain, tmp_path / "out", splits=SPLITS, num_shards=num_shards)
    shards = list(shards_of(tmp_path / "out"))
    assert len(shards) == num_shards
    totals = Counter(split for split, _, _ in shards)
    assert totals["validation"] >= 1
    assert totals["train"] >= totals["validation"]
    names = [shard["file"] for _, shard, _ in shards]
    assert names == [
        f"{split}-{number:05d}-of-{totals[split]:05d}.tfrecord"
        for split in ("train", "validation")
        for number in range(totals[split])
    ]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tfrecord")) == names
    assert sum(len(records) for _, _, records in shards) == 120


def test_more_shards_than_buckets_and_keys_are_honoured(tmp_path):
    put_pairs(tmp_path / "source", 20)
    build(tmp_path / "source", tmp_path / "out", num_shards=260)
    shards = [records for _, _, records in shards_of(tmp_path / "out")]
    assert len(shards) == 260
    assert sum(map(len, shards)) == 20


def test_shards_are_about_as_large_as_asked_for(plain, tmp_path):
    size = 8 << 10
    build(plain, tmp_path / "out", shard_size=size)
    sizes = [shard["num_bytes"] for _, shard, _ in shards_of(tmp_path / "out")]
    assert len(sizes) > 5
    assert size / 1.5 < sum(sizes) / len(sizes) < size * 1.5


def test_by_default_a_small_dataset_is_one_shard_a_split(plain, tmp_path):
    build(plain, tmp_path / "out", splits=SPLITS)
    assert len(list(shards_of(tmp_path / "out"))) == 2


def test_a_split_without_examples_is_an_empty_shard(plain, tmp_path):
    splits = parse_splits("train=0.999999,validation=0.000001")
    build(plain, tmp_path / "out", splits=splits)
    assert (tmp_path / "out" / "validation-00000-of-00001.tfrecord").read_bytes() == b""
    split = manifest_of(tmp_path / "out")["splits"][1]
    assert split["name"] == "validation"
    assert split["shards"][0]["num_examples"] == 0
    assert split["shards"][0]["crc32c"] == "00000000"
    assert split["statistics"]["width"] == tally([])
    index = tmp_path / "out" / "index" / "validation-00000-of-00001.tfrecord.idx"
    assert index.read_bytes() == b""
    samples = tmp_path / "out" / "samples" / "validation-00000-of-00001.parquet"
    assert pq.read_table(samples).num_rows == 0

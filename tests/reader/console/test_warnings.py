"""Warnings about a dataset."""

import dataclasses

import pytest

from reader.console.warnings import warnings_of
from reader.contract.manifest import Manifest, Split
from reader.contract.statistics import Statistics, Tally
from reader.datasets.manifest_dataset import open_dataset


def warnings(dataset, kind: str, captions: int, single: int | None, unknown: int):
    manifest: Manifest = open_dataset(dataset).manifest
    statistics = Statistics(
        caption_tokens=Tally(count=captions, sum=100, min=1, max=9),
        one_token_captions=single,
        unknown_tokens=unknown,
    )
    shard = manifest.shards[0]
    split = Split(name="train", shards=(shard,), statistics=statistics)
    tokenizer = dataclasses.replace(manifest.tokenizer, kind=kind)
    config = {**manifest.config}
    if kind != "basic":  # Only a counted vocabulary has a size to choose.
        del config["vocab_size"], config["min_count"]
    changed = {"splits": (split,), "tokenizer": tokenizer, "config": config}
    return list(warnings_of(dataclasses.replace(manifest, **changed)))


def test_one_token_captions_are_told_and_what_to_do(dataset):
    (warning,) = warnings(dataset, "basic", captions=40, single=30, unknown=0)
    assert "75% of the captions of train are a single token" in warning
    assert "--tokenizer=bytes or a SentencePiece model" in warning


@pytest.mark.parametrize(
    ("captions", "single"), [(40, 20), (40, 0), (9, 9), (0, 0), (40, None)]
)
def test_a_half_of_one_token_captions_or_too_few_captions_are_not_told(
    dataset, captions, single
):
    assert warnings(dataset, "basic", captions, single, unknown=0) == []


def test_unknown_tokens_are_told_with_advice_for_the_kind(dataset):
    (warning,) = warnings(dataset, "basic", captions=40, single=0, unknown=11)
    assert "11% of the words of train" in warning
    assert "--vocab_size" in warning
    (warning,) = warnings(dataset, "huggingface", captions=40, single=0, unknown=11)
    assert "11% of the tokens of train" in warning
    assert "--vocab_size" not in warning
    assert warnings(dataset, "basic", captions=40, single=0, unknown=10) == []


def test_a_vocabulary_of_another_dataset_is_not_blamed_on_the_language(dataset):
    manifest: Manifest = open_dataset(dataset).manifest
    statistics = Statistics(
        caption_tokens=Tally(count=40, sum=100, min=0, max=9), unknown_tokens=11
    )
    split = dataclasses.replace(manifest.splits[0], statistics=statistics)
    config = {k: v for k, v in manifest.config.items() if k != "vocab_size"}
    changed = dataclasses.replace(manifest, splits=(split,), config=config)
    (warning,) = warnings_of(changed)
    assert "--tokenizer=basic counts the words of these captions" in warning


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "1 caption of train has no"), (3, "3 captions of train have")],
)
def test_captions_without_a_token_are_told_however_few(dataset, number, said):
    manifest: Manifest = open_dataset(dataset).manifest
    statistics = Statistics(
        caption_tokens=Tally(count=4000, sum=9000, min=0, max=9),
        no_token_captions=number,
    )
    split = dataclasses.replace(manifest.splits[0], statistics=statistics)
    (warning,) = warnings_of(dataclasses.replace(manifest, splits=(split,)))
    assert warning.startswith(said)
    assert "--min_tokens=1" in warning

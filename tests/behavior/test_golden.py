"""Datasets of earlier versions, which every later reader must read.

They are added to and never made anew. Each holds `dataset/` and `expected.json`, which
was made with TensorFlow, Pillow and JSON alone.
"""

import json
from pathlib import Path

import numpy as np
import pytest

import reader
from reader.console.terminal import Terminal
from reader.contract.layout import FORMAT_VERSION
from reader.contract.manifest import dump_manifest, parse_manifest
from reader.contract.schema import display_path
from reader.datasets.manifest_dataset import open_dataset
from reader.tools.show.dataset_page import page

GOLDEN = sorted((Path(__file__).parents[1] / "golden").iterdir())
versions = pytest.mark.parametrize("version", GOLDEN, ids=lambda path: path.name)


def expected_of(version: Path) -> dict[str, list[dict]]:
    return json.loads((version / "expected.json").read_text(encoding="utf-8"))


def test_there_is_a_golden_dataset_of_this_format():
    manifest = open_dataset(GOLDEN[-1] / "dataset").manifest
    assert manifest.format_version == FORMAT_VERSION


@versions
def test_a_name_tells_the_format(version):
    manifest = open_dataset(version / "dataset").manifest
    assert version.name.partition("_")[0] == f"v{manifest.format_version}"


@versions
def test_every_byte_is_still_right(version):
    report = reader.verify(version / "dataset")
    assert report.problems == []
    assert report.num_examples == sum(map(len, expected_of(version).values()))


@versions
def test_batches_hold_what_they_held(version):
    for file, rows in expected_of(version).items():
        batches = reader.load(
            version / "dataset" / file,
            batch_size=1,
            image_size=48,
            crop="none",
            shuffle=False,
            outputs=("key", "caption", "tokens", "length", "height", "width", "image"),
        )
        for batch, row in zip(batches, rows, strict=True):
            key, caption, tokens, length, height, width, image = (
                tensor.numpy()[0] for tensor in batch
            )
            assert display_path(key) == row["key"]
            assert caption.decode() == row["captions"][0]
            assert tokens[:length].tolist() == [2, *row["ids"][0], 3]
            assert (height, width) == (row["height"], row["width"])
            mean = image.mean(axis=(0, 1)) * 255
            assert np.abs(mean - row["mean_rgb"]).max() < 2


@versions
def test_columns_hold_what_they_held(version):
    for file, rows in expected_of(version).items():
        columns = tuple(rows[0].get("columns", ())) if rows else ()
        if not columns:
            continue
        batches = reader.load(
            version / "dataset" / file, batch_size=1, shuffle=False, outputs=columns
        )
        for batch, row in zip(batches, rows, strict=True):
            for value, expected in zip(batch, row["columns"].values(), strict=True):
                value = value.numpy()[0]
                assert (
                    value.decode() if isinstance(value, bytes) else value.tolist()
                ) == expected


@versions
def test_the_tokenizer_still_gives_the_same_ids(version):
    tokenizer = reader.tokenizer(version / "dataset")
    rows = [row for rows in expected_of(version).values() for row in rows]
    for row in rows:
        assert [tokenizer.encode(caption) for caption in row["captions"]] == row["ids"]


@versions
def test_its_manifest_is_still_understood(version):
    data = (version / "dataset/manifest.json").read_bytes()
    manifest = parse_manifest(data, "golden")
    assert parse_manifest(dump_manifest(manifest), "golden") == manifest


@versions
def test_its_page_can_be_shown(version):
    lines = [*page(open_dataset(version / "dataset"), 100, Terminal())]
    for rows in expected_of(version).values():
        assert all(row["key"] in "\n".join(lines) for row in rows)

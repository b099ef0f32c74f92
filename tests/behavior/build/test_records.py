"""Records and files of a built dataset against a plain loop."""

import hashlib
import io
import os
import re
import unicodedata
from collections import Counter
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow.parquet as pq
from built_datasets import (
    EVERYTHING,
    SPLITS,
    all_records,
    config_of,
    contents,
    manifest_of,
    paths_below,
    rejects_of,
    shards_of,
    words_of,
)
from PIL import Image

from beam_jobs.encoding.encode_image import SourceImage
from beam_jobs.planning.key_order import order_of, shard_of, split_of
from reader.contract.schema import display_path

# Records against a plain loop.


def source_files(source: Path) -> dict[bytes, dict[str, bytes]]:
    """Returns {key: {"image": path, "caption": path}} of what pairs."""
    files: dict[bytes, dict[str, bytes]] = {}
    for path in paths_below(source):
        stem, suffix = os.path.splitext(path)
        if b"\xe9" not in stem:
            stem = unicodedata.normalize("NFC", stem.decode()).encode()
        kind = "caption" if suffix == b".txt" else "image"
        files.setdefault(stem, {})[kind] = os.path.join(os.fsencode(source), path)
    return files


def read(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def test_every_record_is_what_a_plain_loop_makes_of_its_files(everything):
    config = config_of(everything.source, everything.output, **EVERYTHING)
    files = source_files(everything.source)
    vocabulary = (everything.output / "tokenizer" / "vocab.txt").read_text().split("\n")
    for record in all_records(everything.output):
        features = record.features
        (key,) = features["image/source_id"]
        image, caption = read(files[key]["image"]), read(files[key]["caption"])
        stored = SourceImage(image, max_pixels=10**9).encode(config.image_spec)
        ids = [
            vocabulary.index(word) if word in vocabulary else 1
            for word in words_of(caption.decode())
        ]
        assert features == {
            "image/encoded": [stored.data],
            "image/format": [b"jpeg"],
            "image/height": [stored.height],
            "image/width": [stored.width],
            "image/source_id": [key],
            "image/key/sha256": [hashlib.sha256(image).hexdigest().encode()],
            "image/caption": [caption.strip()],
            "caption/ids": ids,
            "caption/lengths": [len(ids)],
        }
        with Image.open(io.BytesIO(stored.data)) as decoded:
            assert decoded.size == (stored.width, stored.height)
            assert min(decoded.size) <= 16


def test_records_lie_in_the_order_of_their_hashes_each_in_its_shard(everything):
    numbers: Counter[str] = Counter()
    totals = Counter(split for split, _, _ in shards_of(everything.output))
    for split, _, records in shards_of(everything.output):
        keys = [record.features["image/source_id"][0] for record in records]
        orders = [order_of(key, 0) for key in keys]
        assert orders == sorted(orders)
        assert {split_of(key, 0, SPLITS) for key in keys} == {split}
        assert {shard_of(order, totals[split]) for order in orders} == {numbers[split]}
        numbers[split] += 1


def test_the_features_of_the_manifest_are_those_of_every_record(everything):
    named = [feature["key"] for feature in manifest_of(everything.output)["features"]]
    assert len(set(named)) == len(named)
    for record in all_records(everything.output):
        assert set(record.features) == set(named)


# Files.


def test_only_the_files_of_the_format_are_left(everything):
    shards = [
        "train-00000-of-00002",
        "train-00001-of-00002",
        "validation-00000-of-00001",
    ]
    assert set(contents(everything.output)) == {
        "manifest.json",
        "rejects.jsonl",
        "features.json",
        "dataset_info.json",
        "croissant.json",
        "index/blocks.bin",
        "index/lengths.bin",
        "tokenizer/vocab.txt",
        *(f"{shard}.tfrecord" for shard in shards),
        *(f"index/{shard}.tfrecord.idx" for shard in shards),
        *(f"samples/{shard}.parquet" for shard in shards),
    }
    assert {path.name for path in everything.output.iterdir() if path.is_dir()} == {
        "index",
        "samples",
        "tokenizer",
    }


def test_the_manifest_describes_each_shard(everything):
    for _, shard, records in shards_of(everything.output):
        data = (everything.output / shard["file"]).read_bytes()
        assert shard["num_bytes"] == len(data)
        assert shard["num_examples"] == len(records)
        assert shard["crc32c"] == f"{google_crc32c.value(data):08x}"


def test_the_manifest_has_a_checksum_of_every_other_file(everything):
    manifest, files = manifest_of(everything.output), contents(everything.output)
    del files["manifest.json"]
    for split in manifest["splits"]:
        for shard in split["shards"]:
            del files[shard["file"]]
    checksums = {name: f"{google_crc32c.value(files[name]):08x}" for name in files}
    assert manifest["files"] == checksums


def test_the_index_tells_where_each_record_and_each_64th_lies(everything):
    blocks: list[int] = []
    lengths: list[int] = []
    for _, shard, records in shards_of(everything.output):
        index = (everything.output / "index" / f"{shard['file']}.idx").read_text()
        rows = [tuple(map(int, line.split(" "))) for line in index.splitlines()]
        assert rows == [(record.offset, record.length) for record in records]
        blocks += [offset for offset, _ in rows[::64]]
        lengths += [length for _, length in rows]
    data = (everything.output / "index" / "blocks.bin").read_bytes()
    assert np.frombuffer(data, "<u8").tolist() == blocks
    data = (everything.output / "index" / "lengths.bin").read_bytes()
    assert np.frombuffer(data, "<u4").tolist() == lengths
    assert len(blocks) > len(list(shards_of(everything.output)))


def test_the_samples_are_a_row_per_record_in_order(everything):
    files = source_files(everything.source)
    for _, shard, records in shards_of(everything.output):
        stem = shard["file"].removesuffix(".tfrecord")
        table = pq.read_table(everything.output / "samples" / f"{stem}.parquet")
        rows = table.to_pylist()
        assert len(rows) == len(records)
        for row, record in zip(rows, records, strict=True):
            key = record.features["image/source_id"][0]
            with Image.open(io.BytesIO(read(files[key]["image"]))) as image:
                original = image.format, image.width, image.height
            assert row["key"] == display_path(key)
            assert (row["offset"], row["length"]) == (record.offset, record.length)
            below = {
                kind: display_path(
                    os.path.relpath(path, os.fsencode(everything.source))
                )
                for kind, path in files[key].items()
            }
            assert row["source"] == below["image"]
            assert row["caption_source"] == below["caption"]
            assert row["original_format"] == original[0].lower()
            assert (row["original_width"], row["original_height"]) == original[1:]
            assert [row["height"]] == record.features["image/height"]
            assert [row["width"]] == record.features["image/width"]
            captions = [text.encode() for text in row["captions"]]
            assert captions == record.features["image/caption"]
            assert row["num_tokens"] == record.features["caption/lengths"]
            assert [row["sha256"].encode()] == record.features["image/key/sha256"]
            resized = min(original[1:]) > 16
            converted = original[0] != "JPEG"
            actions = ["converted"] * converted + ["resized"] * resized
            # A JPEG that is small enough keeps its coded data.
            assert row["actions"] == actions + ["encoded"] * bool(actions)


def test_names_that_are_not_utf_8_are_written_and_shown_with_percent_signs(everything):
    keys = [r.features["image/source_id"][0] for r in all_records(everything.output)]
    assert b"caf\xe9" in keys
    assert "caf\u00e9".encode() in keys
    shown = {line["key"] for line in rejects_of(everything.output)}
    assert "damaged_image/caf%E9" in shown


def test_the_manifest_tells_nothing_of_where_or_when_it_was_made(everything):
    data = (everything.output / "manifest.json").read_text()
    for word in (str(everything.source), str(everything.output), os.uname().nodename):
        assert word not in data
    assert not re.search(r"20\d\d-\d\d", data)

"""The whole job on small drawn data, held against what a plain loop makes of it."""

import hashlib
import io
import json
import os
import random
import re
import shutil
import struct
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.values import parse_splits
from beam_jobs.encoding.encode_image import SourceImage
from beam_jobs.engines.options import engine_options
from beam_jobs.job.run import BuildResult, run
from beam_jobs.planning.key_order import order_of, shard_of, split_of
from reader.contract.errors import BuildError
from reader.contract.record import parse_example
from reader.contract.rejects import REASONS
from reader.contract.schema import display_path

NO_LIMIT = "100%"
SPLITS = parse_splits("train=0.8,validation=0.2")
WORDS = [
    "red",
    "green",
    "blue",
    "round",
    "large",
    "small",
    "old",
    "new",
    "cat",
    "dog",
    "house",
    "tree",
    "7",
    "42",
]


def config_of(source: Path, output: Path, **more: Any) -> JobConfig:
    return JobConfig(
        images=str(source),
        captions=str(source),
        output=str(output),
        **{"workers": 1, "threads": 2, **more},
    )


def build(source: Path, output: Path, **more: Any) -> BuildResult:
    config = config_of(source, output, **more)
    result = run(config, engine_options(config, []))
    assert result is not None
    return result


# Drawing sources.


def picture(rng: random.Random, height: int = 12, width: int = 16) -> Image.Image:
    pixels = rng.randbytes(height * width * 3)
    return Image.frombytes("RGB", (width, height), pixels)


def file_of(image: Image.Image, format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def sentence(rng: random.Random) -> str:
    words = [rng.choice(WORDS) for _ in range(rng.randint(1, 9))]
    return " ".join(words).capitalize() + rng.choice([".", "!", ", it's.", ""]) + "\n"


def put(folder: Path, name: str | bytes, data: bytes | str) -> None:
    path = os.path.join(os.fsencode(folder), os.fsencode(name))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)


def put_pairs(folder: Path, num: int, seed: int = 0) -> None:
    rng = random.Random(seed)
    for number in range(num):
        key = f"{rng.choice(['park', 'park/north', 'home.2024'])}/{number:04d}"
        format = rng.choice(["png", "jpeg", "webp", "bmp"])
        image = picture(rng, rng.randint(4, 40), rng.randint(4, 40))
        put(folder, f"{key}.{format}", file_of(image, format))
        put(folder, f"{key}.txt", sentence(rng))


ODD_NAMES = [
    b"caf\xe9",
    "cafe\u0301".encode(),
    b"line\nbreak",
    b"a.b.c",
    "emoji 🍎".encode(),
    b"quote'\"\\ %41",
]
MAX_PIXELS = 10_000
MAX_IMAGE_BYTES = 30_000


def put_rejects(folder: Path) -> dict[str, set[bytes]]:
    """Puts a key or two for every reason; returns the keys by their reason."""
    rng = random.Random(1)
    png, jpeg = file_of(picture(rng), "PNG"), file_of(picture(rng), "JPEG")
    images = {
        "not_an_image/page": ("jpg", b"<html>404 Not Found</html>"),
        "not_an_image/empty": ("png", b""),
        "unsupported_image/float": ("tif", file_of(Image.new("F", (5, 5)), "TIFF")),
        "damaged_image/header": ("jpg", jpeg[:30]),
        "damaged_image/cut": ("jpg", jpeg[:-100]),
        "damaged_image/caf\udce9": ("png", png[:300]),
        "too_many_pixels/a": ("png", file_of(Image.new("1", (120, 100)), "PNG")),
        "image_file_too_large/a": ("bmp", file_of(picture(rng, 99, 120), "BMP")),
        "image_too_small/a": ("png", file_of(picture(rng, 3, 8), "PNG")),
        "aspect_ratio_too_large/a": ("png", file_of(picture(rng, 4, 43), "PNG")),
    }
    captions: dict[str, bytes] = {
        "undecodable_caption/latin": "Ein Café".encode("latin-1"),
        "undecodable_caption/half": "é".encode()[:1],
        "empty_caption/nothing": b"",
        "empty_caption/space": b" \n\xef\xbb\xbf\t",
        "caption_too_large/a": b"a" * (1 << 20) + b"b",
    }
    for key, (suffix, data) in images.items():
        put(folder, f"{key}.{suffix}", data)
        put(folder, f"{key}.txt", "A rejected image.")
    for key, data in captions.items():
        put(folder, f"{key}.png", png)
        put(folder, f"{key}.txt", data)
    put(folder, "unpaired_image/a.png", png)
    put(folder, "unpaired_image/b.JPG", jpeg)
    put(folder, "unpaired_caption/a.txt", "An image that is not there.")
    for suffix, data in (("png", png), ("jpg", jpeg), ("txt", "Which one?")):
        put(folder, f"ambiguous_key/two.{suffix}", data)
    for name in ("\u00e9", "e\u0301"):
        put(folder, f"ambiguous_key/{name}.png", png)
    put(folder, "ambiguous_key/\u00e9.txt", "Which one?")
    put(folder, "not_a_file/link.txt", "A link to nowhere.")
    os.symlink("nowhere", folder / "not_a_file" / "link.png")
    put(folder, "not_a_file/pipe.png", png)
    os.mkfifo(folder / "not_a_file" / "pipe.txt")
    keys: dict[str, set[bytes]] = {}
    for key in keys_below(folder):
        reason = os.fsdecode(key.split(b"/")[0])
        if reason in REASONS:
            keys.setdefault(reason, set()).add(key)
    return keys


def keys_below(folder: Path) -> set[bytes]:
    """Returns the keys of all files that are named like images or captions."""
    known = (b".png", b".jpeg", b".jpg", b".webp", b".bmp", b".tif", b".txt")
    keys = set()
    for place, folders, files in os.walk(os.fsencode(folder)):
        folders[:] = [name for name in folders if not name.startswith(b".")]
        for name in files:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in known and not name.startswith(b"."):
                path = os.path.relpath(os.path.join(place, stem), os.fsencode(folder))
                text = path.decode(errors="surrogateescape")
                composed = unicodedata.normalize("NFC", text)
                # What is not UTF-8 is left as it is.
                keys.add(path if "\udce9" in text else composed.encode())
    return keys


# Reading what was written, by other means.


class Record(NamedTuple):
    offset: int
    length: int
    features: dict[str, list[Any]]


def records_of(shard: Path) -> list[Record]:
    data, offset, records = shard.read_bytes(), 0, []
    while offset < len(data):
        (length,) = struct.unpack("<Q", data[offset : offset + 8])
        example = parse_example(data[offset + 12 : offset + 12 + length])
        records.append(Record(offset, length + 16, example))
        offset += length + 16
    assert offset == len(data)
    return records


def manifest_of(output: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((output / "manifest.json").read_bytes())
    return manifest


def shards_of(output: Path) -> Iterator[tuple[str, dict[str, Any], list[Record]]]:
    """Yields (split, what the manifest says, records) of each shard, in order."""
    for split in manifest_of(output)["splits"]:
        for shard in split["shards"]:
            yield split["name"], shard, records_of(output / shard["file"])


def all_records(output: Path) -> list[Record]:
    return [record for _, _, records in shards_of(output) for record in records]


def rejects_of(output: Path) -> list[dict[str, Any]]:
    lines = (output / "rejects.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    return [json.loads(line) for line in lines]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def words_of(caption: str) -> list[str]:
    """Splits a caption in ASCII as the `basic` tokenizer is to."""
    return re.sub(r"[^a-z0-9\s]", "", caption.lower()).split()


# A source with everything that there is.


class Everything(NamedTuple):
    source: Path
    output: Path
    result: BuildResult
    rejected: dict[str, set[bytes]]


EVERYTHING: dict[str, Any] = {
    "splits": SPLITS,
    "num_shards": 3,
    "image_size": 16,
    "max_pixels": MAX_PIXELS,
    "max_image_bytes": MAX_IMAGE_BYTES,
    "min_image_size": 4,
    "max_aspect_ratio": 10.5,
    "max_rejects": NO_LIMIT,
    "max_unpaired": NO_LIMIT,
}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Everything:
    folder = tmp_path_factory.mktemp("everything")
    source, output = folder / "source", folder / "out"
    put_pairs(source, 260)
    rng = random.Random(2)
    for name in ODD_NAMES:
        put(source, name + b".png", file_of(picture(rng), "PNG"))
        put(source, name + b".txt", sentence(rng))
    put(source, "misnamed.jpg", file_of(picture(rng), "PNG"))
    put(source, "misnamed.txt", "A PNG that is called JPEG.")
    rejected = put_rejects(source)
    put(source, ".hidden/a.png", b"")
    put(source, "notes.md", "ignored")
    return Everything(source, output, build(source, output, **EVERYTHING), rejected)


# What cannot become of a key whose image and caption are files in folders.
OF_OTHER_SOURCES = {
    "missing_image",
    "conflicting_rows",
    "bad_row",
    "bad_value",
    "outside_root",
    "unknown_extension",
    "damaged_archive",
    "duplicate_of",
}


def test_every_reason_occurs_here(everything):
    assert set(everything.rejected) == set(REASONS) - OF_OTHER_SOURCES


def test_the_books_balance_and_tell_what_happened(everything):
    outcome = everything.result.outcome
    assert outcome.failures == ()
    found = keys_below(everything.source)
    rejected = {reason: len(keys) for reason, keys in everything.rejected.items()}
    assert outcome.accounting.found == len(found)
    assert outcome.accounting.not_written == rejected
    assert outcome.accounting.written == len(found) - sum(rejected.values())
    assert outcome.accounting.written == len(all_records(everything.output))
    assert manifest_of(everything.output)["books"] == {
        "found": len(found),
        "written": outcome.accounting.written,
        "not_written": rejected,
        "dropped_captions": 0,
    }
    assert outcome.accounting.written == 260 + len(ODD_NAMES) + 1


def test_what_was_to_be_left_out_counts_towards_no_limit(tmp_path):
    put_pairs(tmp_path / "in", 5)
    png = file_of(picture(random.Random(0), 3, 3), "PNG")
    for number in range(5):
        put(tmp_path / "in", f"small{number}.png", png)
        put(tmp_path / "in", f"small{number}.txt", "A small one.")
    result = build(tmp_path / "in", tmp_path / "out", min_image_size=4, max_rejects=0)
    assert result.outcome.failures == ()
    assert result.outcome.accounting.not_written == {"image_too_small": 5}
    assert result.outcome.accounting.written == 5


def test_each_reason_comes_with_examples_for_a_person(everything):
    examples = everything.result.outcome.examples
    assert set(examples) == set(REASONS) - OF_OTHER_SOURCES
    for reason, shown in examples.items():
        assert 1 <= len(shown) <= 3
        assert all(one.startswith(f"{reason}/") for one in shown)


def test_every_key_is_written_or_rejected_and_never_both(everything):
    written = [
        record.features["image/source_id"][0]
        for record in all_records(everything.output)
    ]
    assert len(set(written)) == len(written)
    rejected = [line["key"] for line in rejects_of(everything.output)]
    assert len(set(rejected)) == len(rejected)
    shown = [display_path(key) for key in written] + rejected
    assert sorted(shown) == sorted(map(display_path, keys_below(everything.source)))


STAGES = {
    "list": {"not_a_file"},
    "pair": {"unpaired_image", "unpaired_caption", "ambiguous_key"},
    "caption": {"caption_too_large", "undecodable_caption", "empty_caption"},
    "image": {
        "not_an_image",
        "unsupported_image",
        "damaged_image",
        "too_many_pixels",
        "image_file_too_large",
        "image_too_small",
        "aspect_ratio_too_large",
    },
}


def test_each_line_of_rejects_says_what_where_and_why(everything):
    lines = rejects_of(everything.output)
    reasons = {key: r for r, keys in everything.rejected.items() for key in keys}
    # In order of the keys' bytes.
    assert [line["key"] for line in lines] == list(map(display_path, sorted(reasons)))
    assert [line["reason"] for line in lines] == [
        reasons[key] for key in sorted(reasons)
    ]
    paths = {display_path(path) for path in paths_below(everything.source)}
    for line in lines:
        assert set(line) == {"key", "source", "stage", "reason", "detail"}
        assert line["source"]
        assert set(line["source"]) <= paths
        assert line["reason"] in STAGES[line["stage"]]
        assert line["detail"]


def paths_below(folder: Path) -> Iterator[bytes]:
    for place, _, files in os.walk(os.fsencode(folder)):
        for name in files:
            yield os.path.relpath(os.path.join(place, name), os.fsencode(folder))


def test_an_ambiguous_key_lists_its_files(everything):
    lines = {line["key"]: line for line in rejects_of(everything.output)}
    two = lines["ambiguous_key/two"]["source"]
    assert sorted(two) == [
        f"ambiguous_key/two.{suffix}" for suffix in ("jpg", "png", "txt")
    ]
    assert len(lines["ambiguous_key/\u00e9"]["source"]) == 3


def test_no_detail_of_a_reject_depends_on_the_run(everything):
    for line in rejects_of(everything.output):
        assert not re.search("0x[0-9a-f]{6,}|object at", line["detail"])


def test_what_is_neither_image_nor_caption_is_counted(everything):
    assert everything.result.plan.ignored == {".md": 1, "hidden": 1}


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
    for _, shard, records in shards_of(everything.output):
        index = (everything.output / "index" / f"{shard['file']}.idx").read_text()
        rows = [tuple(map(int, line.split(" "))) for line in index.splitlines()]
        assert rows == [(record.offset, record.length) for record in records]
        blocks += [offset for offset, _ in rows[::64]]
    data = (everything.output / "index" / "blocks.bin").read_bytes()
    assert np.frombuffer(data, "<u8").tolist() == blocks
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


# The same bytes.


def copy_in_another_order(source: Path, target: Path, seed: int) -> None:
    """Copies a tree, creating its folders and files in a drawn order."""
    paths = sorted(paths_below(source))
    random.Random(seed).shuffle(paths)
    for path in paths:
        old, new = (os.path.join(os.fsencode(root), path) for root in (source, target))
        os.makedirs(os.path.dirname(new), exist_ok=True)
        if os.path.islink(old):
            os.symlink(os.readlink(old), new)
        elif os.path.isfile(old):
            shutil.copyfile(old, new)
            os.utime(new, (seed, seed))
        else:
            os.mkfifo(new)


def test_two_runs_into_two_folders_give_the_same_bytes(everything, tmp_path):
    build(everything.source, tmp_path / "elsewhere", **EVERYTHING)
    assert contents(tmp_path / "elsewhere") == contents(everything.output)


@pytest.mark.parametrize("seed", [1, 2])
def test_neither_listing_order_nor_times_nor_threads_change_a_byte(
    everything, tmp_path, seed
):
    source = tmp_path / "copy"
    copy_in_another_order(everything.source, source, seed)
    build(source, tmp_path / "out", **EVERYTHING, threads=1 + 4 * seed)
    assert contents(tmp_path / "out") == contents(everything.output)


def test_images_and_captions_may_lie_in_two_folders(everything, tmp_path):
    for path in paths_below(everything.source):
        kind = "captions" if path.endswith(b".txt") else "images"
        copy = os.path.join(os.fsencode(tmp_path / kind), path)
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        whole = os.path.join(os.fsencode(everything.source), path)
        if os.path.islink(whole):
            os.symlink("nowhere", copy)
        elif os.path.isfile(whole):
            shutil.copyfile(whole, copy)
        else:
            os.mkfifo(copy)
    config = JobConfig(
        images=str(tmp_path / "images"),
        captions=str(tmp_path / "captions"),
        output=str(tmp_path / "out"),
        **EVERYTHING,
        workers=1,
    )
    assert run(config, engine_options(config, [])) is not None
    assert contents(tmp_path / "out") == contents(everything.output)


def test_another_seed_gives_another_order_of_the_same_records(everything, tmp_path):
    build(everything.source, tmp_path / "out", **EVERYTHING, seed=1)

    def keys(output: Path) -> list[bytes]:
        return [r.features["image/source_id"][0] for r in all_records(output)]

    assert keys(tmp_path / "out") != keys(everything.output)
    assert sorted(keys(tmp_path / "out")) == sorted(keys(everything.output))


def test_the_source_is_left_as_it_was(tmp_path):
    source = tmp_path / "source"
    put_pairs(source, 8)
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    build(source, tmp_path / "out")
    assert before == {path: path.stat().st_mtime_ns for path in source.rglob("*")}


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


# Limits, and going on.


@pytest.fixture
def flawed(tmp_path: Path) -> Path:
    """40 sound pairs, 3 damaged images, 2 images without a caption."""
    source = tmp_path / "flawed"
    put_pairs(source, 40)
    jpeg = file_of(picture(random.Random(0)), "JPEG")
    for number in range(3):
        put(source, f"damaged{number}.jpg", jpeg[:-20])
        put(source, f"damaged{number}.txt", "A damaged image.")
    for number in range(2):
        put(source, f"alone{number}.jpg", jpeg)
    return source


FLAWED: dict[str, Any] = {
    "num_shards": 4,
    "max_rejects": "3",
    "max_unpaired": "2",
}


def test_limits_that_just_hold_pass(flawed, tmp_path):
    outcome = build(flawed, tmp_path / "out", **FLAWED).outcome
    assert outcome.failures == ()
    assert outcome.accounting.not_written == {"damaged_image": 3, "unpaired_image": 2}


@pytest.mark.parametrize("limit", ["2", "4.4%"])
def test_too_many_rejects_fail_and_keep_the_shards(flawed, tmp_path, limit):
    output = tmp_path / "out"
    tight = FLAWED | {"max_rejects": limit}
    outcome = build(flawed, output, **tight).outcome
    (failure,) = outcome.failures
    assert f"3 of 45 keys are rejected, more than --max_rejects={limit}" in failure
    assert not (output / "manifest.json").exists()
    kept = {path: path.stat().st_ino for path in output.glob("*.tfrecord")}
    assert len(kept) == 4
    lines = (output / "_build" / "rejects.jsonl").read_text().splitlines()
    assert Counter(json.loads(line)["reason"] for line in lines) == {
        "damaged_image": 3,
        "unpaired_image": 2,
    }
    # With a higher limit the same command finishes, and writes no shard again.
    assert build(flawed, output, **FLAWED).outcome.failures == ()
    assert kept == {path: path.stat().st_ino for path in output.glob("*.tfrecord")}
    build(flawed, tmp_path / "fresh", **FLAWED)
    assert contents(output) == contents(tmp_path / "fresh")


@pytest.mark.parametrize("limit", ["1", "4%"])
def test_too_many_unpaired_fail_before_any_image_is_read(flawed, tmp_path, limit):
    output = tmp_path / "out"
    tight = FLAWED | {"max_unpaired": limit}
    outcome = build(flawed, output, **tight).outcome
    (failure,) = outcome.failures
    assert f"2 of 45 keys are unpaired, more than --max_unpaired={limit}" in failure
    assert not (output / "manifest.json").exists()
    assert not list(output.glob("*.tfrecord"))
    lines = (output / "_build" / "rejects.jsonl").read_text().splitlines()
    assert {json.loads(line)["key"] for line in lines} == {"alone0", "alone1"}
    assert build(flawed, output, **FLAWED).outcome.failures == ()
    build(flawed, tmp_path / "fresh", **FLAWED)
    assert contents(output) == contents(tmp_path / "fresh")


def test_a_job_that_writes_nothing_fails(tmp_path):
    put(tmp_path / "source", "a.jpg", b"")
    put(tmp_path / "source", "a.txt", "An image.")
    outcome = build(tmp_path / "source", tmp_path / "out", max_rejects=NO_LIMIT).outcome
    assert outcome.failures == ("not one example could be written",)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_source_that_seems_empty_for_a_while_costs_nothing(flawed, tmp_path):
    """A network folder that is not mounted looks like an empty one."""
    output = tmp_path / "out"
    build(flawed, output, **FLAWED | {"max_rejects": "0"})
    kept = contents(output)
    flawed.rename(tmp_path / "away")
    flawed.mkdir()
    with pytest.raises(BuildError, match="no images and no captions"):
        build(flawed, output, **FLAWED)
    flawed.rmdir()
    (tmp_path / "away").rename(flawed)
    assert {name for name in kept if "commits" in name} <= set(contents(output))
    assert build(flawed, output, **FLAWED).outcome.failures == ()


def test_overwriting_from_a_source_without_files_leaves_the_dataset(flawed, tmp_path):
    build(flawed, tmp_path / "out", **FLAWED)
    before = contents(tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match="no images and no captions"):
        build(tmp_path / "empty", tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == before


# Planning only.


@pytest.fixture
def own_tmp(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_planning_only_leaves_no_output(flawed, tmp_path, own_tmp):
    result = build(flawed, tmp_path / "out", **FLAWED, plan_only=True)
    assert result.outcome is None
    assert not (tmp_path / "out").exists()
    assert list(own_tmp.iterdir()) == []
    assert result.plan.found == 45
    assert result.plan.num_pairs == 43
    assert result.plan.rejects == {"unpaired_image": 2}
    assert result.plan.num_shards == 4


def test_planning_only_plans_what_is_then_built(flawed, tmp_path):
    planned = build(flawed, tmp_path / "out", **FLAWED, plan_only=True).plan
    assert build(flawed, tmp_path / "out", **FLAWED).plan == planned


def test_planning_only_tells_of_limits_too(flawed, tmp_path, own_tmp):
    tight = FLAWED | {"max_unpaired": "0"}
    outcome = build(flawed, tmp_path / "out", **tight, plan_only=True).outcome
    assert len(outcome.failures) == 1
    assert not (tmp_path / "out").exists()
    assert list(own_tmp.iterdir()) == []


def test_planning_only_leaves_a_dataset_as_it_is(flawed, tmp_path):
    build(flawed, tmp_path / "out", **FLAWED)
    before = contents(tmp_path / "out")
    (tmp_path / "other").mkdir()
    put_pairs(tmp_path / "other", 5)
    build(tmp_path / "other", tmp_path / "out", plan_only=True)
    assert contents(tmp_path / "out") == before

"""The whole job on small drawn data, held against what a plain loop makes of it."""

import io
import json
import os
import random
import re
import struct
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.values import parse_splits
from beam_jobs.engines.options import engine_options
from beam_jobs.job.run import BuildResult, run
from reader.contract.record import parse_example
from reader.contract.rejects import REASONS

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
        "caption_too_short/a": "… 🍎 !".encode(),
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
    "min_tokens": 1,
    "max_rejects": NO_LIMIT,
    "max_unpaired": NO_LIMIT,
}


# What cannot become of a key whose image and caption are files in folders.
OF_OTHER_SOURCES = {
    "missing_image",
    "where_not_met",
    "conflicting_rows",
    "bad_row",
    "bad_value",
    "outside_root",
    "unknown_extension",
    "damaged_archive",
    "duplicate_of",
    "damaged_record",
    "excluded_key",
    "unknown_key",
}


def paths_below(folder: Path) -> Iterator[bytes]:
    for place, _, files in os.walk(os.fsencode(folder)):
        for name in files:
            yield os.path.relpath(os.path.join(place, name), os.fsencode(folder))

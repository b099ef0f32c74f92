"""The dataset against the un-distributed answer.

A plain loop over the source files pairs, decodes, resizes and tokenizes with nothing of
ours; TensorFlow alone, or `reader.load`, reads what the job wrote.
"""

import hashlib
import io
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import simplejpeg
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

import reader

Pixels = NDArray[np.uint8]

SIZE = 256
MAX_TOKENS = 64
PAD, UNKNOWN, START, END = 0, 1, 2, 3

# Levels of 0…255, on average: Pillow's JPEG and an area mean in float64, against
# simplejpeg and OpenCV. Pixels that differ by one before they are encoded may differ by
# several after it; 0.23 and 1.26 were measured.
DRAWN_TOLERANCE, PHOTOGRAPH_TOLERANCE = 0.35, 1.5
# `decode_and_crop_jpeg` decodes only the blocks it needs, and so lacks the neighbour
# that chroma is interpolated with in the first and last column of what it cuts.
EDGE_COLUMNS = 1
EDGE_TOLERANCE = 32


class Source(NamedTuple):
    """What the plain loop finds under one key."""

    image: Path
    captions: list[str]


class Record(NamedTuple):
    """What TensorFlow alone reads of one record."""

    split: str
    jpeg: bytes
    format: str
    height: int
    width: int
    sha256: str
    captions: list[str]
    ids: list[list[int]]


class Built(NamedTuple):
    """A dataset, and the files it was made of."""

    folder: Path
    sources: dict[str, Source]
    records: dict[str, Record]
    tolerance: float


# The plain loop.


def pair(images: Path, captions: Path, *, lines: bool) -> dict[str, Source]:
    sources = {}
    for image in sorted(images.iterdir()):
        text = (captions / f"{image.stem}.txt").read_text("utf-8")
        parts = text.splitlines() if lines else [text]
        clean = [unicodedata.normalize("NFC", " ".join(p.split())) for p in parts]
        sources[image.stem] = Source(image, clean)
    return sources


def words(text: str) -> list[str]:
    """The `basic` rules: letters, marks and digits; Han and kana stand alone."""
    kept = ""
    for char in unicodedata.normalize("NFC", text.lower()):
        name = unicodedata.name(char, "")
        if name.startswith(("CJK UNIFIED", "CJK COMPAT", "HIRAGANA", "KATAKANA")):
            kept += f" {char} "
        elif unicodedata.category(char)[0] in "LMN":
            kept += char
        elif char.isspace():
            kept += " "
    return kept.split()


def vocabulary(built: Built) -> dict[str, int]:
    counts = Counter(
        word
        for key, source in built.sources.items()
        if built.records[key].split == "train"
        for caption in source.captions
        for word in words(caption)
    )
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: id_ for id_, word in enumerate(ranked, start=END + 1)}


def upright(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def stored_size(height: int, width: int) -> tuple[int, int]:
    """Shorter side to 256, the longer one rounded, halves up; never enlarged."""
    shorter = min(height, width)
    if shorter <= SIZE:
        return height, width
    tall, wide = (int(side * SIZE / shorter + 0.5) for side in (height, width))
    return tall, wide


def area_weights(length: int, target: int) -> NDArray[np.float64]:
    """float64[target, length]: how much of each source pixel a target pixel covers."""
    edges = np.arange(target + 1)[:, np.newaxis] * length / target
    covered = np.clip(edges - np.arange(length), 0, 1)
    return np.diff(covered, axis=0) * target / length


def area_mean(pixels: Pixels) -> Pixels:
    """Pixels resized to the stored size: means of the area that each one covers."""
    height, width = pixels.shape[:2]
    tall, wide = stored_size(height, width)
    rows, columns = area_weights(height, tall), area_weights(width, wide)
    mean = np.einsum("yh,hwc,xw->yxc", rows, pixels, columns, optimize=True)
    return np.rint(mean).astype(np.uint8)


def pillow_jpeg(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    image.save(buffer, "JPEG", quality=90, subsampling="4:2:0")
    return buffer.getvalue()


def pillow_pixels(jpeg: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def mean_difference(one: NDArray, other: NDArray) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def has_profile(path: Path) -> bool:
    with Image.open(path) as image:
        return "icc_profile" in image.info


# TensorFlow alone.


def read_records(folder: Path) -> dict[str, Record]:
    records = {}
    for shard in sorted(folder.glob("*.tfrecord")):
        for data in tf.data.TFRecordDataset(str(shard)).as_numpy_iterator():
            features = tf.train.Example.FromString(data).features.feature
            (key,) = features["image/source_id"].bytes_list.value
            assert key.decode() not in records
            records[key.decode()] = parse(shard.name.split("-")[0], features)
    return records


def parse(split: str, features) -> Record:
    def texts(name: str) -> list[str]:
        return [value.decode() for value in features[name].bytes_list.value]

    def numbers(name: str) -> list[int]:
        return list(features[name].int64_list.value)

    ids = iter(numbers("caption/ids"))
    rows = [[next(ids) for _ in range(n)] for n in numbers("caption/lengths")]
    assert list(ids) == []
    (jpeg,) = features["image/encoded"].bytes_list.value
    (format_,), (sha256,) = texts("image/format"), texts("image/key/sha256")
    (height,), (width,) = numbers("image/height"), numbers("image/width")
    captions = texts("image/caption")
    return Record(split, jpeg, format_, height, width, sha256, captions, rows)


# Datasets.


@pytest.fixture(scope="module")
def drawn(sample, dataset) -> Built:
    sources = pair(sample / "images", sample / "captions", lines=True)
    return Built(dataset, sources, read_records(dataset), DRAWN_TOLERANCE)


@pytest.fixture(scope="module")
def photographs(shared_data, build, tmp_path_factory) -> Built:
    pairs = shared_data / "pairs"
    output = tmp_path_factory.mktemp("photographs") / "out"
    build(pairs / "images", pairs / "captions", output)
    sources = pair(pairs / "images", pairs / "captions", lines=False)
    return Built(output, sources, read_records(output), PHOTOGRAPH_TOLERANCE)


@pytest.fixture(params=["drawn", "photographs"])
def built(request) -> Built:
    return request.getfixturevalue(request.param)


# Records.


def test_every_pair_is_one_record(built):
    assert built.records.keys() == built.sources.keys()


def test_captions_are_those_of_the_files(built):
    for key, source in built.sources.items():
        assert built.records[key].captions == source.captions


def test_token_ids_are_those_of_the_documented_rules(built):
    ids = vocabulary(built)
    for key, source in built.sources.items():
        expected = [[ids.get(w, UNKNOWN) for w in words(c)] for c in source.captions]
        assert built.records[key].ids == expected


def test_vocabulary_file_lists_the_words_in_the_order_of_their_ids(built):
    expected = ["[PAD]", "[UNK]", "[START]", "[END]", *vocabulary(built)]
    text = (built.folder / "tokenizer" / "vocab.txt").read_text("utf-8")
    assert text.split("\n") == [*expected, ""]


def test_sha256_is_that_of_the_source_file(built):
    for key, source in built.sources.items():
        expected = hashlib.sha256(source.image.read_bytes()).hexdigest()
        assert built.records[key].sha256 == expected


def test_width_and_height_are_those_of_the_stored_jpeg(built):
    for record in built.records.values():
        height, width, _ = pillow_pixels(record.jpeg).shape
        assert (record.height, record.width) == (height, width)
        assert record.format == "jpeg"


def test_shorter_side_is_brought_to_256_and_never_enlarged(built):
    for key, source in built.sources.items():
        record, pixels = built.records[key], upright(source.image)
        assert (record.height, record.width) == stored_size(*pixels.shape[:2])


def test_stored_pixels_are_those_of_decoding_resizing_and_encoding_in_a_loop(built):
    checked = 0
    for key, source in built.sources.items():
        if has_profile(source.image):
            continue  # Turned into sRGB first: only compared within a tolerance.
        if needs_nothing(source.image):
            stored = pillow_pixels(built.records[key].jpeg)
            assert np.array_equal(stored, pillow_pixels(source.image.read_bytes())), key
            checked += 1
            continue
        pixels = upright(source.image)
        height, width = stored_size(*pixels.shape[:2])
        if (height, width) != pixels.shape[:2]:
            pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        jpeg = simplejpeg.encode_jpeg(
            np.ascontiguousarray(pixels), quality=90, colorsubsampling="420"
        )
        stored = simplejpeg.decode_jpeg(built.records[key].jpeg)
        assert np.array_equal(stored, simplejpeg.decode_jpeg(jpeg)), key
        checked += 1
    assert checked >= 60


def test_stored_pixels_are_close_to_those_of_pillow_and_an_exact_area_mean(built):
    for key, source in built.sources.items():
        if uses_other_colours(source.image) or needs_nothing(source.image):
            continue
        expected = pillow_pixels(pillow_jpeg(area_mean(upright(source.image))))
        stored = pillow_pixels(built.records[key].jpeg)
        assert mean_difference(stored, expected) < built.tolerance, key


def needs_nothing(path: Path) -> bool:
    """Whether a source is a JPEG that may be stored as it is."""
    with Image.open(path) as image:
        return (
            image.format == "JPEG"
            and image.mode == "RGB"
            and "progressive" not in image.info
            and image.getexif().get(0x0112, 1) == 1
            and stored_size(image.height, image.width) == (image.height, image.width)
        )


def uses_other_colours(path: Path) -> bool:
    """Whether an embedded profile moves the colours visibly."""
    with Image.open(path) as image:
        plain = image.convert("RGB").resize((32, 32))
    return mean_difference(np.asarray(plain), to_srgb(path, (32, 32))) > 0.5


def to_srgb(path: Path, size: tuple[int, int] | None = None) -> Pixels:
    with Image.open(path) as image:
        profile = image.info.get("icc_profile")
        image = image.convert("RGB")
        image = image if size is None else image.resize(size)
    if profile is not None:
        image = ImageCms.profileToProfile(
            image,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
        )
    return np.asarray(image)


def test_colours_of_another_profile_are_stored_as_srgb(photographs):
    others = [k for k, s in photographs.sources.items() if uses_other_colours(s.image)]
    assert others
    for key in others:
        srgb = area_mean(to_srgb(photographs.sources[key].image))
        expected = pillow_pixels(pillow_jpeg(srgb))
        stored = pillow_pixels(photographs.records[key].jpeg)
        # Here colours are converted before resizing, there after it.
        assert mean_difference(stored, expected) < 2 * photographs.tolerance, key


# Batches.


class Loaded(NamedTuple):
    """One example of a batch."""

    image: NDArray[np.float32]
    tokens: NDArray[np.int32]
    mask: NDArray[np.bool_]
    key: str


def load(folder: Path, size: int) -> Iterator[Loaded]:
    """Every example of the training split, in batches of 6: 48 and 114 divide by it."""
    batches = reader.load(
        str(folder),
        split="train",
        batch_size=6,
        image_size=size,
        outputs=("image", "tokens", "mask", "key"),
    )
    for batch in batches.as_numpy_iterator():
        for image, tokens, mask, key in zip(*batch, strict=True):
            yield Loaded(image, tokens, mask, key.decode())


@pytest.fixture
def loaded(built) -> list[Loaded]:
    return list(load(built.folder, 224))


def cut_from_the_middle(pixels: Pixels, size: int) -> Pixels:
    """The largest square × 0.875, in the middle."""
    height, width = pixels.shape[:2]
    side = round(min(height, width) * 0.875)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


def test_every_training_example_is_loaded_once(built, loaded):
    train = [key for key, record in built.records.items() if record.split == "train"]
    assert sorted(example.key for example in loaded) == sorted(train)


def test_loaded_pixels_are_the_middle_of_the_stored_ones(built, loaded):
    pure_cuts = 0
    for example in loaded:
        stored = pillow_pixels(built.records[example.key].jpeg)
        expected = cut_from_the_middle(stored, 224).astype(float)
        if expected.shape[:2] != (224, 224):
            continue
        difference = np.abs(example.image * 255 - expected)
        inside = difference[:, EDGE_COLUMNS:-EDGE_COLUMNS]
        assert inside.max() < 1e-3, example.key
        assert difference.max() <= EDGE_TOLERANCE, example.key
        pure_cuts += 1
    assert pure_cuts > len(loaded) / 3


def test_loaded_pixels_are_resampled_where_the_middle_has_another_size(built, loaded):
    resampled = 0
    for example in loaded:
        stored = pillow_pixels(built.records[example.key].jpeg)
        cut = cut_from_the_middle(stored, 224)
        if cut.shape[:2] == (224, 224):
            continue
        resized = Image.fromarray(cut).resize((224, 224), Image.Resampling.BILINEAR)
        difference = np.abs(example.image * 255 - np.asarray(resized, float))
        assert difference[:, 2:-2].max() < 1.5, example.key
        assert difference.max() <= EDGE_TOLERANCE, example.key
        resampled += 1
    assert resampled > 0


def test_loaded_images_are_floats_from_0_to_1_and_not_to_255(loaded):
    for example in loaded:
        assert example.image.dtype == np.float32
        assert example.image.shape == (224, 224, 3)
        assert example.image.min() >= 0
        assert 0.5 < example.image.max() <= 1


def test_loaded_tokens_are_those_of_the_first_caption_framed_and_padded(built, loaded):
    for example in loaded:
        ids = built.records[example.key].ids[0][: MAX_TOKENS - 2]
        framed = [START, *ids, END]
        padding = [PAD] * (MAX_TOKENS - len(framed))
        assert example.tokens.tolist() == framed + padding


def test_loaded_masks_are_true_where_tokens_are_not_padding(built, loaded):
    for example in loaded:
        length = min(len(built.records[example.key].ids[0]) + 2, MAX_TOKENS)
        assert example.mask.dtype == np.bool_
        assert example.mask.tolist() == [True] * length + [False] * (
            MAX_TOKENS - length
        )

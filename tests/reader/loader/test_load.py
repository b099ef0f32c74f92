import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import reader
from reader.contract.record import parse_example
from reader.datasets.manifest_dataset import open_dataset
from reader.storage.tfrecord_file import read_shard

OUTPUTS = ("image", "tokens", "mask", "length", "key", "caption", "height", "width")
NUM_TRAIN, NUM_VALIDATION = 48, 12
PAD, START, END = 0, 2, 3

# What is awkward about an image: (width, height).
SIZES = [(1, 1), (2, 9), (40, 3), (64, 64), (65, 33), (50, 80), (300, 260), (17, 400)]


def load(folder: Path, glob: str = "train-*.tfrecord", **settings) -> tf.data.Dataset:
    settings = {"batch_size": 8, "image_size": 16, **settings}
    return reader.load(f"{folder}/{glob}", **settings)


def keys(batches: tf.data.Dataset) -> list[bytes]:
    """Keys of one epoch, in order; `outputs` must be `("key",)`."""
    return [key for (batch,) in batches.as_numpy_iterator() for key in batch.tolist()]


def load_keys(folder: Path, glob: str = "train-*.tfrecord", **settings) -> list[bytes]:
    return keys(load(folder, glob, outputs=("key",), **settings))


def written(folder: Path, split: str = "train") -> Iterator[dict[str, list]]:
    """Parsed records of a split, in the order written."""
    for shard in sorted(folder.glob(f"{split}-*.tfrecord")):
        for record in read_shard(str(shard)):
            yield parse_example(record.data)


def written_keys(folder: Path, split: str = "train") -> list[bytes]:
    return [example["image/source_id"][0] for example in written(folder, split)]


def first_captions(folder: Path, split: str = "train") -> list[list[int]]:
    """Token ids of the first caption of each record, in the order written."""
    return [
        example["caption/ids"][: example["caption/lengths"][0]]
        for example in written(folder, split)
    ]


def pictures(folder: Path) -> list[np.ndarray]:
    """Pixels as stored, in the order written."""
    jpegs = [example["image/encoded"][0] for example in written(folder)]
    return [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in jpegs]


@pytest.fixture(scope="module")
def odd(build, tmp_path_factory) -> Path:
    """Images of awkward sizes; chroma at full size, so that cuts are exact."""
    source = tmp_path_factory.mktemp("odd")
    rng = np.random.default_rng(0)
    for number, (width, height) in enumerate(SIZES):
        noise = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(noise).save(source / f"{number}.png")
        (source / f"{number}.txt").write_text(f"picture {number}")
    return build(source, source, source / "out", resize="none", jpeg_subsampling="444")


@pytest.fixture(scope="module")
def uniform(build, tmp_path_factory) -> Path:
    """8 images of 40 × 32 pixels."""
    source = tmp_path_factory.mktemp("uniform")
    rng = np.random.default_rng(1)
    texts = ["👍", "word " * 200, *(f"number {number}" for number in range(6))]
    for number, text in enumerate(texts):
        noise = rng.integers(0, 256, (32, 40, 3), np.uint8)
        Image.fromarray(noise).save(source / f"{number}.png")
        (source / f"{number}.txt").write_text(text, encoding="utf-8")
    return build(source, source, source / "out")


# Shapes, dtypes, length.


def test_batch_is_a_dictionary_of_image_tokens_and_mask(dataset):
    spec = load(dataset, batch_size=4, image_size=(20, 30), max_tokens=9).element_spec
    assert spec == {
        "image": tf.TensorSpec((4, 20, 30, 3), tf.float32),
        "tokens": tf.TensorSpec((4, 9), tf.int32),
        "mask": tf.TensorSpec((4, 9), tf.bool),
    }


def test_outputs_are_tuples_in_the_order_asked_for(dataset):
    names = tuple(reversed(OUTPUTS))
    batches = load(dataset, outputs=names, batch_size=4)
    expected = {
        "image": tf.TensorSpec((4, 16, 16, 3), tf.float32),
        "tokens": tf.TensorSpec((4, 64), tf.int32),
        "mask": tf.TensorSpec((4, 64), tf.bool),
        "length": tf.TensorSpec((4,), tf.int32),
        "key": tf.TensorSpec((4,), tf.string),
        "caption": tf.TensorSpec((4,), tf.string),
        "height": tf.TensorSpec((4,), tf.int32),
        "width": tf.TensorSpec((4,), tf.int32),
    }
    assert batches.element_spec == tuple(expected[name] for name in names)


@pytest.mark.parametrize("name", OUTPUTS)
def test_each_output_may_be_asked_for_alone(dataset, name):
    (batch,) = next(iter(load(dataset, shuffle=False, outputs=(name,))))
    together = next(iter(load(dataset, shuffle=False, outputs=OUTPUTS)))
    assert np.array_equal(batch, together[OUTPUTS.index(name)])


@pytest.mark.parametrize("batch_size", [1, 5, 7, 24, 48])
@pytest.mark.parametrize("shuffle", [True, False])
def test_length_is_exactly_the_number_of_batches(dataset, batch_size, shuffle):
    batches = load(
        dataset, batch_size=batch_size, shuffle=shuffle, outputs=("key", "length")
    )
    sizes = [len(key) for key, _ in batches.as_numpy_iterator()]
    assert sizes == [batch_size] * (NUM_TRAIN // batch_size)
    assert len(batches) == len(sizes)


def test_epochs_repeated_by_tensorflow_have_a_length_too(dataset):
    assert len(load(dataset, batch_size=7).repeat(3)) == 3 * (NUM_TRAIN // 7)


# Order.


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 6, 48])
def test_each_example_comes_exactly_once_in_an_epoch(dataset, shuffle, batch_size):
    loaded = load_keys(dataset, shuffle=shuffle, batch_size=batch_size)
    assert sorted(loaded) == sorted(written_keys(dataset))


@pytest.mark.parametrize("shuffle_bytes", [1, 20_000, 1 << 40])
def test_each_example_comes_once_whatever_the_shuffle_window(dataset, shuffle_bytes):
    loaded = load_keys(dataset, shuffle_bytes=shuffle_bytes)
    assert sorted(loaded) == sorted(written_keys(dataset))


def test_at_most_a_batch_less_one_is_dropped(dataset):
    loaded = load_keys(dataset, batch_size=7)
    assert len(loaded) == len(set(loaded)) == 42
    assert set(loaded) < set(written_keys(dataset))


def test_without_shuffling_the_order_is_that_written_in_every_epoch(dataset):
    batches = load(dataset, shuffle=False, outputs=("key",))
    assert keys(batches) == keys(batches) == written_keys(dataset)


def test_equal_seeds_give_equal_orders_epoch_by_epoch(dataset):
    one, other = (load(dataset, seed=5, outputs=("key",)) for _ in range(2))
    assert [keys(one) for _ in range(3)] == [keys(other) for _ in range(3)]


def test_other_seeds_give_other_orders(dataset):
    orders = {tuple(load_keys(dataset, seed=seed)) for seed in (0, 1, 2, 3, 2**40)}
    assert len(orders) == 5


def test_each_iterator_is_an_epoch_with_an_order_of_its_own(dataset):
    batches = load(dataset, outputs=("key",))
    epochs = [keys(batches) for _ in range(3)]
    assert len(set(map(tuple, epochs))) == 3
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])


def test_shuffling_moves_examples_across_shards(dataset):
    loaded = load_keys(dataset)
    shard_of = {
        example["image/source_id"][0]: number
        for number, shard in enumerate(sorted(dataset.glob("train-*.tfrecord")))
        for example in (parse_example(r.data) for r in read_shard(str(shard)))
    }
    first_batch = {shard_of[key] for key in loaded[:8]}
    assert len(first_batch) > 1


def test_order_does_not_depend_on_the_batch_size(dataset):
    assert load_keys(dataset, batch_size=4) == load_keys(dataset, batch_size=16)


def test_equal_seeds_give_equal_orders_in_another_process(dataset):
    program = (
        "import reader\n"
        f"batches = reader.load({f'{dataset}/train-*'!r}, batch_size=8, seed=5,\n"
        "    image_size=16, outputs=('key',))\n"
        "for (batch,) in batches.as_numpy_iterator():\n"
        "    print(*(key.decode() for key in batch))\n"
    )
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, env=quiet)
    assert done.stdout.split() == load_keys(dataset, seed=5)


def test_order_does_not_depend_on_the_global_seed_of_tensorflow(dataset):
    before = load_keys(dataset, seed=5)
    tf.random.set_seed(123)
    try:
        after = load_keys(dataset, seed=5)
    finally:
        tf.random.set_seed(None)
    assert before == after


# Which shards.


@pytest.mark.parametrize(
    ("split", "num"), [("train", NUM_TRAIN), ("validation", NUM_VALIDATION)]
)
def test_a_folder_with_a_split_is_all_shards_of_the_split(dataset, split, num):
    batches = reader.load(
        str(dataset), split=split, batch_size=num, image_size=16, outputs=("key",)
    )
    assert sorted(keys(batches)) == sorted(written_keys(dataset, split))


def test_a_folder_of_one_split_needs_no_split(uniform):
    batches = reader.load(str(uniform), batch_size=8, image_size=16, outputs=("key",))
    assert sorted(keys(batches)) == sorted(written_keys(uniform))


def test_a_list_of_globs_is_their_union_without_repeats(dataset):
    patterns = [
        f"{dataset}/validation-*",
        f"{dataset}/train-00001-*",
        f"{dataset}/train-0000[01]-*",
    ]
    batches = reader.load(
        patterns, batch_size=1, image_size=16, shuffle=False, outputs=("key",)
    )
    train = sorted(dataset.glob("train-*.tfrecord"))[:2]
    validation = sorted(dataset.glob("validation-*.tfrecord"))
    assert keys(batches) == [
        parse_example(record.data)["image/source_id"][0]
        for shard in [*train, *validation]
        for record in read_shard(str(shard))
    ]


def test_a_glob_of_one_shard_reads_that_shard(dataset):
    shard = open_dataset(str(dataset)).manifest.shards[1]
    batches = load(dataset, "train-00001-*", batch_size=1, shuffle=False)
    assert len(batches) == shard.num_examples
    expected = [
        parse_example(record.data)["image/source_id"][0]
        for record in read_shard(str(dataset / shard.file))
    ]
    assert load_keys(dataset, "train-00001-*", batch_size=1, shuffle=False) == expected


def test_a_path_of_one_shard_needs_no_wildcard(dataset):
    shard = open_dataset(str(dataset)).manifest.shards[0]
    assert len(load(dataset, shard.file, batch_size=1)) == shard.num_examples


def test_a_relative_glob_is_read_from_the_working_folder(dataset, monkeypatch):
    monkeypatch.chdir(dataset)
    batches = reader.load("train-*", batch_size=8, image_size=16, outputs=("key",))
    assert sorted(keys(batches)) == sorted(written_keys(dataset))


def test_a_list_of_path_objects_is_accepted(dataset):
    assert len(reader.load([dataset / "train-*"], batch_size=8, image_size=16)) == 6


def test_a_single_path_object_is_accepted(dataset):
    assert len(reader.load(dataset / "train-*", batch_size=8, image_size=16)) == 6


def test_one_folder_may_be_spelled_in_two_ways(dataset, monkeypatch):
    monkeypatch.chdir(dataset)
    patterns = ["train-*", f"{dataset}/validation-*"]
    assert len(reader.load(patterns, batch_size=10, image_size=16)) == 6


# What an example holds.


def test_keys_captions_and_sizes_are_those_stored(dataset):
    names = ("key", "caption", "height", "width")
    batches = load(dataset, batch_size=1, shuffle=False, outputs=names)
    loaded = [tuple(v.item() for v in batch) for batch in batches.as_numpy_iterator()]
    assert loaded == [
        (
            example["image/source_id"][0],
            example["image/caption"][0],
            example["image/height"][0],
            example["image/width"][0],
        )
        for example in written(dataset)
    ]


def rows(folder: Path, split: str = "train", **settings) -> Iterator[tuple]:
    """(tokens, mask, length) of each example, in the order written, as lists."""
    names = ("tokens", "mask", "length")
    settings = {"batch_size": 1, "shuffle": False, "outputs": names, **settings}
    for batch in load(folder, f"{split}-*", **settings).as_numpy_iterator():
        yield tuple(values[0].tolist() for values in batch)


@pytest.mark.parametrize("max_tokens", [2, 3, 5, 9, 64, 300])
def test_captions_are_cut_or_padded_and_keep_start_and_end(dataset, max_tokens):
    loaded = list(rows(dataset, max_tokens=max_tokens))
    for (tokens, mask, length), ids in zip(
        loaded, first_captions(dataset), strict=True
    ):
        framed = [START, *ids[: max_tokens - 2], END]
        assert tokens == framed + [PAD] * (max_tokens - len(framed))
        assert mask == [place < len(framed) for place in range(max_tokens)]
        assert length == len(framed)


@pytest.mark.parametrize("max_tokens", [1, 5, 64])
def test_without_special_tokens_rows_hold_words_alone(dataset, max_tokens):
    loaded = list(rows(dataset, max_tokens=max_tokens, add_special_tokens=False))
    for (tokens, mask, length), ids in zip(
        loaded, first_captions(dataset), strict=True
    ):
        kept = ids[:max_tokens]
        assert tokens == kept + [PAD] * (max_tokens - len(kept))
        assert sum(mask) == length == len(kept)


def test_a_caption_without_words_is_start_and_end(uniform):
    by_length = {length: tokens for tokens, _, length in rows(uniform, max_tokens=6)}
    assert by_length[2] == [START, END, PAD, PAD, PAD, PAD]


def test_a_caption_without_words_or_special_tokens_is_all_padding(uniform):
    loaded = rows(uniform, max_tokens=4, add_special_tokens=False)
    assert ([PAD] * 4, [False] * 4, 0) in list(loaded)


def test_a_caption_longer_than_the_row_fills_it(uniform):
    assert max(length for _, _, length in rows(uniform)) == 64


def test_the_tokenizer_decodes_a_row_of_a_batch(dataset):
    tokenizer = reader.tokenizer(dataset)
    batch = next(iter(load(dataset, outputs=("tokens", "caption"))))
    for tokens, caption in zip(*batch, strict=True):
        text = caption.numpy().decode()
        assert tokenizer.decode(tokens) == tokenizer.decode(tokenizer.encode(text))
        assert tokenizer.decode(tokens).split() == text.replace(",", "").lower().split()


# Pixels.


def loaded_pictures(folder: Path, **settings) -> list[np.ndarray]:
    """Images in the order written, in levels of 0…255."""
    settings = {"batch_size": 1, "shuffle": False, "outputs": ("image",), **settings}
    return [b[0][0] * 255 for b in load(folder, **settings).as_numpy_iterator()]


def region(pixels: np.ndarray, size: tuple[int, int], fraction: float) -> np.ndarray:
    """`fraction` of the largest region of the aspect ratio of `size`, in the middle."""
    height, width = pixels.shape[:2]
    scale = min(height / size[0], width / size[1]) * fraction
    tall, wide = (max(1, round(side * scale)) for side in size)
    top, left = (height - tall) // 2, (width - wide) // 2
    return pixels[top : top + tall, left : left + wide]


def resampled(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pillow's bilinear filter, which is antialiased as TensorFlow's is on request."""
    image = Image.fromarray(pixels)
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR), float)


def is_near(image: np.ndarray, pixels: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether an image is a region, resampled, to the tolerance that is stated."""
    difference = np.abs(image - resampled(pixels, size))
    if all(side >= 3 * to for side, to in zip(pixels.shape, size, strict=False)):
        # A smaller version may have been decoded: docs/reading.md#images. These are
        # noise, for which all filters differ the most.
        return bool(difference.mean() < 6 and np.percentile(difference, 99) < 25)
    # Both round to whole levels, from differently rounded weights.
    return bool(difference.max() < 1.01)


@pytest.mark.parametrize("fraction", [0.5, 0.875, 1.0])
@pytest.mark.parametrize("size", [(16, 16), (48, 48), (31, 90), (90, 31), (400, 400)])
def test_center_crop_is_the_middle_region_resampled(odd, size, fraction):
    loaded = loaded_pictures(odd, image_size=size, crop_fraction=fraction)
    for image, stored in zip(loaded, pictures(odd), strict=True):
        assert is_near(image, region(stored, size, fraction), size), stored.shape


@pytest.mark.parametrize("size", [(16, 16), (31, 90), (400, 300)])
def test_crop_none_stretches_the_whole_image(odd, size):
    loaded = loaded_pictures(odd, image_size=size, crop="none")
    for image, stored in zip(loaded, pictures(odd), strict=True):
        assert is_near(image, stored, size), stored.shape


def test_a_single_number_is_height_and_width(dataset):
    one = loaded_pictures(dataset, image_size=24)
    other = loaded_pictures(dataset, image_size=(24, 24))
    assert np.array_equal(one, other)


def test_a_region_of_the_size_asked_for_is_not_resampled(odd):
    by_shape = {stored.shape[:2]: stored for stored in pictures(odd)}
    loaded = loaded_pictures(odd, image_size=56)  # 64 × 0.875
    expected = by_shape[64, 64][4:60, 4:60]
    assert any(np.abs(image - expected).max() < 1e-3 for image in loaded)


def test_images_smaller_than_the_size_asked_for_are_enlarged(odd):
    loaded = loaded_pictures(odd, image_size=32)
    stored = pictures(odd)
    (index,) = (i for i, pixels in enumerate(stored) if pixels.shape == (1, 1, 3))
    assert np.abs(loaded[index] - stored[index]).max() < 1e-3


def test_images_of_one_size_are_read_as_they_are_stored(uniform):
    loaded = loaded_pictures(uniform, image_size=None)
    assert len(loaded) == 8
    for image, stored in zip(loaded, pictures(uniform), strict=True):
        assert image.shape == (32, 40, 3)
        assert np.abs(image - stored).max() < 1e-3


def test_shape_is_static_for_images_as_stored(uniform):
    spec = reader.load(str(uniform), batch_size=4).element_spec
    assert spec["image"].shape == (4, 32, 40, 3)


def test_images_of_several_sizes_need_an_image_size(dataset):
    message = "image_size must be given: stored images are 240 to 360 pixels wide"
    with pytest.raises(reader.UsageError, match=message):
        load(dataset, image_size=None)


def test_no_image_size_is_needed_where_no_image_is_asked_for(dataset):
    assert len(load_keys(dataset, image_size=None)) == NUM_TRAIN


# Formats of stored images.


def unpacked(example: dict[str, list]) -> np.ndarray:
    (encoded,), (format,) = example["image/encoded"], example["image/format"]
    if format != b"raw":
        with Image.open(io.BytesIO(encoded)) as image:
            assert image.format == format.decode().upper()
            return np.asarray(image)
    size = (example["image/height"][0], example["image/width"][0], 3)
    return np.frombuffer(encoded, np.uint8).reshape(size)


@pytest.fixture(scope="module", params=["png", "raw"])
def lossless(build, odd, request, tmp_path_factory) -> Path:
    """The sources of `odd`, stored without loss."""
    source = tmp_path_factory.mktemp("lossless")
    for file in odd.parent.glob("*.*"):
        shutil.copy(file, source)
    return build(
        source, source, source / "out", resize="none", image_format=request.param
    )


def test_what_is_stored_without_loss_is_the_source(lossless, odd):
    for example in written(lossless):
        (key,) = example["image/source_id"]
        with Image.open(odd.parent / f"{key.decode()}.png") as image:
            assert (unpacked(example) == np.asarray(image)).all()


@pytest.mark.parametrize("size", [(16, 16), (31, 90), (400, 300)])
def test_images_stored_without_loss_are_cut_and_resampled_alike(lossless, size):
    examples = [unpacked(example) for example in written(lossless)]
    loaded = loaded_pictures(lossless, image_size=size)
    for image, stored in zip(loaded, examples, strict=True):
        expected = resampled(region(stored, size, 0.875), size)
        assert np.abs(image - expected).max() < 1.01, stored.shape


def test_images_stored_without_loss_are_stretched_alike(lossless):
    examples = [unpacked(example) for example in written(lossless)]
    loaded = loaded_pictures(lossless, image_size=20, crop="none")
    for image, stored in zip(loaded, examples, strict=True):
        assert np.abs(image - resampled(stored, (20, 20))).max() < 1.01


def test_a_format_that_this_reader_does_not_know_is_named(own_dataset):
    manifest = own_dataset / "manifest.json"
    data = manifest.read_text().replace('"format": "jpeg"', '"format": "jxl"')
    manifest.write_text(data)
    with pytest.raises(reader.DatasetError, match=r'"jxl".*upgrade'):
        load(own_dataset)


# Wrong usage.


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"batch_size": 0}, ["batch_size", "got 0"]),
        ({"batch_size": -4}, ["batch_size", "got -4"]),
        ({"batch_size": 49}, ["batch_size", "got 49 and 48"]),
        ({"image_size": 0}, ["image_size", "0"]),
        ({"image_size": -1}, ["image_size", "-1"]),
        ({"image_size": (224, 0)}, ["image_size", "(224, 0)"]),
        ({"image_size": (224,)}, ["image_size", "(224,)"]),
        ({"image_size": (1, 2, 3)}, ["image_size", "(1, 2, 3)"]),
        ({"image_size": (2.5, 3)}, ["image_size", "2.5"]),
        ({"image_size": "224"}, ["image_size", "'224'"]),
        (
            {"crop": "centre"},
            ["crop", '"center" or "random" or "random_resized" or "none"', '"centre"'],
        ),
        ({"crop": None}, ["crop", "None"]),
        ({"crop_fraction": 0}, ["crop_fraction", "got 0"]),
        ({"crop_fraction": -0.5}, ["crop_fraction", "-0.5"]),
        ({"crop_fraction": 1.01}, ["crop_fraction", "1.01"]),
        ({"crop_fraction": float("nan")}, ["crop_fraction", "nan"]),
        ({"max_tokens": 1}, ["max_tokens", "at least 2", "got 1"]),
        ({"max_tokens": 0, "add_special_tokens": False}, ["max_tokens", "got 0"]),
        ({"shuffle_bytes": 0}, ["shuffle_bytes", "got 0"]),
        ({"seed": -1}, ["seed", "got -1"]),
        ({"outputs": ("image", "label")}, ["outputs", "caption", "'label'"]),
        ({"outputs": ()}, ["outputs", "empty"]),
        ({"split": "train"}, ['split="train"', "folder", "train-*.tfrecord"]),
    ],
    ids=repr,
)
def test_a_wrong_argument_is_refused_with_its_value(dataset, settings, parts):
    with pytest.raises(reader.UsageError) as raised:
        load(dataset, **settings)
    for part in parts:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"batch_size": "8"}, ["batch_size", "8"]),
        ({"batch_size": 8.5}, ["batch_size", "8.5"]),
        ({"batch_size": None}, ["batch_size", "None"]),
        ({"batch_size": True}, ["batch_size", "True"]),
        ({"image_size": 224.0}, ["image_size", "224.0"]),
        ({"image_size": True}, ["image_size", "True"]),
        ({"max_tokens": 2.5}, ["max_tokens", "2.5"]),
        ({"seed": None}, ["seed", "None"]),
        ({"seed": 1.5}, ["seed", "1.5"]),
        ({"crop_fraction": "1"}, ["crop_fraction", "1"]),
        ({"outputs": "image"}, ["outputs", "image", "tuple"]),
    ],
    ids=repr,
)
def test_an_argument_of_a_wrong_type_is_refused_with_its_value(
    dataset, settings, parts
):
    with pytest.raises(reader.UsageError) as raised:
        load(dataset, **settings)
    for part in parts:
        assert part in str(raised.value)


def test_sizes_may_be_numbers_of_numpy(dataset):
    size = np.int64(24)
    batches = load(dataset, image_size=size, batch_size=np.int64(8))
    assert batches.element_spec["image"].shape == (8, 24, 24, 3)


def test_weights_of_patterns_are_not_ignored(dataset):
    weights = {f"{dataset}/train-*": 0.9, f"{dataset}/validation-*": 0.1}
    with pytest.raises(reader.UsageError):
        reader.load(weights, batch_size=8, image_size=16)


def test_wrong_usage_is_a_value_error(dataset):
    with pytest.raises(ValueError, match="batch_size"):
        load(dataset, batch_size=0)


# Damage that shows only while reading.


def damage(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def test_a_corrupt_record_is_never_passed_over(own_dataset):
    damage(own_dataset / "train-00000-of-00003.tfrecord", 5000)
    with pytest.raises(reader.DatasetError):
        load_keys(own_dataset)


def test_a_corrupt_record_is_named_by_file_offset_and_key(own_dataset):
    shard = own_dataset / "train-00000-of-00003.tfrecord"
    damage(shard, 5000)
    with pytest.raises(reader.DatasetError) as raised:
        load_keys(own_dataset)
    assert f"{shard} at byte 3990" in str(raised.value)
    assert 'key "scene-' in str(raised.value)

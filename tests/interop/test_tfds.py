"""TensorFlow Datasets makes a builder of a dataset's folder."""

import json

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

IMAGE, KEY, TEXT = "image/encoded", "image/source_id", "image/caption"


def examples(folder, split, **settings):
    """`{key: example}` of a split, as TFDS gives it."""
    builder = tfds.builder_from_directory(str(folder))
    read = tfds.as_numpy(builder.as_dataset(split=split, **settings))
    return {example[KEY].decode(): example for example in read}


def same(found, values):
    """Tells whether a tensor holds a record's values; NaN is itself."""
    if isinstance(found, bytes):
        return [found] == values
    return np.array_equal(
        np.asarray(found).ravel().tolist(), values, equal_nan=found.dtype.kind == "f"
    )


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_every_record_of_every_split_is_read(make, published, expected, splits, form):
    folder = published if form == "jpeg" else make(image_format="png")
    for split in splits(folder):
        records = expected(folder, split)
        found = examples(folder, split)
        assert found.keys() == records.keys() and records
        for key, record in records.items():
            example = found[key]
            assert example.keys() == record.keys()
            (encoded,) = record.pop(IMAGE)
            pixels = tf.io.decode_image(encoded, channels=3).numpy()
            np.testing.assert_array_equal(example[IMAGE], pixels)
            for name, values in record.items():
                assert same(example[name], values), (key, name)


def test_all_splits_come_at_once(published, expected):
    datasets = tfds.builder_from_directory(str(published)).as_dataset()
    assert datasets.keys() == {"train", "validation_2"}
    for split, dataset in datasets.items():
        assert len(dataset) == len(expected(published, split))


def test_token_ids_are_those_of_each_caption(published):
    for example in examples(published, "train").values():
        ragged = tf.RaggedTensor.from_row_lengths(
            example["caption/ids"], example["caption/lengths"]
        )
        assert ragged.nrows() == len(example[TEXT])


def test_pairs_and_parts_of_splits_are_as_usual(published, expected):
    builder = tfds.builder_from_directory(str(published))
    pairs = list(builder.as_dataset(split="train[3:10]", as_supervised=True))
    assert len(pairs) == 7
    everything = [record[TEXT] for record in expected(published, "train").values()]
    for image, captions in pairs:
        assert image.shape[2] == 3 and image.dtype == tf.uint8
        assert captions.numpy().tolist() in everything


def test_what_was_said_of_the_dataset_is_there(published):
    info = tfds.builder_from_directory(str(published)).info
    assert info.name == 'Shapes & "co"' and str(info.version) == "2.0.1"
    assert info.description == "Coloured shapes – drawn."
    assert info.homepage == "https://example.org/shapes"
    assert info.citation == "@misc{shapes, title={Shapes}}"
    assert "publicdomain/zero" in info.redistribution_info.license
    bare = [path.stat().st_size for path in published.glob("*.tfrecord")]
    framing = 16 * sum(split.num_examples for split in info.splits.values())
    assert info.dataset_size == sum(bare) - framing


def test_raw_images_of_one_size_are_images(make, expected):
    folder = make(image_format="raw", resize="crop", image_size=20)
    found = examples(folder, "train")
    for key, record in expected(folder, "train").items():
        pixels = np.frombuffer(record[IMAGE][0], np.uint8).reshape(20, 20, 3)
        np.testing.assert_array_equal(found[key][IMAGE], pixels)


def test_raw_images_of_several_sizes_are_rows_of_pixels(make, expected):
    folder = make(image_format="raw")
    found = examples(folder, "train")
    for key, record in expected(folder, "train").items():
        example = found[key]
        size = example["image/height"], example["image/width"], 3
        pixels = np.frombuffer(record[IMAGE][0], np.uint8).reshape(size)
        np.testing.assert_array_equal(example[IMAGE].reshape(size), pixels)


def test_empty_shards_and_splits_are_no_hindrance(scattered, expected):
    datasets = tfds.builder_from_directory(str(scattered)).as_dataset()
    # TFDS fails where it is told of a split without records.
    assert datasets.keys() == {"train"}
    assert len(list(datasets["train"])) == len(expected(scattered, "train")) == 36


def test_load_finds_it_by_name_where_tfds_looks(make, tmp_path):
    folder = make(name="shapes")
    (tmp_path / "shapes").mkdir()
    folder.rename(tmp_path / "shapes" / "1.0.0")
    dataset, info = tfds.load(
        "shapes", data_dir=str(tmp_path), split="train", with_info=True
    )
    assert len(list(dataset)) == info.splits["train"].num_examples
    says = json.loads((tmp_path / "shapes/1.0.0/dataset_info.json").read_bytes())
    assert says["description"].startswith("36 images with captions: ")

"""`reader.open` on damaged records and on foreign TFRecords.

Expected values come from `reader.load`, from TensorFlow's own parser, and from Pillow.
"""

import io
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from record_access import (
    FRAMING,
    by_pillow,
    encoded,
    flip,
    keys_of,
    open_train,
    stored,
    write,
)

import reader
from reader import DatasetError, UsageError

# Damage.


def test_a_damaged_record_is_named_and_the_others_are_read(own_dataset):
    first, second, *_ = sorted(own_dataset.glob("train-*.tfrecord"))
    lengths = [len(r) for r in tf.data.TFRecordDataset(str(second)).as_numpy_iterator()]
    number = sum(1 for _ in tf.data.TFRecordDataset(str(first))) + 2
    begin = sum(lengths[:2]) + 2 * FRAMING
    flip(second, begin + 300)
    data, expected = open_train(own_dataset, "key"), keys_of(own_dataset, first.name)
    with pytest.raises(DatasetError) as raised:
        data[number]
    key = data.samples.column("key")[number].as_py()
    named = f'{second} at byte {begin} (key "{key}")'
    assert f"checksum of its data differs) in {named}" in str(raised.value)
    with pytest.raises(DatasetError, match=f"at byte {begin} "):
        data.by_key(key)
    assert [data[i][0] for i in range(number - 2)] == expected
    assert data[number - 1] and data[number + 1]


def test_a_record_cut_off_after_opening_is_named(own_dataset):
    path = sorted(own_dataset.glob("train-*.tfrecord"))[-1]
    data = open_train(own_dataset, "key")
    os.truncate(path, path.stat().st_size - 5)
    with pytest.raises(DatasetError, match=rf"truncated record in {path} at byte"):
        data[-1]


def test_a_missing_shard_is_named(own_dataset):
    path = sorted(own_dataset.glob("train-*.tfrecord"))[-1]
    data = open_train(own_dataset, "key")
    path.unlink()
    assert data[0]
    for look in (lambda: data[-1], lambda: open_train(own_dataset)):
        with pytest.raises(DatasetError, match=rf"{path} is missing"):
            look()


def test_without_an_index_of_its_records_a_shard_is_read_all_the_same(own_dataset):
    expected = list(open_train(own_dataset, "key"))
    for path in (own_dataset / "index").glob("*.idx"):
        path.unlink()
    assert list(open_train(own_dataset, "key")) == expected


@pytest.mark.parametrize("how", ["jpeg", "none", "two", "png"])
def test_an_intact_record_that_cannot_be_used_is_named(tmp_path, how):
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
    jpeg = encoded(noise, "JPEG")
    images = {
        "jpeg": [jpeg[:-100]],
        "png": [encoded(noise, "PNG")[:900]],
        "two": [jpeg, jpeg],
    }
    rows = [{"image/encoded": [jpeg], "image/source_id": [b"a"]}] * 2
    bad = {"image/encoded": images.get(how, []), "image/source_id": [b"b"]}
    bad = {name: values for name, values in bad.items() if values}
    begin = write(tmp_path / "good.record", rows).stat().st_size
    data = reader.open(write(tmp_path / "a.record", [*rows, bad]))
    assert np.array_equal(data[1]["image"], by_pillow(jpeg))
    with pytest.raises(DatasetError, match=rf'a.record at byte {begin} \(key "b"\)'):
        data[2]


# Foreign TFRecords.


def test_files_of_others_are_read_as_load_reads_them(shared_data):
    path = shared_data / "tfrecords" / "pets_examples.record"
    names = ("key", "height", "width")
    loaded = reader.load(path, batch_size=1, shuffle=False, outputs=names)
    expected = [
        (key.decode(), int(height), int(width))
        for key, height, width in loaded.unbatch().as_numpy_iterator()
    ]
    data = reader.open(path, outputs=(*names, "image"))
    assert [row[:-1] for row in data] == expected
    for features, (*_, image) in zip(stored(path.parent, path.name), data, strict=True):
        (jpeg,) = features["image/encoded"].bytes_list.value
        assert np.array_equal(image, by_pillow(jpeg))
    assert list(reader.open(path)[0]) == ["image"]
    with pytest.raises(UsageError, match="no samples"):
        data.samples  # noqa: B018


def test_images_of_others_may_be_of_any_kind(tmp_path):
    y, x = np.mgrid[:12, :20]
    pixels = np.stack([x * 12, y * 20, x + y], axis=-1).astype(np.uint8)
    wide = (np.arange(240, dtype=np.uint16) * 271).reshape(12, 20)
    deep = io.BytesIO()
    Image.fromarray(wide).save(deep, "PNG")
    jpeg = encoded(pixels, "JPEG")
    images = {
        "jpeg": jpeg,
        "gray": encoded(pixels, "JPEG", "L"),
        "progressive": encoded(pixels, "JPEG", progressive=True),
        "cmyk": encoded(pixels, "JPEG", "CMYK"),
        "stray": jpeg[:-2] + b"\0\0\0" + jpeg[-2:],
        "png": encoded(pixels, "PNG"),
        "alpha": encoded(pixels, "PNG", "RGBA"),
        "gif": encoded(pixels, "GIF"),
        "bmp": encoded(pixels, "BMP"),
    }
    rows = [
        {"picture": [data], "name": [name.encode()]} for name, data in images.items()
    ]
    rows.append({"picture": [deep.getvalue()], "name": [b"deep"]})
    path = write(tmp_path / "a.record", rows)
    named = {"image": "picture", "key": "name"}
    data = reader.open(path, features=named, outputs=("key", "image"))
    found = dict(data)
    for name, image in images.items():
        difference = np.abs(found[name].astype(int) - by_pillow(image)).max()
        assert difference <= (name == "cmyk"), (
            name
        )  # The two decoders round differently.
    assert np.array_equal(found["png"], pixels)
    by_tensorflow = tf.io.decode_png(deep.getvalue(), channels=3).numpy()
    assert np.array_equal(found["deep"], by_tensorflow)
    assert data.by_key("gif")[0] == "gif"


def test_ids_of_others_are_one_caption_and_may_be_missing(tmp_path):
    rows = [{"w": [4, 5, 6, 7], "t": [b"caf\xe9", b"b"]}, {"w": [9]}, {"t": [b"c"]}]
    path = write(tmp_path / "a.record", rows)
    named = {"ids": "w", "caption": "t"}
    how = {"features": named, "max_tokens": 3, "outputs": ("tokens", "mask", "caption")}
    found = [(t.tolist(), m.tolist(), c) for t, m, c in reader.open(path, **how)]
    assert found == [
        ([4, 5, 6], [True] * 3, "caf�"),
        ([9, 0, 0], [True, False, False], ""),
        ([0, 0, 0], [False] * 3, "c"),
    ]
    with pytest.raises(UsageError, match=r"image.*features="):
        reader.open(path, features=named)

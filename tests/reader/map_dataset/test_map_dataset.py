"""Records by their number: what `reader.open` is to return.

Answers come from `reader.load`, from TensorFlow's own parser, and from Pillow.
"""

import io
import json
import operator
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import torch
from PIL import Image
from torch.utils.data import DataLoader

import beam_jobs
import reader
import reader.map_dataset.map_dataset
import reader.records.random_access
from beam_jobs import JobConfig
from beam_jobs.config.columns import parse_columns
from beam_jobs.config.values import parse_splits
from reader import DatasetError, UsageError

NUM_TRAIN, NUM_MANY = 48, 509
FRAMING = 16  # Bytes of a record in its file, beside its own.


def open_train(
    folder: Path, *outputs: str, **settings: Any
) -> reader.map_dataset.map_dataset.MapDataset:
    settings = {"outputs": outputs, **settings} if outputs else settings
    return reader.open(f"{folder}/train-*.tfrecord", **settings)


def stored(folder: Path, glob: str = "train-*.tfrecord") -> list[Any]:
    """The features of all records, in the order written, by TensorFlow alone."""
    paths = sorted(map(str, folder.glob(glob)))
    records = tf.data.TFRecordDataset(paths).as_numpy_iterator()
    return [tf.train.Example.FromString(data).features.feature for data in records]


def texts(features: Any, name: str) -> list[str]:
    return [value.decode() for value in features[name].bytes_list.value]


def keys_of(folder: Path, glob: str = "train-*.tfrecord") -> list[str]:
    return [texts(f, "image/source_id")[0] for f in stored(folder, glob)]


def by_pillow(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def write(path: Path, rows: Iterable[dict[str, Any]], compression: str = "") -> Path:
    """Writes TFRecords as others do."""
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for row in rows:
            example = tf.train.Example()
            for name, values in row.items():
                feature = example.features.feature[name]
                kind = {bytes: feature.bytes_list, int: feature.int64_list}
                kind[type(values[0])].value.extend(values)
            writer.write(example.SerializeToString())
    return path


def encoded(pixels: np.ndarray, form: str, mode: str = "RGB", **how: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form, **how)
    return file.getvalue()


def equal(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name]) for name in one
    )


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def run_python(code: str, *args: object) -> str:
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def photographs(shared_data, build, tmp_path_factory) -> Path:
    """Twelve photographs, some of which are no JPEG or have an orientation."""
    pairs, source = shared_data / "pairs", tmp_path_factory.mktemp("photographs")
    for image in sorted((pairs / "images").iterdir())[:12]:
        shutil.copy(image, source)
        shutil.copy(pairs / "captions" / f"{image.stem}.txt", source)
    return build(source, source, source / "out")


@pytest.fixture(scope="module")
def awkward(build, tmp_path_factory) -> Path:
    """Three keys, of which two are shown alike; and an empty split."""
    source = os.fsencode(tmp_path_factory.mktemp("awkward"))
    for number, name in enumerate([b"caf\xe9", b"caf%E9", "né".encode()]):
        picture = encoded(np.full((8, 8, 3), 80 * number, np.uint8), "PNG")
        Path(os.fsdecode(source + b"/" + name + b".png")).write_bytes(picture)
        Path(os.fsdecode(source + b"/" + name + b".txt")).write_text(f"text {number}")
    folder = Path(os.fsdecode(source))
    splits = parse_splits("train=0.999,validation=0.001")
    return build(folder, folder, folder / "out", splits=splits)


# What an example holds.


def test_an_example_is_a_dictionary_of_image_tokens_and_mask(dataset):
    example = open_train(dataset)[0]
    assert list(example) == ["image", "tokens", "mask"]
    assert example["image"].dtype == np.uint8
    assert example["tokens"].dtype == np.int32
    assert example["mask"].dtype == np.bool_
    assert example["tokens"].shape == example["mask"].shape == (64,)


def test_an_example_is_a_tuple_in_the_order_of_outputs(dataset):
    names = ("mask", "key", "image", "key")
    row = open_train(dataset, *names)[3]
    whole = open_train(dataset, "image", "key", "mask")[3]
    image, key, mask = whole
    assert isinstance(row, tuple)
    assert (row[0] == mask).all() and (row[2] == image).all()
    assert row[1] == row[3] == key


@pytest.mark.parametrize(("max_tokens", "special"), [(2, True), (6, False), (8, True)])
def test_all_but_pixels_are_those_of_load(dataset, max_tokens, special):
    names = ("tokens", "mask", "length", "key", "caption", "height", "width")
    how = {"max_tokens": max_tokens, "add_special_tokens": special, "outputs": names}
    pattern = f"{dataset}/train-*.tfrecord"
    loaded = reader.load(pattern, batch_size=1, shuffle=False, **how)
    expected = list(loaded.unbatch().as_numpy_iterator())
    found = list(reader.open(pattern, **how))
    assert len(found) == len(expected) == NUM_TRAIN
    for mine, theirs in zip(found, expected, strict=True):
        assert mine[0].tolist() == theirs[0].tolist()
        assert mine[1].tolist() == theirs[1].tolist()
        plain = [v.decode() if isinstance(v, bytes) else int(v) for v in theirs[2:]]
        assert list(mine[2:]) == plain
        assert [type(value) for value in mine[2:]] == [int, str, str, int, int]


@pytest.mark.parametrize("source", ["dataset", "photographs"])
def test_pixels_are_those_that_pillow_decodes(source, request):
    folder = request.getfixturevalue(source)
    found, records = open_train(folder, "image"), stored(folder)
    assert len(found) == len(records)
    for (image,), features in zip(found, records, strict=True):
        (jpeg,) = features["image/encoded"].bytes_list.value
        assert np.array_equal(image, by_pillow(jpeg))
        image[:] = 0  # It is writable.


@pytest.mark.parametrize("form", ["png", "raw"])
def test_what_is_stored_without_loss_is_the_source(form, build, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(encoded(pixels, "PNG"))
    (tmp_path / "a.txt").write_text("noise")
    build(tmp_path, tmp_path, tmp_path / "out", image_format=form)
    ((image,),) = open_train(tmp_path / "out", "image")
    assert np.array_equal(image, pixels)
    image[:] = 0


def test_captions_are_all_of_them_and_caption_is_the_first(dataset):
    expected = [texts(features, "image/caption") for features in stored(dataset)]
    found = list(open_train(dataset, "captions", "caption"))
    assert [captions for captions, _ in found] == expected
    assert [caption for _, caption in found] == [first for first, _ in expected]


def test_columns_have_the_type_they_were_stored_with(build, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(np.zeros((8, 8, 3), np.uint8), "PNG"))
    row = {"image": "a.png", "caption": "x", "n": 7, "score": 0.1, "url": "é"}
    row["emb"] = [1.5, -2.0]
    (tmp_path / "t.jsonl").write_text(json.dumps(row))
    spec = "n:int,score:float,url:str,emb:float[2]"
    table, output = str(tmp_path / "t.jsonl"), str(tmp_path / "out")
    beam_jobs.run(JobConfig(table=table, output=output, columns=parse_columns(spec)))
    names = ("extra/n", "extra/score", "extra/url", "extra/emb")
    data = open_train(tmp_path / "out", *names)
    ((n, score, url, emb),) = data
    assert (n, url, emb.tolist(), emb.dtype) == (7, "é", [1.5, -2.0], np.float32)
    assert type(score) is np.float32 and score == np.float32(0.1)
    assert data.samples.column("extra/n").to_pylist() == [7]
    with pytest.raises(UsageError, match=r"extra/x.*extra/score"):
        open_train(tmp_path / "out", "extra/x")


def test_transform_is_applied_to_what_would_be_returned(dataset):
    plain = open_train(dataset, "key", "length")
    second = open_train(dataset, "key", "length", transform=operator.itemgetter(1))
    assert list(second) == [length for _, length in plain]
    sizes = open_train(dataset, transform=lambda example: example["image"].size)
    assert sizes[0] == open_train(dataset)[0]["image"].size


# Numbers.


def test_numbers_may_be_negative_or_of_numpy_or_torch(dataset):
    data, expected = open_train(dataset, "key"), keys_of(dataset)
    assert len(data) == NUM_TRAIN
    assert [data[i][0] for i in range(-len(data), 0)] == expected
    for number in (np.int64(5), np.uint8(5), torch.tensor(5), np.array(5)):
        assert data[number] == (expected[5],)
    assert list(data) == [(key,) for key in expected]


@pytest.mark.parametrize("number", [NUM_TRAIN, -NUM_TRAIN - 1, 10**20])
def test_a_number_that_is_none_is_told_with_the_length(dataset, number):
    with pytest.raises(IndexError, match=rf"{number}\b.* {NUM_TRAIN}"):
        open_train(dataset, "key")[number]


@pytest.mark.parametrize("number", ["park/1", 1.0, None, slice(2), [1], np.arange(2)])
def test_what_is_no_number_is_a_type_error(dataset, number):
    with pytest.raises(TypeError, match="by_key"):
        open_train(dataset, "key")[number]


def test_an_empty_split_has_no_records(awkward):
    data = reader.open(awkward, split="validation")
    assert (len(data), list(data), len(data.samples)) == (0, [], 0)
    for number in (0, -1):
        with pytest.raises(IndexError, match=str(number)):
            data[number]
    with pytest.raises(KeyError):
        data.by_key("né")


def test_a_list_of_patterns_is_their_union(dataset):
    parts = [f"{dataset}/train-*", f"{dataset}/validation-*"]
    data = reader.open(parts, outputs=("key",))
    validation = keys_of(dataset, "validation-*.tfrecord")
    assert list(data) == [(key,) for key in keys_of(dataset) + validation]


def test_repr_tells_how_much_of_what_there_is(dataset):
    shown = repr(open_train(dataset, "key", "mask"))
    assert all(part in shown for part in (str(dataset), "48 records", "key, mask"))


# Keys.


@pytest.mark.parametrize("tables", [True, False], ids=["tables", "records"])
def test_each_key_finds_its_record(own_dataset, tables):
    if not tables:
        shutil.rmtree(own_dataset / "samples")
    data, expected = open_train(own_dataset, "key", "length"), keys_of(own_dataset)
    for number, key in enumerate(expected):
        assert data.by_key(key) == data.by_key(key.encode()) == data[number]


@pytest.mark.parametrize("tables", [True, False], ids=["tables", "records"])
def test_keys_that_are_shown_alike_are_told_apart(awkward, tables, tmp_path):
    folder = Path(shutil.copytree(awkward, tmp_path / "out"))
    if not tables:
        shutil.rmtree(folder / "samples")
    data = reader.open(folder, split="train", outputs=("key", "caption"))
    assert data.by_key(b"caf\xe9") == data.by_key(os.fsdecode(b"caf\xe9"))
    assert data.by_key(b"caf\xe9") == ("caf%E9", "text 0")
    assert data.by_key("caf%E9") == data.by_key(b"caf%E9") == ("caf%E9", "text 1")
    assert data.by_key("né") == data.by_key("né".encode()) == ("né", "text 2")


def test_a_key_may_be_given_as_it_is_shown(tmp_path):
    write(tmp_path / "a.record", [{"image/source_id": [b"\xff"], "n": [1]}])
    data = reader.open(tmp_path / "a.record", outputs=("key",))
    assert data.by_key("%FF") == data.by_key(b"\xff") == ("%FF",)
    with pytest.raises(KeyError, match="%FF"):
        data.by_key(b"%FF")


def test_an_unknown_key_is_named_with_those_most_like_it(dataset):
    data, key = open_train(dataset, "key"), keys_of(dataset)[7]
    with pytest.raises(KeyError) as raised:
        data.by_key(f"{key}x")
    assert f'"{key}x"' in str(raised.value)
    assert key in str(raised.value).replace(f"{key}x", "")
    with pytest.raises(TypeError, match="7"):
        data.by_key(7)


def test_a_key_that_two_records_have_is_refused(dataset, own_dataset):
    both = [f"{folder}/train-*.tfrecord" for folder in (dataset, own_dataset)]
    data = reader.open(both, outputs=("key",))
    assert len(data) == 2 * NUM_TRAIN
    with pytest.raises(KeyError, match=f"5, {NUM_TRAIN + 5}"):
        data.by_key(keys_of(dataset)[5])


def test_samples_are_the_rows_of_the_tables_in_order(dataset):
    data = open_train(dataset, "key")
    tables = sorted((dataset / "samples").glob("train-*.parquet"))
    rows = [row for path in tables for row in pq.read_table(path).to_pylist()]
    assert data.samples.to_pylist() == rows
    assert [(row["key"],) for row in rows] == list(data)


def test_a_missing_or_damaged_table_is_named(own_dataset):
    table = sorted((own_dataset / "samples").glob("train-*.parquet"))[1]
    for change in (lambda: table.write_bytes(b"PAR1"), table.unlink):
        change()
        with pytest.raises(DatasetError, match=table.name):
            open_train(own_dataset).samples  # noqa: B018


# PyTorch, processes, threads.


@pytest.mark.parametrize(
    ("workers", "context"), [(0, None), (2, "fork"), (1, "spawn")], ids=str
)
def test_it_is_a_map_style_dataset_for_pytorch(many, workers, context):
    names = ("image", "tokens", "mask", "key")
    data = open_train(many, *names)
    loader = DataLoader(
        data, 64, shuffle=True, num_workers=workers, multiprocessing_context=context
    )
    found = {}
    for *tensors, keys in loader:
        assert [t.shape[1:] for t in tensors] == [(12, 12, 3), (64,), (64,)]
        found |= dict(zip(keys, zip(*tensors, strict=True), strict=True))
    assert len(found) == NUM_MANY
    for *arrays, key in data:
        pairs = zip(arrays, found[key], strict=True)
        assert all(np.array_equal(mine, theirs.numpy()) for mine, theirs in pairs)


def test_a_pickled_one_is_small_and_reads_the_same(many):
    data = open_train(many, max_tokens=7)
    data.by_key("007"), data.samples, [data[i] for i in range(0, NUM_MANY, 50)]
    pickled = pickle.dumps(data)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert len(copy) == NUM_MANY
    assert all(map(equal, copy, data))


def test_a_pickled_one_of_a_dataset_that_has_changed_is_refused(own_dataset):
    pickled = pickle.dumps(open_train(own_dataset))
    manifest = own_dataset / "manifest.json"
    data = json.loads(manifest.read_bytes())
    # As if it were built anew, of as many records.
    data["splits"][0]["shards"][1]["crc32c"] = "01234567"
    manifest.write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=r"changed"):
        pickle.loads(pickled)


def test_threads_may_share_one_and_files_are_closed(many, monkeypatch):
    monkeypatch.setattr(reader.records.random_access, "_MAX_OPEN_FILES", 1)
    monkeypatch.setattr(reader.datasets.record_index, "_MAX_OFFSETS", 1)
    before = len(os.listdir("/proc/self/fd"))
    data, expected = open_train(many, "key"), keys_of(many)
    numbers = random.Random(0).choices(range(NUM_MANY), k=2000)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(data.__getitem__, numbers))
    assert found == [(expected[number],) for number in numbers]
    assert len(os.listdir("/proc/self/fd")) == before + 1
    del data
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_process_forked_while_a_thread_reads_is_not_stuck(own_dataset, monkeypatch):
    data, expected = open_train(own_dataset, "key"), keys_of(own_dataset)
    read_bytes = reader.datasets.index_files.read_bytes
    reading, done = threading.Event(), threading.Event()

    def slow(*args: Any) -> bytes:
        reading.set()
        done.wait(20)
        return read_bytes(*args)

    monkeypatch.setattr(reader.datasets.index_files, "read_bytes", slow)
    thread = threading.Thread(target=data.__getitem__, args=(0,))
    thread.start()
    assert reading.wait(20)
    child = os.fork()
    if not child:
        signal.alarm(10)  # Kills it if it is stuck.
        done.set()
        os._exit(data[-1] != (expected[-1],))
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


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


# TFRecords of others.


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
        assert difference <= (name == "cmyk"), name  # Each rounds in its own way.
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


# Wrong usage.


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"outputs": "image"}, ["outputs", "'image'"]),
        ({"outputs": ()}, ["outputs", "empty"]),
        ({"outputs": ("image", "pixels")}, ["outputs", "'pixels'", "captions"]),
        ({"outputs": ("valid",)}, ["outputs", "'valid'"]),
        ({"outputs": [["image"]]}, ["outputs", "['image']"]),
        ({"outputs": ("extra/score",)}, ["extra/score", "--columns"]),
        ({"max_tokens": 0}, ["max_tokens", "1", "0"]),
        ({"max_tokens": 1}, ["max_tokens", "2", "1"]),
        ({"max_tokens": 2.5}, ["max_tokens", "2.5"]),
        ({"add_special_tokens": 1}, ["add_special_tokens", "1"]),
        ({"transform": "resize"}, ["transform", "'resize'"]),
        ({"split": "test"}, ["split", "test"]),
        ({"features": {"image": "x"}}, ["features", "manifest"]),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused_by_name(dataset, settings, parts):
    pattern = dataset if "split" in settings else f"{dataset}/train-*.tfrecord"
    with pytest.raises(UsageError) as raised:
        reader.open(pattern, **settings)
    assert all(part in str(raised.value) for part in parts)


def test_wrong_arguments_are_told_before_anything_is_looked_for():
    with pytest.raises(UsageError, match="pixels"):
        reader.open("/nowhere/train-*.tfrecord", outputs=("pixels",))


def test_mixtures_and_compressed_files_are_refused(dataset, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="mixture"):
        reader.open({f"{dataset}/train-*": 1, f"{dataset}/validation-*": 2})
    path = write(tmp_path / "a.gz", [{"image/encoded": [b"x"]}], "GZIP")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(UsageError, match=r"GZIP.*uncompressed"):
        reader.open(path)


def test_keys_of_records_that_have_none_are_refused(tmp_path):
    path = write(tmp_path / "a.record", [{"text": [b"a"]}])
    data = reader.open(path, outputs=("caption",))
    with pytest.raises(UsageError, match="key"):
        data.by_key("a")


# Where it reads, and what is loaded.


def test_buckets_are_read_through_tensorflow(gcs, dataset):
    bucket = gcs.upload(dataset, "random-access")
    code = (
        "import sys; from reader.map_dataset.map_dataset import open; "
        "data = open(sys.argv[1], outputs=('key', 'length')); "
        "print(data[-1] == data.by_key(sys.argv[2]), len(data.samples), len(data))"
    )
    command = [sys.executable, "-c", code, f"{bucket}/train-*", keys_of(dataset)[-1]]
    environment = os.environ | gcs.environment
    done = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", str(NUM_TRAIN), str(NUM_TRAIN)]


def test_neither_tensorflow_nor_beam_nor_pyarrow_is_loaded_for_items(dataset):
    code = (
        "import sys; from reader.map_dataset.map_dataset import open\n"
        "data = open(sys.argv[1]); "
        "data[0]; data[-1]; heavy = 'tensorflow apache_beam pyarrow PIL cv2 tqdm'; "
        "print(len(data), [m for m in heavy.split() if m in sys.modules])"
    )
    found = run_python(code, f"{dataset}/train-*.tfrecord")
    assert found.split(maxsplit=1) == [str(NUM_TRAIN), "[]\n"]


def test_what_is_open_when_python_ends_is_closed_without_a_word(dataset):
    # TensorFlow keeps modules, so that these are emptied before their objects go.
    code = (
        "import sys, tensorflow, reader; "
        "data = reader.open(sys.argv[1], split='train'); data[0]"
    )
    command = [sys.executable, "-c", code, str(dataset)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "Exception ignored" not in done.stderr


def test_numpy_protobuf_crc32c_and_simplejpeg_are_enough(dataset):
    code = (
        "import sys\n"
        "for name in sys.argv[2].split(','):\n    sys.modules[name] = None\n"
        "from reader.map_dataset.map_dataset import open\n"
        "data = open(sys.argv[1])\n"
        "assert data.by_key(sys.argv[3]).keys() == {'image', 'tokens', 'mask'}\n"
        "try:\n    data.samples\n"
        "except ValueError as error:\n    print(error)\n"
    )
    blocked = "tensorflow,apache_beam,pyarrow,PIL,cv2,tqdm"
    found = run_python(code, f"{dataset}/train-*", blocked, keys_of(dataset)[5])
    assert "pip install pyarrow" in found


@pytest.mark.parametrize(
    ("form", "blocked", "package"),
    [("jpeg", "simplejpeg", "simplejpeg"), ("png", "PIL", "pillow")],
)
def test_a_missing_decoder_is_told_when_opening(
    own_dataset, form, blocked, package, monkeypatch
):
    manifest = own_dataset / "manifest.json"
    data = json.loads(manifest.read_bytes())
    data["image"]["format"] = form
    manifest.write_text(json.dumps(data))
    monkeypatch.setitem(sys.modules, blocked, None)
    assert open_train(own_dataset, "key", "tokens")[0]
    with pytest.raises(UsageError, match=f"pip install {package}"):
        open_train(own_dataset)

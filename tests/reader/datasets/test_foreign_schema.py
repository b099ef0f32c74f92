"""TFRecords that others wrote, through `reader.load`.

What is expected comes from `tf.data.TFRecordDataset` and `tf.io.decode_image`, or from
the lists that the tests write themselves.
"""

import io
import json
import logging
import random
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import reader

SIZE = (24, 36)
SHARED = {"pets_examples": 10, "test": 38, "train": 160}
KEY, IMAGE, TEXT = "image/source_id", "image/encoded", "image/caption"


# Writing as others do.


def feature(value: Any) -> tf.train.Feature:
    values = value if isinstance(value, list) else [value]
    if not values or isinstance(values[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def example(values: dict[str, Any]) -> bytes:
    features = {name: feature(value) for name, value in values.items()}
    message = tf.train.Example(features=tf.train.Features(feature=features))
    return message.SerializeToString()


def write(path: Path, rows: Iterable[dict[str, Any]], compression: str = "") -> Path:
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for row in rows:
            writer.write(example(row))
    return path


def picture(number: int, form: str = "PNG", size: tuple[int, int] = (20, 14)) -> bytes:
    """An encoded picture; its colours rise smoothly, so that JPEG is close to it."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 9, y * 12, np.full_like(x, number * 7 % 256)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, form, **_QUALITY.get(form, {}))
    return file.getvalue()


_QUALITY = {"JPEG": {"quality": 95}}


def key_of(number: int) -> bytes:
    return b"k%03d" % number


def row(number: int, /, **more: Any) -> dict[str, Any]:
    """A record with a key, a picture and a caption, but without ids."""
    text = f"caption {number}".encode()
    return {KEY: key_of(number), IMAGE: picture(number), TEXT: text, **more}


def small(number: int) -> dict[str, Any]:
    return {KEY: key_of(number), TEXT: b"t%d" % number}


def load(pattern: Any, **settings: Any) -> Any:
    settings = {"batch_size": 1, "outputs": ("key",), **settings}
    return reader.load(pattern, **settings)


def keys(batches: Any) -> list[bytes]:
    return [key for (batch,) in batches.as_numpy_iterator() for key in batch.tolist()]


def decoded(encoded: bytes) -> np.ndarray:
    return tf.io.decode_image(encoded, channels=3, expand_animations=False).numpy()


def decoded_by_pillow(encoded: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def cut_and_resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of a picture with the ratio of `size`: 7/8 of the largest."""
    height, width, _ = pixels.shape
    scale = min(height / size[0], width / size[1])
    tall, wide = (max(1, round(side * scale * 0.875)) for side in size)
    top, left = (height - tall) // 2, (width - wide) // 2
    region = pixels[top : top + tall, left : left + wide]
    if (tall, wide) != size:
        region = tf.image.resize(region, size, antialias=True).numpy()
    return np.clip(region, 0, 255) / 255


def first_values(path: Path, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """The first value of some features of each record, by protobuf alone."""
    found = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        features = tf.train.Example.FromString(record).features.feature
        kinds = [features[name].WhichOneof("kind") for name in names]
        values = zip(names, kinds, strict=True)
        found.append(tuple(getattr(features[n], kind).value[0] for n, kind in values))
    return found


@pytest.fixture(scope="module")
def numbered(tmp_path_factory) -> Path:
    """130 small records in three numbered files."""
    folder = tmp_path_factory.mktemp("numbered")
    for place, part in enumerate([range(70), range(70, 75), range(75, 130)]):
        write(folder / f"x-0000{place}-of-00003", map(small, part))
    return folder


# Real ones.


@pytest.mark.parametrize("name", SHARED)
def test_real_files_are_read_whole_with_the_pixels_of_tensorflow(shared_data, name):
    path = shared_data / "tfrecords" / f"{name}.record"
    names = (IMAGE, KEY, "image/height", "image/width")
    stored = first_values(path, names)
    assert len(stored) == SHARED[name]
    batches = load(
        path,
        batch_size=2,
        image_size=SIZE,
        shuffle=False,
        outputs=("image", "key", "height", "width"),
    )
    assert len(batches) == SHARED[name] // 2
    loaded = list(batches.unbatch().as_numpy_iterator())
    assert [row[1:] for row in loaded] == [row[1:] for row in stored]
    for (image, *_), (encoded, *_) in zip(loaded, stored, strict=True):
        expected = cut_and_resized(decoded(encoded), SIZE)
        # TensorFlow's own choice of a transform is coarser by a few levels, and of
        # these images, which are more than three times as large, a smaller version is
        # decoded.
        assert np.abs(image - expected).mean() * 255 < 3
        exact = cut_and_resized(decoded_by_pillow(encoded), SIZE)
        assert np.abs(image - exact).mean() * 255 < 2
        assert np.percentile(np.abs(image - exact), 99) * 255 < 30


def test_real_files_of_one_kind_are_read_together(shared_data):
    folder = shared_data / "tfrecords"
    paths = [folder / "train.record", folder / "test.record"]
    stored = [value for path in paths for (value,) in first_values(path, [KEY])]
    assert sorted(keys(load(paths, batch_size=11))) == sorted(stored)


def test_steps_and_coverage_of_real_files_are_known(shared_data):
    path = shared_data / "tfrecords" / "train.record"
    assert reader.steps_per_epoch(path, batch_size=9) == 160 // 9
    covered = reader.coverage(path, batch_size=16, host_count=4)
    assert (covered.num_once, covered.problems) == (160, [])


# Order, resuming, hosts.


@pytest.mark.parametrize("shuffle_bytes", [1, 64 << 20])
@pytest.mark.parametrize("batch_size", [1, 10, 13])
def test_each_record_comes_once_in_each_epoch(numbered, batch_size, shuffle_bytes):
    batches = load(
        numbered / "x-*", batch_size=batch_size, shuffle_bytes=shuffle_bytes, epochs=2
    )
    loaded = keys(batches)
    everything = sorted(map(key_of, range(130)))
    assert sorted(loaded[:130]) == sorted(loaded[130:]) == everything
    assert loaded[:130] != loaded[130:]


def test_without_shuffling_files_follow_each_other(numbered):
    loaded = keys(load(numbered / "x-*", shuffle=False, batch_size=13))
    assert loaded == [key_of(number) for number in range(130)]


def test_a_run_goes_on_exactly_where_it_was(numbered):
    pattern = numbered / "x-*"
    whole = keys(load(pattern, batch_size=10, epochs=3))
    rng = random.Random(5)
    for step in [0, *(rng.randrange(1, 39) for _ in range(2))]:
        batches = load(pattern, batch_size=10, epochs=3)
        taken = [key for (batch,), _ in zip(batches, range(step)) for key in batch]  # noqa: B905
        saved = json.dumps(reader.state(batches, step))
        rest = load(pattern, batch_size=10, epochs=3, resume=saved)
        assert len(rest) == 39 - step
        assert [key.numpy() for key in taken] + keys(rest) == whole


@pytest.mark.parametrize("host_count", [2, 3, 4])
def test_hosts_share_each_step(numbered, host_count):
    pattern = numbered / "x-*"
    whole = keys(load(pattern, batch_size=12))
    for host in range(host_count):
        batches = load(pattern, batch_size=12, host_index=host, host_count=host_count)
        assert len(batches) == 10
        assert keys(batches) == whole[host::host_count]


def test_a_padded_epoch_has_each_record_once_over_all_hosts(numbered):
    loaded: list[bytes] = []
    for host in range(4):
        batches = load(
            numbered / "x-*",
            batch_size=48,
            host_index=host,
            host_count=4,
            remainder="pad",
            outputs=("key", "valid"),
        )
        assert len(batches) == 3
        for key, valid in batches.as_numpy_iterator():
            assert set(key[~valid]) <= {b""}
            loaded += key[valid].tolist()
    assert sorted(loaded) == sorted(map(key_of, range(130)))


def test_a_state_is_refused_for_other_records(tmp_path):
    path = write(tmp_path / "a", map(small, range(8)))
    saved = reader.state(load(path), 3)
    write(path, map(small, range(9)))
    with pytest.raises(reader.UsageError, match="other records"):
        load(path, resume=saved)


@pytest.mark.parametrize("counts", [[1, 1, 1, 0, 0], [0, 0, 2, 0, 1], [0, 3, 0, 0, 0]])
@pytest.mark.parametrize("shuffle", [True, False])
def test_three_records_in_five_files_are_three(tmp_path, counts, shuffle):
    numbers = iter(range(3))
    for place, count in enumerate(counts):
        rows = [small(next(numbers)) for _ in range(count)]
        write(tmp_path / f"part{place}.tfrecord", rows)
    batches = load(tmp_path / "*.tfrecord", shuffle=shuffle)
    assert len(batches) == 3
    loaded = keys(batches)
    assert (sorted(loaded) if shuffle else loaded) == list(map(key_of, range(3)))


# What records hold.


def test_captions_without_ids_leave_images_alone(tmp_path):
    path = write(tmp_path / "a", map(row, range(4)))
    batches = reader.load(path, batch_size=2, image_size=8)
    spec = {"image": tf.TensorSpec((2, 8, 8, 3), tf.float32)}
    assert batches.element_spec == spec
    named = load(path, shuffle=False, outputs=("key", "caption"))
    assert list(named.unbatch().as_numpy_iterator()) == [
        (key_of(number), f"caption {number}".encode()) for number in range(4)
    ]


def test_ids_that_features_name_become_tokens(tmp_path):
    ids = [[7, 8, 9], [4], [1, 2, 3, 4, 5, 6, 7]]
    rows = [{"my/ids": each, "pic": picture(n)} for n, each in enumerate(ids)]
    path = write(tmp_path / "a", rows)
    batches = load(
        path,
        shuffle=False,
        max_tokens=5,
        features={"ids": "my/ids", "image": "pic"},
        outputs=("tokens", "mask", "length"),
    )
    for (tokens, mask, length), each in zip(
        batches.unbatch().as_numpy_iterator(), ids, strict=True
    ):
        kept = each[:5]
        assert tokens.tolist() == kept + [0] * (5 - len(kept))
        assert mask.tolist() == [place < len(kept) for place in range(5)]
        assert length == len(kept)


def test_features_go_before_usual_names(tmp_path):
    path = write(tmp_path / "a", [{**row(n), "title": b"T%d" % n} for n in range(3)])
    named = load(
        path, shuffle=False, outputs=("caption",), features={"caption": "title"}
    )
    assert keys(named) == [b"T0", b"T1", b"T2"]


@pytest.mark.parametrize("size", [(8, 8), (9, 16), (14, 20)])
def test_png_and_jpeg_may_be_mixed_in_any_size(tmp_path, size):
    forms = ["JPEG", "PNG", "PNG", "JPEG", "BMP"]
    sizes = [(20, 14), (20, 14), (9, 31), (33, 8), (20, 14)]
    encoded = [
        picture(n, form, size)
        for n, (form, size) in enumerate(zip(forms, sizes, strict=True))
    ]
    path = write(tmp_path / "a", [{IMAGE: each} for each in encoded])
    batches = load(path, shuffle=False, image_size=size, outputs=("image",))
    loaded = [image for (image,) in batches.unbatch().as_numpy_iterator()]
    for image, data, form in zip(loaded, encoded, forms, strict=True):
        # TensorFlow's own choice of a transform for JPEG is a coarser one.
        pixels = decoded_by_pillow(data) if form == "JPEG" else decoded(data)
        difference = np.abs(image - cut_and_resized(pixels, size)) * 255
        # A JPEG that is cut while it is decoded knows no colour beyond the cut.
        assert difference.max() < (8 if form == "JPEG" else 0.51)
        assert difference.mean() < 0.75


def test_a_record_without_a_caption_has_an_empty_one(tmp_path):
    rows = [row(0), row(1), row(2)]
    del rows[1][TEXT]
    rows[2][TEXT] = []
    batches = load(
        write(tmp_path / "a", rows), shuffle=False, outputs=("key", "caption")
    )
    assert list(batches.unbatch().as_numpy_iterator()) == [
        (b"k000", b"caption 0"),
        (b"k001", b""),
        (b"k002", b""),
    ]


def test_a_record_without_ids_has_no_tokens(tmp_path):
    rows = [{"caption/ids": [5, 6]}, {KEY: b"no ids"}]
    batches = load(
        write(tmp_path / "a", rows),
        shuffle=False,
        max_tokens=3,
        outputs=("tokens", "length"),
    )
    loaded = [
        (tokens.tolist(), int(length))
        for tokens, length in batches.unbatch().as_numpy_iterator()
    ]
    assert loaded == [([5, 6, 0], 2), ([0, 0, 0], 0)]


def test_images_are_read_though_some_records_do_not_say_their_size(tmp_path):
    rows = [row(n, **{"image/height": 14, "image/width": 20}) for n in range(3)]
    del rows[1]["image/height"]
    path = write(tmp_path / "a", rows)
    batches = load(path, shuffle=False, image_size=8, outputs=("image",))
    loaded = [image for (image,) in batches.unbatch().as_numpy_iterator()]
    for image, each in zip(loaded, rows, strict=True):
        expected = cut_and_resized(decoded(each[IMAGE]), (8, 8))
        assert np.abs(image - expected).max() * 255 < 0.51


def test_what_the_first_record_lacks_is_found_in_others(tmp_path):
    for part in range(3):
        rows = [{KEY: key_of(10 * part + n), TEXT: []} for n in range(10)]
        write(tmp_path / f"p{part}", rows)
    write(tmp_path / "p3", map(small, range(30, 33)))
    named = load(tmp_path / "p*", shuffle=False, outputs=("key", "caption"))
    texts = dict(named.unbatch().as_numpy_iterator())
    assert {*texts.values()} == {b"", b"t30", b"t31", b"t32"}
    assert texts[key_of(31)] == b"t31"
    assert reader.open(tmp_path / "p*", outputs=("caption",))[31] == ("t31",)


def test_a_key_that_all_records_have_goes_before_one_that_some_have(tmp_path):
    rows = [{"filename": b"f%d" % n, TEXT: b"t"} for n in range(6)]
    rows[0][KEY] = b"only here"
    loaded = keys(load(write(tmp_path / "a", rows), shuffle=False))
    assert loaded == [b"f%d" % n for n in range(6)]


def test_lengths_tell_where_captions_end(tmp_path):
    rows = [
        {"caption/ids": [5, 6, 7, 8], "caption/lengths": [1, 3]},
        {"caption/ids": [9], "caption/lengths": [1]},
        {KEY: b"no captions"},
    ]
    path = write(tmp_path / "a", rows)
    batches = load(
        path,
        shuffle=False,
        max_tokens=3,
        caption="all",
        max_captions=2,
        outputs=("tokens", "length"),
    )
    loaded = [
        (tokens.tolist(), length.tolist())
        for tokens, length in batches.unbatch().as_numpy_iterator()
    ]
    assert loaded == [
        ([[5, 0, 0], [6, 7, 8]], [1, 3]),
        ([[9, 0, 0], [0, 0, 0]], [1, 0]),
        ([[0, 0, 0], [0, 0, 0]], [0, 0]),
    ]
    assert reader.open(path, outputs=("length",))[0] == (1,)
    renamed = [{"w": [1, 2, 3], "n": [2, 1]}]
    named = load(
        write(tmp_path / "b", renamed),
        features={"ids": "w", "lengths": "n"},
        outputs=("length",),
    )
    assert [length for (length,) in named.as_numpy_iterator()] == [[2]]


def test_lengths_that_do_not_add_up_are_passed_over_or_refused(tmp_path):
    rows = [{"caption/ids": [5, 6], "caption/lengths": [9]}, {"caption/lengths": b"1"}]
    path = write(tmp_path / "a", rows)
    batches = load(path, outputs=("length",), shuffle=False)
    loaded = [length.tolist() for (length,) in batches.as_numpy_iterator()]
    assert loaded == [[2], [0]]
    with pytest.raises(reader.UsageError, match="does not add up to the ids"):
        load(path, features={"lengths": "caption/lengths"}, outputs=("length",))


def test_no_length_reaches_into_another_record(tmp_path):
    # Not among those that are looked at beforehand.
    rows = [{"caption/ids": [n], "caption/lengths": [1]} for n in range(40)]
    rows[1]["caption/lengths"] = [3]
    path = write(tmp_path / "a", rows)
    batches = load(path, shuffle=False, max_tokens=4, outputs=("tokens",))
    (tokens,) = list(batches.as_numpy_iterator())[1]
    assert tokens.tolist() == [[1, 0, 0, 0]]


NUMBERS = "caption/ids"
UNUSABLE = {
    "no image": ({IMAGE: None}, "it holds 0 values of image/encoded, not 1"),
    "an empty image": ({IMAGE: []}, "it holds 0 values of image/encoded, not 1"),
    "two images": ({IMAGE: [b"a", b"b"]}, "it holds 2 values of image/encoded"),
    "a number": ({IMAGE: 7}, "its image/encoded is not bytes"),
    "another type": ({TEXT: 7}, "its image/caption is not bytes"),
    "an empty list of another type": ({NUMBERS: []}, "its caption/ids is not int64"),
    "nonsense": ({IMAGE: b"no image"}, "its image does not decode: Unknown image"),
    "cut off": ({IMAGE: picture(1, "JPEG")[:-40]}, "its image does not decode: jpeg::"),
}


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("what", UNUSABLE)
def test_a_record_of_no_use_is_named(tmp_path, what, shuffle):
    changed, told = UNUSABLE[what]
    rows = [{**row(n), NUMBERS: [n]} for n in range(40)]
    rows[21] |= changed
    rows = [{k: v for k, v in each.items() if v is not None} for each in rows]
    path = write(tmp_path / "a", rows)
    batches = load(
        path,
        batch_size=4,
        image_size=8,
        shuffle=shuffle,
        epochs=2,
        outputs=("image", "caption", "tokens", "key"),
    )
    taken = []
    with pytest.raises(reader.DatasetError) as caught:
        for *_, key in batches:
            taken += key.numpy().tolist()
    assert f'{path} at byte {begins(path)[21]} (key "k021")' in str(caught.value)
    assert told in str(caught.value)
    assert key_of(21) not in taken


@pytest.mark.parametrize("start_step", [0, 3])
def test_a_record_of_no_use_is_named_among_sorted_ones(tmp_path, start_step):
    rows = [{**row(n), "caption/ids": [1] * (1 + n * 7 % 11)} for n in range(90)]
    rows[47][IMAGE] = b"no image"
    path = write(tmp_path / "a", rows)
    batches = load(
        path,
        batch_size=8,
        image_size=8,
        bucket_by_length=True,
        shuffle_bytes=8 << 10,
        epochs=2,
        start_step=start_step,
        outputs=("image", "tokens", "key"),
    )
    with pytest.raises(reader.DatasetError) as caught:
        list(batches)
    assert f'{path} at byte {begins(path)[47]} (key "k047")' in str(caught.value)


def test_in_a_later_iterator_it_is_named_too(tmp_path):
    path = write(tmp_path / "a", map(row, range(40)))
    batches = load(path, batch_size=4, image_size=8, outputs=("image", "key"))
    assert len(list(batches)) == 10
    rows = [row(n) for n in range(40)]
    rows[9][IMAGE] = b"!" * len(rows[9][IMAGE])  # Of the same length.
    write(path, rows)
    with pytest.raises(reader.DatasetError, match='"k009"'):
        list(batches)


def test_errors_that_no_record_is_to_blame_for_stay_as_they_are(tmp_path):
    path = write(tmp_path / "a", map(row, range(8)))
    batches = load(path, image_size=8, shuffle=False, outputs=("image", "key"))
    failing = batches.map(lambda *_: tf.io.parse_tensor(b"x", tf.int32))
    with pytest.raises(tf.errors.InvalidArgumentError):
        next(iter(failing))


@pytest.mark.parametrize("name", ["tokens", "mask", "height", "extra/score"])
def test_outputs_that_are_not_held_are_refused(tmp_path, name):
    path = write(tmp_path / "a", map(row, range(2)))
    with pytest.raises(reader.UsageError, match=name) as caught:
        load(path, image_size=8, outputs=("image", name))
    if name != "extra/score":
        for held in (KEY, IMAGE, TEXT):
            assert held in str(caught.value)


@pytest.mark.parametrize(
    ("features", "told"),
    [
        (
            {"picture": IMAGE},
            ["picture", "image, caption, ids, lengths, key, height, width"],
        ),
        ({"image": "jpeg"}, ['"jpeg"', IMAGE, TEXT, KEY]),
        ({"image": "number"}, ['"number"', "int64", "bytes"]),
        ({"ids": TEXT}, [TEXT, "bytes", "int64"]),
        ({"height": "score"}, ['"score"', "float", "int64"]),
        ({"caption": 3}, ["caption", "3"]),
        ("image", ["mapping", "'image'"]),
    ],
    ids=str,
)
def test_features_that_do_not_fit_are_refused_by_name(tmp_path, features, told):
    path = write(tmp_path / "a", [row(0, number=3, score=0.5)])
    with pytest.raises(reader.UsageError) as caught:
        load(path, features=features)
    for words in told:
        assert words in str(caught.value)


def test_features_are_refused_where_a_manifest_has_them(dataset):
    with pytest.raises(reader.UsageError, match=r"features .* leave it out"):
        load(dataset / "train-*", features={"image": IMAGE})


# Files that are missing, damaged, or something else.


@pytest.mark.parametrize("gone", [0, 1, 2])
@pytest.mark.parametrize(
    "name",
    ["x-0000{}-of-00003", "x-0000{}-of-00003.tfrecord", "x.record-0000{}-of-00003"],
)
def test_numbered_files_without_their_siblings_are_refused(tmp_path, name, gone):
    for place in range(3):
        write(tmp_path / name.format(place), [small(place)])
    assert len(load(tmp_path / "x*")) == 3
    (tmp_path / name.format(gone)).unlink()
    with pytest.raises(reader.DatasetError, match="1 of 3 files are missing") as caught:
        load(tmp_path / "x*")
    assert name.format(gone) in str(caught.value)


def test_one_of_several_numbered_files_may_be_read_alone(numbered):
    loaded = keys(load(numbered / "x-00001-of-00003", shuffle=False))
    assert loaded == [key_of(number) for number in range(70, 75)]


@pytest.mark.parametrize(
    "content",
    [picture(1, "JPEG", (200, 100)), b"just a text\n" * 20, b"short", b"\0" * 400],
    ids=["jpeg", "text", "short", "zeros"],
)
@pytest.mark.parametrize("on_corrupt", ["raise", "skip"])
def test_what_is_no_tfrecord_is_refused(tmp_path, content, on_corrupt):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(content)
    with pytest.raises(reader.DatasetError, match="TFRecord") as caught:
        load(path, on_corrupt=on_corrupt)
    assert str(path) in str(caught.value)


def test_an_empty_file_alone_is_refused(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.touch()
    with pytest.raises(reader.DatasetError, match="no record") as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_stranger_among_tfrecords_is_named(tmp_path):
    write(tmp_path / "a.tfrecord", map(small, range(3)))
    path = tmp_path / "b.tfrecord"
    path.write_bytes(picture(1, "JPEG"))
    with pytest.raises(reader.DatasetError) as caught:
        load(tmp_path / "*.tfrecord")
    assert f"{path} " in str(caught.value)


def test_records_that_are_no_examples_are_refused(tmp_path):
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(b"\xff\xff no protobuf")
    with pytest.raises(reader.DatasetError, match="first record") as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_a_pattern_that_matches_nothing_is_refused(tmp_path):
    with pytest.raises((reader.DatasetError, reader.UsageError)) as caught:
        load(tmp_path / "nothing-*")
    assert str(tmp_path) in str(caught.value)


def begins(path: Path) -> list[int]:
    """Where records begin, and the last one ends, as their lengths tell."""
    data, found = path.read_bytes(), [0]
    while found[-1] < len(data):
        length = int.from_bytes(data[found[-1] : found[-1] + 8], "little")
        found.append(found[-1] + 16 + length)
    return found


def reader_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if (record.name, record.levelno) == ("reader", logging.WARNING)
    ]


@pytest.mark.parametrize("more", [3, 20])
def test_a_truncated_file_is_read_up_to_there_or_refused(tmp_path, caplog, more):
    write(tmp_path / "a", map(small, range(9)))
    path = write(tmp_path / "b", map(small, range(9, 20)))
    cut = begins(path)[7]
    path.write_bytes(path.read_bytes()[: cut + more])
    with pytest.raises(reader.DatasetError, match='on_corrupt="skip"') as caught:
        load([tmp_path / "a", path])
    assert f"truncated record in {path} at byte {cut}:" in str(caught.value)
    with caplog.at_level(logging.WARNING, "reader"):
        batches = load([tmp_path / "a", path], on_corrupt="skip", shuffle=False)
    (message,) = reader_warnings(caplog)
    assert f"truncated record in {path} at byte {cut}" in message
    assert keys(batches) == [key_of(number) for number in range(16)]
    assert len(batches) == 16


def test_a_damaged_length_ends_a_file_or_is_refused(tmp_path):
    path = write(tmp_path / "a", map(small, range(9)))
    begin = begins(path)[4]
    data = bytearray(path.read_bytes())
    data[begin] ^= 1
    path.write_bytes(data)
    with pytest.raises(reader.DatasetError, match=f"{path} at byte {begin}:"):
        load(path)
    loaded = keys(load(path, on_corrupt="skip", shuffle=False))
    assert loaded == [key_of(number) for number in range(4)]


@pytest.mark.parametrize("number", [1, 8])
def test_damaged_data_is_named_or_replaced(tmp_path, number):
    path = write(tmp_path / "a", map(row, range(9)))
    begin, end = begins(path)[number : number + 2]
    data = bytearray(path.read_bytes())
    data[end - 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(reader.DatasetError) as caught:
        keys(load(path))
    assert f'{path} at byte {begin} (key "k00{number}")' in str(caught.value)
    batches = load(path, on_corrupt="skip", shuffle=False, outputs=("key", "valid"))
    expected = [(key_of(each), True) for each in range(9)]
    expected[number] = (key_of((number + 1) % 9), False)
    assert list(batches.unbatch().as_numpy_iterator()) == expected


def test_a_damaged_first_record_is_named_or_replaced(tmp_path):
    path = write(tmp_path / "a", map(small, range(9)))
    data = bytearray(path.read_bytes())
    data[begins(path)[1] - 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(reader.DatasetError, match=f"{path} at byte 0"):
        load(path)
    batches = load(path, on_corrupt="skip", shuffle=False, outputs=("key", "valid"))
    expected = [(key_of(number), True) for number in range(9)]
    expected[0] = (key_of(1), False)
    assert list(batches.unbatch().as_numpy_iterator()) == expected


def test_shards_of_an_unfinished_job_are_refused(tmp_path):
    write(tmp_path / "train-00000-of-00001.tfrecord", map(row, range(3)))
    assert len(load(tmp_path / "train-*")) == 3  # Somebody else's.
    (tmp_path / "_build").mkdir()
    for pattern in (tmp_path / "train-*", tmp_path / "train-00000-of-00001.tfrecord"):
        with pytest.raises(reader.DatasetError, match="has not finished"):
            load(pattern)


# Compressed ones.


@pytest.fixture(params=["GZIP", "ZLIB"])
def compressed(request, tmp_path) -> Path:
    """40 records in three compressed files."""
    for place, part in enumerate([range(20), range(20, 25), range(25, 40)]):
        write(tmp_path / f"c{place}", map(small, part), request.param)
    return tmp_path / "c*"


def quietly(pattern: Any, **settings: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return load(pattern, **settings)


def test_compressed_records_come_once_in_each_epoch_after_a_warning(compressed):
    with pytest.warns(UserWarning, match=r"is compressed \((GZIP|ZLIB)\)") as warned:
        batches = load(compressed, batch_size=8, epochs=2)
    assert [Path(str(w.filename)).name for w in warned] == [Path(__file__).name]
    loaded = keys(batches)
    everything = sorted(map(key_of, range(40)))
    assert sorted(loaded[:40]) == sorted(loaded[40:]) == everything
    assert loaded[:40] != loaded[40:] and loaded[:40] != everything


def test_compressed_records_come_in_the_order_written_unless_shuffled(compressed):
    loaded = keys(quietly(compressed, batch_size=8, shuffle=False))
    assert loaded == [key_of(number) for number in range(40)]


def test_compressed_records_have_an_order_by_seed(compressed):
    orders = [keys(quietly(compressed, seed=seed)) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_compressed_records_have_no_length_and_no_state(compressed):
    batches = quietly(compressed, batch_size=8)
    with pytest.raises(TypeError):
        len(batches)
    with pytest.raises(reader.UsageError):
        reader.state(batches, 1)
    with pytest.raises(reader.UsageError, match="compressed"):
        reader.steps_per_epoch(compressed, batch_size=8)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("start_step", {"start_step": 1}),
        ("start_example", {"start_example": 0}),
        ("host_count", {"host_count": 2}),
        ("remainder", {"remainder": "pad"}),
        ("on_corrupt", {"on_corrupt": "skip"}),
        ("resume", {"resume": {"step": 1, "examples": 8}}),
    ],
)
def test_what_needs_a_plan_is_refused_of_compressed_records(compressed, name, settings):
    with pytest.raises(reader.UsageError, match=name) as caught:
        quietly(compressed, batch_size=8, **settings)
    assert "compressed" in str(caught.value)
    assert str(compressed.parent) in str(caught.value)


def test_compressed_files_among_others_are_refused(compressed):
    write(compressed.parent / "cx", map(small, range(3)))
    with pytest.raises(reader.UsageError, match="compressed"):
        load(compressed)


@pytest.mark.parametrize("compression", ["GZIP", "ZLIB"])
def test_compressed_pixels_are_those_of_tensorflow(tmp_path, compression):
    path = write(tmp_path / "c", map(row, range(4)), compression)
    batches = quietly(path, shuffle=False, image_size=8, outputs=("image",))
    loaded = [image for (image,) in batches.unbatch().as_numpy_iterator()]
    assert len(loaded) == 4
    for number, image in enumerate(loaded):
        expected = cut_and_resized(decoded(picture(number)), (8, 8))
        assert np.abs(image - expected).max() * 255 < 0.51

"""Schemas of foreign TFRecords, inferred or given, through `reader.load`.

Expected values come from `tf.data.TFRecordDataset` and `tf.io.decode_image`, or from
the rows that the tests write.
"""

import numpy as np
import pytest
import tensorflow as tf
from foreign_records import (
    IMAGE,
    KEY,
    TEXT,
    begins,
    cut_and_resized,
    decoded,
    decoded_by_pillow,
    key_of,
    keys,
    load,
    picture,
    row,
    small,
    write,
)

import reader


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
        # TensorFlow's default transform for JPEG is less exact.
        pixels = decoded_by_pillow(data) if form == "JPEG" else decoded(data)
        difference = np.abs(image - cut_and_resized(pixels, size)) * 255
        # A JPEG cropped while decoding has no color samples outside the crop.
        assert difference.max() < (8 if form == "JPEG" else 1.51)
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
        assert np.abs(image - expected).max() * 255 < 1.51


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
    # This record is not in the sample that infers the schema.
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
    "nonsense": ({IMAGE: b"no image"}, "its image does not decode: it has no format"),
    "cut off": (
        {IMAGE: picture(1, "JPEG")[:-40]},
        "its image does not decode: image file is truncated",
    ),
}


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("what", UNUSABLE)
def test_a_record_of_no_use_is_named(tmp_path, what, shuffle):
    changed, message = UNUSABLE[what]
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
    assert message in str(caught.value)
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
    ("features", "parts"),
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
def test_features_that_do_not_fit_are_refused_by_name(tmp_path, features, parts):
    path = write(tmp_path / "a", [row(0, number=3, score=0.5)])
    with pytest.raises(reader.UsageError) as caught:
        load(path, features=features)
    for part in parts:
        assert part in str(caught.value)


def test_features_are_refused_where_a_manifest_has_them(dataset):
    with pytest.raises(reader.UsageError, match="leave out features"):
        load(dataset / "train-*", features={"image": IMAGE})

"""What TFDS and Model Garden write is read as it is.

TFDS writes in these tests; Model Garden's script is not to be had as a library, so what
it writes is written here, feature by feature, with TensorFlow's own messages.
"""

import hashlib
import io

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

import reader
from beam_jobs.__main__ import main

NUM = 23


def pixels_of(number):
    y, x = np.mgrid[:24, : 20 + number]
    return np.stack([x * 3, y * 5, np.full_like(x, number * 9)], -1).astype(np.uint8)


def encoded(number, form="JPEG"):
    file = io.BytesIO()
    Image.fromarray(pixels_of(number)).save(file, form, quality=95)
    return file.getvalue()


def single(number):
    return f"Bild {number}"


def several(number):
    return [f"{number}: {i}" for i in range(number % 3)]


def described(number):
    return [{"id": i, "text": f"{number}: {i}"} for i in range(number % 3)]


TEXT = tfds.features.Text()
# A caption each; any number of them, none among it; and, as COCO has it in TFDS, with
# more to say of each. PNG is TFDS's own choice.
KINDS = {
    "single": (single, TEXT, None),
    "several": (several, tfds.features.Sequence(TEXT), "jpeg"),
    "described": (
        described,
        tfds.features.Sequence({"id": np.int64, "text": TEXT}),
        "png",
    ),
}


@pytest.fixture(params=KINDS)
def written(request, tmp_path):
    """What TFDS wrote in several files: its builder."""
    captions, feature, form = KINDS[request.param]
    return tfds.dataset_builders.store_as_tfds_dataset(
        name="pictures",
        version="1.0.0",
        data_dir=tmp_path,
        download_config=tfds.download.DownloadConfig(num_shards=3),
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(encoding_format=form),
                "image/filename": TEXT,
                "captions": feature,
                "score": np.float32,
            }
        ),
        split_datasets={
            split: {
                number: {
                    "image": pixels_of(number),
                    "image/filename": f"{number}.png",
                    "captions": captions(number),
                    "score": number / 2,
                }
                for number in numbers
            }.items()
            for split, numbers in (("train", range(NUM)), ("test", range(NUM, 30)))
        },
    )


def texts_of(captions):
    """The captions of an example as TFDS gives them, as a list."""
    if isinstance(captions, dict):
        captions = captions["text"]
    return [captions] if isinstance(captions, bytes) else list(captions)


def test_what_tfds_wrote_is_read(written):
    pattern = f"{written.data_dir}/*-train.tfrecord-*"
    expected = {
        example["image/filename"]: (example["image"], texts_of(example["captions"]))
        for example in tfds.as_numpy(written.as_dataset(split="train"))
    }
    assert len(expected) == NUM
    dataset = reader.open(pattern, outputs=("key", "image", "captions"))
    assert len(dataset) == NUM
    for key, image, captions in dataset:
        pixels, said = expected[key.encode()]
        assert [caption.encode() for caption in captions] == said
        # simplejpeg and TFDS choose different transforms for JPEG.
        assert np.abs(image.astype(int) - pixels).max() <= 4
    batches = reader.load(
        pattern,
        batch_size=5,
        image_size=16,
        caption="random",
        outputs=("image", "key", "caption", "valid"),
        remainder="pad",
    )
    found = {}
    for image, key, caption, valid in batches.unbatch().as_numpy_iterator():
        assert image.shape == (16, 16, 3) and 0 <= image.min() <= image.max() <= 1
        if valid:
            found[key] = caption
    assert found.keys() == expected.keys()
    for key, caption in found.items():
        assert caption in (expected[key][1] or [b""])


def test_the_folder_itself_is_answered_with_patterns(written, capsys):
    with pytest.raises(reader.DatasetError, match="TensorFlow Datasets wrote") as told:
        reader.load(written.data_dir, batch_size=2, image_size=8)
    for split in ("train", "test"):
        assert f'"{written.data_dir}/*-{split}.tfrecord-*"' in str(told.value)
    assert main(["show", str(written.data_dir)]) == 1
    assert str(told.value) in capsys.readouterr().err


def bytes_of(*values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def ints_of(*values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def floats_of(*values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def garden_example(number):
    """As create_coco_tf_record.py makes them with --include_captions."""
    image, captions = encoded(number), [b"%d: %d" % (number, i) for i in range(5)]
    height, width, _ = pixels_of(number).shape
    features = {
        "image/height": ints_of(height),
        "image/width": ints_of(width),
        "image/filename": bytes_of(b"%012d.jpg" % number),
        "image/source_id": bytes_of(b"%d" % number),
        "image/key/sha256": bytes_of(hashlib.sha256(image).hexdigest().encode()),
        "image/encoded": bytes_of(image),
        "image/format": bytes_of(b"jpeg"),
        "image/object/bbox/xmin": floats_of(*[0.5] * (number % 3)),
        "image/object/class/label": ints_of(*[1] * (number % 3)),
        "image/caption": bytes_of(*captions),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def test_what_model_garden_writes_is_read(tmp_path):
    for place in range(4):
        path = tmp_path / f"coco_train.record-{place:05d}-of-00004"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for number in range(place, NUM, 4):
                writer.write(garden_example(number).SerializeToString())
    names = ("image", "key", "caption", "height", "width")
    batches = reader.load(
        tmp_path / "coco_train.record-*",
        batch_size=1,
        image_size=(24, 20),
        crop="none",
        caption="all",
        max_captions=6,
        outputs=names,
    )
    seen = set()
    for image, key, captions, height, width in batches.unbatch().as_numpy_iterator():
        number = int(key)
        seen.add(number)
        assert (height, width) == pixels_of(number).shape[:2]
        assert captions.tolist() == [*(b"%d: %d" % (number, i) for i in range(5)), b""]
        if number == 0:  # As stored.
            assert np.abs(image * 255 - pixels_of(0)).mean() < 3
    assert seen == {*range(NUM)}

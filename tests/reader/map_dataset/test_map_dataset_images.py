"""Images of a given size by random access, against `load` and Pillow."""

import pickle

import numpy as np
import pytest
from PIL import Image

import reader
from beam_jobs.__main__ import main
from beam_jobs.sample_data import write_sample
from reader.contract.errors import UsageError

FORMATS = ("jpeg", "png", "raw")


@pytest.fixture(scope="module", params=FORMATS)
def dataset(request, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("sized")
    write_sample(str(folder / "s"), 24)
    flags = [f"--images={folder}/s/images", f"--captions={folder}/s/captions"]
    flags += [f"--output={folder}/out", f"--image_format={request.param}"]
    assert main(["build", *flags, "--num_shards=2"]) == 0
    return str(folder / "out")


ARGUMENTS = {
    "center": {},
    "whole": {"crop": "none"},
    "random": {"crop": "random", "crop_fraction": 0.6},
    "random_resized": {"crop": "random_resized", "flip": True, "seed": 3},
    "fractions": {"dtype": "float32", "crop": "random"},
    "normalized": {"dtype": "float32", "normalize": "imagenet", "flip": True},
    "channels first": {"data_format": "channels_first"},
    "all": {
        "crop": "random_resized",
        "flip": True,
        "dtype": "float32",
        "normalize": "clip",
        "data_format": "channels_first",
        "seed": 5,
    },
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_images_are_those_of_load(dataset, name):
    arguments = {"image_size": (96, 128), **ARGUMENTS[name]}
    ours = reader.open(dataset, outputs=("key", "image"), **arguments)
    loaded = reader.load(
        dataset,
        batch_size=4,
        shuffle=False,
        outputs=("key", "image"),
        epochs=2,
        **{"dtype": "uint8", **arguments},
    )
    batches = [
        (key, image) for batch in loaded for key, image in zip(*batch, strict=True)
    ]
    assert len(batches) == 48
    # The largest step between two levels: normalizing divides by 0.22 at least.
    level = 1 / 255 / 0.22 if arguments.get("dtype") == "float32" else 1
    for place, (key, image) in enumerate(batches):
        if place % 24 == 0:
            ours.set_epoch(place // 24)
        mine = ours[place % 24]
        assert mine[0] == key.numpy().decode()
        gap = np.abs(mine[1].astype(np.float64) - image.numpy())
        assert mine[1].dtype == image.numpy().dtype
        assert mine[1].shape == image.shape
        # TensorFlow's decoder differs at the border of a cut.
        assert np.percentile(gap, 90) <= 1.01 * level
        assert gap.mean() <= 0.5 * level


@pytest.mark.parametrize("crop", ["center", "none"])
@pytest.mark.parametrize("size", [(32, 32), (100, 30), (300, 299)])
def test_pixels_are_those_of_pillow(dataset, size, crop):
    stored = reader.open(dataset, outputs=("image",))
    sized = reader.open(
        dataset, outputs=("image",), image_size=size, crop=crop, crop_fraction=1.0
    )
    for number in range(8):
        (whole,), (image,) = stored[number], sized[number]
        if crop == "center":
            scale = min(whole.shape[0] / size[0], whole.shape[1] / size[1])
            height, width = (max(1, round(side * scale)) for side in size)
            top, left = (whole.shape[0] - height) // 2, (whole.shape[1] - width) // 2
            whole = whole[top : top + height, left : left + width]
        expected = Image.fromarray(whole).resize(size[::-1], Image.Resampling.BILINEAR)
        gap = np.abs(image.astype(int) - np.asarray(expected))
        shrink = min(whole.shape[0] / size[0], whole.shape[1] / size[1])
        if shrink < 3:
            assert gap.max() <= 2
        else:  # A JPEG is decoded at a reduced size.
            assert gap.mean() <= 3


def test_a_pickle_has_the_arguments_and_the_epoch(dataset):
    ours = reader.open(dataset, image_size=32, crop="random_resized", flip=True)
    first = [ours[number]["image"] for number in range(24)]
    ours.set_epoch(7)
    images = [ours[number]["image"] for number in range(24)]
    assert any(not np.array_equal(*both) for both in zip(first, images, strict=True))
    again = pickle.loads(pickle.dumps(ours))
    for number, image in enumerate(images):
        assert np.array_equal(again[number]["image"], image)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"crop": "none"}, "pass image_size"),
        ({"dtype": "float32"}, "pass image_size"),
        ({"flip": True}, "pass image_size"),
        ({"crop": "random"}, "needs a size"),
        ({"image_size": 0}, "image_size must be positive, got"),
        ({"image_size": 9, "dtype": "bfloat16"}, "NumPy has no bfloat16"),
        ({"image_size": 9, "normalize": "imagenet"}, 'dtype="uint8" cannot hold'),
        ({"image_size": 9, "crop": "middle"}, "crop must be"),
    ],
)
def test_wrong_arguments_are_told(dataset, arguments, said):
    with pytest.raises(UsageError, match=said):
        reader.open(dataset, **arguments)
    with pytest.raises(UsageError, match="epoch must be at least 0, got -1"):
        reader.open(dataset).set_epoch(-1)

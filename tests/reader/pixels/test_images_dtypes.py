"""Data types, layouts and normalization of images, against torchvision."""

import importlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from photographs import load

import reader

SMALL = (48, 64)
KNOWN = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
}


@pytest.fixture(scope="module")
def levels(stored_as) -> np.ndarray:
    return load(stored_as("jpeg").folder, image_size=SMALL)


def load_small(stored_as: Any, **settings: Any) -> np.ndarray:
    return load(stored_as("jpeg").folder, image_size=SMALL, **settings)


def test_uint8_has_whole_levels(levels):
    assert levels.dtype == np.uint8
    assert levels.min() < 10
    assert levels.max() > 245


def test_float32_is_levels_divided_by_255(stored_as, levels):
    images = load_small(stored_as, dtype="float32")
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert np.abs(images - levels / 255).max() < 1e-7


def test_float32_is_the_default(stored_as):
    folder = stored_as("jpeg").folder
    batches = reader.load(f"{folder}/train-*", batch_size=2, image_size=SMALL)
    assert batches.element_spec["image"] == tf.TensorSpec((2, *SMALL, 3), tf.float32)


@pytest.mark.parametrize("normalize", [None, "imagenet"])
def test_bfloat16_is_float32_rounded(stored_as, normalize):
    images = load_small(stored_as, dtype="bfloat16", normalize=normalize)
    exact = load_small(stored_as, dtype="float32", normalize=normalize)
    assert images.dtype == tf.bfloat16.as_numpy_dtype
    # The upper 16 bits of the float32, rounded to nearest, ties to even.
    bits = exact.view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16)
    assert np.array_equal(images.view(np.uint16), bits.astype(np.uint16))


@pytest.mark.parametrize(
    "normalize",
    [
        "imagenet",
        "clip",
        ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)),
        [[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]],
        (0.5, 0.25),
        (0, 1),
        (np.float32(0.5), np.array([0.5, 0.25, 0.125])),
        ([0.5], (0.3, 0.2, 0.1)),
    ],
    ids=repr,
)
def test_normalized_images_are_those_of_torchvision(stored_as, levels, v2, normalize):
    torch = importlib.import_module("torch")
    mean, std = (
        np.broadcast_to(part, 3).astype(float).tolist()
        for part in KNOWN.get(
            normalize if isinstance(normalize, str) else "", normalize
        )
    )
    images = load_small(stored_as, dtype="float32", normalize=normalize)
    exact = torch.from_numpy(levels).permute(0, 3, 1, 2).float() / 255
    expected = v2.normalize(exact, mean, std).permute(0, 2, 3, 1).numpy()
    assert images.dtype == np.float32
    assert np.abs(images - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("dtype", "normalize"),
    [("uint8", None), ("float32", None), ("float32", "clip"), ("bfloat16", "clip")],
)
def test_channels_first_is_a_transpose(stored_as, dtype, normalize):
    settings = {"dtype": dtype, "normalize": normalize}
    first = load_small(stored_as, data_format="channels_first", **settings)
    last = load_small(stored_as, **settings)
    assert first.shape == (len(last), 3, *SMALL)
    assert np.array_equal(first, last.transpose(0, 3, 1, 2))


def test_shape_and_type_are_known_beforehand(stored_as):
    batches = reader.load(
        f"{stored_as('jpeg').folder}/train-*",
        batch_size=4,
        image_size=SMALL,
        dtype="bfloat16",
        data_format="channels_first",
        crop="random_resized",
        flip=True,
        normalize="clip",
    )
    spec = batches.element_spec["image"]
    assert spec == tf.TensorSpec((4, 3, *SMALL), tf.bfloat16)


@pytest.mark.parametrize(
    ("settings", "black"),
    [
        ({"dtype": "uint8"}, 0),
        ({"dtype": "float32"}, 0),
        ({"dtype": "bfloat16", "data_format": "channels_first"}, 0),
        ({"dtype": "float32", "normalize": (0.5, 0.25)}, -2),
        ({"dtype": "uint8", "crop": "random", "flip": True}, 0),
        ({"dtype": "uint8", "crop": "random_resized", "flip": True}, 0),
    ],
    ids=repr,
)
def test_places_of_no_example_are_black(stored_as, settings, black):
    stored = stored_as("jpeg")
    num = len(stored.pictures)
    batches = reader.load(
        f"{stored.folder}/train-*",
        batch_size=num + 5,
        image_size=SMALL,
        shuffle=False,
        remainder="pad",
        outputs=("image", "valid"),
        **settings,
    )
    ((images, valid),) = batches.as_numpy_iterator()
    assert valid.tolist() == [True] * num + [False] * 5
    assert (images[num:].astype(np.float32) == black).all()
    whole = load(stored.folder, image_size=SMALL, **settings)
    assert np.array_equal(images[:num], whole)

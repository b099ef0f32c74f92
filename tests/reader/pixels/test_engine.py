"""The pixel engine: casts, flips, sizes and damage."""

import io
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
from ml_dtypes import bfloat16
from PIL import Image

from reader.config.image_config import ImageConfig, mean_and_std
from reader.pixels.engine import PixelEngine
from reader.pixels.errors import PixelsError

SIZES = [(60, 80), (90, 41), (33, 34), (200, 300)]


def pictures() -> list[np.ndarray]:
    made = []
    for seed, (height, width) in enumerate(SIZES):
        small = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        made.append(np.asarray(image))
    return made


def encoded(form: str) -> list[bytes]:
    if form == "raw":
        return [picture.tobytes() for picture in pictures()]
    files = [io.BytesIO() for _ in SIZES]
    for file, picture in zip(files, pictures(), strict=True):
        Image.fromarray(picture).save(file, form, quality=95)
    return [file.getvalue() for file in files]


def made(
    images: list[bytes],
    form: str | None,
    sizes: list[tuple[int, int]] | None = SIZES,
    draws: np.ndarray | None = None,
    **settings,
) -> np.ndarray:
    config = ImageConfig(**{"size": (32, 48), "dtype": "uint8", **settings})
    engine = PixelEngine(config, form)
    encoded = [np.frombuffer(image, np.uint8) for image in images]
    known = None if sizes is None else np.array(sizes, np.int32)
    if draws is None:
        counts = sum(config.num_draws.values())
        draws = np.random.default_rng(1).random((len(images), counts))
    out = np.empty((len(images), *engine.row_shape), engine.dtype)
    engine.make(encoded, known, draws, out)
    return out


@pytest.mark.parametrize("crop", ["center", "random", "random_resized", "none"])
def test_png_and_raw_are_the_same_pixels(crop):
    png, raw = (made(encoded(form), form, crop=crop) for form in ("png", "raw"))
    assert np.array_equal(png, raw)
    sized = made(encoded("png"), None, sizes=None, crop=crop)
    assert np.array_equal(png, sized)


def test_a_jpeg_of_unknown_size_is_that_of_a_known_size():
    images = encoded("jpeg")
    assert np.array_equal(made(images, "jpeg"), made(images, None, sizes=None))


@pytest.mark.parametrize("form", ["jpeg", "raw"])
def test_flips_follow_the_last_draw(form):
    draws = np.array([[0.1], [0.9], [0.499], [0.5]])
    plain = made(encoded(form), form)
    flipped = made(encoded(form), form, draws=draws, flip=True)
    for number, is_flipped in enumerate([True, False, True, False]):
        expected = plain[number][:, ::-1] if is_flipped else plain[number]
        assert np.array_equal(flipped[number], expected)


MEAN_AND_STD = ((0.1, 0.2, 0.3), (0.4, 1, 2))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("normalize", [None, "imagenet", MEAN_AND_STD])
def test_casts(normalize, data_format):
    bytes_ = made(encoded("raw"), "raw")
    settings = {"normalize": mean_and_std(normalize), "data_format": data_format}
    exact = bytes_.astype(np.float64) / 255
    if normalize is not None:
        mean, std = mean_and_std(normalize)
        exact = (exact - mean) / std
    if data_format == "channels_first":
        exact = exact.transpose(0, 3, 1, 2)
    floats = made(encoded("raw"), "raw", dtype="float32", **settings)
    assert floats.dtype == np.float32
    assert np.allclose(floats, exact, rtol=0, atol=1e-5)
    bits = made(encoded("raw"), "raw", dtype="bfloat16", **settings)
    assert bits.dtype == np.uint16
    assert np.array_equal(bits.view(bfloat16), floats.astype(bfloat16))


def test_fractions_are_those_of_tensorflow():
    import tensorflow as tf

    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    settings = {"size": (16, 16), "fraction": 1.0, "dtype": "float32"}
    found = made([levels.tobytes()], "raw", [(16, 16)], **settings)
    expected = tf.image.convert_image_dtype(levels, tf.float32).numpy()
    assert np.array_equal(found[0], expected)


@pytest.mark.parametrize("size", [(20, 30), (3, 3)])
def test_channels_first_bytes(size):
    last, first = (
        made(encoded("jpeg"), "jpeg", size=size, data_format=f"channels_{order}")
        for order in ("last", "first")
    )
    assert np.array_equal(first, last.transpose(0, 3, 1, 2))


DAMAGE = {
    "cut off": ("jpeg", lambda data: data[: len(data) // 2]),
    "of another size": ("jpeg", lambda data: encoded("jpeg")[0]),
    "no image": ("jpeg", lambda data: b"\xff\xd8\xff nothing"),
    "empty": ("jpeg", lambda data: b""),
    "png of another size": ("png", lambda data: encoded("png")[0]),
    "png cut off": ("png", lambda data: data[:-40]),
    "too few pixels": ("raw", lambda data: data[:-3]),
    "unknown": (None, lambda data: b"GIF89a nothing"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told_with_the_index(case):
    form, change = DAMAGE[case]
    images = encoded(form or "png")
    images[2] = change(images[2])
    with pytest.raises(PixelsError) as caught:
        made(images, form, SIZES if form else None)
    assert caught.value.index == 2
    assert str(caught.value)


def test_large_images_are_decoded_reduced_to_nearly_the_same_pixels():
    size = (900, 1201)
    small = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    picture = Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=95)
    draws = np.random.default_rng(2).random((1, 23))
    arguments = {"crop": "random_resized", "scale": (0.6, 1.0), "draws": draws}
    reduced = made([file.getvalue()], "jpeg", [size], **arguments)
    whole = np.asarray(Image.open(file).convert("RGB"))
    full = made([whole.tobytes()], "raw", [size], **arguments)
    gap = np.abs(reduced.astype(int) - full)
    assert 0 < gap.mean() < 1
    assert gap.max() <= 8


def test_an_engine_survives_pickling_and_changes_no_setting():
    config = ImageConfig(size=(8, 8), dtype="float32", normalize=mean_and_std("clip"))
    engine = PixelEngine(config, "raw")
    before = cv2.ipp.useIPP(), cv2.getNumThreads()
    out = np.empty((1, 8, 8, 3), np.float32)
    args = [np.zeros(3 * 81, np.uint8)], np.array([[9, 9]], np.int32), np.empty((1, 0))
    engine.make(*args, out)
    again = pickle.loads(pickle.dumps(engine))
    other = np.empty_like(out)
    again.make(*args, other)
    assert np.array_equal(out, other)
    assert (cv2.ipp.useIPP(), cv2.getNumThreads()) == before


def test_it_needs_no_tensorflow():
    code = "import sys, reader.pixels.engine; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr

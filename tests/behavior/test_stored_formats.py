"""Every stored image format: written, opened, loaded and checked alike."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import reader
from beam_jobs.encoding.encode_image import encode_pixels
from reader.__main__ import main
from reader.contract.manifest import ImageSpec
from reader.contract.schema import STORED_FORMATS
from reader.pixels.codecs import decoder

# Levels of 255 that a lossy format may be off on smooth pictures.
TOLERANCE = {"jpeg": 16}


def smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    channels = [y * 255 // height, x * 255 // width, (x + y) * 127 // (height + width)]
    return np.stack(channels, axis=-1).astype(np.uint8)


@pytest.fixture(scope="module", params=sorted(STORED_FORMATS))
def built(request, build, tmp_path_factory):
    """A dataset of the format, and its pictures by key."""
    folder = tmp_path_factory.mktemp(request.param)
    pictures = {}
    for number in range(6):
        pixels = smooth(40, 56)[::-1] if number % 2 else smooth(40, 56)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"picture {number}")
        pictures[str(number)] = pixels
    output = build(folder, folder, folder / "out", image_format=request.param)
    return request.param, output, pictures


def near(image_format: str, one: np.ndarray, other: np.ndarray) -> bool:
    off = np.abs(one.astype(int) - other.astype(int)).max()
    return bool(off <= TOLERANCE.get(image_format, 0))


@pytest.mark.parametrize("image_format", STORED_FORMATS)
def test_an_encoder_and_a_decoder_undo_each_other(image_format):
    spec = ImageSpec(
        format=image_format, quality=95, subsampling="444", resize="none", size=256
    )
    pixels = smooth(24, 33)
    data = encode_pixels(pixels, spec)
    assert near(image_format, decoder(image_format)(data, 24, 33), pixels)


def test_open_returns_the_pictures(built):
    image_format, output, pictures = built
    dataset = reader.open(output)
    assert len(dataset) == len(pictures)
    for key, pixels in pictures.items():
        assert near(image_format, dataset.by_key(key)["image"], pixels)


def test_load_returns_the_pictures(built):
    image_format, output, pictures = built
    batches = reader.load(
        str(output),
        batch_size=6,
        image_size=(40, 56),
        crop="none",
        dtype="uint8",
        outputs=("key", "image"),
    )
    ((keys, images),) = batches.as_numpy_iterator()
    for key, image in zip(keys, images, strict=True):
        assert near(image_format, image, pictures[key.decode()])


def test_verify_decodes_them(built):
    _, output, pictures = built
    report = reader.verify(output, decode=True)
    assert not report.problems
    assert report.num_examples == len(pictures)


def test_a_format_of_a_later_version_is_named(own_dataset, capsys):
    manifest = json.loads((own_dataset / "manifest.json").read_text())
    manifest["image"]["format"] = "jxl"
    (own_dataset / "manifest.json").write_text(json.dumps(manifest))
    message = 'images are stored as "jxl".*upgrade diptych'
    with pytest.raises(reader.DatasetError, match=message):
        reader.open(own_dataset, split="train")
    with pytest.raises(reader.DatasetError, match=message):
        reader.load(str(own_dataset), split="train", batch_size=2)
    for command in ("verify", "report"):
        flags = ["--decode"] if command == "verify" else []
        assert main([command, str(own_dataset), *flags]) == 1
        assert re.search(message, capsys.readouterr().err)

"""Values of examples: keys, captions, token rows and pixels."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from loaded_batches import (
    END,
    NUM_TRAIN,
    PAD,
    START,
    first_captions,
    load,
    load_keys,
    pictures,
    written,
)
from PIL import Image

import reader

# Keys, captions and tokens.


def test_keys_captions_and_sizes_are_those_stored(dataset):
    names = ("key", "caption", "height", "width")
    batches = load(dataset, batch_size=1, shuffle=False, outputs=names)
    loaded = [tuple(v.item() for v in batch) for batch in batches.as_numpy_iterator()]
    assert loaded == [
        (
            example["image/source_id"][0],
            example["image/caption"][0],
            example["image/height"][0],
            example["image/width"][0],
        )
        for example in written(dataset)
    ]


def rows(folder: Path, split: str = "train", **settings) -> Iterator[tuple]:
    """Yields (tokens, mask, length) of each example as lists, in written order."""
    names = ("tokens", "mask", "length")
    settings = {"batch_size": 1, "shuffle": False, "outputs": names, **settings}
    for batch in load(folder, f"{split}-*", **settings).as_numpy_iterator():
        yield tuple(values[0].tolist() for values in batch)


@pytest.mark.parametrize("max_tokens", [2, 3, 5, 9, 64, 300])
def test_captions_are_cut_or_padded_and_keep_start_and_end(dataset, max_tokens):
    loaded = list(rows(dataset, max_tokens=max_tokens))
    for (tokens, mask, length), ids in zip(
        loaded, first_captions(dataset), strict=True
    ):
        framed = [START, *ids[: max_tokens - 2], END]
        assert tokens == framed + [PAD] * (max_tokens - len(framed))
        assert mask == [place < len(framed) for place in range(max_tokens)]
        assert length == len(framed)


@pytest.mark.parametrize("max_tokens", [1, 5, 64])
def test_without_special_tokens_rows_hold_words_alone(dataset, max_tokens):
    loaded = list(rows(dataset, max_tokens=max_tokens, add_special_tokens=False))
    for (tokens, mask, length), ids in zip(
        loaded, first_captions(dataset), strict=True
    ):
        kept = ids[:max_tokens]
        assert tokens == kept + [PAD] * (max_tokens - len(kept))
        assert sum(mask) == length == len(kept)


def test_a_caption_without_words_is_start_and_end(uniform):
    by_length = {length: tokens for tokens, _, length in rows(uniform, max_tokens=6)}
    assert by_length[2] == [START, END, PAD, PAD, PAD, PAD]


def test_a_caption_without_words_or_special_tokens_is_all_padding(uniform):
    loaded = rows(uniform, max_tokens=4, add_special_tokens=False)
    assert ([PAD] * 4, [False] * 4, 0) in list(loaded)


def test_a_caption_longer_than_the_row_fills_it(uniform):
    assert max(length for _, _, length in rows(uniform)) == 64


def test_the_tokenizer_decodes_a_row_of_a_batch(dataset):
    tokenizer = reader.tokenizer(dataset)
    batch = next(iter(load(dataset, outputs=("tokens", "caption"))))
    for tokens, caption in zip(*batch, strict=True):
        text = caption.numpy().decode()
        assert tokenizer.decode(tokens) == tokenizer.decode(tokenizer.encode(text))
        assert tokenizer.decode(tokens).split() == text.replace(",", "").lower().split()


# Pixels.


def loaded_pictures(folder: Path, **settings) -> list[np.ndarray]:
    """Returns images in written order, with levels from 0 to 255."""
    settings = {"batch_size": 1, "shuffle": False, "outputs": ("image",), **settings}
    return [b[0][0] * 255 for b in load(folder, **settings).as_numpy_iterator()]


def region(pixels: np.ndarray, size: tuple[int, int], fraction: float) -> np.ndarray:
    """Returns the center crop, `fraction` of the largest with the aspect of `size`."""
    height, width = pixels.shape[:2]
    scale = min(height / size[0], width / size[1]) * fraction
    tall, wide = (max(1, round(side * scale)) for side in size)
    top, left = (height - tall) // 2, (width - wide) // 2
    return pixels[top : top + tall, left : left + wide]


def resampled(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resamples with Pillow's bilinear filter, which is antialiased."""
    image = Image.fromarray(pixels)
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR), float)


def is_near(image: np.ndarray, pixels: np.ndarray, size: tuple[int, int]) -> bool:
    """Returns whether an image equals a resampled region, within tolerance."""
    difference = np.abs(image - resampled(pixels, size))
    if all(side >= 3 * to for side, to in zip(pixels.shape, size, strict=False)):
        # The image may be decoded at a reduced size: docs/batches.md#images. Filters
        # differ most for noise, as here.
        return bool(difference.mean() < 6 and np.percentile(difference, 99) < 25)
    # Both round to whole levels, with differently rounded weights.
    return bool(difference.max() < 2.01)


@pytest.mark.parametrize("fraction", [0.5, 0.875, 1.0])
@pytest.mark.parametrize("size", [(16, 16), (48, 48), (31, 90), (90, 31), (400, 400)])
def test_center_crop_is_the_middle_region_resampled(odd, size, fraction):
    loaded = loaded_pictures(odd, image_size=size, crop_fraction=fraction)
    for image, stored in zip(loaded, pictures(odd), strict=True):
        assert is_near(image, region(stored, size, fraction), size), stored.shape


@pytest.mark.parametrize("size", [(16, 16), (31, 90), (400, 300)])
def test_crop_none_stretches_the_whole_image(odd, size):
    loaded = loaded_pictures(odd, image_size=size, crop="none")
    for image, stored in zip(loaded, pictures(odd), strict=True):
        assert is_near(image, stored, size), stored.shape


def test_a_single_number_is_height_and_width(dataset):
    one = loaded_pictures(dataset, image_size=24)
    other = loaded_pictures(dataset, image_size=(24, 24))
    assert np.array_equal(one, other)


def test_a_region_of_the_size_asked_for_is_not_resampled(odd):
    by_shape = {stored.shape[:2]: stored for stored in pictures(odd)}
    loaded = loaded_pictures(odd, image_size=56)  # 64 × 0.875
    expected = by_shape[64, 64][4:60, 4:60]
    assert any(np.abs(image - expected).max() < 1e-3 for image in loaded)


def test_images_smaller_than_the_size_asked_for_are_enlarged(odd):
    loaded = loaded_pictures(odd, image_size=32)
    stored = pictures(odd)
    (index,) = (i for i, pixels in enumerate(stored) if pixels.shape == (1, 1, 3))
    assert np.abs(loaded[index] - stored[index]).max() < 1e-3


def test_images_of_one_size_are_read_as_they_are_stored(uniform):
    loaded = loaded_pictures(uniform, image_size=None)
    assert len(loaded) == 8
    for image, stored in zip(loaded, pictures(uniform), strict=True):
        assert image.shape == (32, 40, 3)
        assert np.abs(image - stored).max() < 1e-3


def test_shape_is_static_for_images_as_stored(uniform):
    spec = reader.load(str(uniform), batch_size=4).element_spec
    assert spec["image"].shape == (4, 32, 40, 3)


def test_images_of_several_sizes_need_an_image_size(dataset):
    message = "image_size must be given: stored images are 240 to 360 pixels wide"
    with pytest.raises(reader.UsageError, match=message):
        load(dataset, image_size=None)


def test_no_image_size_is_needed_where_no_image_is_asked_for(dataset):
    assert len(load_keys(dataset, image_size=None)) == NUM_TRAIN


# Stored image formats.


def unpacked(example: dict[str, list]) -> np.ndarray:
    (encoded,), (format,) = example["image/encoded"], example["image/format"]
    if format != b"raw":
        with Image.open(io.BytesIO(encoded)) as image:
            assert image.format == format.decode().upper()
            return np.asarray(image)
    size = (example["image/height"][0], example["image/width"][0], 3)
    return np.frombuffer(encoded, np.uint8).reshape(size)


@pytest.fixture(scope="module", params=["png", "raw"])
def lossless(build, odd, request, tmp_path_factory) -> Path:
    """The sources of `odd` in a lossless format."""
    source = tmp_path_factory.mktemp("lossless")
    for file in odd.parent.glob("*.*"):
        shutil.copy(file, source)
    return build(
        source, source, source / "out", resize="none", image_format=request.param
    )


def test_what_is_stored_without_loss_is_the_source(lossless, odd):
    for example in written(lossless):
        (key,) = example["image/source_id"]
        with Image.open(odd.parent / f"{key.decode()}.png") as image:
            assert (unpacked(example) == np.asarray(image)).all()


@pytest.mark.parametrize("size", [(16, 16), (31, 90), (400, 300)])
def test_images_stored_without_loss_are_cut_and_resampled_alike(lossless, size):
    examples = [unpacked(example) for example in written(lossless)]
    loaded = loaded_pictures(lossless, image_size=size)
    for image, stored in zip(loaded, examples, strict=True):
        expected = resampled(region(stored, size, 0.875), size)
        assert np.abs(image - expected).max() < 2.01, stored.shape


def test_images_stored_without_loss_are_stretched_alike(lossless):
    examples = [unpacked(example) for example in written(lossless)]
    loaded = loaded_pictures(lossless, image_size=20, crop="none")
    for image, stored in zip(loaded, examples, strict=True):
        assert np.abs(image - resampled(stored, (20, 20))).max() < 2.01


def test_a_format_that_this_reader_does_not_know_is_named(own_dataset):
    manifest = own_dataset / "manifest.json"
    data = manifest.read_text().replace('"format": "jpeg"', '"format": "jxl"')
    manifest.write_text(data)
    with pytest.raises(reader.DatasetError, match=r'"jxl".*upgrade'):
        load(own_dataset)

"""JPEGs that are decoded down to the end of a region: the same pixels, or an error.

Expected pixels are those of Pillow, or of the whole JPEG decoded at the same scale.
"""

import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reader.pixels import jpeg
from reader.pixels.short_jpeg import is_complaint_about_rest, shortened


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 9 + 2, width // 9 + 2, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.integers(-30, 30, (height, width, 3))
    return Image.fromarray((np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, **more) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 90, **more})
    return file.getvalue()


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


@st.composite
def cases(draw):
    height, width = draw(st.integers(1, 200)), draw(st.integers(1, 90))
    more = {
        "subsampling": draw(st.sampled_from([0, 1, 2])),
        "quality": draw(st.integers(5, 100)),
        "progressive": draw(st.sampled_from([False] * 4 + [True])),
        "optimize": draw(st.booleans()),
        "restart_marker_blocks": draw(st.sampled_from([0, 0, 0, 3])),
        "comment": draw(st.binary(max_size=40)),
    }
    image = picture(height, width, draw(st.integers(0, 99)))
    if draw(st.booleans()):
        image = image.convert("L")
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    sides = draw(st.integers(1, height - top)), draw(st.integers(1, width - left))
    return encoded(image, **more), (height, width), (top, left, *sides)


@settings(max_examples=300)
@given(cases())
def test_regions_are_those_of_pillow(case):
    data, size, region = case
    # A large target, so that the image is not reduced.
    pixels, same = jpeg.decode_region(array(data), size, region, (999, 999))
    assert same == region
    whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    place = np.s_[region[0] : region[0] + region[2], region[1] : region[1] + region[3]]
    assert np.array_equal(pixels[place], whole[place])


@settings(max_examples=300)
@given(cases(), st.integers(1, 40))
def test_reduced_regions_are_those_of_the_whole(case, target):
    data, size, region = case
    sides = (target, max(1, target // 2))
    pixels, (top, left, height, width) = jpeg.decode_region(
        array(data), size, region, sides
    )
    eighths = round(8 * height / region[2])
    at_least = [-(-side * eighths // 8) for side in size]
    whole = simplejpeg.decode_jpeg(
        data, "RGB", min_height=at_least[0], min_width=at_least[1]
    )
    place = np.s_[
        int(top) : int(np.ceil(top + height)), int(left) : int(np.ceil(left + width))
    ]
    assert np.array_equal(pixels[place], whole[place])


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_rows_below_are_not_decoded(subsampling, mode):
    data = encoded(picture(200, 60).convert(mode), subsampling=subsampling)
    short = shortened(array(data), (200, 60), 48)
    assert simplejpeg.decode_jpeg_header(short)[:2] == (48, 60)
    with pytest.raises(ValueError, match="extraneous bytes") as raised:
        simplejpeg.decode_jpeg(short, strict=True)
    assert is_complaint_about_rest(raised.value)
    pixels, _ = jpeg.decode_region(array(data), (200, 60), (0, 0, 30, 60), (30, 60))
    assert pixels.shape == (32, 60, 3)


@pytest.mark.parametrize(
    "more", [{"progressive": True}, {"restart_marker_rows": 1}], ids=str
)
def test_other_jpegs_are_decoded_whole(more):
    data = encoded(picture(200, 60), **more)
    assert shortened(array(data), (200, 60), 48) is None


def test_another_size_is_told_though_the_region_would_be_there():
    data = encoded(picture(200, 60))
    for size in [(210, 60), (190, 60), (200, 61), (70_000, 60)]:
        with pytest.raises(ValueError, match="it has 200 × 60 pixels"):
            jpeg.decode_region(array(data), size, (0, 0, 30, 50), (30, 50))


def test_what_is_cut_off_is_an_error_wherever_the_region_ends():
    data = encoded(picture(200, 60))
    for length in range(300, len(data), len(data) // 40):
        for rows in (20, 100, 200):
            with pytest.raises(ValueError, match="JPEG"):
                jpeg.decode_region(
                    array(data[:length]), (200, 60), (0, 0, rows, 60), (rows, 60)
                )


def test_fewer_rows_than_stated_are_an_error():
    """The header of an image of 100 rows says 200."""
    data = bytearray(encoded(picture(100, 60)))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 7] = (200).to_bytes(2, "big")
    for rows in (20, 80, 94, 95, 120, 200):
        region = (0, 0, rows, 60)
        if rows < 95:  # Its rows are there.
            pixels, _ = jpeg.decode_region(array(data), (200, 60), region, (rows, 60))
            assert np.isfinite(pixels).all()
            continue
        with pytest.raises(ValueError, match="JPEG"):
            jpeg.decode_region(array(data), (200, 60), region, (rows, 60))


def test_no_damage_crashes_or_gives_other_pixels_above_it():
    """Bytes are changed at random: an error, or pixels of the right shape."""
    rng = np.random.default_rng(3)
    data = encoded(picture(200, 60))
    for _ in range(400):
        changed = bytearray(data)
        for place in rng.integers(2, len(data), 3):
            changed[place] = rng.integers(256)
        try:
            pixels, _ = jpeg.decode_region(
                array(changed), (200, 60), (5, 5, 90, 50), (90, 50)
            )
        except ValueError:
            continue
        assert pixels.shape[0] >= 95
        assert pixels.shape[1:] == (60, 3)

"""Large JPEGs are decoded smaller: what is stored looks as if they were not."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from beam_jobs.config.job_settings import RESIZE_MODES
from beam_jobs.elements import BadInput
from beam_jobs.encoding.encode_image import SourceImage
from beam_jobs.encoding.resize import plan_sizes, resize, shrink_ratio
from reader.contract.manifest import ImageSpec

SIDES = st.integers(1, 20_000)


def spec_of(mode: str, size: int, upscale: bool = False) -> ImageSpec:
    return ImageSpec(
        format="raw",
        quality=90,
        subsampling="420",
        resize=mode,
        size=size,
        upscale=upscale,
    )


@given(
    SIDES, SIDES, st.sampled_from(RESIZE_MODES), st.integers(1, 2_000), st.booleans()
)
def test_the_filter_is_left_a_reduction_by_two_at_least(h, w, mode, size, upscale):
    spec = spec_of(mode, size, upscale)
    ratio, scaled = shrink_ratio(h, w, spec), plan_sizes(h, w, spec).scaled
    left = [side / to for side, to in zip((h, w), scaled, strict=True)]
    assert ratio in (1, 2, 4, 8)
    assert ratio == 1 or min(left) / ratio >= 2
    assert ratio == 8 or min(left) / (2 * ratio) < 2


@given(
    st.integers(2, 4_000),
    st.integers(2, 4_000),
    st.sampled_from(RESIZE_MODES),
    st.integers(1, 600),
    st.sampled_from([1, 6]),
)
def test_the_size_is_the_one_that_was_planned(h, w, mode, size, orientation):
    spec = spec_of(mode, size)
    ratio = shrink_ratio(h, w, spec)
    shrunk = np.zeros((-(-h // ratio), -(-w // ratio), 3), np.uint8)
    made = resize(shrunk, spec, whole=(h, w), shrunk=ratio, orientation=orientation)
    upright = (w, h) if orientation == 6 else (h, w)
    assert made.shape[:2] == plan_sizes(*upright, spec).stored


def photograph(shared_data: Path, height: int, width: int) -> Image.Image:
    """Returns a photograph enlarged, with the noise of a sensor on it."""
    file = shared_data / "images/exif_orientation/Landscape_1.jpg"
    with Image.open(file) as image:
        pixels = np.asarray(image.convert("RGB").resize((width, height)))
    noise = np.random.default_rng(0).normal(0, 3, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def jpeg_of(image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, **options)
    return file.getvalue()


def stored_pixels(data: bytes, spec: ImageSpec) -> np.ndarray:
    stored = SourceImage(data, max_pixels=10**8).encode(spec)
    pixels = np.frombuffer(stored.data, np.uint8)
    return pixels.reshape(stored.height, stored.width, 3)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize(
    ("height", "width", "size", "ratio"),
    [(1200, 1800, 256, 2), (1203, 1807, 128, 4), (1201, 1999, 64, 8)],
)
@pytest.mark.parametrize("mode", ["shorter_side", "crop"])
def test_it_looks_as_if_all_had_been_decoded(
    shared_data, height, width, size, ratio, orientation, mode
):
    spec = spec_of(mode, size)
    assert shrink_ratio(height, width, spec) == ratio
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg_of(photograph(shared_data, height, width), exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
        sizes = plan_sizes(upright.height, upright.width, spec)
        whole = upright.resize(sizes.scaled[::-1], Image.Resampling.BOX)
        top, left = (np.subtract(*sizes) // 2).tolist()
        expected = np.asarray(whole, int)[top:, left:]
        expected = expected[: sizes.stored[0], : sizes.stored[1]]
    pixels = stored_pixels(data, spec)
    assert pixels.shape == expected.shape
    difference = np.abs(pixels - expected)
    assert difference.mean() < 1.5
    assert np.percentile(difference, 99) < 10


def difference_from_all(sampling: str) -> float:
    """How far a picture of coarse, loud colours is from what all of it would be."""
    colors = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    pixels = colors.repeat(13, 0).repeat(13, 1)
    data = simplejpeg.encode_jpeg(pixels, quality=95, colorsubsampling=sampling)
    spec = spec_of("shorter_side", 32)
    assert shrink_ratio(*pixels.shape[:2], spec) == 4
    size = plan_sizes(*pixels.shape[:2], spec).scaled
    whole = Image.fromarray(simplejpeg.decode_jpeg(data))
    expected = np.asarray(whole.resize(size[::-1], Image.Resampling.BOX), int)
    return float(np.abs(stored_pixels(data, spec) - expected).mean())


@pytest.mark.parametrize("sampling", ["420", "422", "440", "411"])
def test_colours_stay_as_fine_as_they_were(sampling):
    """Chroma that is coarser one way than the other is left whole."""
    assert difference_from_all(sampling) <= 1.1 * difference_from_all("444")


def with_sampling(data: bytes, *, luma: int, blue: int) -> bytes:
    """Returns a JPEG whose frame tells other samplings."""
    changed, frame = bytearray(data), data.index(b"\xff\xc0")
    changed[frame + 11], changed[frame + 14] = luma, blue
    return bytes(changed)


def test_what_pillow_decodes_is_booked_at_its_full_size():
    named = jpeg_of(Image.new("RGB", (1000, 1000)))
    odd = with_sampling(named, luma=0x11, blue=0x21)
    spec = spec_of("shorter_side", 32)
    num_bytes = [
        SourceImage(data, max_pixels=10**8).decoded_bytes(spec) for data in (named, odd)
    ]
    assert num_bytes == [6 * 1000 * 1000 / 8**2, 20 * 1000 * 1000]


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=str)
def test_damage_is_noticed_at_any_size(shared_data, options):
    data = jpeg_of(photograph(shared_data, 600, 900), **options)
    spec = spec_of("shorter_side", 32)
    assert shrink_ratio(600, 900, spec) == 8
    stored_pixels(data, spec)
    scan = data.rindex(b"\xff\xda") + 64
    # A progressive one that is closed again is whole, only less fine.
    ends = [b""] if options else [b"", b"\xff\xd9"]
    for length in random.Random(0).sample(range(scan, len(data) - 64), 20):
        for end in ends:
            with pytest.raises(BadInput):
                stored_pixels(data[:length] + end, spec)

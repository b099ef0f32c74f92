"""Tests TIFFs of all layouts against arithmetic, with files that tifffile checks.

A layout is stored as the rules of docs/format.md say, or rejected.
"""

import dataclasses
import io
import itertools
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from image_files import FINEST, distance, encode, file_of, rejection, smooth
from PIL import Image
from tiff_files import (
    BLACK_IS_ZERO,
    CMYK,
    COMPRESSIONS,
    PALETTE,
    RGB,
    SHORT,
    WHITE_IS_ZERO,
    YCBCR,
    tiff_file,
    tiff_of,
)

from beam_jobs.elements import BadInput

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

RAW = dataclasses.replace(FINEST, format="raw")
HEIGHT, WIDTH = 24, 20
COLORS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4}
UNSPECIFIED, PREMULTIPLIED, ALPHA = 0, 1, 2


def stored(data: bytes) -> np.ndarray:
    image = encode(data, RAW)
    found = np.frombuffer(image.data, np.uint8)
    return found.reshape(image.height, image.width, 3)


def samples_of(number: int, bits: int) -> np.ndarray:
    down, right = np.mgrid[:HEIGHT, :WIDTH] / [[[HEIGHT - 1]], [[WIDTH - 1]]]
    ramps = (right, down, 1 - right * down, (down + right) / 2, 1 - down, right * 0.5)
    values = np.stack(ramps[:number], axis=-1) * (2**bits - 1)
    return values.round().astype(np.int64)


def palette_of(bits: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 65536, (3, 2**bits))


def expected_of(
    samples: np.ndarray, bits: int, photometric: int, extra: tuple[int, ...]
) -> np.ndarray:
    """Returns float[height, width, 3]: the upper byte, then RGB, then over white."""
    # Samples of more than 8 bits keep their upper 8 bits.
    upper = samples >> (bits - 8) if bits > 8 else samples * 255 / (2**bits - 1)
    light = upper / 255
    color = light[..., : COLORS[photometric]]
    if photometric == PALETTE:
        color = (palette_of(bits)[:, samples[..., 0]] >> 8).transpose(1, 2, 0) / 255
    elif photometric == WHITE_IS_ZERO:
        color = 1 - color
    elif photometric == CMYK:
        color = (1 - color[..., :3]) * (1 - color[..., 3:])
    color = np.broadcast_to(color, (*color.shape[:2], 3))
    if extra[:1] in ((ALPHA,), (PREMULTIPLIED,)):
        alpha = light[..., COLORS[photometric], None]
        color = color * alpha if extra[0] == ALPHA else color
        color = color + 1 - alpha
    return color.clip(0, 1) * 255


LAYOUTS = [
    (photometric, bits, extra)
    for photometric, bits, extra in itertools.product(
        COLORS,
        (1, 2, 4, 6, 8, 12, 16),
        ((), (0,), (1,), (2,), (0, 0), (1, 0), (2, 0), (0, 2)),
    )
    if photometric != PALETTE or bits <= 8
]
# Layouts that are read with every byte order and compression, pixels together.
READ = {
    *itertools.product((WHITE_IS_ZERO, BLACK_IS_ZERO, PALETTE), (1, 2, 4, 8), [()]),
    *itertools.product((WHITE_IS_ZERO, BLACK_IS_ZERO), [16], [()]),
    (BLACK_IS_ZERO, 8, (ALPHA,)),
    (PALETTE, 8, (ALPHA,)),
    (PALETTE, 8, (UNSPECIFIED,)),
    (RGB, 8, ()),
    *((RGB, 8, (kind,)) for kind in (UNSPECIFIED, PREMULTIPLIED, ALPHA)),
    *((RGB, 8, (kind, 0)) for kind in (UNSPECIFIED, PREMULTIPLIED, ALPHA)),
    (RGB, 16, ()),
    *((RGB, 16, (kind,)) for kind in (UNSPECIFIED, PREMULTIPLIED, ALPHA)),
    (CMYK, 8, ()),
    (CMYK, 8, (UNSPECIFIED,)),
    (CMYK, 8, (UNSPECIFIED, UNSPECIFIED)),
    (CMYK, 16, ()),
}
READ_LITTLE_ENDIAN = {(WHITE_IS_ZERO, 12, ()), (BLACK_IS_ZERO, 12, ())}


def check_layout(data: bytes, expected: np.ndarray) -> bool:
    """Returns whether a TIFF is read; it is then right, and else unsupported."""
    try:
        found = stored(data)
    except BadInput as error:
        assert error.reason == "unsupported_image", error
        assert "TIFF" in error.detail or "mode" in error.detail
        return False
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1.5
    return True


@pytest.mark.parametrize(("photometric", "bits", "extra"), LAYOUTS)
def test_a_layout_is_read_as_it_should_be_or_unsupported(photometric, bits, extra):
    number = COLORS[photometric] + len(extra)
    samples = samples_of(min(number, 6), bits)
    if samples.shape[-1] < number:
        pytest.skip("more samples than Pillow knows")
    if photometric == PALETTE:
        index = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 2**bits
        samples[..., 0] = index
    color = samples[..., : COLORS[photometric]]
    if extra[:1] == (PREMULTIPLIED,):
        color *= samples[..., COLORS[photometric], None]
        color //= 2**bits - 1
    more: dict[str, Any] = {}
    if photometric == PALETTE:
        more["tag_320"] = palette_of(bits).ravel().tolist()
    expected = expected_of(samples, bits, photometric, extra)
    for order, planar, fill, compression in itertools.product(
        "<>", (1, 2), (1, 2), COMPRESSIONS
    ):
        data = tiff_file(
            samples,
            bits,
            photometric,
            order=order,
            planar=planar,
            compression=compression,
            extra=extra,
            fill=fill,
            **more,
        )
        is_read = check_layout(data, expected)
        layout = (photometric, bits, extra)
        single = photometric != CMYK and number == 1
        if (planar == 1 or single) and fill == 1 and layout in READ:
            assert is_read, (order, compression)
        if planar == fill == 1 and order == "<" and layout in READ_LITTLE_ENDIAN:
            assert is_read, compression


@pytest.mark.parametrize("bits", [1, 8, 12, 16])
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_files_above_hold_what_they_should(bits, planar, order, compression):
    samples = samples_of(3, bits)
    data = tiff_file(
        samples, bits, RGB, order=order, planar=planar, compression=compression
    )
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        found = page.asarray()
    if planar == 2:
        found = np.moveaxis(found, 0, -1)
    assert (found == samples).all()


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("predictor", [None, 2])
@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd", "lzma"])
@pytest.mark.parametrize(
    ("photometric", "bits"),
    [
        ("minisblack", 8),
        ("minisblack", 16),
        ("miniswhite", 16),
        ("rgb", 8),
        ("rgb", 16),
    ],
)
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("big", [False, True])
def test_tiles_predictors_and_bigtiff_are_read(
    planar, predictor, compression, photometric, bits, tile, big
):
    samples = samples_of(3, bits) if photometric == "rgb" else samples_of(1, bits)
    values = samples.astype(np.uint8 if bits == 8 else np.uint16)
    pixels = values if photometric == "rgb" else values[..., 0]
    if photometric == "rgb" and planar == "separate":
        pixels = np.moveaxis(pixels, -1, 0)
    file = io.BytesIO()
    with tifffile.TiffWriter(file, bigtiff=big, byteorder="<") as writer:
        writer.write(
            pixels,
            photometric=photometric,
            planarconfig=planar if photometric == "rgb" else None,
            compression=compression,
            predictor=predictor,
            tile=tile,
            metadata=None,
        )
    code = {"minisblack": BLACK_IS_ZERO, "miniswhite": WHITE_IS_ZERO, "rgb": RGB}
    expected = expected_of(samples, bits, code[photometric], ())
    assert check_layout(file.getvalue(), expected)


def test_a_palette_of_8_bit_colors_is_read_as_libtiff_does():
    samples = samples_of(1, 8)
    colors = palette_of(8) >> 8
    data = tiff_file(samples, 8, PALETTE, tag_320=colors.ravel().tolist())
    expected = colors[:, samples[..., 0]].transpose(1, 2, 0)
    assert (stored(data) == expected).all()


@pytest.mark.parametrize("subsampling", [(1, 1), (2, 1), (2, 2), (4, 1)])
def test_jpeg_in_tiff_is_read_as_tifffile_reads_it(subsampling):
    file = io.BytesIO()
    tifffile.imwrite(
        file,
        np.asarray(smooth()),
        photometric="ycbcr",
        compression="jpeg",
        subsampling=subsampling,
        compressionargs={"level": 95, "colorspace": "rgb"},
        metadata=None,
    )
    expected = tifffile.imread(io.BytesIO(file.getvalue()))
    assert distance(stored(file.getvalue()), expected) <= 1


def old_style_jpeg(photometric: int) -> bytes:
    jpeg = file_of(smooth(), "JPEG", quality=95, subsampling=0)
    tags = {256: (SHORT, [60]), 257: (SHORT, [40]), 258: (SHORT, [8, 8, 8])}
    tags |= {259: (SHORT, [6]), 262: (SHORT, [photometric]), 277: (SHORT, [3])}
    tags |= {278: (SHORT, [40]), 512: (SHORT, [1]), 513: (SHORT, [8])}
    return tiff_of(tags | {514: (SHORT, [len(jpeg)]), 530: (SHORT, [1, 1])}, [jpeg])


def test_old_style_jpeg_in_tiff_is_read():
    jpeg = file_of(smooth(), "JPEG", quality=95, subsampling=0)
    expected = imagecodecs.jpeg_decode(jpeg)
    assert distance(stored(old_style_jpeg(YCBCR)), expected) <= 1


def test_compressed_ycbcr_of_half_resolution_is_read():
    down, right = np.mgrid[:16, :16]
    luma, blue, red = 20 + 8 * right, 90 + 8 * (down // 2), 150 - 4 * (right // 2)
    blocks = b"".join(
        bytes([*luma[y : y + 2, x : x + 2].ravel(), blue[y, x], red[y, x]])
        for y in range(0, 16, 2)
        for x in range(0, 16, 2)
    )
    tags = {256: (SHORT, [16]), 257: (SHORT, [16]), 258: (SHORT, [8, 8, 8])}
    tags |= {259: (SHORT, [8]), 262: (SHORT, [YCBCR]), 277: (SHORT, [3])}
    tags |= {278: (SHORT, [16]), 530: (SHORT, [2, 2])}
    blue, red = blue - 128.0, red - 128.0
    expected = np.stack(
        (
            luma + 1.402 * red,
            luma - 0.344136 * blue - 0.714136 * red,
            luma + 1.772 * blue,
        ),
        axis=-1,
    )
    _, deflate = COMPRESSIONS["deflate"]
    assert check_layout(tiff_of(tags, [deflate(blocks)]), expected.clip(0, 255))
    plain = tiff_of(tags | {259: (SHORT, [1])}, [blocks])
    assert "uncompressed YCbCr" in rejection(plain).detail


def written(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **options)
    return file.getvalue()


COLOR = np.asarray(smooth())
GRAY = COLOR[..., 0].copy()
RAMP = samples_of(1, 8)
RAMPS = samples_of(4, 8)
UNSUPPORTED = {
    "JPEG 2000": written(COLOR, photometric="rgb", compression="jpeg2000"),
    "JPEG XL": written(COLOR, photometric="rgb", compression="jpegxl"),
    "JPEG XR": written(COLOR, photometric="rgb", compression="jpegxr"),
    "PNG": written(COLOR, photometric="rgb", compression="png"),
    "LERC": written(COLOR, photometric="rgb", compression="lerc"),
    "BigTIFF in big-endian": written(GRAY, byteorder=">", bigtiff=True),
    "CFA": written(GRAY, photometric="cfa"),
    "CIELab, planes apart": written(
        np.moveaxis(COLOR, -1, 0).copy(), photometric="cielab", planarconfig="separate"
    ),
    "ICCLab": written(COLOR, photometric="icclab"),
    "LinearRaw": written(COLOR, photometric="linear_raw"),
    "14 bits": tiff_file(samples_of(1, 14), 14, BLACK_IS_ZERO),
    "16 + 16 bits": tiff_file(samples_of(2, 16), 16, BLACK_IS_ZERO, extra=(ALPHA,)),
    "planes apart": tiff_file(samples_of(3, 16), 16, RGB, planar=2),
    "signed": tiff_file(RAMP, 8, BLACK_IS_ZERO, tag_339=2),
    "mode I": written(GRAY.astype(np.int16)),
    "mode F": written(GRAY.astype(np.float32)),
    "64 bits": written(GRAY.astype(np.float64)),
    "PhotometricInterpretation": tiff_file(RAMP, 8, BLACK_IS_ZERO, tag_262=None),
    "inks": tiff_file(RAMPS, 8, CMYK, tag_332=2),
    "DNG": tiff_file(RAMP, 8, BLACK_IS_ZERO, tag_50706=[1, 4, 0, 0]),
    "preview": tiff_file(RAMP, 8, BLACK_IS_ZERO, tag_254=1, tag_330=8),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_a_kind_that_would_be_stored_wrong_is_named(kind):
    error = rejection(UNSUPPORTED[kind])
    assert error.reason == "unsupported_image"
    assert kind in error.detail


def test_a_canon_raw_is_named():
    # Its directory begins at byte 16, after a mark.
    data = tiff_file(RAMP, 8, BLACK_IS_ZERO)
    data = data[:8] + b"CR\2\0" + data[12:]
    assert "CR2" in rejection(data).detail


def test_webp_in_tiff_is_read_or_unsupported():
    data = written(
        COLOR,
        photometric="rgb",
        compression="webp",
        compressionargs={"lossless": True},
    )
    try:
        found = stored(data)
    except BadInput as error:
        assert error.reason == "unsupported_image"
        assert "WebP" in error.detail
    else:
        assert (found == COLOR).all()


def test_the_orientation_of_a_corrected_tiff_is_applied():
    samples = samples_of(1, 16)
    data = tiff_file(samples, 16, WHITE_IS_ZERO, tag_274=6)
    expected = np.rot90(expected_of(samples, 16, WHITE_IS_ZERO, ()), -1)
    assert np.abs(stored(data) - expected).max() <= 1


def test_a_cmyk_jpeg_of_adobe_in_tiff_is_read_as_tifffile_reads_it():
    inks = Image.fromarray(samples_of(4, 8).astype(np.uint8), "CMYK")
    jpeg = file_of(inks, "JPEG", quality=95)
    tags = {256: (SHORT, [WIDTH]), 257: (SHORT, [HEIGHT]), 258: (SHORT, [8] * 4)}
    tags |= {259: (SHORT, [7]), 262: (SHORT, [CMYK]), 277: (SHORT, [4])}
    data = tiff_of(tags | {278: (SHORT, [HEIGHT])}, [jpeg])
    samples = tifffile.imread(io.BytesIO(data)).astype(np.int64)
    assert check_layout(data, expected_of(samples, 8, CMYK, ()))

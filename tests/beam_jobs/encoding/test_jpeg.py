"""Tests that parsing a JPEG drops metadata, keeps the pixels and detects damage."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageCms

from beam_jobs.elements import BadInput
from beam_jobs.encoding.encode_image import SourceImage
from beam_jobs.encoding.jpeg import parse_jpeg
from reader.contract.manifest import ImageSpec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

KEPT = ImageSpec(format="jpeg", quality=90, subsampling="420", resize="none", size=1)
RAW = ImageSpec(format="raw", quality=90, subsampling="420", resize="none", size=1)
MAX_PIXELS = 100_000_000


def noisy(height: int = 35, width: int = 51, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def file_of(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def pixels_of(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def plain(data: bytes) -> bytes:
    return parse_jpeg(data, max_pixels=MAX_PIXELS).plain


def stored(data: bytes, spec: ImageSpec = KEPT) -> Any:
    return SourceImage(data, max_pixels=MAX_PIXELS).encode(spec)


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def replaced(data: bytes, marker: int, new: bytes) -> bytes:
    """Returns a JPEG with its first segment of a marker replaced."""
    begin = data.index(bytes([0xFF, marker]))
    end = begin + 2 + struct.unpack(">H", data[begin + 2 : begin + 4])[0]
    return data[:begin] + new + data[end:]


BASELINE = file_of(noisy())
JFIF = BASELINE[2:20]


# JPEGs whose coded data is kept.

KEPT_AS_THEY_ARE = {
    "4:2:0": BASELINE,
    "4:2:2": file_of(noisy(), subsampling="4:2:2"),
    "4:4:4": file_of(noisy(), subsampling="4:4:4"),
    **{
        name: simplejpeg.encode_jpeg(np.asarray(noisy()), colorsubsampling=name)
        for name in ("440", "411")
    },
    "optimized": file_of(noisy(), optimize=True),
    "restarts": file_of(noisy(), restart_marker_blocks=1),
    "without JFIF": replaced(BASELINE, 0xE0, b""),
    "Adobe's YCbCr": replaced(BASELINE, 0xE0, segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")),
    "two pictures": file_of(
        noisy(), "MPO", save_all=True, append_images=[noisy(20, 20)]
    ),
    "fill bytes": BASELINE[:-2] + b"\xff\xff\xff" + BASELINE[-2:],
    "stray bytes": BASELINE[:20] + b"\0stray\xff\0" + BASELINE[20:],
    "a JFIF of no known version": BASELINE[:11] + b"\x09" + BASELINE[12:],
}


@pytest.mark.parametrize("kind", KEPT_AS_THEY_ARE)
def test_a_jpeg_that_needs_no_change_keeps_its_coded_data(kind):
    data = KEPT_AS_THEY_ARE[kind]
    kept = stored(data)
    assert kept.actions == ()
    assert kept.format == "jpeg"
    tables, end = data.index(b"\xff\xdb"), data.index(b"\xff\xd9")
    assert kept.data == b"\xff\xd8" + JFIF + data[tables:end].rstrip(b"\xff") + (
        b"\xff\xd9"
    )
    if kind != "stray bytes":  # Pillow fails on stray bytes.
        assert (pixels_of(kept.data) == pixels_of(data)).all()
    strictly = simplejpeg.decode_jpeg(kept.data, "RGB", strict=True)
    assert (strictly == pixels_of(kept.data)).all()


def swapped_profile() -> bytes:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"TEMP", 1).replace(b"gXYZ", b"rXYZ", 1)
    return swapped.replace(b"TEMP", b"gXYZ", 1)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


ENCODED_AGAIN = {
    "gray": file_of(noisy(mode="L")),
    "CMYK": file_of(noisy(mode="CMYK")),
    "progressive": file_of(noisy(), progressive=True),
    "RGB": file_of(noisy(), keep_rgb=True),
    "turned": file_of(noisy(), exif=turned()),
    "other colors": file_of(noisy(), icc_profile=swapped_profile()),
}


@pytest.mark.parametrize("kind", ENCODED_AGAIN)
def test_a_jpeg_that_needs_a_change_is_encoded_again(kind):
    again = stored(ENCODED_AGAIN[kind])
    assert again.actions[-1] == "encoded"
    with Image.open(io.BytesIO(again.data)) as image:
        assert image.mode == "RGB"
        assert not image.info.get("progressive")


@pytest.mark.parametrize("format", ["png", "raw"])
def test_nothing_is_kept_for_another_format(format):
    spec = ImageSpec(
        format=format, quality=90, subsampling="420", resize="none", size=1
    )
    image = stored(BASELINE, spec)
    assert image.actions == ("encoded",)
    assert image.format == format


def test_an_srgb_profile_is_no_reason_to_encode_again():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    kept = stored(file_of(noisy(), icc_profile=profile))
    assert kept.actions == ()
    assert b"ICC_PROFILE" not in kept.data


def test_no_byte_of_metadata_survives():
    exif = Image.Exif()
    exif[0x010F] = "SECRET"
    exif[0x8825] = {1: "N", 2: (48.0, 51.0, 29.0)}
    data = file_of(noisy(), exif=exif, comment=b"SECRET", xmp=b"SECRET <x:xmpmeta/>")
    for marker in range(0xE1, 0xF0):
        data = data[:20] + segment(marker, b"SECRET") + data[20:]
    data += b"SECRET"
    assert data.count(b"SECRET") > 15
    kept = stored(data)
    assert kept.actions == ()
    assert kept.data == stored(BASELINE).data
    assert b"SECRET" not in kept.data


# The color space is detected as libjpeg does: JFIF, then Adobe, then component ids.


@pytest.mark.parametrize("names", [b"\1\2\3", b"RGB", b"\0\1\2", b"rgb"])
@pytest.mark.parametrize("adobe", [None, 0, 1, 2, 9])
@pytest.mark.parametrize("jfif", [True, False])
def test_colors_are_those_that_libjpeg_sees(names, adobe, jfif):
    data = bytearray(replaced(file_of(noisy(), subsampling=0), 0xE0, b""))
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    for number, name in enumerate(names):
        data[frame + 10 + 3 * number] = data[scan + 5 + 2 * number] = name
    markers = JFIF if jfif else b""
    if adobe is not None:
        markers += segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([adobe]))
    source = bytes(data[:2] + markers + data[2:])
    expected = pixels_of(source)  # By libjpeg, whose warnings Pillow ignores.
    assert (pixels_of(plain(source)) == expected).all()
    raw = stored(source, RAW)
    assert raw.data == expected.tobytes()


@pytest.mark.parametrize("transform", [None, 0, 2])
def test_four_inks_keep_their_transform(transform):
    data = file_of(noisy(mode="CMYK"))
    marker = segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform or 0]))
    data = replaced(data, 0xEE, marker if transform is not None else b"")
    before = simplejpeg.decode_jpeg(data, "CMYK", strict=True)
    assert (simplejpeg.decode_jpeg(plain(data), "CMYK", strict=True) == before).all()


# JPEGs from other projects.


def corpus(shared_data: Path) -> list[Path]:
    folders = ("jpeg_decoder", "libjpeg_turbo", "exif_orientation")
    return [
        file
        for folder in folders
        for file in sorted((shared_data / "images" / folder).glob("*.jpg"))
    ]


def test_every_jpeg_of_other_projects_is_refused_or_looks_as_pillow_shows_it(
    shared_data,
):
    written = kept = 0
    for file in corpus(shared_data):
        data = file.read_bytes()
        if b"\xff\xda" not in data:
            continue
        try:
            image = SourceImage(data, max_pixels=1_000_000)
            raw = image.encode(RAW)
        except BadInput:
            continue
        written += 1
        pixels = np.frombuffer(raw.data, np.uint8).reshape(raw.height, raw.width, 3)
        if "oriented" not in raw.actions and "to_srgb" not in raw.actions:
            assert (pixels == pixels_of(data)).all(), file.name
        again = SourceImage(data, max_pixels=1_000_000).encode(KEPT)
        if again.actions == ():
            kept += 1
            assert (pixels_of(again.data) == pixels).all(), file.name
    assert written >= 40
    assert kept >= 20


# Unsupported kinds.


def with_frame(kind: int, **changes: int) -> bytes:
    data = bytearray(BASELINE)
    frame = data.index(b"\xff\xc0")
    data[frame + 1] = kind
    data[frame + 4] = changes.get("precision", 8)
    if changes.get("height") == 0:
        data[frame + 5 : frame + 7] = b"\0\0"
    return bytes(data)


UNSUPPORTED = {
    "lossless": with_frame(0xC3),
    "hierarchical": with_frame(0xC5),
    "hierarchical JPEG of arithmetic": with_frame(0xCE),
    "JPEG-LS": with_frame(0xF7),
    "12 bits": with_frame(0xC1, precision=12),
    "height follows": with_frame(0xC0, height=0)[:-2] + b"\xff\xdc\0\4\0\x23\xff\xd9",
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_kinds_that_are_not_read_are_unsupported_and_not_damaged(kind):
    with pytest.raises(BadInput) as caught:
        stored(UNSUPPORTED[kind])
    assert caught.value.reason == "unsupported_image"
    assert kind.split()[0] in caught.value.detail


def test_a_jpeg_of_two_components_is_unsupported():
    frame = struct.pack(">BHHB", 8, 8, 8, 2) + b"\1\x11\0\2\x11\0"
    with pytest.raises(BadInput) as caught:
        stored(b"\xff\xd8" + segment(0xC0, frame) + b"\xff\xd9")
    assert caught.value.reason == "unsupported_image"


def test_more_scans_than_any_image_has_are_refused():
    data = file_of(noisy(), progressive=True)
    scan, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    with pytest.raises(BadInput, match="more than 100 scans"):
        stored(data[:end] + data[scan:end] * 100 + data[end:])


# Damage that a harmless warning might hide.

STRAY = [b"\0\1\2", b"\xff\0\xff\0", b"<html>", b"\xff" * 9 + b"\0"]


@pytest.mark.parametrize("stray", STRAY)
@pytest.mark.parametrize("marker", [0xE0, 0xDB, 0xC0, 0xC4, 0xDA])
def test_stray_bytes_before_the_first_scan_are_no_damage(stray, marker):
    place = BASELINE.index(bytes([0xFF, marker]))
    if marker == 0xE0:  # Data with other first bytes is not a JPEG.
        place = 20
    assert stored(BASELINE[:place] + stray + BASELINE[place:]) == stored(
        BASELINE
    )._replace(sha256=stored(BASELINE[:place] + stray + BASELINE[place:]).sha256)


@pytest.mark.parametrize("stray", STRAY)
def test_stray_bytes_do_not_hide_damage(stray):
    scan = BASELINE.index(b"\xff\xda")
    cut = BASELINE[:20] + stray + BASELINE[20 : scan + 200] + b"\xff\xd9"
    with pytest.raises(BadInput) as caught:
        stored(cut)
    assert caught.value.reason == "damaged_image"


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_stray_bytes_after_coded_data_are_damage(options):
    # libjpeg does not detect up to seven additional bytes: it has read them already.
    data = file_of(noisy(), **options)
    with pytest.raises(BadInput) as caught:
        stored(data[:-2] + bytes(20) + data[-2:])
    assert caught.value.reason == "damaged_image"


def test_a_preview_inside_metadata_is_no_end():
    preview = segment(0xE1, b"Exif\0\0" + file_of(noisy(8, 8)))
    data = BASELINE[:2] + preview + BASELINE[2:]
    assert stored(data).data == stored(BASELINE).data
    with pytest.raises(BadInput):
        stored(data[:-1])


def test_parsing_takes_time_linear_in_the_length():
    # A pattern that starts again at each byte of a run would take minutes.
    run = b"\xff" * 3_000_000
    data = BASELINE[:-2] + run + b"\0" + BASELINE[-2:]
    assert len(parse_jpeg(data, max_pixels=MAX_PIXELS).plain) > len(run)
    data = BASELINE[:20] + run + b"\0" + BASELINE[20:]
    assert parse_jpeg(data, max_pixels=MAX_PIXELS).plain == stored(BASELINE).data


@pytest.mark.parametrize("stray", STRAY)
def test_stray_bytes_between_scans_are_damage(stray):
    data = file_of(noisy(), progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    assert data.rindex(b"\xff\xc4", 0, second) > data.index(b"\xff\xda")
    with pytest.raises(BadInput, match="stray bytes"):
        stored(data[:second] + stray + data[second:])


def test_fill_bytes_between_scans_are_no_damage():
    data = file_of(noisy(), progressive=True)
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    filled = data[:second] + b"\xff" * 3 + data[second:]
    assert stored(filled).data == stored(data).data

"""Tests the orientation and ICC profile of JPEGs against Pillow."""

import io
import struct
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from beam_jobs.elements import BadInput
from beam_jobs.encoding.jpeg import parse_jpeg
from beam_jobs.encoding.jpeg_metadata import orientation_of, profile_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b"http://ns.adobe.com/xap/1.0/\0"


def jpeg_of(*segments: bytes) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (9, 5), "teal").save(file, "JPEG")
    data = file.getvalue()
    return data[:2] + b"".join(segments) + data[2:]


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


# One entry: tag 0x0112 with four ASCII bytes instead of a number.
EXIF_OF_TEXT = struct.pack("<2sHIHHHI4sI", b"II", 42, 8, 1, 0x0112, 2, 4, b"six", 0)


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def part_of_profile(data: bytes, number: int, of: int) -> bytes:
    return segment(0xE2, b"ICC_PROFILE\0" + bytes([number, of]) + data)


def metadata_by_pillow(data: bytes) -> tuple[object, bytes | None]:
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return image.getexif().get(0x0112, 1), image.info.get("icc_profile")


def parsed_metadata(data: bytes) -> tuple[int, bytes | None]:
    metadata = parse_jpeg(data, max_pixels=10**8).metadata
    return orientation_of(metadata), profile_of(metadata)


HALF = len(SRGB) // 2
MADE = {
    "nothing": jpeg_of(),
    **{f"Exif {n}": jpeg_of(segment(0xE1, exif_of(n))) for n in (1, 3, 6, 8, 9)},
    "XMP's attribute": jpeg_of(segment(0xE1, XMP + b'<x tiff:Orientation="6"/>')),
    "XMP's element": jpeg_of(segment(0xE1, XMP + b"<tiff:Orientation>8</x>")),
    "Exif before XMP": jpeg_of(
        segment(0xE1, XMP + b'tiff:Orientation="6"'), segment(0xE1, exif_of(3))
    ),
    "Exif without, then XMP": jpeg_of(
        segment(0xE1, Image.Exif().tobytes()),
        segment(0xE1, XMP + b'tiff:Orientation="6"'),
    ),
    "Exif in two segments": jpeg_of(
        segment(0xE1, exif_of(6)[:16]), segment(0xE1, b"Exif\0\0" + exif_of(6)[16:])
    ),
    "a profile": jpeg_of(part_of_profile(SRGB, 1, 1)),
    "a profile in two": jpeg_of(
        part_of_profile(SRGB[:HALF], 1, 2), part_of_profile(SRGB[HALF:], 2, 2)
    ),
    "a profile in two, backwards": jpeg_of(
        part_of_profile(SRGB[HALF:], 2, 2), part_of_profile(SRGB[:HALF], 1, 2)
    ),
    "half a profile": jpeg_of(part_of_profile(SRGB[:HALF], 1, 2)),
    "FlashPix": jpeg_of(segment(0xE2, b"FPXR\0" + bytes(20))),
    "other metadata": jpeg_of(segment(0xE1, b"whatever"), segment(0xED, b"more")),
}


@pytest.mark.parametrize("kind", MADE)
def test_orientation_and_profile_are_those_of_pillow(kind):
    assert parsed_metadata(MADE[kind]) == metadata_by_pillow(MADE[kind])


@pytest.mark.parametrize(
    "exif",
    [b"", b"II", b"II*\0\xff\xff\xff\xff", b"garbage" * 5, EXIF_OF_TEXT],
    ids=["none", "cut", "leads nowhere", "garbage", "of text"],
)
def test_exif_beyond_reading_turns_nothing(exif):
    assert parsed_metadata(jpeg_of(segment(0xE1, b"Exif\0\0" + exif)))[0] == 1


def test_a_part_of_a_profile_without_a_number_is_none():
    assert parsed_metadata(jpeg_of(segment(0xE2, b"ICC_PROFILE\0")))[1] is None


def test_orientation_and_profile_of_every_photograph_are_those_of_pillow(
    shared_data: Path,
):
    found = []
    for file in sorted(shared_data.glob("**/*.jp*g")):
        data = file.read_bytes()
        try:
            ours = parsed_metadata(data)
            expected = metadata_by_pillow(data)
        except (BadInput, OSError, SyntaxError):
            continue
        assert ours == expected, file.name
        found.append(ours)
    assert len({orientation for orientation, _ in found}) >= 8
    assert sum(profile is not None for _, profile in found) >= 20

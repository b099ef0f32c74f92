"""Metadata of a JPEG: how its picture is turned, and what its colours are.

Pillow tells both, and takes three times as long, since it reads all else as well.
"""

import re
from collections.abc import Iterable

from PIL import Image

from beam_jobs.formats import DECODING_ERRORS

ORIENTATION = 0x0112

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PROFILE = b"ICC_PROFILE\0"
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation_of(metadata: Iterable[bytes]) -> int:
    """Returns the Exif orientation, or XMP's where Exif has none; 1 if nothing is said.

    Args:
        metadata: APP segments, from their markers on.
    """
    exif, xmp = b"", b""
    for segment in metadata:
        body = segment[4:]
        if segment[1] == 0xE1 and body.startswith(_EXIF):
            exif += body[len(_EXIF) :]
        elif segment[1] == 0xE1 and body.startswith(_XMP):
            xmp = body[len(_XMP) :]
    orientation = _of_exif(exif) if exif else None
    if orientation is not None:
        return orientation
    match = _XMP_ORIENTATION.search(xmp)
    return int(match[1]) if match else 1


def _of_exif(data: bytes) -> int | None:
    tags = Image.Exif()
    try:
        tags.load(_EXIF + data)
        orientation = tags.get(ORIENTATION)
    except DECODING_ERRORS:
        return 1  # Metadata beyond reading says nothing; the pixels are sound.
    return orientation if isinstance(orientation, int | None) else 1


def profile_of(metadata: Iterable[bytes]) -> bytes | None:
    """Returns the ICC profile; None where there is none, or not all of it.

    It may take several segments, numbered from 1, which tell how many there are: ICC.1,
    annex B.4.
    """
    parts = sorted(
        segment[4:]
        for segment in metadata
        if segment[1] == 0xE2 and segment[4:].startswith(_PROFILE)
    )
    number = len(_PROFILE)
    if not parts or len(parts[0]) < number + 2 or parts[0][number + 1] != len(parts):
        return None
    return b"".join(part[number + 2 :] for part in parts)

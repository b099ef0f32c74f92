"""Reads EXIF data, XMP and ICC profiles that a JPEG states in its segments."""

import re
from collections.abc import Iterable, Iterator, Sequence

from PIL import Image

from beam_jobs.encoding.formats import DECODING_ERRORS

ORIENTATION = 0x0112

_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_PROFILE = b"ICC_PROFILE\0"
_XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation_of(metadata: Sequence[bytes]) -> int:
    """Returns the EXIF orientation, else the XMP orientation, else 1.

    Args:
        metadata: Metadata segments, including their markers.
    """
    exif = exif_of(metadata)
    orientation = _exif_orientation(exif) if exif else None
    if orientation is not None:
        return orientation
    xmp = [body for body in _bodies(metadata, 0xE1) if body.startswith(_XMP)]
    match = _XMP_ORIENTATION.search(xmp[-1]) if xmp else None
    return int(match[1]) if match else 1


def exif_of(metadata: Iterable[bytes]) -> bytes:
    """Returns the EXIF data with its header, or b"" without any.

    Args:
        metadata: Metadata segments, including their markers.
    """
    bodies = [body for body in _bodies(metadata, 0xE1) if body.startswith(_EXIF)]
    parts = [body[len(_EXIF) :] for body in bodies]
    return _EXIF + b"".join(parts) if any(parts) else b""


def _bodies(metadata: Iterable[bytes], marker: int) -> Iterator[bytes]:
    return (segment[4:] for segment in metadata if segment[1] == marker)


def _exif_orientation(data: bytes) -> int | None:
    tags = Image.Exif()
    try:
        tags.load(data)
        orientation = tags.get(ORIENTATION)
    except DECODING_ERRORS:
        return 1  # The metadata is unreadable; the pixels may be intact.
    return orientation if isinstance(orientation, int | None) else 1


def profile_of(metadata: Iterable[bytes]) -> bytes | None:
    """Returns the ICC profile, or None if it is missing or incomplete.

    A profile may span several segments. Each has a number, counted from 1, and the
    number of segments. Source: ICC.1, annex B.4.

    Args:
        metadata: Metadata segments, including their markers.
    """
    parts = sorted(
        body for body in _bodies(metadata, 0xE2) if body.startswith(_PROFILE)
    )
    number = len(_PROFILE)
    if not parts or len(parts[0]) < number + 2 or parts[0][number + 1] != len(parts):
        return None
    return b"".join(part[number + 2 :] for part in parts)

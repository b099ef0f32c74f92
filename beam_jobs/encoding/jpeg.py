"""Parses the segments of a JPEG without decoding the pixels.

The *plain* JPEG has the tables and coded data of the source, without metadata and stray
bytes. It is decoded instead of the source, because libjpeg reports only its first
warning: a harmless warning about stray bytes would hide one about damage. It is also
stored as it is if the image needs no change.
"""

import re
import struct
from typing import NamedTuple

from beam_jobs.elements import BadInput
from beam_jobs.encoding.formats import check_pixels

# Frame markers: SOF0 to SOF15 without DHT, JPG and DAC, and SOF55 of JPEG-LS.
_FRAMES = {0xC0 + n for n in range(16)} - {0xC4, 0xC8, 0xCC} | {0xF7}
_LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF, 0xF7}
_HIERARCHICAL = {0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF}
_PROGRESSIVE = {0xC2, 0xCA}
_BASELINE = 0xC0

_SCAN, _END = 0xDA, 0xD9
# Markers without a body: TEM and RST0 to RST7. A second SOI is an error.
_WITHOUT_BODY = {0x01, *range(0xD0, 0xD8)}
# Markers of metadata: APP0 to APP15, and comments.
_METADATA = {*range(0xE0, 0xF0), 0xFE}
# Segments of a baseline image: frame, Huffman tables, scan, quantization tables and
# restart interval.
_BASELINE_PARTS = {0xC0, 0xC4, 0xDA, 0xDB, 0xDD}

_MARKER = re.compile(rb"\xff[\x01-\xfe]", re.S)
# The first marker after coded data. Coded data contains FF 00 (an escaped FF) and the
# markers RST0 to RST7.
_AFTER_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]", re.S)

# Where a trailer begins: a block of Samsung's (type, length of the name, name), or the
# first box of an MP4.
_TRAILER = re.compile(rb"\0\0(?:..[\x04-\x3f]\0\0\0[!-~]{4}|\0[\x08-\x7f]ftyp)", re.S)

# Pillow's pixel mode for each number of components.
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}

# libjpeg's limit (JPEG_MAX_DIMENSION).
MAX_SIDE = 65_500
# Real images have up to about twenty scans. Each scan takes as long to decode as a
# whole image.
_MAX_SCANS = 100
# Maximum number of segments. Real images of 100 megabytes have a few thousand, and each
# takes 100 bytes of memory besides its own.
_MAX_SEGMENTS = 100_000

_JFIF = b"\xff\xe0" + struct.pack(">H5sHBHHBB", 16, b"JFIF\0", 0x0101, 0, 1, 1, 0, 0)

# Luma sampling factors (horizontal, vertical) that TurboJPEG supports, if both chroma
# components have 1 and 1: 4:4:4, 4:2:2, 4:2:0, 4:4:0, 4:1:1, 4:4:1.
_NAMED_SAMPLINGS = {0x11, 0x21, 0x22, 0x12, 0x41, 0x14}


class Frame(NamedTuple):
    """Header of a frame.

    Attributes:
        kind: Second byte of the marker: 0xC0 is baseline, 0xC2 progressive.
        precision: Bits per sample.
        height, width: Size in pixels.
        components: (id, sampling) of each component. Sampling 0x21 means a factor of 2
            horizontally and 1 vertically.
    """

    kind: int
    precision: int
    height: int
    width: int
    components: tuple[tuple[int, int], ...]


class Jpeg(NamedTuple):
    """A parsed JPEG file.

    Attributes:
        frame: Header of the first frame.
        segments: (marker, bytes) of all segments except metadata, SOI and EOI. The
            segment of a scan includes its coded data.
        metadata: Bytes of each metadata segment.
        has_jfif: Whether the file has a JFIF marker.
        adobe_transform: Color transform of the Adobe marker, or None without one.
        num_scans: Number of scans.
    """

    frame: Frame
    segments: tuple[tuple[int, bytes], ...]
    metadata: tuple[bytes, ...]
    has_jfif: bool
    adobe_transform: int | None
    num_scans: int

    @property
    def is_sequential(self) -> bool:
        """Whether the decoder needs memory only for the pixels."""
        return self.frame.kind not in _PROGRESSIVE and self.num_scans == 1

    @property
    def is_ycc(self) -> bool:
        """Whether libjpeg interprets the components as Y, Cb and Cr.

        Same rules as default_decompress_parms in jdapimin.c: the JFIF marker decides,
        then the Adobe marker, then the component ids.
        """
        if len(self.frame.components) != 3:
            return False
        if self.has_jfif or self.adobe_transform is not None:
            return self.has_jfif or self.adobe_transform != 0
        return bytes(name for name, _ in self.frame.components) != b"RGB"

    @property
    def mode(self) -> str:
        """Pixel mode, as named by Pillow."""
        return _MODES[len(self.frame.components)]

    @property
    def has_named_sampling(self) -> bool:
        """Whether TurboJPEG supports the chroma subsampling."""
        luma, *chroma = (sampling for _, sampling in self.frame.components)
        return not chroma or (luma in _NAMED_SAMPLINGS and set(chroma) == {0x11})

    @property
    def chroma_shrink(self) -> int:
        """Ratio of luma to chroma resolution after libjpeg shrinks both.

        It is 1 for 4:2:0, because libjpeg then shrinks chroma by half as much as luma.
        libjpeg does so only if it can in both directions (jdmaster.c).
        """
        luma = self.frame.components[0][1]
        across, down = luma >> 4, luma & 0xF
        return 1 if across == down else max(across, down)

    @property
    def can_be_kept(self) -> bool:
        """Whether every baseline decoder can decode the plain JPEG."""
        return (
            self.frame.kind == _BASELINE
            and self.is_ycc
            and self.has_named_sampling
            and all(_is_baseline(*segment) for segment in self.segments)
        )

    @property
    def plain(self) -> bytes:
        """The JPEG without metadata, stray bytes and trailing data.

        It decodes to the same pixels. It has a JFIF or Adobe marker if the colors
        depend on one.
        """
        return self._assembled(self._color_marker())

    @property
    def described(self) -> bytes:
        """The JPEG with its metadata, without stray bytes and further pictures."""
        return self._assembled(b"".join(self.metadata))

    def _assembled(self, beginning: bytes) -> bytes:
        body = b"".join(data for _, data in self.segments)
        return b"\xff\xd8" + beginning + body + b"\xff\xd9"

    def _color_marker(self) -> bytes:
        num_components = len(self.frame.components)
        if self.is_ycc or num_components == 1:
            return _JFIF
        transform = self.adobe_transform
        if num_components == 3:
            transform = 0
        elif transform is None:
            return b""
        # For four components, libjpeg treats every value except 0 as 2.
        transform = 2 if transform else 0
        return b"\xff\xee" + struct.pack(">H5sHHHB", 14, b"Adobe", 100, 0, 0, transform)


def _is_baseline(marker: int, segment: bytes) -> bool:
    """Returns whether baseline JPEG allows the segment."""
    if marker == 0xDB:  # One or more tables in a segment, all of 8 bits.
        return all(precision < 0x10 for precision in segment[4::65])
    if marker == _SCAN:  # Only the first two tables of each kind.
        tables = segment[6 : 5 + 2 * segment[4] : 2]
        return all(table & 0xEE == 0 for table in tables)
    return marker in _BASELINE_PARTS


def parse_jpeg(data: bytes, *, max_pixels: int) -> Jpeg:
    """Parses a JPEG up to its end-of-image marker.

    Some cameras leave out the marker and append a trailer. This is accepted if the
    trailer is known and follows the only scan: decoding in strict mode then shows
    whether the scan is complete.

    Args:
        data: Bytes of the file.
        max_pixels: Maximum number of pixels of the image.

    Raises:
        BadInput: The kind of JPEG is not supported, the image has more than
            `max_pixels` pixels, or the file is damaged or truncated.
    """
    frame: Frame | None = None
    segments: list[tuple[int, bytes]] = []
    metadata: list[bytes] = []
    has_jfif, transform, num_scans, offset = False, None, 0, 2
    has_end = True
    while True:
        before = offset
        marker, begin, offset = _next_segment(data, offset)
        # A marker may be preceded by any number of FF fill bytes.
        if num_scans and data[before:begin].strip(b"\xff"):
            raise BadInput("damaged_image", f"stray bytes in JPEG at byte {before}")
        if marker == _END:
            break
        if marker == 0xD8:
            raise BadInput("damaged_image", f"a second image begins at byte {begin}")
        body = data[begin + 4 : offset]
        if marker in _FRAMES and frame is None:
            frame = _frame(marker, body, data)
            check_pixels(frame.width, frame.height, max_pixels=max_pixels)
        elif marker == 0xE0 and len(body) >= 14 and body.startswith(b"JFIF\0"):
            has_jfif = True
        elif marker == 0xEE and len(body) >= 12 and body.startswith(b"Adobe"):
            transform = body[11]
        segment = data[begin:offset]
        if marker == _SCAN:
            num_scans += 1
            after = _next_marker(data, offset)
            if num_scans == 1 and data[after : after + 2] != b"\xff\xd9":
                trailer = _trailer_of(frame, segment, data[offset:after])
                if trailer is not None:
                    segments.append((marker, data[begin : offset + trailer]))
                    has_end = False
                    break
            segment, offset = _scan(data, begin, offset, after)
        if marker in _METADATA and not body.startswith(b"MPF\0"):
            metadata.append(segment)
        elif marker not in _METADATA | _WITHOUT_BODY:
            segments.append((marker, segment))
        if len(segments) + len(metadata) > _MAX_SEGMENTS:
            raise BadInput(
                "unsupported_image", f"JPEG of more than {_MAX_SEGMENTS} segments"
            )
        if num_scans > _MAX_SCANS:
            raise BadInput("unsupported_image", f"JPEG of more than {_MAX_SCANS} scans")
    if frame is None or not num_scans:
        raise BadInput("damaged_image", "JPEG without an image")
    jpeg = Jpeg(frame, tuple(segments), tuple(metadata), has_jfif, transform, num_scans)
    if not (has_end or jpeg.has_named_sampling):  # Pillow does not report a cut.
        raise BadInput("damaged_image", "JPEG without an end-of-image marker")
    return jpeg


def _next_segment(data: bytes, offset: int) -> tuple[int, int, int]:
    """Returns the next marker, its offset, and the offset where its segment ends.

    Skips bytes that are not a marker, as libjpeg does.
    """
    match = _MARKER.search(data, offset)
    if match is None:
        raise BadInput("damaged_image", "JPEG without an end: it was cut short")
    begin, marker = match.start(), data[match.start() + 1]
    if marker in _WITHOUT_BODY or marker in (_END, 0xD8):
        return marker, begin, begin + 2
    length = int.from_bytes(data[begin + 2 : begin + 4])
    if length < 2 or begin + 2 + length > len(data):
        raise BadInput(
            "damaged_image", f"JPEG segment {marker:02x} at byte {begin} is not whole"
        )
    return marker, begin, begin + 2 + length


def _next_marker(data: bytes, offset: int) -> int:
    """Returns the offset of the first marker after coded data, or of the file's end."""
    match = _AFTER_SCAN.search(data, offset)
    return match.start() if match else len(data)


def _trailer_of(frame: Frame | None, scan: bytes, coded: bytes) -> int | None:
    """Returns the offset of a trailer in coded data, or None.

    Returns None also if more scans may follow.
    """
    if frame is None or frame.kind in _PROGRESSIVE:
        return None
    if scan[4:5] != bytes([len(frame.components)]):
        return None
    match = _TRAILER.search(coded)
    return match.start() if match else None


def _scan(data: bytes, begin: int, offset: int, after: int) -> tuple[bytes, int]:
    """Returns a scan with its coded data, and the offset of the next marker.

    Args:
        data: Bytes of the file.
        begin: Offset of the scan's marker.
        offset: Offset of the coded data.
        after: Offset of the next marker.
    """
    if after == len(data):
        raise BadInput("damaged_image", "JPEG without an end: it was cut short")
    if data[after + 1] < 0xC0:  # A reserved marker.
        raise BadInput(
            "damaged_image",
            f"JPEG with the reserved marker {data[after + 1]:02x} at byte {after}: its "
            "coded data is damaged, or other data follows it without an end-of-image "
            "marker",
        )
    end = after
    while end > offset and data[end - 1] == 0xFF:
        end -= 1
    return data[begin:end], after


def _frame(kind: int, body: bytes, data: bytes) -> Frame:
    """Parses the header of a frame.

    Raises:
        BadInput: The kind of JPEG is not supported, or the header is damaged.
    """
    unsupported = _unsupported_kind(kind)
    if unsupported:
        raise BadInput("unsupported_image", unsupported)
    if len(body) < 6 or len(body) != 6 + 3 * body[5] or not body[5]:
        raise BadInput("damaged_image", "JPEG whose frame header has a wrong length")
    precision, height, width, number = struct.unpack_from(">BHHB", body)
    components = tuple((body[n], body[n + 1]) for n in range(6, len(body), 3))
    if precision != 8:
        raise BadInput("unsupported_image", f"JPEG of {precision} bits")
    if number not in (1, 3, 4):
        raise BadInput("unsupported_image", f"JPEG of {number} components")
    if max(height, width) > MAX_SIDE:
        raise BadInput(
            "unsupported_image",
            f"{width} × {height}: a side longer than the {MAX_SIDE} pixels of JPEG",
        )
    if not height and b"\xff\xdc\0\4" in data:
        raise BadInput("unsupported_image", "JPEG whose height follows its first scan")
    if not height or not width:
        raise BadInput("damaged_image", f"JPEG of {width} × {height} pixels")
    return Frame(kind, precision, height, width, components)


def _unsupported_kind(kind: int) -> str:
    if kind in _HIERARCHICAL:
        return "hierarchical JPEG"
    if kind in _LOSSLESS:
        return "JPEG-LS" if kind == 0xF7 else "lossless JPEG"
    return ""

"""Writes TIFFs of any layout, from the specification (TIFF 6.0)."""

import struct
import zlib
from collections.abc import Callable, Iterable

import imagecodecs
import numpy as np

SHORT, LONG = 3, 4
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6

# Code and encoder of each compression.
COMPRESSIONS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (1, bytes),
    "lzw": (5, imagecodecs.lzw_encode),
    "deflate": (8, zlib.compress),
    "packbits": (32773, imagecodecs.packbits_encode),
}

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_CODES = {SHORT: "H", LONG: "I"}


def tiff_file(
    samples: np.ndarray,
    bits: int,
    photometric: int,
    *,
    order: str = "<",
    planar: int = 1,
    compression: str = "none",
    extra: Iterable[int] = (),
    fill: int = 1,
    rows: int = 8,
    **changed: int | None,
) -> bytes:
    """Returns a TIFF.

    Args:
        samples: int[height, width, samples], with values below 2 ** `bits`.
        bits: Bits of each sample.
        photometric: PhotometricInterpretation.
        order: Byte order, `<` or `>`.
        planar: PlanarConfiguration.
        compression: Name of the compression.
        extra: ExtraSamples.
        fill: FillOrder.
        rows: RowsPerStrip.
        **changed: Values of other tags, as `tag_262=1`; None removes a tag.
    """
    height, width, number = samples.shape
    code, encoder = COMPRESSIONS[compression]
    flat = [samples.reshape(height, -1)]
    planes = flat if planar == 1 else [samples[..., n] for n in range(number)]
    strips = [
        encoder(_packed(plane[top : top + rows], bits, order))
        for plane in planes
        for top in range(0, height, rows)
    ]
    if fill == 2:
        strips = [strip.translate(_REVERSED) for strip in strips]
    tags: dict[int, tuple[int, list[int]]] = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [bits] * number),
        259: (SHORT, [code]),
        262: (SHORT, [photometric]),
        266: (SHORT, [fill]),
        277: (SHORT, [number]),
        278: (LONG, [rows]),
        284: (SHORT, [planar]),
    }
    if list(extra):
        tags[338] = (SHORT, list(extra))
    for name, value in changed.items():
        tag = int(name.removeprefix("tag_"))
        tags.pop(tag, None)
        if value is not None:
            tags[tag] = (SHORT, list(value) if isinstance(value, list) else [value])
    return tiff_of(tags, strips, order)


def tiff_of(
    tags: dict[int, tuple[int, list[int]]], strips: list[bytes], order: str = "<"
) -> bytes:
    """Returns a TIFF of (type, values) by tag, and of encoded strips."""
    place = 8
    for strip in strips:
        place += len(strip)
    lengths = [len(strip) for strip in strips]
    begins = [8 + sum(lengths[:n]) for n in range(len(strips))]
    tags = tags | {273: (LONG, begins), 279: (LONG, lengths)}
    place += place % 2
    fields, more = b"", b""
    values_at = place + 2 + 12 * len(tags) + 4
    for tag, (kind, values) in sorted(tags.items()):
        body = struct.pack(f"{order}{len(values)}{_CODES[kind]}", *values)
        if len(body) > 4:
            value = struct.pack(order + "I", values_at + len(more))
            more += body
        else:
            value = body.ljust(4, b"\0")
        fields += struct.pack(order + "HHI", tag, kind, len(values)) + value
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(order + "I", place) + b"".join(strips)
    number = struct.pack(order + "H", len(tags))
    return head.ljust(place, b"\0") + number + fields + bytes(4) + more


def _packed(rows: np.ndarray, bits: int, order: str) -> bytes:
    if bits in (8, 16, 32):
        return rows.astype(f"{order}u{bits // 8}").tobytes()
    single = (rows[..., None] >> np.arange(bits)[::-1]) & 1
    return np.packbits(single.reshape(len(rows), -1).astype(np.uint8), axis=1).tobytes()

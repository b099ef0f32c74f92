"""Writes JPEGs that no library writes."""

import struct

import numpy as np


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def oddly_sampled_jpeg(light: np.ndarray) -> bytes:
    """Returns a JPEG of flat squares whose chroma has a third of the columns.

    TurboJPEG does not support this subsampling.

    Args:
        light: uint8[rows, columns], the luma of each square of 8 × 8 pixels. The
            number of columns is a multiple of 3.
    """
    bits, before = [], 128
    for row in light.tolist():
        for column, value in enumerate(row):
            step = value - before
            size = abs(step).bit_length()
            low = step + (1 << size) - 1 if step < 0 else step
            # Size of the step, the step itself, end of block.
            bits.append(f"{size:04b}" + (f"{low:0{size}b}" if size else "") + "0")
            before = value
            if column % 3 == 2:
                bits.append(
                    "00000" * 2
                )  # Both chroma components: no step, end of block.
    stream = "".join(bits)
    stream += "1" * (-len(stream) % 8)
    scan = int(stream, 2).to_bytes(len(stream) // 8).replace(b"\xff", b"\xff\0")
    height, width = light.shape[0] * 8, light.shape[1] * 8
    components = b"\1\x31\0\2\x11\0\3\x11\0"
    return b"".join(
        (
            b"\xff\xd8",
            segment(0xDB, b"\0" + b"\10" * 64),
            segment(0xC0, struct.pack(">BHHB", 8, height, width, 3) + components),
            # Twelve four-bit codes for step sizes, and a one-bit code.
            segment(0xC4, b"\0" + bytes([0, 0, 0, 12] + 12 * [0]) + bytes(range(12))),
            segment(0xC4, b"\x10" + bytes([1] + 15 * [0]) + b"\0"),
            segment(0xDA, b"\3\1\0\2\0\3\0\0\x3f\0"),
            scan,
            b"\xff\xd9",
        )
    )


SQUARES = np.random.default_rng(0).integers(20, 230, (6, 9))

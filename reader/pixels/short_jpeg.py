"""Shortens JPEGs, so that a decoder stops below the rows that are wanted.

Rows are stored from top to bottom, and the number of rows in the header is all that
shows a decoder where the image ends.
"""

import re

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

# Markers of ITU-T T.81, table B.1. SOF0 is a frame of baseline JPEG.
_SOF0, _SOS = 0xC0, 0xDA
# Other frames (of which progressive ones hold all rows several times), tables of
# arithmetic coding, and restart intervals, whose markers would end the data early.
_OTHERS = {*range(0xC1, 0xD0), 0xDD} - {0xC4}
# Bytes from the marker of a frame to its height, width and number of components.
_HEIGHT, _WIDTH, _NUM_COMPONENTS = 5, 7, 9

# libjpeg reports the first irregularity: there was none before the end of the rows.
_REST = re.compile(r"\d+ extraneous bytes before marker 0xd9")


def shortened(data: Pixels, size: tuple[int, int], num_rows: int) -> bytearray | None:
    """Returns a copy of a JPEG that states fewer rows.

    A decoder makes these rows as it makes them of the whole JPEG, except for some above
    the new end, where it would interpolate with rows below. It then complains as
    `is_complaint_about_rest` detects.

    Args:
        data: uint8[k], the JPEG.
        size: Height and width of the image, in pixels.
        num_rows: Number of rows, a multiple of 16 and less than the height.

    Returns:
        None if the JPEG has another size, or is no plain baseline JPEG.
    """
    view, at, frame = data.data, 2, None
    while at + _NUM_COMPONENTS < len(view) and view[at] == 0xFF:
        marker = view[at + 1]
        if marker in _OTHERS:
            return None
        if marker == _SOF0:
            frame = at
        if marker == _SOS:
            break
        at += 2 + _uint16(view, at + 2)
    else:
        return None
    if (
        frame is None
        or (_uint16(view, frame + _HEIGHT), _uint16(view, frame + _WIDTH)) != size
        # Otherwise the scan has some components only, and others follow.
        or view[frame + _NUM_COMPONENTS] != view[at + 4]
    ):
        return None
    short = bytearray(view)
    short[frame + _HEIGHT : frame + _WIDTH] = num_rows.to_bytes(2, "big")
    return short


def _uint16(view: memoryview, at: int) -> int:
    return view[at] << 8 | view[at + 1]


def is_complaint_about_rest(error: ValueError) -> bool:
    """Returns whether an error of `simplejpeg` is about nothing but the rows left out.

    The rows before have then been decoded.
    """
    return _REST.search(str(error)) is not None

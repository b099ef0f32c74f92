"""Describes RGB color spaces, and writes them as ICC profiles for LittleCMS.

A file may state its colors by code points of ITU-T H.273, or by primaries and a gamma,
instead of an ICC profile. Both become a profile here, so one conversion serves all.
"""

import functools
import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from beam_jobs.elements import BadInput

# CIE xy of red, green, blue and white: ITU-T H.273 (2024), table 2. Reserved and
# unspecified code points count as BT.709, which has the primaries of sRGB.
_D65, _C = (0.3127, 0.3290), (0.310, 0.316)
_BT709 = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *_D65)
_BT601 = (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65)
_PRIMARIES: dict[int, tuple[float, ...]] = {
    1: _BT709,
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, *_C),  # BT.470 System M
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),  # BT.470 System B, G
    6: _BT601,
    7: _BT601,  # SMPTE ST 240
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, *_C),  # film
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),  # BT.2020
    10: (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1 / 3, 1 / 3),  # SMPTE ST 428, CIE XYZ
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),  # SMPTE RP 431
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),  # Display P3
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *_D65),  # EBU Tech. 3213
}


def _fixed(number: float) -> int:
    """Returns a number as s15Fixed16Number, in units of 1 / 65536."""
    return round(float(number) * 65536)


class Curve(NamedTuple):
    """Transfer curve from a stored value X to light, both from 0 to 1.

    Light is (a · X + b)^gamma for X ≥ d, and c · X + f below: the parametric curve of
    ICC.1:2022, section 10.18.
    """

    gamma: float
    a: float = 1.0
    b: float = 0.0
    c: float = 0.0
    d: float = 0.0
    f: float = 0.0

    def narrow(self) -> "Curve":
        """Returns the curve for stored values from 16 to 235 of 255 levels."""
        scale, start = 255 / 219, 16 / 219
        return Curve(
            self.gamma,
            self.a * scale,
            self.b - self.a * start,
            self.c * scale,
            (self.d + start) / scale,
            self.f - self.c * start,
        )

    @property
    def element(self) -> bytes:
        """The curve as an element of an ICC profile."""
        numbers = (*self[:5], 0.0, self.f)
        return b"para" + struct.pack(">IHH7i", 0, 4, 0, *map(_fixed, numbers))


_SRGB_CURVE = Curve(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)

# H.273, table 3. The curves of BT.709, BT.601, BT.2020, BT.1361 and IEC 61966-2-4 (1,
# 6, 11, 12, 14, 15) are those of cameras. Displays have others, and readers disagree:
# some invert the camera's, Chromium 156 takes gamma 2.4 in PNG and sRGB in AVIF. sRGB
# lies between these, so those code points count as sRGB, as unspecified ones do.
_CURVES = {
    4: Curve(2.2),
    5: Curve(2.8),
    7: Curve(1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 4 * 0.0228),
    8: Curve(1.0),
    17: Curve(2.6, (52.37 / 48) ** (1 / 2.6)),
}
# Transfer characteristics without an agreed conversion to the range of a display.
_UNSUPPORTED = {9: "log 100:1", 10: "log 316:1", 16: "PQ (HDR)", 18: "HLG (HDR)"}
_KNOWN = {*_CURVES, *_UNSUPPORTED, 1, 6, 11, 12, 13, 14, 15}


class Color(NamedTuple):
    """RGB color space.

    Attributes:
        primaries: CIE xy of red, green, blue and white.
        curves: Transfer curves as elements of an ICC profile: one for all channels, or
            one for each of red, green and blue.
    """

    primaries: tuple[float, ...]
    curves: tuple[bytes, ...]


SRGB = Color(_BT709, (_SRGB_CURVE.element,))
# Adobe RGB (1998) Color Image Encoding, section 4.3.
ADOBE_RGB = Color(
    (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65), (Curve(563 / 256).element,)
)


def color_of_codes(
    primaries: int, transfer: int, *, narrow: bool = False
) -> Color | None:
    """Returns the color space of two code points of H.273, or None if unspecified.

    Args:
        primaries: Value of `ColourPrimaries`.
        transfer: Value of TransferCharacteristics.
        narrow: Whether stored values go from 16 to 235 of 255 levels.

    Raises:
        BadInput: The transfer is PQ, HLG or logarithmic.
    """
    if transfer in _UNSUPPORTED:
        raise BadInput(
            "unsupported_image",
            f"colors of transfer {_UNSUPPORTED[transfer]}, code point {transfer} of "
            "H.273: convert the image to sRGB first",
        )
    if primaries not in _PRIMARIES and transfer not in _KNOWN and not narrow:
        return None
    curve = _CURVES.get(transfer, _SRGB_CURVE)
    curve = curve.narrow() if narrow else curve
    return Color(_PRIMARIES.get(primaries, _BT709), (curve.element,))


def color_of_gamma(gamma: float, primaries: Sequence[float]) -> Color | None:
    """Returns the color space of a gamma and primaries, or None for an absurd gamma.

    A gamma near 2.2 with the primaries of sRGB is how sRGB is stated for old readers
    (PNG, third edition, section 11.3.2.5), so it is sRGB and not a power of 2.2.

    Args:
        gamma: Exponent from stored values to light.
        primaries: CIE xy of red, green, blue and white.
    """
    if not 0.1 <= gamma <= 10:
        return None
    is_srgb = np.allclose(primaries, _BT709, rtol=0, atol=0.002)
    if is_srgb and abs(gamma - 2.2) < 0.05:
        return SRGB
    return Color(tuple(primaries), (Curve(gamma).element,))


def sampled_curve(values: NDArray[np.uint16]) -> bytes:
    """Returns a table of light, from 0 to 65535, as an element of an ICC profile."""
    picked = np.linspace(0, len(values) - 1, min(len(values), 4096)).round().astype(int)
    table: bytes = values[picked].astype(">u2").tobytes()
    return b"curv" + struct.pack(">II", 0, len(picked)) + table


@functools.lru_cache(maxsize=64)
def profile_for(color: Color, *, gray: bool) -> bytes | None:
    """Returns an ICC profile, or None if the numbers are no color space.

    Source: ICC.1:2022, sections 7.2, 7.3, 8.3.3 and 8.3.4. LittleCMS needs no more.

    Args:
        color: Color space.
        gray: Whether the profile is for gray pixels, which have a curve alone.
    """
    try:
        columns = _colorants(color.primaries)
        elements = {b"wtpt": _xyz(_D50)}
        if gray:
            elements[b"kTRC"] = color.curves[0]
        else:
            curves = color.curves if len(color.curves) == 3 else color.curves * 3
            for name, column, curve in zip(b"rgb", columns, curves, strict=True):
                elements[bytes([name]) + b"XYZ"] = _xyz(column)
                elements[bytes([name]) + b"TRC"] = curve
    except (np.linalg.LinAlgError, struct.error, ValueError, OverflowError):
        return None
    return _profile(b"GRAY" if gray else b"RGB ", elements)


_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def _colorants(primaries: tuple[float, ...]) -> NDArray[np.float64]:
    """Returns XYZ of red, green and blue, adapted to D50 by the Bradford transform.

    Raises:
        ValueError: White is not a mixture of the primaries.
    """
    pairs = np.array(primaries, np.float64).reshape(4, 2)
    x, y = pairs.T
    points = np.stack([x, y, 1 - x - y], axis=-1)
    if not (np.isfinite(points).all() and y[3] > 0):
        raise ValueError(primaries)
    white = points[3] / y[3]
    light = np.linalg.solve(points[:3].T, white)
    if not (light > 0).all():
        raise ValueError(primaries)
    cones = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD
    return np.asarray((adapted @ (points[:3].T * light)).T)


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + struct.pack(">4i", 0, *map(_fixed, values))


def _profile(space: bytes, elements: dict[bytes, bytes]) -> bytes:
    """Returns a display profile of version 4.4 with the elements as its tags."""
    table, body = struct.pack(">I", len(elements)), b""
    begin = 128 + 4 + 12 * len(elements)
    for name, element in elements.items():
        table += struct.pack(">4sII", name, begin + len(body), len(element))
        body += element + bytes(-len(element) % 4)
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x3i",
        begin + len(body),
        0x04400000,
        b"mntr",
        space,
        b"XYZ ",
        b"acsp",
        *map(_fixed, _D50),
    )
    return header.ljust(128, b"\0") + table + body

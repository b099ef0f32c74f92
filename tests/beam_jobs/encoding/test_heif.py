"""Tests HEIC against the pixels that were written, with and without pillow-heif."""

import dataclasses
import io
import struct
import sys
from typing import Any
from zlib import crc32

import numpy as np
import pillow_heif
import pytest
from image_files import FINEST, ORIENTATION, encode, over_white, rejection, smooth
from PIL import Image, ImageOps

from beam_jobs.elements import BadInput
from beam_jobs.encoding.codecs import codecs_restored, configure_codecs
from beam_jobs.planning.library_versions import shaping_versions
from reader.contract.rejects import REASONS

RAW = dataclasses.replace(FINEST, format="raw")
LOSSLESS = {"quality": -1, "chroma": 444, "matrix_coefficients": 0}


def heic(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, **LOSSLESS | options)
    return file.getvalue()


def stored(data: bytes) -> np.ndarray:
    image = encode(data, RAW)
    found = np.frombuffer(image.data, np.uint8)
    return found.reshape(image.height, image.width, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_once(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    # The container gets the rotation, and Exif keeps the tag.
    data = heic(smooth(), exif=exif.tobytes())
    file = io.BytesIO()
    smooth().save(file, "PNG", exif=exif)
    with Image.open(file) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert (stored(data) == upright).all()


def test_properties_of_the_source_are_stated():
    image = encode(heic(smooth()), RAW)
    assert image.source_format == "heif"
    assert (image.source_height, image.source_width) == (40, 60)
    assert image.actions == ("converted", "encoded")


def test_gray_and_alpha_are_read():
    gray = smooth().convert("L")
    expected = np.asarray(gray.convert("RGB")).astype(int)
    assert np.abs(stored(heic(gray, matrix_coefficients=6)) - expected).max() <= 1
    clear = smooth()
    clear.putalpha(smooth().getchannel("R"))
    expected = over_white(clear).astype(int)
    assert np.abs(stored(heic(clear)) - expected).max() <= 1


def code_points(primaries: int, transfer: int) -> dict[str, int]:
    return {"color_primaries": primaries, "transfer_characteristics": transfer}


@pytest.mark.parametrize(("primaries", "transfer"), [(12, 13), (9, 1), (1, 8)])
def test_code_points_become_srgb_as_those_of_a_png(primaries, transfer):
    chunk = struct.pack(">4s4B", b"cICP", primaries, transfer, 0, 1)
    file = io.BytesIO()
    smooth().save(file, "PNG")
    png = file.getvalue()
    png = png[:33] + b"\0\0\0\4" + chunk + struct.pack(">I", crc32(chunk)) + png[33:]
    image = encode(heic(smooth(), **code_points(primaries, transfer)), RAW)
    assert "to_srgb" in image.actions
    assert image.data == encode(png, RAW).data


def test_hdr_is_unsupported():
    error = rejection(heic(smooth(), **code_points(9, 16)))
    assert error.reason == "unsupported_image"
    assert "PQ" in error.detail


def test_ten_bits_keep_their_upper_ones():
    deep = np.asarray(smooth()).astype(np.uint16) * 257
    file = io.BytesIO()
    image = pillow_heif.from_bytes("RGB;16", (60, 40), deep.tobytes())
    image.save(file, **LOSSLESS)
    assert np.abs(stored(file.getvalue()) - np.asarray(smooth()).astype(int)).max() <= 1


def test_a_profile_is_applied():
    from image_files import swapped_profile

    found = stored(heic(smooth(), icc_profile=swapped_profile()))
    assert np.abs(found - np.asarray(smooth()).astype(int)).max() > 50


def test_a_heic_cut_short_is_damaged():
    data = heic(smooth())
    for length in (20, 50, len(data) // 2, len(data) - 1):
        assert rejection(data[:length]).reason == "damaged_image"


def test_damage_is_decoded_or_refused_and_nothing_else():
    rng = np.random.default_rng(0)
    whole = heic(smooth())
    for _ in range(100):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        try:
            encode(bytes(data), RAW, max_pixels=100_000)
        except BadInput as error:
            assert error.reason in REASONS


def test_a_heic_with_too_many_pixels_is_refused():
    assert rejection(heic(smooth()), max_pixels=2399).reason == "too_many_pixels"


def test_without_the_extra_it_is_named(monkeypatch):
    data = heic(smooth())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    error = rejection(data)
    assert error.reason == "unsupported_image"
    assert "pip install 'diptych[heif]'" in error.detail


def test_the_version_is_part_of_the_plan():
    assert shaping_versions("basic")["pillow-heif"] == pillow_heif.__version__


def test_the_setting_of_threads_is_restored():
    before = pillow_heif.options.DECODE_THREADS
    pillow_heif.options.DECODE_THREADS = 3
    with codecs_restored():
        configure_codecs()
        assert pillow_heif.options.DECODE_THREADS == 1
    assert pillow_heif.options.DECODE_THREADS == 3
    pillow_heif.options.DECODE_THREADS = before

"""Tests JPEGs whose end-of-image marker is missing before a trailer."""

import dataclasses
import random
import struct

import numpy as np
import pytest
import simplejpeg
from image_files import FINEST, encode, file_of, noisy, rejection
from jpeg_files import SQUARES, oddly_sampled_jpeg

from beam_jobs.elements import BadInput

RAW = dataclasses.replace(FINEST, format="raw")


def samsung(name: bytes) -> bytes:
    content = struct.pack("<HHI", 0, 0x0A01, len(name)) + name + b"1518"
    return content + random.Random(0).randbytes(3000)


MP4 = struct.pack(">I", 24) + b"ftypmp42" + bytes(4) + b"mp42isom"
MP4 += random.Random(1).randbytes(5000)
TRAILERS = {
    "Samsung's": samsung(b"Image_UTC_Data") + b"SEFT",
    "Samsung's panorama": samsung(b"Panorama_Shot_Info"),
    "Samsung's with an MP4": samsung(b"MotionPhoto_Data")[:30] + MP4,
    "an MP4": MP4,
    "an MP4 with an end marker": MP4[:24] + b"\xff\xe1\xff\xd9" + MP4,
}
JPEGS = {
    "4:2:0": file_of(noisy(), "JPEG"),
    "4:4:4": file_of(noisy(), "JPEG", subsampling=0),
    "optimized": file_of(noisy(), "JPEG", optimize=True, quality=97),
    "restarts": file_of(noisy(), "JPEG", restart_marker_rows=1),
    "gray": file_of(noisy().convert("L"), "JPEG"),
    "CMYK": file_of(noisy().convert("CMYK"), "JPEG"),
}


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("trailer", TRAILERS)
def test_a_whole_scan_before_a_trailer_is_read(kind, trailer):
    data = JPEGS[kind]
    stored = encode(data[:-2] + TRAILERS[trailer])
    assert stored.data == encode(data).data
    if kind not in ("gray", "CMYK"):
        found = simplejpeg.decode_jpeg(stored.data, "RGB", strict=True)
        assert (found == simplejpeg.decode_jpeg(data, "RGB")).all()


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("trailer", TRAILERS)
def test_a_cut_scan_before_a_trailer_is_damage(kind, trailer):
    data = JPEGS[kind][:-2]
    scan = data.index(b"\xff\xda") + 16
    lengths = random.Random(2).sample(range(scan, len(data) - 3), 25)
    for length in (*lengths, len(data) - 4):
        error = rejection(data[:length] + TRAILERS[trailer])
        assert error.reason == "damaged_image"


@pytest.mark.parametrize(
    "data",
    [
        file_of(noisy(), "JPEG", progressive=True),
        oddly_sampled_jpeg(SQUARES),
    ],
    ids=["progressive", "of odd sampling"],
)
def test_where_a_cut_would_go_unnoticed_the_marker_is_needed(data):
    for trailer in TRAILERS.values():
        assert rejection(data[:-2] + trailer).reason == "damaged_image"


@pytest.mark.parametrize(
    "trailer",
    [b"", b"text " * 50, bytes(500), b"\xff\x3f" * 50, b"\xff\xd8\xff\xe0" + bytes(99)],
    ids=["nothing", "text", "zeros", "a reserved marker", "another JPEG"],
)
def test_other_data_in_place_of_the_marker_is_damage(trailer):
    error = rejection(JPEGS["4:2:0"][:-2] + trailer)
    assert error.reason == "damaged_image"
    assert "segment" not in error.detail


def test_a_trailer_after_the_marker_is_passed_over():
    for trailer in TRAILERS.values():
        data = JPEGS["4:2:0"]
        assert encode(data + trailer).data == encode(data).data


def test_no_sound_jpeg_is_cut_where_it_looks_like_a_trailer():
    # Coded data whose bytes look like Samsung's trailer, in a JPEG with its marker.
    flat = np.zeros((64, 64, 3), np.uint8)
    data = simplejpeg.encode_jpeg(flat, quality=50)
    scan = data.index(b"\xff\xda") + 14
    forged = data[:scan] + samsung(b"Image_UTC_Data")[:22] + data[scan + 22 :]
    try:
        encode(forged, RAW)
    except BadInput as error:
        # libjpeg, and not the parser, rejects what the bytes now mean.
        assert "marker" not in error.detail or "Corrupt" in error.detail

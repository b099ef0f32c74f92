"""Tests that files of other formats are named."""

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from image_files import file_of, rejection, smooth
from PIL import Image

PIXELS = np.asarray(smooth())


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "a")
    return file.getvalue()


def tarred() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return file.getvalue()


def numpy_file() -> bytes:
    file = io.BytesIO()
    np.save(file, PIXELS)
    return file.getvalue()


def box(brand: bytes) -> bytes:
    return struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"isommp42" + bytes(99)


XML = b'<?xml version="1.0" encoding="UTF-8"?>\n'
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
DENIED = b"<Error><Code>AccessDenied</Code></Error>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
OTHERS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "JPEG XL": ("JPEG XL", lambda: imagecodecs.jpegxl_encode(PIXELS)),
    "JPEG XL in boxes": (
        "JPEG XL",
        lambda: imagecodecs.jpegxl_encode(PIXELS, usecontainer=True),
    ),
    "JPEG 2000": ("JPEG 2000", lambda: file_of(smooth(), "JPEG2000")),
    "JPEG 2000 without boxes": (
        "JPEG 2000",
        lambda: file_of(smooth(), "JPEG2000", no_jp2=True),
    ),
    "JPEG XR": ("JPEG XR", lambda: imagecodecs.jpegxr_encode(PIXELS)),
    "QOI": ("QOI", lambda: imagecodecs.qoi_encode(PIXELS)),
    "Radiance": ("Radiance", lambda: imagecodecs.rgbe_encode(PIXELS / np.float32(255))),
    "icon": ("ICO", lambda: file_of(smooth(), "ICO")),
    "PPM": ("Netpbm", lambda: file_of(smooth(), "PPM")),
    "DDS": ("DDS", lambda: file_of(smooth(), "DDS")),
    "PDF": ("PDF", lambda: file_of(smooth(), "PDF")),
    "EPS": ("PostScript", lambda: file_of(smooth(), "EPS")),
    "ZIP": ("ZIP", zipped),
    "tar": ("tar", tarred),
    "gzip": ("gzip", lambda: zlib.compress(b"a", wbits=31)),
    "NumPy": ("NumPy", numpy_file),
    "PSD": ("PSD", lambda: b"8BPS\0\1" + bytes(99)),
    "MP4": ("MP4", lambda: box(b"isom")),
    "QuickTime": ("QuickTime", lambda: box(b"qt  ")),
    "CR3": ("CR3", lambda: box(b"crx ")),
    "RAF": ("RAF", lambda: b"FUJIFILMCCD-RAW 0201" + bytes(99)),
    "ORF": ("ORF", lambda: b"IIRO\x08\0\0\0" + bytes(99)),
    "RW2": ("RW2", lambda: b"IIU\0\x18\0\0\0" + bytes(99)),
    "AVI": ("AVI", lambda: b"RIFF\0\0\0\0AVI LIST" + bytes(99)),
    "WebM": ("WebM", lambda: b"\x1aE\xdf\xa3" + bytes(99)),
    "zeros": ("zero bytes", lambda: bytes(999)),
    "empty": ("empty", bytes),
    "HTML": ("HTML", lambda: b"<!DOCTYPE html><html><body>404</body></html>"),
    "HTML after a mark": ("HTML", lambda: b"\xef\xbb\xbf\n<html>"),
    "HTML in UTF-16": ("HTML", lambda: "<html>".encode("utf-16")),
    "HTML after a comment": ("HTML", lambda: b"<!-- a --><!-- b -->\n<HTML>"),
    "XHTML": ("HTML", lambda: XML + b"<html/>"),
    "SVG": ("SVG", lambda: SVG),
    "SVG after XML": ("SVG", lambda: XML + b"<!-- by hand -->\n" + SVG),
    "XML": ("XML", lambda: XML + DENIED),
    "XML without a head": ("XML", lambda: DENIED),
    "JSON": ("JSON", lambda: b'{"message": "Not Found"}'),
    "a list": ("JSON", lambda: b"[1, 2]"),
    "LFS": ("git lfs pull", lambda: LFS),
    "annex": ("git annex get", lambda: b"../.git/annex/objects/aa/bb/SHA256E-s1"),
    "URL": ("URL", lambda: b"https://example.com/a.jpg\n"),
    "text": ("'ein Bild, wörtlich'", lambda: "ein Bild, wörtlich\n".encode()),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_format_is_named(kind):
    name, make = OTHERS[kind]
    data = make()
    error = rejection(data)
    assert error.reason == "not_an_image"
    assert name in error.detail
    if data:
        assert error.detail.endswith(f"begins with {data[:8].hex(' ')}")


def test_every_format_that_pillow_writes_is_read_or_named():
    unnamed = {"DIB", "PCX", "TGA", "SGI", "IM", "MSP", "XBM", "BUFR", "GRIB", "HDF5"}
    unnamed |= {"PALM", "BLP", "SPIDER", "WMF", "MPEG"}  # Without a mark of their own.
    Image.init()
    for format in sorted(Image.SAVE):
        try:
            data = file_of(smooth(), format)
        except (OSError, KeyError, ValueError):
            continue
        if not data or format in unnamed:
            continue
        try:
            error = rejection(data)
        except pytest.fail.Exception:
            continue  # It is read.
        assert not error.detail.startswith("begins with"), format


def test_naming_takes_no_time():
    for begin in (b"<!--", b"<?", b"../", b" ", b"[", b"\0"):
        rejection(begin * 500_000)

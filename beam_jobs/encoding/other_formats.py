"""Names of file formats that are not read, for messages."""

import re

# First bytes of each format, in order of inspection.
_BINARY = {
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "HEIC or HEIF": rb"....ftyp(hei|hev|mif|msf|avc[is])",
    "camera raw (CR3)": rb"....ftypcrx ",
    "QuickTime video": rb"....ftypqt|....(moov|mdat|wide)",
    "MP4 video": rb"....ftyp",
    "Matroska or WebM video": rb"\x1aE\xdf\xa3",
    "AVI video": rb"RIFF....AVI ",
    "WAV audio": rb"RIFF....WAVE",
    "Flash video": rb"FLV\x01",
    "MP3 audio": rb"ID3[\x02-\x04]",
    "Ogg audio or video": rb"OggS",
    "MPEG video": rb"\0\0\x01[\xb3\xba]",
    "Photoshop (PSD)": rb"8BPS",
    "GIMP (XCF)": rb"gimp xcf",
    "camera raw (RAF)": rb"FUJIFILMCCD-RAW",
    "camera raw (ORF)": rb"II(RO|RS)|MMOR",
    "camera raw (RW2)": rb"IIU\0",
    "camera raw (CRW)": rb"II....HEAPCCDR",
    "camera raw (X3F)": rb"FOVb",
    "camera raw (MRW)": rb"\0MRM",
    "JPEG XR": rb"II\xbc",
    "icon (ICO)": rb"\0\0\x01\0[\x01-\xff]\0",
    "cursor (CUR)": rb"\0\0\x02\0[\x01-\xff]\0",
    "icon (ICNS)": rb"icns",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "Radiance HDR": rb"#\?(RADIANCE|RGBE)",
    "DirectDraw surface (DDS)": rb"DDS ",
    "QOI": rb"qoif",
    "BPG": rb"BPG\xfb",
    "FLIF": rb"FLIF",
    "MNG": rb"\x8aMNG",
    "JNG": rb"\x8bJNG",
    "DjVu": rb"AT&TFORM",
    "DICOM": rb".{128}DICM",
    "FITS": rb"SIMPLE  =",
    "Windows metafile": rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF",
    "Netpbm (PBM, PGM, PPM, PAM)": rb"P[1-7]\s",
    "PDF": rb"%PDF-",
    "PostScript": rb"%!PS|\xc5\xd0\xd3\xc6",
    "ZIP archive": rb"PK(\x03\x04|\x05\x06|\x07\x08)",
    "gzip data": rb"\x1f\x8b",
    "bzip2 data": rb"BZh[1-9]",
    "xz data": rb"\xfd7zXZ\0",
    "Zstandard data": rb"\x28\xb5\x2f\xfd",
    "7-Zip archive": rb"7z\xbc\xaf\x27\x1c",
    "RAR archive": rb"Rar!\x1a\x07",
    "tar archive": rb".{257}ustar",
    "NumPy array": rb"\x93NUMPY",
    "HDF5 or MATLAB file": rb"\x89HDF\r\n",
    "Parquet table": rb"PAR1",
    "SQLite database": rb"SQLite format 3\0",
    "Office document": rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    "Finder metadata of macOS": rb"\0\x05\x16\x07|\0\0\0\x01Bud1",
    "program": rb"\x7fELF|MZ.{58}",
    "zero bytes": rb"\0{16}",
}

# Text, after white space and a byte order mark.
_TEXT = {
    "Git LFS pointer (run: git lfs pull)": r"version https://git-lfs",
    "git-annex pointer (run: git annex get)": r"[./]*(git/|/)?annex/objects/",
    "HTML page": r"<(!doctype html|html|head|body|title|script)\b",
    "SVG": r"(<!doctype svg[^>]*>\s*)?<svg\b",
    "XML": r"<(!doctype|\?xml|[a-z][\w:.-]*[\s/>])",
    "JSON": r"\{\s*[\"}]|\[\s*[\[{\"\d\]-]",
    "data URL": r"data:image/",
    "URL": r"https?://\S",
}

_BINARY_OF = {name: re.compile(magic, re.S) for name, magic in _BINARY.items()}
_TEXT_OF = {name: re.compile(magic, re.S | re.I) for name, magic in _TEXT.items()}
# What may precede the first element of HTML, SVG or XML.
_PROLOG = re.compile(r"\s+|<\?xml.*?\?>|<!--.*?-->", re.S)
_BYTES_SHOWN, _CHARACTERS_SHOWN, _BYTES_INSPECTED = 8, 40, 2000


def describe_other(data: bytes) -> str:
    """Describes data that is not an image of a supported format.

    Names its format if it is known, or quotes its text.

    Args:
        data: Bytes of the file.
    """
    if not data:
        return "the file is empty"
    begins = f"begins with {data[:_BYTES_SHOWN].hex(' ')}"
    name = _name_of(data[:_BYTES_INSPECTED])
    return f"{name}, {begins}" if name else begins


def _name_of(head: bytes) -> str:
    text = _text_of(head)
    begin = 0
    while match := _PROLOG.match(text, begin):
        begin = match.end()
    for name, magic in _BINARY_OF.items():
        if magic.match(head):
            return name
    for name, pattern in _TEXT_OF.items():
        if pattern.match(text, begin):
            return name
    return f"text {text[:_CHARACTERS_SHOWN]!r}" if text else ""


def _text_of(head: bytes) -> str:
    """Returns printable text without white space around it, or ""."""
    encoding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    # The last character may be cut.
    text = head.decode(encoding, errors="replace").rstrip("\ufffd").strip()
    is_text = all(character.isprintable() or character.isspace() for character in text)
    return text if is_text and "\ufffd" not in text else ""

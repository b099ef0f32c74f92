"""Derives keys from paths, and resolves names in tables and tars below the roots."""

import os
import posixpath
import re
import unicodedata
from collections.abc import Sequence

from beam_jobs.elements import ANY_ROOT, BadInput, SourceFile
from beam_jobs.storage.addresses import SOURCE_SCHEMES, scheme_of


def key_of(path: bytes) -> bytes:
    """Returns the key of a relative path: the path in NFC without its last suffix.

    >>> key_of(b"park/a.b.jpg")
    b'park/a.b'
    """
    return composed(os.path.splitext(path)[0])


def composed(key: bytes) -> bytes:
    """Returns a key in Unicode normalization form NFC, unchanged if it is not UTF-8."""
    if key.isascii():
        return key
    try:
        return unicodedata.normalize("NFC", key.decode()).encode()
    except UnicodeDecodeError:
        return key


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def place_of(
    name: str, folder: bytes, roots: Sequence[bytes], bases: Sequence[int] = (0,)
) -> SourceFile:
    """Returns the file that a table cell names, without inspecting the file.

    Args:
        name: Table cell with an absolute path, or a path relative to `folder`.
        folder: Path of the base folder for relative names, relative to their root.
            Empty for the root itself.
        roots: Absolute paths of the folders that the file may be in.
        bases: Indices of the roots that relative names may be relative to.

    Returns:
        The file, not inspected. Its root is `ANY_ROOT` if the name is relative to
        several roots.

    Raises:
        BadInput: `outside_root` if the path is not below a root, or `missing_image` if
            the name is not a valid path.
    """
    if _URL.match(name) and scheme_of(name) not in SOURCE_SCHEMES:
        raise BadInput("missing_image", f"{name}: an address, not a file: download it")
    # Joining an absolute path drops the folders before it.
    named = _as_path(_bytes_of(name))
    base = _as_path(roots[bases[0]])
    path = posixpath.normpath(posixpath.join(base, folder, named))
    path = b"/" + path.lstrip(b"/")  # `normpath` keeps two leading slashes.
    for number, root in enumerate(map(_as_path, roots)):
        inside = path.removeprefix(root.rstrip(b"/") + b"/")
        if not inside.startswith(b"/"):
            anywhere = number == bases[0] and len(bases) > 1 and named[:1] != b"/"
            return SourceFile(inside, root=ANY_ROOT if anywhere else number)
    raise BadInput(
        "outside_root", f"{name}: add its folder with --allow_roots if it may be read"
    )


def _as_path(path: bytes) -> bytes:
    """Returns a path unchanged, or a URL as a path that matches no local root.

    >>> _as_path(b"gs://bucket/a")
    b'/gs:/bucket/a'
    """
    scheme, found, rest = path.partition(b"://")
    return b"/" + scheme + b":/" + rest if found and b"/" not in scheme else path


def below_root(name: bytes) -> bytes:
    """Returns a relative name as a normalized path below its root.

    Raises:
        BadInput: `outside_root` if the path is absolute or leaves the root.
    """
    path = posixpath.normpath(name)
    if path.startswith((b"../", b"/")) or path in (b"..", b"."):
        raise BadInput("outside_root", f"{os.fsdecode(name)}: not below its root")
    return path


def _bytes_of(name: str) -> bytes:
    try:
        path = name.encode("utf-8", errors="surrogateescape")
    except UnicodeEncodeError:
        raise BadInput("missing_image", "its name is no text") from None
    if not path or b"\0" in path:
        raise BadInput("missing_image", f"{name!r} is no name of a file")
    return path

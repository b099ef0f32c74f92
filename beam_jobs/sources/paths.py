"""Keys: what an image and its captions have in common."""

import os
import posixpath
import re
import unicodedata
from collections.abc import Sequence

from beam_jobs.elements import BadInput, SourceFile
from beam_jobs.storage.object_store import SCHEMES, scheme_of


def key_of(path: bytes) -> bytes:
    """Returns the key of a path below its root: without its last suffix, in NFC.

    >>> key_of(b"park/a.b.jpg")
    b'park/a.b'
    """
    return composed(os.path.splitext(path)[0])


def composed(key: bytes) -> bytes:
    """Returns a key in Unicode's form NFC, where it is UTF-8."""
    if key.isascii():
        return key
    try:
        return unicodedata.normalize("NFC", key.decode()).encode()
    except UnicodeDecodeError:
        return key


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def place_of(name: str, folder: bytes, roots: Sequence[bytes]) -> SourceFile:
    """Returns the file that a table's cell names, not looked at yet.

    Args:
        name: The cell: a path from `folder`, or an absolute one; it ends below a root.
        folder: Below the first root, where relative names begin; empty for the root.
        roots: Folders that may be named, absolute.

    Raises:
        BadInput: `outside_root` or `missing_image`.
    """
    if _URL.match(name) and scheme_of(name) not in SCHEMES:
        raise BadInput("missing_image", f"{name}: an address, not a file: download it")
    # A path that is absolute stands alone when it is joined to others.
    named = _as_path(_bytes_of(name))
    path = posixpath.normpath(posixpath.join(_as_path(roots[0]), folder, named))
    path = b"/" + path.lstrip(b"/")  # Two slashes before a path are left by `normpath`.
    for number, root in enumerate(map(_as_path, roots)):
        inside = path.removeprefix(root.rstrip(b"/") + b"/")
        if not inside.startswith(b"/"):
            return SourceFile(inside, root=number)
    raise BadInput(
        "outside_root", f"{name}: add its folder with --allow_roots if it may be read"
    )


def _as_path(path: bytes) -> bytes:
    """Returns a path; for an address, one that no other file of this machine has.

    >>> _as_path(b"gs://bucket/a")
    b'/gs:/bucket/a'
    """
    scheme, found, rest = path.partition(b"://")
    return b"/" + scheme + b":/" + rest if found and b"/" not in scheme else path


def below_root(name: bytes) -> bytes:
    """Returns a relative name as a plain path below its root, which is not named.

    Raises:
        BadInput: `outside_root`: it leads out of the root.
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

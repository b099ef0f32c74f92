"""Keys: what an image and its captions have in common."""

import os
import unicodedata


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

"""Search queries of `diptych find`, and how well a record matches one."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from reader.contract import samples
from reader.contract.schema import display_path

SHA256_DIGITS = 64
# Shorter prefixes of a checksum match too many records by accident.
_SHA256 = re.compile(r"[0-9a-fA-F]{8,64}\Z")


class Wanted(NamedTuple):
    """A search query.

    Attributes:
        keys: Keys to match: the text as given, and its NFC form, as in datasets.
        names: Source names to match: the path and its trailing parts, longest first.
        sha256: Leading hex digits of a checksum; None if the text is not a checksum.
        content: SHA-256 of the local file of that name; None if no such file exists.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]
    sha256: str | None
    content: str | None

    def fits(
        self, key: str, sha256: str | None, sources: Sequence[str | None]
    ) -> tuple[int, str] | None:
        """Returns the rank of a match and the field that matches; None if no match.

        A lower rank is a better match.

        Args:
            key: Key of a record or a reject.
            sha256: SHA-256 of its image file; None if unknown.
            sources: Its source files, the image first; empty if unknown.
        """
        if key in self.keys:
            return 0, samples.KEY
        named = self._named(key, sources)
        if sha256 is not None and sha256 == self.content:
            # Among several with the same content, prefer the one with this name.
            return (1 if named else 2), "content"
        if sha256 is not None and self.sha256 and sha256.startswith(self.sha256):
            return 3, samples.SHA256
        return None if named is None else (4 + named[0], named[1])

    def _named(self, key: str, sources: Sequence[str | None]) -> tuple[int, str] | None:
        """Returns how many leading parts of the path are missing, and the field."""
        for place, name in enumerate(self.names):
            if name in sources:
                image = sources[0] == name
                return place, samples.SOURCE if image else samples.CAPTION_SOURCE
            if not sources and key in (name, os.path.splitext(name)[0]):
                return place, samples.SOURCE
        return None


def wanted_of(text: str) -> Wanted:
    """Parses a key, a checksum or a path into a query.

    Raises:
        OSError: A file of that name exists but cannot be read.
    """
    exact = display_path(os.fsencode(text))
    parts = exact.split("/")
    names = tuple("/".join(parts[begin:]) for begin in range(len(parts)))
    names = tuple(name for name in names if name) or (exact,)
    sha256 = text.lower() if _SHA256.match(text) else None
    content = None
    if os.path.isfile(path := os.path.expanduser(text)):
        with open(path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    keys = exact, unicodedata.normalize("NFC", exact)
    return Wanted(keys, names, sha256, content)

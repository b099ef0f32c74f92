"""What somebody looks for in a dataset, and how well something fits it."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from reader.contract import samples
from reader.contract.schema import display_path

SHA256_DIGITS = 64
# Fewer digits of a checksum find too much by accident.
_SHA256 = re.compile(r"[0-9a-fA-F]{8,64}\Z")


class Wanted(NamedTuple):
    """What is looked for.

    Attributes:
        keys: What a key may be: as it was given, and in NFC, as keys are.
        names: What a source may be called: the end of a path, the longest first.
        sha256: Digits of a checksum; None if it is none.
        content: Checksum of the file of that name; None if there is none.
    """

    keys: tuple[str, ...]
    names: tuple[str, ...]
    sha256: str | None
    content: str | None

    def fits(
        self, key: str, sha256: str | None, sources: Sequence[str | None]
    ) -> tuple[int, str] | None:
        """Returns how well something fits, and by what; None if it does not.

        Args:
            key: Of a record or a reject.
            sha256: Of its image file; None where that is not known.
            sources: Its files, the image first; none where they are not known.
        """
        if key in self.keys:
            return 0, samples.KEY
        named = self._named(key, sources)
        if sha256 is not None and sha256 == self.content:
            # Of several with this content, the one of this name.
            return (1 if named else 2), "content"
        if sha256 is not None and self.sha256 and sha256.startswith(self.sha256):
            return 3, samples.SHA256
        return None if named is None else (4 + named[0], named[1])

    def _named(self, key: str, sources: Sequence[str | None]) -> tuple[int, str] | None:
        """Returns how much of a path is lacking, and what has such a name."""
        for place, name in enumerate(self.names):
            if name in sources:
                image = sources[0] == name
                return place, samples.SOURCE if image else samples.CAPTION_SOURCE
            if not sources and key in (name, os.path.splitext(name)[0]):
                return place, samples.SOURCE
        return None


def wanted_of(text: str) -> Wanted:
    """Returns what somebody looks for, of a key, a checksum or a path.

    Raises:
        OSError: There is a file of that name which cannot be read.
    """
    exact = display_path(os.fsencode(text))
    parts = exact.split("/")
    names = tuple("/".join(parts[begin:]) for begin in range(len(parts)))
    names = tuple(name for name in names if name) or (exact,)
    sha256 = text.lower() if _SHA256.match(text) else None
    content = None
    if os.path.isfile(text):
        with open(text, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    keys = exact, unicodedata.normalize("NFC", exact)
    return Wanted(keys, names, sha256, content)

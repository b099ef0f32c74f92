"""Inspects and reads the image and captions of a pair."""

import os
import stat
import unicodedata
from collections.abc import Iterator

from beam_jobs.config.columns import Value
from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import UNSEEN, BadInput, Pair, SourceFile
from beam_jobs.inputs.captions import (
    MAX_CAPTION_BYTES,
    Captions,
    clean_captions,
    read_captions,
)
from beam_jobs.sources.folders import LEADS_NOWHERE
from beam_jobs.sources.registry import source_of
from beam_jobs.storage.files import is_remote, read_file, status_of
from beam_jobs.workspace.array_file import fetch
from beam_jobs.workspace.workspace import Workspace


class SourceFiles:
    """Inspects and reads the files of a source, and detects changed files."""

    def __init__(self, config: JobConfig) -> None:
        """Initializes the reader.

        Args:
            config: Configuration of the job, which selects the source.
        """
        self._config = config
        self._roots = source_of(config).roots(config)
        self._arrays = Workspace(config.output).arrays

    def look(self, file: SourceFile) -> SourceFile:
        """Returns a file with its size and version, inspecting the file if needed.

        If the name does not exist, its Unicode forms NFC and NFD are tried.

        Raises:
            BadInput: `missing_image` if the file does not exist, or `not_a_file` if the
                path is not a regular file.
        """
        if file.size != UNSEEN:
            return file
        for path in _forms(file.path):
            place = os.path.join(self._roots[file.root], path)
            try:
                if not is_remote(place) and not stat.S_ISREG(os.stat(place).st_mode):
                    raise BadInput("not_a_file", "not a regular file")
                status = status_of(place)
            except OSError as error:
                if error.errno not in LEADS_NOWHERE:
                    raise
                continue
            return file._replace(path=path, size=status.size, version=status.version)
        hint = ": write / between folders, not \\" if b"\\" in file.path else ""
        raise BadInput("missing_image", f"no such file{hint}")

    def image(self, pair: Pair) -> bytes:
        """Returns the bytes of the pair's image file."""
        return self._read(pair.image, at_most=pair.image.size)

    def captions(self, pair: Pair) -> Captions:
        """Returns the cleaned captions of a pair.

        Raises:
            BadInput: No caption is usable.
        """
        if pair.texts is not None:
            return clean_captions(pair.texts)
        # The extra byte shows whether the file is too large.
        data = self._read(pair.caption, at_most=MAX_CAPTION_BYTES + 1)
        return read_captions(
            data,
            per_file=self._config.captions_per_file,
            encoding=self._config.caption_encoding,
        )

    def values(self, pair: Pair) -> tuple[Value, ...]:
        """Returns the values of the pair's columns, with long arrays read from disk."""
        return tuple(fetch(value, self._arrays) for value in pair.values)

    def _read(self, file: SourceFile, at_most: int) -> bytes:
        return read_file(
            os.path.join(self._roots[file.root], file.archive or file.path),
            offset=file.offset,
            at_most=at_most,
            size=None if file.archive else file.size,
            version=file.version,
        )


def _forms(path: bytes) -> Iterator[bytes]:
    yield path
    if not path.isascii():
        try:
            text = path.decode()
        except UnicodeDecodeError:
            return
        yield from (
            unicodedata.normalize(form, text).encode() for form in ("NFC", "NFD")
        )

"""Reading the files of a pair, wherever its source has them."""

import errno
import os

from beam_jobs.captions import MAX_CAPTION_BYTES
from beam_jobs.elements import Pair, SourceFile
from beam_jobs.options import JobConfig
from beam_jobs.storage import read_file


class FolderFiles:
    """Reads files of source `folders`, and notices when one has changed."""

    def __init__(self, config: JobConfig) -> None:
        """Takes the roots from the job's configuration."""
        self._images = os.fsencode(config.images)
        self._captions = os.fsencode(config.captions)

    def image(self, pair: Pair) -> bytes:
        """Returns the bytes of the image's file."""
        return _read(self._images, pair.image)

    def caption(self, pair: Pair) -> bytes:
        """Returns the bytes of the caption's file; one too many if it is too large."""
        return _read(self._captions, pair.caption, at_most=MAX_CAPTION_BYTES + 1)


def _read(root: bytes, file: SourceFile, at_most: int = -1) -> bytes:
    path = os.path.join(root, file.path)

    def check(status: os.stat_result) -> None:
        # What was planned no longer holds: vocabulary, fingerprints, sizes.
        if (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns):
            raise OSError(errno.ESTALE, "Changed while the job was running", path)

    return read_file(path, at_most=at_most, check=check)

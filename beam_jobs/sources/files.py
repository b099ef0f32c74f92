"""Reading the files of a pair, wherever its source has them."""

import os

from beam_jobs.captions import MAX_CAPTION_BYTES
from beam_jobs.elements import Pair
from beam_jobs.options import JobConfig
from beam_jobs.storage import read_file


class FolderFiles:
    """Reads files of source `folders`."""

    def __init__(self, config: JobConfig) -> None:
        """Takes the roots from the job's configuration."""
        self._images = os.fsencode(config.images)
        self._captions = os.fsencode(config.captions)

    def image(self, pair: Pair) -> bytes:
        """Returns the bytes of the image's file."""
        return read_file(os.path.join(self._images, pair.image.path))

    def caption(self, pair: Pair) -> bytes:
        """Returns the bytes of the caption's file; one too many if it is too large."""
        path = os.path.join(self._captions, pair.caption.path)
        return read_file(path, at_most=MAX_CAPTION_BYTES + 1)

"""Has the kernel read local files before they are needed."""

import contextlib
from collections.abc import Sequence

import numpy as np

from reader.shuffle.arrays import Int64s
from reader.storage.open_files import OpenFiles

# Linux reads no more than a request of a disk for one call.
_MOST_BYTES = 1 << 19
# Runs of records that are looked up. To announce a record costs 4 µs even if the kernel
# has it, a twentieth of making its image.
_SAMPLE = 16


class ReadAhead:
    """Announces the records of a window to the kernel, in the order of the files.

    The kernel reads them into its cache in the background, with as many requests at a
    time as the disk takes. Without it, each worker waits for one record. Nothing
    happens on systems without `posix_fadvise`. Nothing waits for what was announced:
    this is the `Staging` of local files, for any number of iterators.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        """Initializes the announcements.

        Args:
            paths: Path of each file.
        """
        self._paths, self._files = paths, OpenFiles()

    def stage(self, places: Int64s, clock: int) -> Int64s:
        """Announces records, unless a sample of them is in the cache already.

        Args:
            places: int64[n, 4 + 3 * layers], as `RecordIndex.places` returns them.
            clock: Not used.

        Returns:
            The same places.
        """
        runs = _runs(places)
        # Whoever reads the records reports errors.
        with contextlib.suppress(OSError):
            if not all(map(self._is_cached, runs[:: 1 + len(runs) // _SAMPLE])):
                for run in runs:
                    self._announce(*run)
        return places

    def has_room(self) -> bool:
        """Returns False: announcing the next window is enough."""
        return False

    def is_ready(self, places: Int64s) -> bool:
        """Returns True: reading a record waits for it."""
        return True

    def wait(self, places: Int64s) -> None:
        """Does nothing."""

    def done(self, places: Int64s) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""

    def _is_cached(self, run: list[int]) -> bool:
        shard, begin, end = run
        return self._files.has_cached(self._paths[shard], (begin + end) // 2)

    def _announce(self, shard: int, begin: int, end: int) -> None:
        for offset in range(begin, end, _MOST_BYTES):
            length = min(_MOST_BYTES, end - offset)
            self._files.will_need(self._paths[shard], offset, length)


def _runs(places: Int64s) -> list[list[int]]:
    """Returns file, begin and end of records without gaps between them."""
    if not len(places):
        return []
    each = places[:, 1:].reshape(-1, 3)
    file, begin, end = each[np.lexsort((each[:, 1], each[:, 0]))].T
    apart = (file[1:] != file[:-1]) | (begin[1:] > end[:-1])
    first = np.flatnonzero(np.concatenate([[True], apart]))
    last = np.append(first[1:], len(file)) - 1
    runs = np.stack([file[first], begin[first], end[last]], axis=1)
    listed: list[list[int]] = runs.tolist()
    return listed

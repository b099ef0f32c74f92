"""An object as a file that is read and searched, for tables and tars."""

import io
from collections.abc import Callable

# One request brings so many bytes: a tar's headers are among its members, and a table
# is read from end to end.
_BUFFER_BYTES = 8 << 20


class RangeFile(io.RawIOBase):
    """A file whose ranges are fetched as they are asked for."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        """Takes `fetch(offset, size)`, and how many bytes there are."""
        super().__init__()
        self._fetch = fetch
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def tell(self) -> int:
        """Returns the place that is read next."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place."""
        begin = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}
        place = begin[whence] + offset
        if place < 0:
            raise ValueError(f"byte {place} is before the file")
        self._place = place
        return place

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        """Fetches as much as there is room for."""
        size = min(len(buffer), max(0, self._size - self._place))
        data = self._fetch(self._place, size) if size else b""
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def buffered(fetch: Callable[[int, int], bytes], size: int) -> io.BufferedReader:
    """Returns such a file with a buffer."""
    return io.BufferedReader(RangeFile(fetch, size), _BUFFER_BYTES)

"""The entries of a folder, for which a bucket is listed once."""

import contextlib
import os
from collections.abc import Sequence

from reader.object_stores.open_store import store_of
from reader.storage.files import is_remote, list_folder


class FolderEntries:
    """The entries of a folder.

    A folder in a bucket is listed at once, a thousand entries per request. A local one
    is asked for what is needed.

    Attributes:
        folder: Path of the folder.
        exists: Whether the folder exists; in a bucket, whether it contains an object.
    """

    def __init__(self, folder: str) -> None:
        """Lists a folder in a bucket."""
        self.folder = folder
        self._remote: dict[str, int | None] | None = None
        if not is_remote(folder):
            self.exists = os.path.isdir(folder)
            return
        self._remote = {}
        with contextlib.suppress(FileNotFoundError):
            for name, status in store_of(folder).scan(folder, deep=False):
                self._remote[name] = None if status is None else status.size
        self.exists = bool(self._remote)

    def __contains__(self, name: str) -> bool:
        """Returns whether there is a file or folder of that name."""
        if self._remote is not None:
            return name in self._remote
        return os.path.exists(os.path.join(self.folder, name))

    def names(self) -> list[str]:
        """Returns the names of the entries, sorted."""
        if self._remote is not None:
            return sorted(self._remote)
        return list_folder(self.folder)

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Returns the sizes of files, in bytes; None for missing ones."""
        if self._remote is not None:
            return [self._remote.get(name) for name in names]
        return [_size(os.path.join(self.folder, name)) for name in names]


def _size(path: str) -> int | None:
    with contextlib.suppress(FileNotFoundError):
        return os.path.getsize(path)
    return None

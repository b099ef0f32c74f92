"""How the records of a run are brought near: from local files, or from buckets."""

import threading
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from reader.config.read_config import ReadConfig
from reader.pixel_workers.shared_memory import Areas, NamedMemory
from reader.pixel_workers.stored_records import NoImages, StoredRecords
from reader.records.damaged_records import DamagedRecords
from reader.records.read_ahead import ReadAhead
from reader.remote_records.fetch import Requests
from reader.remote_records.windows import FetchedWindows
from reader.schedule.windows import Staging, Windows
from reader.shuffle.arrays import Int64s
from reader.storage.files import is_remote


class Access(Protocol):
    """Brings the records of a run near.

    Attributes:
        memory: Memory that fetched records are in; None if they stay in their files.
    """

    @property
    def memory(self) -> NamedMemory | None: ...  # noqa: D102

    def begin(self) -> Staging:
        """Returns what an iterator brings the records of its windows near with."""


class LocalAccess:
    """Access to records in local files.

    Attributes:
        memory: None.
    """

    memory = None

    def __init__(self, windows: Windows) -> None:
        """Initializes the access to the files of windows."""
        self._read_ahead = ReadAhead([file.path for file in windows.index.files])

    def begin(self) -> Staging:
        """Returns what announces records to the kernel."""
        return self._read_ahead


class RemoteAccess:
    """Access to records in buckets.

    Attributes:
        memory: Memory that fetched records are in.
    """

    def __init__(
        self,
        windows: Windows,
        config: ReadConfig,
        damaged: DamagedRecords,
        ahead_bytes: int,
    ) -> None:
        """Initializes the access to the files of windows.

        Args:
            windows: Windows of records that this host reads.
            config: Read configuration.
            damaged: Reader of damaged records, which explains errors.
            ahead_bytes: Size of the windows of an iterator that are in memory, if the
                next one is small.
        """
        self.memory = NamedMemory()
        paths = [file.path for file in windows.index.files]
        self._requests = Requests(
            paths,
            self.memory,
            sparse=windows.is_sparse,
            cache=windows.open_cache(),
        )
        self._areas = Areas(self.memory, threading.Lock())
        self._index = windows.index
        self._num_urgent, self._ahead_bytes = config.host_batch_size, ahead_bytes
        self._explain = damaged.unreadable

    def begin(self) -> Staging:
        """Returns what fetches the windows of an iterator."""
        return FetchedWindows(
            self._index,
            self._requests,
            self._areas,
            self._explain,
            num_urgent=self._num_urgent,
            ahead_bytes=self._ahead_bytes,
        )


class WholeRecords:
    """Reads records that are near, with their images as they are stored."""

    def __init__(
        self, windows: Windows, access: Access, damaged: DamagedRecords
    ) -> None:
        """Initializes the reading.

        Args:
            windows: Windows of records.
            access: Access to their records.
            damaged: Reader of damaged records.
        """
        paths = tuple(file.path for file in windows.index.files)
        fills = windows.index.fills
        self._records = StoredRecords(
            paths, None, None, fills=fills, memory=access.memory
        )
        self._damaged = damaged

    def __call__(
        self, places: Int64s, lap: int = 0
    ) -> tuple[list[bytes], NDArray[np.bool_]]:
        """Reads records, with what layers add to them.

        Args:
            places: int64[n, 4 + 3 * layers], as `Staging.stage` returned them.
            lap: As of `DamagedRecords`.

        Returns:
            n serialized records; bool[n], False for replaced records.

        Raises:
            DatasetError: As of `DamagedRecords`.
        """
        none = np.empty((len(places), 0))
        read = self._records.make(NoImages(), places[:, 1:], none, none)
        intact = np.ones(len(read), np.bool_)
        lost = [n for n, record in enumerate(read) if record is None]
        if lost:
            found, intact[lost] = self._damaged(places[lost, 0], lap)
            for n, record in zip(lost, found, strict=True):
                read[n] = record
        return [record for record in read if record is not None], intact


def access_to(
    windows: Windows, config: ReadConfig, damaged: DamagedRecords, ahead_bytes: int
) -> Access:
    """Returns access to the records of a run; the arguments are of `RemoteAccess`."""
    if any(is_remote(file.path) for file in windows.index.files):
        return RemoteAccess(windows, config, damaged, ahead_bytes)
    return LocalAccess(windows)

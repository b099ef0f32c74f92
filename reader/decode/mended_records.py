"""Reports or replaces the records of a batch that workers could not read."""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.contract.record import parse_features
from reader.contract.schema import Feature
from reader.pixel_workers.parts import Engine
from reader.pixel_workers.stored_records import StoredRecords
from reader.records.damaged_records import DamagedRecords
from reader.shuffle.arrays import Float64s, Int64s

Images = NDArray[Any]
Objects = NDArray[np.object_]
Bools = NDArray[np.bool_]


class MendedRecords:
    """Reads records again, one by one, as `on_corrupt` says.

    Threads may share an instance.
    """

    def __init__(
        self,
        records: StoredRecords,
        engine: Engine,
        damaged: DamagedRecords,
        image: Feature | None,
    ) -> None:
        """Initializes the repair.

        Args:
            records: Makes rows of records.
            engine: Engine that makes the images.
            damaged: Reader of damaged records.
            image: Feature of the images; None without images.
        """
        self._records, self._engine, self._damaged = records, engine, damaged
        self._features = [] if image is None else [image]
        self._lock = threading.Lock()

    def __call__(
        self,
        numbers: Int64s,
        draws: Float64s,
        images: Images,
        rests: list[bytes | None],
        lap: int,
    ) -> Bools:
        """Repairs a batch.

        Args:
            numbers: int64[n], record numbers.
            draws: float64[n, k], random numbers of the images.
            images: dtype[n, *row_shape]: Images, in which missing ones are filled in.
            rests: n serialized records without their images; None for a record that was
                not read, which is filled in.
            lap: Lap of the batch.

        Returns:
            bool[n], False for records replaced by a neighbor.

        Raises:
            DatasetError: A record is damaged and `on_corrupt` is `"raise"`, no record
                of its block is intact, or an intact record cannot be used.
        """
        intact = np.ones(len(rests), np.bool_)
        lost = [n for n, rest in enumerate(rests) if rest is None]
        if not lost:
            return intact
        with self._lock:
            records, intact[lost] = self._damaged(numbers[lost], lap)
            for n, record in zip(lost, records, strict=True):
                one, number = slice(n, n + 1), int(numbers[n])
                try:
                    rests[n] = self._records.make_one(
                        self._engine, record, draws[one], images[one]
                    )
                except ValueError as error:
                    why = self._misfit(record) or error
                    raise self._damaged.unusable(number, record, why) from error
        return intact

    def _misfit(self, record: bytes) -> ValueError | None:
        """Returns what is wrong with the feature of the image, if that is wrong."""
        try:
            parse_features(record, self._features)
        except ValueError as error:
            return error
        return None

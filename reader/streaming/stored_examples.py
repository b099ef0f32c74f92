"""Records in local files → images and the other outputs, in a pixel worker."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from reader.decode.example_arrays import Arrays, ExampleArrays
from reader.pixel_workers.parts import Engine
from reader.pixel_workers.stored_records import StoredRecords
from reader.shuffle.arrays import Float64s, Int64s


class SomeExamples(NamedTuple):
    """Outputs of the records of a part that could be used.

    Attributes:
        num: Number of records in the part.
        rows: int64[k], index of each usable record in the part.
        arrays: Outputs of these records, by name.
    """

    num: int
    rows: Int64s
    arrays: Arrays


@dataclass(frozen=True)
class StoredExamples:
    """Reads records, makes rows of their images, and parses the rest of them.

    Instances are picklable, and threads may share one.

    Attributes:
        records: Reads records and has their images made.
        arrays: Parses records.
    """

    records: StoredRecords
    arrays: ExampleArrays

    @property
    def may_map(self) -> bool:
        """Whether `mapping` has files mapped into memory."""
        return self.records.may_map

    def mapping(self) -> Self:
        """Returns the same for a process that may end while it reads a mapped file."""
        return dataclasses.replace(self, records=self.records.mapping())

    def make(
        self, engine: Engine, places: Int64s, draws: Float64s, out: NDArray[Any]
    ) -> SomeExamples:
        """Makes rows and outputs of records; the arguments are those of `records`."""
        rests = self.records.make(engine, places, draws, out)
        rows = [n for n, rest in enumerate(rests) if rest is not None]
        try:
            return self._examples(rests, rows, draws)
        except ValueError:
            usable = [n for n in rows if self._is_usable(rests[n], draws[n : n + 1])]
            return self._examples(rests, usable, draws)

    def _examples(
        self, rests: Sequence[bytes | None], rows: list[int], draws: Float64s
    ) -> SomeExamples:
        used = [rest for n in rows if (rest := rests[n]) is not None]
        chosen = np.array(rows, np.int64)
        return SomeExamples(len(rests), chosen, self.arrays(used, draws[chosen]))

    def _is_usable(self, rest: bytes | None, draws: Float64s) -> bool:
        try:
            self.arrays([rest or b""], draws)
        except ValueError:
            return False
        return True


def join(parts: Sequence[SomeExamples]) -> SomeExamples:
    """Returns the examples of all parts as one."""
    begins = np.cumsum([0, *(part.num for part in parts)])
    rows = [part.rows + begin for part, begin in zip(parts, begins, strict=False)]
    arrays = {
        name: np.concatenate([part.arrays[name] for part in parts])
        for name in parts[0].arrays
    }
    return SomeExamples(int(begins[-1]), np.concatenate(rows), arrays)


def completed(some: SomeExamples, others: SomeExamples) -> Arrays:
    """Returns the outputs of all records, of which each of the two has a part."""
    arrays = {}
    for name, values in others.arrays.items():
        arrays[name] = np.empty((some.num, *values.shape[1:]), values.dtype)
        arrays[name][others.rows] = values
        if len(some.rows):
            arrays[name][some.rows] = some.arrays[name]
    return arrays

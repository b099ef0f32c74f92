"""Some lines of `rejects.jsonl` for each reason."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from reader.contract.errors import DatasetError
from reader.contract.layout import REJECTS
from reader.datasets.manifest_dataset import Dataset
from reader.storage.files import read_bytes, size_of
from reader.tools.report.key_accounting import line_of

_EXAMPLES = 3
_CHUNK_BYTES = 1 << 20


class Reject(NamedTuple):
    """A key that was not written: its files, and what is wrong with them."""

    key: str
    sources: tuple[str, ...]
    detail: str

    @property
    def names(self) -> tuple[str, ...]:
        """What tells it from others: its files, after its key if these do not say it.

        All rows of a table have the same file.
        """
        if any(source.startswith(self.key) for source in self.sources):
            return self.sources
        return (self.key, *self.sources)


class Group(NamedTuple):
    """All keys that were not written for one reason: how many, and some of them."""

    reason: str
    line: str
    num_keys: int
    examples: tuple[Reject, ...]


def groups_of(dataset: Dataset) -> tuple[Group, ...]:
    """Returns the reasons, the most frequent first, each with its first few rejects.

    Raises:
        DatasetError: The file is missing or damaged.
    """
    counts = dataset.manifest.books.not_written
    examples = _first_of_each(dataset, counts)
    frequent = sorted(counts, key=lambda reason: (-counts[reason], reason))
    return tuple(
        Group(reason, line_of(reason), counts[reason], tuple(examples[reason]))
        for reason in frequent
    )


def _first_of_each(
    dataset: Dataset, counts: Mapping[str, int]
) -> dict[str, list[Reject]]:
    examples: dict[str, list[Reject]] = {reason: [] for reason in counts}
    wanted = sum(min(count, _EXAMPLES) for count in counts.values())
    path = dataset.path(REJECTS)
    lines = _lines(path)
    while wanted:
        try:
            reason, reject = _parse(next(lines))
        except StopIteration:
            raise DatasetError(
                f"{path} has fewer lines than the books say: restore it"
            ) from None
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{path} is damaged ({error!r}): restore it") from error
        found = examples.get(reason)
        if found is not None and len(found) < _EXAMPLES:
            found.append(reject)
            wanted -= 1
    return examples


def _parse(line: bytes) -> tuple[str, Reject]:
    fields: Any = json.loads(line)
    sources = tuple(map(str, fields["source"]))
    reject = Reject(str(fields["key"]), sources, str(fields["detail"]))
    return str(fields["reason"]), reject


def _lines(path: str) -> Iterator[bytes]:
    """Yields the lines of a file, here or in a bucket, without holding it."""
    try:
        size = size_of(path)
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing: restore it") from None
    rest = b""
    for offset in range(0, size, _CHUNK_BYTES):
        *lines, rest = (rest + read_bytes(path, offset, _CHUNK_BYTES)).split(b"\n")
        yield from lines
    if rest:
        yield rest

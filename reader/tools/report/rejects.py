"""Reads example rejects for each reason from `rejects.jsonl`."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from reader.contract.errors import DatasetError
from reader.contract.layout import REJECTS
from reader.contract.rejects import RejectedKey, category_of, parse_reject
from reader.datasets.manifest_dataset import ManifestDataset
from reader.storage.files import read_bytes, size_of

_EXAMPLES = 3
_CHUNK_BYTES = 1 << 20


class Group(NamedTuple):
    """The rejects of one reason.

    Attributes:
        reason: Reason code, such as `damaged_image`.
        line: Category of the reason, such as `rejected`.
        num_keys: Number of keys with this reason.
        examples: First rejects with this reason.
    """

    reason: str
    line: str
    num_keys: int
    examples: tuple[RejectedKey, ...]


def groups_of(dataset: ManifestDataset) -> tuple[Group, ...]:
    """Returns the rejects by reason, the most frequent reason first.

    Raises:
        DatasetError: `rejects.jsonl` is missing or damaged.
    """
    counts = dataset.manifest.accounting.not_written
    examples = _first_of_each(dataset, counts)
    frequent = sorted(counts, key=lambda reason: (-counts[reason], reason))
    return tuple(
        Group(reason, category_of(reason), counts[reason], tuple(examples[reason]))
        for reason in frequent
    )


def _first_of_each(
    dataset: ManifestDataset, counts: Mapping[str, int]
) -> dict[str, list[RejectedKey]]:
    examples: dict[str, list[RejectedKey]] = {reason: [] for reason in counts}
    wanted = sum(min(count, _EXAMPLES) for count in counts.values())
    path = dataset.path(REJECTS)
    lines = _lines(path)
    while wanted:
        try:
            reject = parse_reject(next(lines))
        except StopIteration:
            raise DatasetError(
                f"{path} has fewer lines than the manifest counts: restore it"
            ) from None
        except ValueError as error:
            raise DatasetError(f"{path} is damaged ({error!r}): restore it") from error
        found = examples.get(reject.reason)
        if found is not None and len(found) < _EXAMPLES:
            found.append(reject)
            wanted -= 1
    return examples


def names_of(reject: RejectedKey) -> tuple[str, ...]:
    """Returns the names that identify a reject: its files, and its key if needed.

    The key is needed for tables: all rows of a table have the same source file.
    """
    if any(source.startswith(reject.key) for source in reject.source):
        return reject.source
    return (reject.key, *reject.source)


def _lines(path: str) -> Iterator[bytes]:
    """Yields the lines of a local or remote file without loading all of it."""
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

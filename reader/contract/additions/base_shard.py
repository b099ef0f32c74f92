"""The shards that an addition belongs to. Readers refuse it for another build's."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from reader.contract.manifest import Shard


class BaseShard(NamedTuple):
    """A shard of the dataset that something was added to.

    Attributes:
        file: Path of the shard, relative to the dataset's directory.
        num_examples: Number of records in the shard.
        crc32c: CRC-32C of the shard, as 8 hex digits.
    """

    file: str
    num_examples: int
    crc32c: str


def base_of(shard: Shard) -> BaseShard:
    """Returns what an addition states of a shard."""
    return BaseShard(shard.file, shard.num_examples, shard.crc32c)


def base_from(rows: Iterable[Sequence[Any]]) -> tuple[BaseShard, ...]:
    """Returns the shards of the rows of a JSON file.

    Raises:
        TypeError: A row does not have three fields.
    """
    return tuple(BaseShard(*row) for row in rows)

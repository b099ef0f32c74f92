"""The values that flow between the stages of the job.

Keys and paths are bytes: a file name need not be text.
"""

from typing import NamedTuple

from reader.contract.layout import ShardName


class SourceFile(NamedTuple):
    """A file as it was listed.

    Attributes:
        path: Below the root it was found under, `/`-separated.
        size: In bytes.
        mtime_ns: Time of its last change, to notice a source that changes under us.
    """

    path: bytes
    size: int
    mtime_ns: int


class Pair(NamedTuple):
    """An image and its captions, by path."""

    key: bytes
    image: SourceFile
    caption: SourceFile


class Reject(NamedTuple):
    """A key that is not written, and why.

    Attributes:
        key: The key.
        source: Paths of the files concerned, below their roots.
        stage: `pair`, `caption` or `image`.
        reason: One of `reader.contract.schema.REASONS`.
        detail: What exactly was found, for a person to read.
    """

    key: bytes
    source: tuple[bytes, ...]
    stage: str
    reason: str
    detail: str


class BadInput(Exception):
    """Bytes that cannot become part of a record; turned into a `Reject`."""

    def __init__(self, reason: str, detail: str) -> None:
        """Takes one of `reader.contract.schema.REASONS`, and what was found."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ListTask(NamedTuple):
    """A part of a source folder to be listed.

    Attributes:
        root: The source folder.
        path: The part of it, below the root; empty for the root itself.
        recursive: Whether what lies deeper belongs to this part too.
        kinds: Which files count: `image`, `caption`, or both.
        skip: A folder to pass over: the job's own output.
    """

    root: bytes
    path: bytes
    recursive: bool
    kinds: tuple[str, ...]
    skip: bytes


class Bucket(NamedTuple):
    """What was planned for one range of the order hash.

    Attributes:
        number: Of the bucket; its pairs lie in a file of that number.
        found: Keys found.
        pairs: `{split: pairs}`.
        rejects: `{reason: keys}`.
        ignored: `{suffix: files}` that are neither image nor caption.
        loops: Links that lead back to a folder that holds them.
        listing: Digest of names and sizes of all its files.
        digest: Digest of its pairs, times of change included.
    """

    number: int
    found: int
    pairs: dict[str, int]
    rejects: dict[str, int]
    ignored: dict[str, int]
    loops: tuple[bytes, ...]
    listing: str
    digest: str


class ShardPlan(NamedTuple):
    """A shard to be written: the unit of work, and of resuming."""

    name: ShardName
    plan: str

    @property
    def label(self) -> str:
        """What progress files and commit records of the shard are called."""
        return self.name.stem

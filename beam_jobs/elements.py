"""The values that flow between the stages of the job.

Keys and paths are bytes: a file name need not be text.
"""

import json
from typing import Any, NamedTuple

from beam_jobs.config.columns import Value
from reader.contract.layout import ShardName

# The size of a file that a table names and nobody has looked at yet.
UNSEEN = -1


class SourceFile(NamedTuple):
    """A file as it was found, or a member of a tar.

    Attributes:
        path: Below its root, `/`-separated; of a member, below its tar: `a.tar/1.jpg`.
        size: In bytes; `UNSEEN` if only its name is known.
        version: Time of its last change in nanoseconds, or an object's generation: to
            notice a source that changes under us. Of a member, the tar's.
        root: Which of the source's roots, see `beam_jobs.sources.roots`.
        archive: Path of the tar it is a member of; empty for a file of its own.
        offset: Where it begins in that tar, in bytes.
    """

    path: bytes
    size: int = UNSEEN
    version: int = 0
    root: int = 0
    archive: bytes = b""
    offset: int = 0

    @property
    def place(self) -> tuple[int, bytes, int]:
        """What two names of the same file have in common."""
        return self.root, self.archive or self.path, self.offset


class StoredArray(NamedTuple):
    """Where a long array of numbers lies, while the job plans.

    Attributes:
        sha256: Hex digest of the array, which stands for it in comparisons.
        file: Name of the file it lies in.
        offset: Where it begins there, in bytes.
        size: In bytes.
        typecode: Of Python's `array`: `f` or `q`.
    """

    sha256: str
    file: str
    offset: int
    size: int
    typecode: str


class Entry(NamedTuple):
    """What a source says of one key in one place: a file, a row, an annotation.

    Attributes:
        key: The key.
        origin: Where it says so: the file, or the table.
        rank: Of its captions, among all captions of the key.
        image: The image, if it names one.
        caption: A file of captions, if it is one.
        texts: Captions themselves, if it holds any.
        values: Of the columns that are carried through, if it has them.
        split: The split it names, if any.
        flaw: Why it cannot be used, as reason and detail.
    """

    key: bytes
    origin: bytes
    rank: int = 0
    image: SourceFile | None = None
    caption: SourceFile | None = None
    texts: tuple[str, ...] | None = None
    values: tuple[Value | StoredArray, ...] | None = None
    split: str | None = None
    flaw: tuple[str, str] | None = None


class Aside(NamedTuple):
    """What a source holds that belongs to no key, for the summary.

    Attributes:
        kind: `ignored`, or `loop` for a link to a folder that holds it.
        path: Below the root.
        counted_as: What ignored files are counted under: a suffix, `hidden` or `none`.
    """

    kind: str
    path: bytes
    counted_as: str = ""


class Pair(NamedTuple):
    """An image and its captions.

    Attributes:
        key: The key.
        split: The split it goes to.
        image: The image.
        caption: The file of captions, or the table they were found in.
        texts: The captions themselves, if they are not in a file of their own.
        values: Of the columns that are carried through.
        sha256: Hex digest of the image's bytes, if contents are compared.
    """

    key: bytes
    split: str
    image: SourceFile
    caption: SourceFile
    texts: tuple[str, ...] | None = None
    values: tuple[Value | StoredArray, ...] = ()
    sha256: str = ""


class Reject(NamedTuple):
    """A key that is not written, and why.

    Attributes:
        key: The key.
        source: Paths of the files concerned, below their roots.
        stage: `list`, `pair`, `caption` or `image`.
        reason: One of `reader.contract.rejects.REASONS`.
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
        """Takes one of `reader.contract.rejects.REASONS`, and what was found."""
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ListTask(NamedTuple):
    """A part of a source to be listed: a folder, a table, a tar.

    Attributes:
        source: The source type that lists it: see `beam_jobs.sources.registry`.
        root: The folder that paths are below.
        path: Of the part, below the root; empty for the root itself.
        recursive: Whether what lies deeper in a folder belongs to it too.
        suffixes: Which files of a folder count: `image`, `caption`, or both.
        passed_over: Paths to pass over: the job's own output, tables.
        image_column, caption_column: Where a table has its images and captions.
    """

    source: str
    root: bytes
    path: bytes
    recursive: bool = False
    suffixes: tuple[str, ...] = ()
    passed_over: tuple[bytes, ...] = ()
    image_column: str = ""
    caption_column: str = ""


class KeyRange(NamedTuple):
    """What was planned for one range of the order hash.

    Attributes:
        number: Of the key range; its pairs lie in a file of that number.
        found: Keys found.
        ignored: `{suffix: files}` that are neither image nor caption.
        loops: Links that lead back to a folder that holds them.
        listing: Sum of hashes of all that was listed, times of change left out.
        pairs: `{split: pairs}`.
        rejects: `{reason: keys}`.
        digest: Digest of its pairs, times of change included.
    """

    number: int
    found: int
    ignored: dict[str, int]
    loops: tuple[bytes, ...]
    listing: str
    pairs: dict[str, int]
    rejects: dict[str, int]
    digest: str


class ShardPlan(NamedTuple):
    """A shard to be written: the unit of work, and of resuming."""

    name: ShardName
    plan: str

    @property
    def label(self) -> str:
        """What progress files and commit records of the shard are called."""
        return self.name.stem


def text_of(path: bytes) -> str:
    """Returns a path as text from which `path_of` makes the same path."""
    return path.decode("utf-8", errors="surrogateescape")


def path_of(text: str) -> bytes:
    """Returns the path that `text_of` made text of."""
    return text.encode("utf-8", errors="surrogateescape")


def dump_pair(pair: Pair) -> str:
    """Returns a pair as a line."""
    fields: list[Any] = [
        text_of(pair.key),
        pair.split,
        _dump_file(pair.image),
        _dump_file(pair.caption),
        pair.texts,
        [v._asdict() if isinstance(v, StoredArray) else v for v in pair.values],
        pair.sha256,
    ]
    return json.dumps(fields) + "\n"


def load_pair(line: str | bytes) -> Pair:
    """Returns the pair of a line."""
    key, split, image, caption, texts, values, sha256 = json.loads(line)
    return Pair(
        key=path_of(key),
        split=split,
        image=_load_file(image),
        caption=_load_file(caption),
        texts=None if texts is None else tuple(texts),
        values=tuple(map(_load_value, values)),
        sha256=sha256,
    )


def _load_value(value: Any) -> Value | StoredArray:
    if isinstance(value, dict):
        return StoredArray(**value)
    loaded: Value = tuple(value) if isinstance(value, list) else value
    return loaded


def _dump_file(file: SourceFile) -> list[Any]:
    fields = [text_of(file.path), file.size, file.version, file.root]
    return [*fields, text_of(file.archive), file.offset] if file.archive else fields


def _load_file(fields: list[Any]) -> SourceFile:
    path, size, version, root, *member = fields
    file = SourceFile(path_of(path), size, version, root)
    if not member:
        return file
    return file._replace(archive=path_of(member[0]), offset=member[1])


def dump_reject(reject: Reject) -> str:
    """Returns a reject as a line."""
    fields: dict[str, Any] = reject._asdict()
    fields |= {
        "key": text_of(reject.key),
        "source": [text_of(path) for path in reject.source],
    }
    return json.dumps(fields) + "\n"


def load_reject(line: str | bytes) -> Reject:
    """Returns the reject of a line."""
    fields = json.loads(line)
    fields |= {
        "key": path_of(fields["key"]),
        "source": tuple(path_of(path) for path in fields["source"]),
    }
    return Reject(**fields)

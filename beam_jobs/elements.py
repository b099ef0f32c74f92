"""The values passed between the stages of the job.

Keys and paths are bytes, because a file name is not always valid UTF-8.
"""

from typing import NamedTuple

from beam_jobs.config.columns import Value
from beam_jobs.storage.name_ranges import NameRange
from reader.contract import samples
from reader.contract.conditions.where import SPLIT
from reader.contract.layout import ShardName
from reader.contract.manifest import ImageSpec
from reader.contract.schema import Feature, display_path

# Size of a file that a table names but that is not inspected yet.
UNSEEN = -1

# Root of a file that is not inspected yet and may be in any folder of images.
ANY_ROOT = -1


class StoredImage(NamedTuple):
    """What a dataset states of an image in it.

    Attributes:
        format: Format of the stored image: `jpeg`, `png` or `raw`.
        height, width: Size of the stored image, in pixels.
        source_format: Format of the image file that it was made from.
        source_height, source_width: Size of that file, in pixels.
        sha256: Hex digest of that file.
        actions: Operations that were applied to it.
        resize: Whether the dataset was built with other settings of the size.
        encode: Whether it was built with other settings of the encoder, which made the
            stored image.
    """

    format: str
    height: int
    width: int
    source_format: str
    source_height: int
    source_width: int
    sha256: str
    actions: tuple[str, ...]
    resize: bool
    encode: bool


class Cell(NamedTuple):
    """Where an image in a cell of a Parquet table is read.

    Attributes:
        column: Path of the column of bytes in the Parquet schema, such as
            `image.bytes`.
        chunk: Size in bytes of all images in its row group, uncompressed. It detects
            changed images without reading them.
        begin: Byte offset of the image among the staged images of its table, or
            `UNSEEN` if they are not staged.
    """

    column: str
    chunk: int
    begin: int = UNSEEN


class SourceFile(NamedTuple):
    """A source file, a member of a tar, a record of a dataset, or a cell of a table.

    Attributes:
        path: Path relative to the root, separated by `/`. The path of a tar member
            starts with the path of the tar: `a.tar/1.jpg`; that of a cell with the path
            of its table. A record has the path of the image file that the dataset was
            built from.
        size: Size in bytes, or `UNSEEN` if only the name is known.
        version: Modification time in nanoseconds, or generation of an object. Detects
            a source that changes during the job. A tar member has the version of its
            tar, a record that of its shard, a cell that of its table.
        root: Index of the root folder in the source's `roots`, or `ANY_ROOT`.
        archive: Path of the tar, the shard or the table that contains the member, the
            record or the cell. Empty for a plain file.
        offset: Byte offset of the member's data in the tar, or of the framed record;
            number of the cell's row in the table, from 0.
        stored: What the dataset states of the image in a record. None for others.
        cell: Where the image in a cell is read. None for others.
    """

    path: bytes
    size: int = UNSEEN
    version: int = 0
    root: int = 0
    archive: bytes = b""
    offset: int = 0
    stored: StoredImage | None = None
    cell: Cell | None = None

    @property
    def place(self) -> tuple[int, bytes, int]:
        """Identity of the file, equal for two names of the same file."""
        return self.root, self.archive or self.path, self.offset


class StoredArray(NamedTuple):
    """A reference to a long array of numbers that is stored on disk during planning.

    Attributes:
        sha256: Hex digest of the array, used in comparisons.
        file: Name of the file that contains the array.
        offset: Byte offset of the array in the file.
        size: Size of the array in bytes.
        typecode: Type code of Python's `array` module: `f` or `q`.
    """

    sha256: str
    file: str
    offset: int
    size: int
    typecode: str


class Entry(NamedTuple):
    """The data for one key from one file, table row or annotation of a source.

    Attributes:
        key: Key that the entry belongs to.
        origin: Path of the file or table that contains the entry.
        rank: Sort order of the entry's captions among all captions of the key.
        image: Image file, or None if the entry names no image.
        caption: Caption file, or None if the entry is not a caption file.
        texts: Captions stored in the entry, or None if the entry stores none.
        values: Values of the source columns that are read, or None.
        split: Name of the split, or None if the entry names no split.
        flaw: Reason and detail of why the entry cannot be used, or None.
        lacks: Why the entry has no caption, for the reject of a key without any; or
            None. Not part of the listing digest.
        names: Name of each caption in `texts`, or the only name of those in the caption
            file; None if captions have no names.
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
    lacks: str | None = None
    names: tuple[str, ...] | None = None


class Aside(NamedTuple):
    """A file or folder of a source that belongs to no key, for the summary.

    Attributes:
        kind: `ignored`, or `loop` for a link to one of its parent folders.
        path: Path relative to the root.
        counted_as: Category in the counts of ignored files: a suffix, `hidden` or
            `none`.
    """

    kind: str
    path: bytes
    counted_as: str = ""


class Pair(NamedTuple):
    """An image and its captions; for a layer, what is added to a record.

    Attributes:
        key: Key of the pair.
        split: Name of the split that the pair is assigned to.
        image: Image file. Without a path if the pair is for a layer.
        caption: Caption file, or the table or tar that contains the captions.
        texts: Captions, or None if the captions are in a separate file.
        values: Values of the source columns: first those that are stored.
        sha256: Hex digest of the image file, or empty without deduplication.
        names: Name of each caption in `texts`, or of each caption file; None if
            captions have no names.
        more: Further caption files, if these have names.
    """

    key: bytes
    split: str
    image: SourceFile
    caption: SourceFile
    texts: tuple[str, ...] | None = None
    values: tuple[Value | StoredArray, ...] = ()
    sha256: str = ""
    names: tuple[str, ...] | None = None
    more: tuple[SourceFile, ...] = ()

    @property
    def caption_files(self) -> tuple[SourceFile, ...]:
        """All caption files, or the table or tar that contains the captions."""
        return (self.caption, *self.more)


class Reject(NamedTuple):
    """A key that is not written, with the reason.

    Attributes:
        key: Key that is not written.
        source: Paths of the affected files, relative to their roots.
        stage: Stage that rejected the key: `list`, `pair`, `caption` or `image`.
        reason: Reason code, one of `reader.contract.rejects.REASONS`.
        detail: Human-readable description of the problem.
    """

    key: bytes
    source: tuple[bytes, ...]
    stage: str
    reason: str
    detail: str


# Reason and detail of pairs that do not meet `--where`.
NOT_MET = ("where_not_met", "does not meet --where")
# Reason and detail of keys that `--exclude_keys` names.
EXCLUDED = ("excluded_key", "its key is in --exclude_keys")


class BadInput(Exception):
    """Input that cannot become part of a record. The job turns it into a `Reject`."""

    def __init__(self, reason: str, detail: str) -> None:
        """Initializes the exception.

        Args:
            reason: Reason code, one of `reader.contract.rejects.REASONS`.
            detail: Human-readable description of the problem.
        """
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class SourceShard(NamedTuple):
    """What the manifest of a source dataset states of a shard.

    Attributes:
        image: Format and size of the images in the dataset.
        features: Features of its columns.
        samples_crc32c: Checksum of the shard's samples table, as 8 hex digits.
    """

    image: ImageSpec
    features: tuple[Feature, ...]
    samples_crc32c: str


class ListTask(NamedTuple):
    """A part of a source to list: a folder, a table, a tar or a shard.

    Attributes:
        source: Name of the source type that lists the part, a key of
            `beam_jobs.sources.registry.SOURCES`.
        root: Path of the folder that paths are relative to.
        path: Path of the part, relative to the root. Empty for the root itself.
        roots: Indices in the source's `roots`: of the root of each kind of file in
            `suffixes`, of the folders that image names in a table are relative to, or
            of the dataset that the shard belongs to.
        recursive: Whether subfolders of a folder are listed too.
        suffixes: Kinds of files to list in a folder: `image`, `caption` or both.
        passed_over: Paths to skip: the output of the job and tables.
        image_column: Name of the table column with image paths, or with images.
        caption_column: Name of the table column with captions.
        shard: What the manifest states of the shard, or None for other parts.
        caption_columns: Names of its columns of captions, if each has a name.
        ranges: Ranges of names in a folder of a bucket to list. Empty for all names.
        subfolders: Subfolders of a folder of a bucket to list, at any depth. Empty for
            the folder itself.
        image_bytes: Path in the table's schema of the column of bytes, such as
            `image.bytes`, if the image column holds images; empty if it holds paths.
        stages_images: Whether listing copies these images to `_build/`, from where
            they can be read in any order.
    """

    source: str
    root: bytes
    path: bytes
    roots: tuple[int, ...] = (0,)
    recursive: bool = False
    suffixes: tuple[str, ...] = ()
    passed_over: tuple[bytes, ...] = ()
    image_column: str = ""
    caption_column: str = ""
    shard: SourceShard | None = None
    caption_columns: tuple[str, ...] = ()
    ranges: tuple[NameRange, ...] = ()
    subfolders: tuple[str, ...] = ()
    image_bytes: str = ""
    stages_images: bool = False


class KeyRange(NamedTuple):
    """The planning results for one range of the order hash.

    Attributes:
        number: Number of the key range, also part of the names of its plan files.
        found: Number of keys found.
        ignored: Number of files that are neither image nor caption, as
            `{suffix: files}`.
        loops: Paths of links that point to one of their parent folders.
        listing: Sum of the hashes of all entries, without modification times.
        pairs: Number of pairs per split, as `{split: pairs}`.
        rejects: Number of rejected keys, as `{reason: keys}`.
        digest: Digest of the pairs, with modification times.
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
    """A shard to write: the unit of work and of resuming.

    Attributes:
        name: Name of the shard.
        plan: Fingerprint of the job plan.
    """

    name: ShardName
    plan: str

    @property
    def label(self) -> str:
        """Base name of the shard's progress file and commit record."""
        return self.name.stem


def facts_of(pair: Pair) -> dict[str, str]:
    """Returns the columns of `samples/` that are known before an image is read."""
    return {
        samples.KEY: display_path(pair.key),
        samples.SOURCE: display_path(pair.image.path),
        samples.CAPTION_SOURCE: display_path(pair.caption.path),
        SPLIT: pair.split,
    }

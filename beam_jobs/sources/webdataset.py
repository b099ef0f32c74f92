"""Source `webdataset`: tars whose members belong together by their names.

Members are read in place, by their offset. Within a tar, a key is what WebDataset makes
it: the path up to the first dot of the name; all behind that dot is the extension. The
tar's own path goes before it, since many number their samples anew in each tar.
"""

import json
import os
from collections.abc import Iterator
from typing import IO, Any

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Aside, BadInput, Entry, ListTask, SourceFile
from beam_jobs.sources.captions import MAX_CAPTION_BYTES, caption_parts
from beam_jobs.sources.folders import SUFFIXES
from beam_jobs.sources.paths import below_root, composed
from beam_jobs.sources.roots import common_folder, files_named
from beam_jobs.sources.row_entries import filled
from beam_jobs.sources.tar_members import Member, members_of
from beam_jobs.storage.files import absolute, open_file, read_file, status_of
from reader.contract.errors import UsageError

# A sample of a tar has one member that holds its captions.
ONE_CAPTION_PER_KEY = True
CAPTIONS_IN_FILES = False

_CAPTION_FIELD = "caption"
# Extensions of captions; the first that a sample has is taken.
_TELLING: tuple[str, ...] = ("txt", "json")
_MAX_JSON_BYTES = 16 * MAX_CAPTION_BYTES

# How files that are compressed begin: gzip, bzip2, xz, Zstandard.
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_MOST_MAGIC = max(map(len, _COMPRESSED))

# A caption among several that cannot be decoded: it stays to be counted.
_UNDECODABLE = "\udcff"

_Sample = dict[str, Member]


def check(config: JobConfig) -> None:
    """Checks that there are tars that can be read in place, before any work.

    Raises:
        UsageError: There is none, or one is compressed.
    """
    for path in files_named("webdataset", str(config.webdataset)):
        if read_file(path, at_most=_MOST_MAGIC).startswith(_COMPRESSED):
            raise UsageError(
                f"--webdataset={os.fsdecode(path)}: compressed, so that its "
                "members cannot be read in place: uncompress it first"
            )


def roots(config: JobConfig) -> tuple[bytes, ...]:
    """Returns the deepest folder that holds all tars."""
    return (common_folder(files_named("webdataset", str(config.webdataset))),)


def list_tasks(config: JobConfig) -> list[ListTask]:
    """Returns a task for each tar."""
    (root,) = roots(config)
    paths = files_named("webdataset", str(config.webdataset))
    return [
        ListTask("webdataset", root, os.path.relpath(absolute(path), root))
        for path in paths
    ]


def list_entries(task: ListTask, config: JobConfig) -> Iterator[Entry | Aside]:
    """Lists one tar, sample by sample."""
    path = os.path.join(task.root, task.path)
    version = status_of(path).version
    with open_file(path) as file:
        tar = _Tar(task.path, file, version, config)
        # Of the whole tar: members of one key need not lie side by side.
        samples: dict[bytes, _Sample] = {}
        try:
            for member in members_of(file):
                yield from tar.collect(member, samples)
        except BadInput as error:
            yield tar.flawed(b"", error)
        for key, sample in samples.items():
            yield from tar.entries(key, sample)


def _split_name(name: bytes) -> tuple[bytes, str]:
    """Returns a member's key and extension: `b"a/1.seg.png"` -> `b"a/1"`, `seg.png`.

    A name that begins with a dot, or has none, is of no sample: its key is empty.

    Raises:
        BadInput: `outside_root`: its name leads out of the tar.
    """
    path = below_root(name)
    folder, base = os.path.split(path)
    stem, _, extension = base.partition(b".")
    key = os.path.join(folder, stem) if stem and b"." in base else b""
    return key, extension.decode("utf-8", "replace").lower()


class _Tar:
    """One tar, while it is listed."""

    def __init__(
        self, path: bytes, file: IO[bytes], version: int, config: JobConfig
    ) -> None:
        self._path = path
        self._file = file
        self._config = config
        self._version = version
        self._stem = os.path.splitext(path)[0]

    def flawed(self, name: bytes, error: BadInput) -> Entry:
        """Returns an entry for what cannot be told from a key: it is one of its own."""
        path = os.path.join(self._path, name.lstrip(b"/")) if name else self._path
        return Entry(composed(path), path, flaw=(error.reason, error.detail))

    def collect(
        self, member: Member, samples: dict[bytes, _Sample]
    ) -> Iterator[Entry | Aside]:
        """Adds a member to its sample; yields what cannot be added to any."""
        try:
            key, extension = _split_name(member.name)
        except BadInput as error:
            yield self.flawed(member.name, error)
            return
        if not key:
            yield self.of_no_sample(member)
        elif extension in samples.setdefault(key, {}):
            # A second one of that name: pairing says that the key is ambiguous.
            yield from self.entries(key, {extension: member})
        else:
            samples[key][extension] = member

    def of_no_sample(self, member: Member) -> Aside:
        """Returns what a member is counted as whose name gives no key."""
        hidden = os.path.basename(member.name).startswith(b".")
        return self._ignored(member, "hidden" if hidden else "none")

    def entries(self, key: bytes, sample: _Sample) -> Iterator[Entry | Aside]:
        """Yields what one sample says."""
        images = {e: m for e, m in sample.items() if _kind_of(e) == "image"}
        told: _Sample = {e: sample[e] for e in _TELLING if e in sample}
        others = [e for e in sample if e not in images and e not in told]
        if not images and not told:
            # Perhaps its names are such that WebDataset takes them for others.
            yield from self._without_use(key, sample)
            return
        for extension in others:
            yield self._ignored(sample[extension], f".{extension}")
        entry = self._entry(key, images, told)
        yield entry
        for member in list(images.values())[1:]:
            yield Entry(entry.key, entry.origin, image=self._file_of(member))

    def _without_use(self, key: bytes, sample: _Sample) -> Iterator[Entry | Aside]:
        lost = [e for e in sample if _kind_of(e.rpartition(".")[2])]
        if lost:
            detail = f"all behind the first dot is the extension: {', '.join(lost)}"
            yield Entry(
                self._key(key),
                self._name_of(sample[lost[0]]),
                flaw=("unknown_extension", detail),
            )
        for extension in sample:
            if extension not in lost:
                yield self._ignored(sample[extension], f".{extension}")

    def _ignored(self, member: Member, counted_as: str) -> Aside:
        return Aside("ignored", self._name_of(member), counted_as)

    def _entry(self, key: bytes, images: _Sample, told: _Sample) -> Entry:
        members = [*images.values(), *told.values()]
        teller = next(iter(told.values()), members[0])
        entry = Entry(self._key(key), self._name_of(teller))
        for member in members:
            if member.wrong is not None:
                return entry._replace(flaw=member.wrong)
        if images:
            entry = entry._replace(image=self._file_of(next(iter(images.values()))))
        try:
            row = self._row(told)
            captions = self._captions(told, row)
        except BadInput as error:
            return entry._replace(flaw=(error.reason, error.detail))
        return filled(entry, row, captions, self._config)

    def _row(self, told: _Sample) -> dict[str, Any]:
        """Returns the JSON of a sample, if it is wanted."""
        wanted = self._config.reads_columns or "txt" not in told
        if "json" not in told or not wanted:
            return {}
        try:
            row = json.loads(self._read(told["json"], _MAX_JSON_BYTES, "bad_row"))
        except (ValueError, RecursionError) as error:
            raise BadInput("bad_row", f"no JSON: {error}") from error
        if not isinstance(row, dict):
            raise BadInput("bad_row", "no JSON object")
        return row

    def _captions(self, told: _Sample, row: dict[str, Any]) -> Any:
        if "txt" not in told:
            return row.get(self._config.caption_column or _CAPTION_FIELD)
        data = self._read(told["txt"], MAX_CAPTION_BYTES, "caption_too_large")
        parts = caption_parts(
            data,
            per_file=self._config.captions_per_file,
            encoding=self._config.caption_encoding,
        )
        bad = [part for part in parts if isinstance(part, BadInput)]
        if bad and len(bad) == len(parts):
            raise bad[0]
        return [part if isinstance(part, str) else _UNDECODABLE for part in parts]

    def _read(self, member: Member, limit: int, reason: str) -> bytes:
        if member.size > limit:
            raise BadInput(reason, f"{member.size} bytes, more than {limit}")
        here = self._file.tell()
        self._file.seek(member.offset)
        data = self._file.read(member.size)
        self._file.seek(here)
        return data

    def _key(self, key: bytes) -> bytes:
        return composed(os.path.join(self._stem, key))

    def _name_of(self, member: Member) -> bytes:
        return os.path.join(self._path, below_root(member.name))

    def _file_of(self, member: Member) -> SourceFile:
        return SourceFile(
            path=self._name_of(member),
            size=member.size,
            version=self._version,
            archive=self._path,
            offset=member.offset,
        )


def _kind_of(extension: str) -> str | None:
    return SUFFIXES.get(b"." + extension.encode())

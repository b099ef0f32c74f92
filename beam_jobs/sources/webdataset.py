"""Source `webdataset`: tars whose members are grouped into samples by name.

Members are read in place by byte offset. As in WebDataset, the key of a member is its
path up to the first dot of the file name, and the rest is the extension. The path of
the tar is prepended to the key, because many datasets restart their numbering in each
tar.
"""

import contextlib
import itertools
import json
import os
from collections.abc import Iterator, Sequence
from typing import IO, Any

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Aside, BadInput, Entry, ListTask, SourceFile
from beam_jobs.inputs.captions import MAX_CAPTION_BYTES, caption_parts
from beam_jobs.inputs.paths import below_root, composed
from beam_jobs.inputs.roots import common_folder, files_named
from beam_jobs.inputs.tar_members import Member, members_of
from beam_jobs.sources.folders import SUFFIXES, check_suffixes
from beam_jobs.sources.row_entries import captions_of, filled, lack_of
from beam_jobs.storage.files import absolute, open_file, read_file, status_of
from reader.contract.errors import UsageError

# All captions of a sample are in one member.
ONE_CAPTION_PER_KEY = True
CAPTIONS_IN_FILES = False

_CAPTION_FIELD = "caption"
# Extensions of caption members without names. The first one found in a sample is used.
_TEXT, _JSON = "txt", "json"
_MAX_JSON_BYTES = 16 * MAX_CAPTION_BYTES

# First bytes of compressed files: gzip, bzip2, xz and Zstandard.
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")
_MOST_MAGIC = max(map(len, _COMPRESSED))

# Number of JSON members whose fields make up the columns. A single one may lack some.
_NUM_INSPECTED = 1000

# Replaces an undecodable caption among several, so that it is counted as dropped.
_UNDECODABLE = "\udcff"

_Sample = dict[str, Member]


def check(config: JobConfig) -> None:
    """Checks that the tars exist and are not compressed, before the job starts.

    Raises:
        UsageError: No tar exists, a tar is compressed or not readable, a column of
            captions does not exist, or a suffix of caption files is that of images.
    """
    check_suffixes(config)
    paths = files_named("webdataset", config)
    for path in paths:
        if read_file(path, at_most=_MOST_MAGIC).startswith(_COMPRESSED):
            raise UsageError(
                f"--webdataset={os.fsdecode(path)}: the tar is compressed, so "
                "its members cannot be read in place: decompress it first"
            )
    if config.caption_columns:
        _check_columns(paths, config.caption_columns)


def _check_columns(paths: Sequence[bytes], columns: Sequence[str]) -> None:
    """Checks that columns are among the fields of the first JSON members.

    It reads no further than until all columns are found, usually in the first one.
    """
    fields: dict[str, None] = {}
    for row in itertools.islice(_json_rows(paths), _NUM_INSPECTED):
        fields |= dict.fromkeys(row)
        if {*columns} <= {*fields}:
            return
    for column in columns:
        if column not in fields:
            raise UsageError(
                f'no column "{column}" in the JSON of {os.fsdecode(paths[0])}, only '
                f"{', '.join(fields) or 'no fields'}: check caption_columns"
            )


def _json_rows(paths: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """Yields the JSON objects of tars, without those that cannot be read."""
    for path in paths:
        with open_file(path) as file, contextlib.suppress(BadInput):
            for member in members_of(file):
                if member.name.endswith(f".{_JSON}".encode()) and member.wrong is None:
                    with contextlib.suppress(ValueError, RecursionError):
                        row = json.loads(_read(file, member, _MAX_JSON_BYTES))
                        if isinstance(row, dict):
                            yield row


def roots(config: JobConfig) -> tuple[bytes, ...]:
    """Returns the deepest folder that contains all tars."""
    return (common_folder(files_named("webdataset", config)),)


def list_tasks(config: JobConfig) -> list[ListTask]:
    """Returns one task per tar."""
    (root,) = roots(config)
    paths = files_named("webdataset", config)
    return [
        ListTask("webdataset", root, os.path.relpath(absolute(path), root))
        for path in paths
    ]


def list_entries(task: ListTask, config: JobConfig) -> Iterator[Entry | Aside]:
    """Yields the entries of one tar, grouped by sample."""
    path = os.path.join(task.root, task.path)
    version = status_of(path).version
    with open_file(path) as file:
        tar = _Tar(task.path, file, version, config)
        # Samples of the whole tar, because members of a key need not be adjacent.
        samples: dict[bytes, _Sample] = {}
        try:
            for member in members_of(file):
                yield from tar.collect(member, samples)
        except BadInput as error:
            yield tar.flawed_entry(b"", error)
        for key, sample in samples.items():
            yield from tar.entries(key, sample)


def _split_name(name: bytes) -> tuple[bytes, str]:
    """Returns a member's key and extension: `b"a/1.seg.png"` -> `b"a/1"`, `seg.png`.

    The key is empty if the name begins with a dot or has no dot. Such a member belongs
    to no sample.

    Raises:
        BadInput: `outside_root` if the name leaves the root of the tar.
    """
    path = below_root(name)
    folder, base = os.path.split(path)
    stem, _, extension = base.partition(b".")
    key = os.path.join(folder, stem) if stem and b"." in base else b""
    return key, extension.decode("utf-8", "replace").lower()


class _Tar:
    """Creates the entries of one tar."""

    def __init__(
        self, path: bytes, file: IO[bytes], version: int, config: JobConfig
    ) -> None:
        self._path = path
        self._file = file
        self._config = config
        self._version = version
        self._stem = os.path.splitext(path)[0]
        # Names of text members by extension, and the only one without a name.
        self._named = {
            suffix[1:].lower(): name for name, suffix in config.caption_files.items()
        }
        if not config.names_of_captions:
            self._named = {_TEXT: ""}

    def flawed_entry(self, name: bytes, error: BadInput) -> Entry:
        """Returns an entry with its own key for a bad member, or for a damaged tar."""
        path = os.path.join(self._path, name.lstrip(b"/")) if name else self._path
        return Entry(composed(path), path, flaw=(error.reason, error.detail))

    def collect(
        self, member: Member, samples: dict[bytes, _Sample]
    ) -> Iterator[Entry | Aside]:
        """Adds a member to its sample, or yields an entry if that is not possible."""
        try:
            key, extension = _split_name(member.name)
        except BadInput as error:
            yield self.flawed_entry(member.name, error)
            return
        if not key:
            yield self._ignored_without_key(member)
        elif extension in samples.setdefault(key, {}):
            # The sample has this extension twice. Pairing rejects the key as ambiguous.
            yield from self.entries(key, {extension: member})
        else:
            samples[key][extension] = member

    def _ignored_without_key(self, member: Member) -> Aside:
        hidden = os.path.basename(member.name).startswith(b".")
        return self._ignored(member, "hidden" if hidden else "none")

    def entries(self, key: bytes, sample: _Sample) -> Iterator[Entry | Aside]:
        """Yields the entries of one sample and its ignored members."""
        images = {e: m for e, m in sample.items() if _kind_of(e) == "image"}
        known = (*self._named, _JSON)
        captions: _Sample = {e: sample[e] for e in known if e in sample}
        others = [e for e in sample if e not in images and e not in captions]
        if not images and not captions:
            # Extra dots in the names may have made the extensions unknown.
            yield from self._unused_sample(key, sample)
            return
        for extension in others:
            yield self._ignored(sample[extension], f".{extension}")
        entry = self._entry(key, images, captions)
        yield entry
        for member in list(images.values())[1:]:
            yield Entry(entry.key, entry.origin, image=self._file_of(member))

    def _unused_sample(self, key: bytes, sample: _Sample) -> Iterator[Entry | Aside]:
        misread = [e for e in sample if _kind_of(e.rpartition(".")[2])]
        if misread:
            detail = f"all behind the first dot is the extension: {', '.join(misread)}"
            yield Entry(
                self._key(key),
                self._name_of(sample[misread[0]]),
                flaw=("unknown_extension", detail),
            )
        for extension in sample:
            if extension not in misread:
                yield self._ignored(sample[extension], f".{extension}")

    def _ignored(self, member: Member, counted_as: str) -> Aside:
        return Aside("ignored", self._name_of(member), counted_as)

    def _entry(self, key: bytes, images: _Sample, caption_members: _Sample) -> Entry:
        members = [*images.values(), *caption_members.values()]
        origin = next(iter(caption_members.values()), members[0])
        entry = Entry(self._key(key), self._name_of(origin))
        for member in members:
            if member.wrong is not None:
                return entry._replace(flaw=member.wrong)
        if images:
            entry = entry._replace(image=self._file_of(next(iter(images.values()))))
        try:
            row = self._row(caption_members)
            captions = self._captions(caption_members, row)
        except BadInput as error:
            return entry._replace(flaw=(error.reason, error.detail))
        lacks = self._lack_of(caption_members, row)
        return filled(entry._replace(lacks=lacks), row, captions, self._config)

    def _row(self, members: _Sample) -> dict[str, Any]:
        """Returns the JSON object of a sample, or an empty dict if it is not needed."""
        has_texts = bool(self._config.caption_files or {*self._named} & {*members})
        if _JSON not in members or (has_texts and not self._config.reads_columns):
            return {}
        try:
            row = json.loads(self._read(members[_JSON], _MAX_JSON_BYTES, "bad_row"))
        except (ValueError, RecursionError) as error:
            raise BadInput("bad_row", f"no JSON: {error}") from error
        if not isinstance(row, dict):
            raise BadInput("bad_row", "no JSON object")
        return row

    def _captions(self, members: _Sample, row: dict[str, Any]) -> Any:
        texts = {e: members[e] for e in self._named if e in members}
        if not self._config.caption_files:
            if not texts:
                return captions_of(row, self._caption_field, self._config)
            return self._texts_in(texts[_TEXT])
        found: dict[str, list[str]] = {}
        bad: list[BadInput] = []
        for extension, member in texts.items():
            try:
                found[self._named[extension]] = self._texts_in(member)
            except BadInput as error:
                found[self._named[extension]] = [_UNDECODABLE]
                bad.append(error)
        if bad and len(bad) == len(found):
            raise bad[0]
        return found

    def _texts_in(self, member: Member) -> list[str]:
        data = self._read(member, MAX_CAPTION_BYTES, "caption_too_large")
        parts = caption_parts(
            data,
            per_file=self._config.captions_per_file,
            encoding=self._config.caption_encoding,
        )
        bad = [part for part in parts if isinstance(part, BadInput)]
        if bad and len(bad) == len(parts):
            raise bad[0]
        return [part if isinstance(part, str) else _UNDECODABLE for part in parts]

    @property
    def _caption_field(self) -> str:
        return self._config.caption_column or _CAPTION_FIELD

    def _lack_of(self, members: _Sample, row: dict[str, Any]) -> str:
        if self._config.caption_files:
            return f"its sample has no {' or '.join(self._named)}"
        if not members:
            return f"its sample has no {' or '.join((*self._named, _JSON))}"
        lacks = lack_of(row, self._caption_field, self._config.caption_columns)
        return f"in its json, {lacks}"

    def _read(self, member: Member, limit: int, reason: str) -> bytes:
        if member.size > limit:
            raise BadInput(reason, f"{member.size} bytes, more than {limit}")
        return _read(self._file, member, limit)

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


def _read(file: IO[bytes], member: Member, limit: int) -> bytes:
    """Returns at most `limit` bytes of a member."""
    position = file.tell()
    file.seek(member.offset)
    data = file.read(min(member.size, limit))
    file.seek(position)
    return data


def _kind_of(extension: str) -> str | None:
    return SUFFIXES.get(b"." + extension.encode())

"""Inspects and reads the image and captions of a pair."""

import functools
import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from itertools import starmap

from beam_jobs.config.columns import Value
from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import ANY_ROOT, UNSEEN, BadInput, Pair, SourceFile
from beam_jobs.inputs.captions import (
    MAX_CAPTION_BYTES,
    Captions,
    clean_captions,
    join_captions,
    read_captions,
    without_short,
)
from beam_jobs.inputs.staged_images import image_in_cell
from beam_jobs.inputs.stored_records import image_of_record
from beam_jobs.sources.folders import LEADS_NOWHERE
from beam_jobs.sources.registry import source_of
from beam_jobs.storage.files import is_remote, read_file, status_of
from beam_jobs.workspace.array_file import fetch
from beam_jobs.workspace.workspace import Workspace
from reader.contract.tokenizers.basic import split_words
from reader.contract.tokenizers.registry import load_tokenizer, make_spec


class SourceFiles:
    """Inspects and reads the files of a source, and detects changed files."""

    def __init__(self, config: JobConfig) -> None:
        """Initializes the reader.

        Args:
            config: Configuration of the job, which selects the source.
        """
        self._config = config
        self._roots = source_of(config).roots(config)
        self._num_bases = len(config.paths("images"))
        self._workspace = Workspace(config.output)

    def look(self, file: SourceFile) -> SourceFile:
        """Returns a file with its size and version, inspecting the file if needed.

        If the name does not exist, its Unicode forms NFC and NFD are tried.

        Raises:
            BadInput: `missing_image` if the file does not exist, `not_a_file` if the
                path is not a regular file, or `ambiguous_key` if several folders of
                images have the file.
        """
        if file.size != UNSEEN or file.cell is not None:
            return file
        numbers = range(self._num_bases) if file.root == ANY_ROOT else [file.root]
        looks = (self._look(file._replace(root=number)) for number in numbers)
        found = [seen for seen in looks if seen is not None]
        if not found:
            raise BadInput("missing_image", f"no such file{_hint(file.path)}")
        if len(found) > 1:
            folders = " and ".join(os.fsdecode(self._roots[f.root]) for f in found)
            raise BadInput("ambiguous_key", f"files of this name are in {folders}")
        return found[0]

    def _look(self, file: SourceFile) -> SourceFile | None:
        """Returns a file with its size and version, or None if it does not exist."""
        for path in _forms(file.path):
            place = os.path.join(self._roots[file.root], path)
            try:
                if not is_remote(place) and not stat.S_ISREG(os.stat(place).st_mode):
                    raise BadInput("not_a_file", "not a regular file")
                status = status_of(place)
            except OSError as error:
                if error.errno not in LEADS_NOWHERE:
                    raise
                continue
            return file._replace(path=path, size=status.size, version=status.version)
        return None

    def image(self, pair: Pair) -> bytes:
        """Returns the bytes of the pair's image: of its file, or as stored in another.

        Raises:
            BadInput: `damaged_record` if the record of a dataset is damaged.
        """
        if pair.image.cell is not None:
            path = self._path(pair.image)
            return image_in_cell(self._workspace, path, pair.image)
        data = self._read(pair.image, at_most=pair.image.size)
        return data if pair.image.stored is None else image_of_record(data, pair.key)

    def captions(self, pair: Pair) -> Captions:
        """Returns the cleaned captions of a pair that have enough tokens.

        Raises:
            BadInput: No caption is usable, or all have fewer tokens than `min_tokens`.
        """
        captions, least = self._cleaned(pair), self._config.min_tokens
        return without_short(captions, least, self._num_tokens) if least else captions

    def _cleaned(self, pair: Pair) -> Captions:
        if pair.texts is not None:
            return clean_captions(pair.texts, pair.names)
        if pair.names is None:
            return self._captions_in(pair.caption, "")
        files = zip(pair.caption_files, pair.names, strict=True)
        return join_captions(starmap(self._usable_captions_in, files))

    def _usable_captions_in(self, file: SourceFile, name: str) -> Captions | BadInput:
        try:
            return self._captions_in(file, name)
        except BadInput as error:
            return error

    def _captions_in(self, file: SourceFile, name: str) -> Captions:
        # The extra byte shows whether the file is too large.
        data = self._read(file, at_most=MAX_CAPTION_BYTES + 1)
        return read_captions(
            data,
            per_file=self._config.captions_per_file,
            encoding=self._config.caption_encoding,
            name=name,
        )

    def values(self, pair: Pair) -> tuple[Value, ...]:
        """Returns the values of the pair's columns, with long arrays read from disk."""
        return tuple(fetch(value, self._workspace.arrays) for value in pair.values)

    @functools.cached_property
    def _num_tokens(self) -> Callable[[str], int]:
        """Function that counts the tokens of a caption, without start and end."""
        kind = self._config.tokenizer_kind
        if kind == "basic":
            # Every word is a token. Its vocabulary may not be counted yet.
            return lambda text: len(split_words(text))
        data = read_file(self._workspace.tokenizer)
        tokenizer = load_tokenizer(make_spec(kind, data), data)
        return lambda text: len(tokenizer.encode(text))

    def _read(self, file: SourceFile, at_most: int) -> bytes:
        return read_file(
            self._path(file),
            offset=file.offset,
            at_most=at_most,
            size=None if file.archive else file.size,
            version=file.version,
        )

    def _path(self, file: SourceFile) -> bytes:
        return os.path.join(self._roots[file.root], file.archive or file.path)


def _hint(path: bytes) -> str:
    """Returns what may be wrong with the name of a file that does not exist."""
    if b"\\" in path:
        return ": write / between folders, not \\"
    try:
        path.decode()
    except UnicodeDecodeError as error:
        wrong = path[error.start : error.end].hex(" ")
        return (
            f": its name is not UTF-8 (byte {wrong}): if the table is in another "
            "encoding, name it, such as --caption_encoding=cp1252"
        )
    return ""


def _forms(path: bytes) -> Iterator[bytes]:
    yield path
    if not path.isascii():
        try:
            text = path.decode()
        except UnicodeDecodeError:
            return
        yield from (
            unicodedata.normalize(form, text).encode() for form in ("NFC", "NFD")
        )

"""Reads the tokenizer that `--tokenizer` names, and detects its kind.

`--tokenizer` names a kind, a tokenizer's file, or a dataset whose tokenizer is taken.
"""

import os
from typing import NamedTuple

from beam_jobs.storage.files import (
    absolute,
    is_folder,
    names_in,
    read_file,
    read_if_exists,
    status_of,
)
from reader.contract.errors import DatasetError, UsageError
from reader.contract.host import MissingLibraryError
from reader.contract.layout import BUILD_DIR, MANIFEST, TOKENIZER_DIR
from reader.contract.manifest import parse_manifest
from reader.contract.tokenizers import byte_level
from reader.contract.tokenizers.protocol import sha256_hex
from reader.contract.tokenizers.registry import check_tokenizer, kind_of, make_spec

_ACCEPTED = (
    "use basic, bytes, the folder of a dataset, or the path of a Hugging Face "
    "tokenizer.json, a SentencePiece model, or CLIP's merges "
    "(bpe_simple_vocab_16e6.txt.gz, merges.txt)"
)
# Ten times the size of the largest vocabularies in use.
_MAX_BYTES = 256 << 20


class TokenizerIdentity(NamedTuple):
    """The kind and checksum that identify a tokenizer.

    Attributes:
        kind: Kind of the tokenizer, as named in the manifest.
        sha256: SHA-256 of the tokenizer's file, in hex. Empty for a vocabulary that
            does not exist before the job counts it.
    """

    kind: str
    sha256: str


class TokenizerFile(NamedTuple):
    """The kind and bytes of a tokenizer's file.

    Attributes:
        kind: Kind of the tokenizer, as named in the manifest.
        data: Bytes of the file. None for a vocabulary that the job counts.
    """

    kind: str
    data: bytes | None

    @property
    def identity(self) -> TokenizerIdentity:
        """Kind and checksum of the tokenizer."""
        sha256 = "" if self.data is None else sha256_hex(self.data)
        return TokenizerIdentity(self.kind, sha256)


def read_tokenizer_file(tokenizer: str) -> TokenizerFile:
    """Reads the tokenizer for `basic`, `bytes`, a path of a file, or a folder.

    The kind of a file is detected from its content, not from its name. A folder is that
    of a finished dataset, its `tokenizer/`, or a copy of the latter.

    Raises:
        UsageError: The file cannot be read, is too large or is not a supported
            tokenizer, or the folder holds no finished dataset.
    """
    if tokenizer == "basic":
        return TokenizerFile("basic", None)
    if tokenizer == "bytes":
        return TokenizerFile("bytes", byte_level.DESCRIPTION)
    try:
        if is_folder(tokenizer):
            return _of_folder(absolute(tokenizer))
        return _of_file(tokenizer)
    except (OSError, ValueError, DatasetError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f'--tokenizer="{tokenizer}": {reason}; {_ACCEPTED}') from error


def _of_folder(folder: str) -> TokenizerFile:
    """Reads the tokenizer of a dataset, checked against its manifest."""
    parent, name = os.path.split(folder)
    for dataset in (folder, parent) if name == TOKENIZER_DIR else (folder,):
        manifest = read_if_exists(os.path.join(dataset, MANIFEST))
        if manifest is None:
            continue
        spec = parse_manifest(manifest, dataset).tokenizer
        path = os.path.join(dataset, TOKENIZER_DIR, spec.file)
        try:
            data = _read(path)
        except FileNotFoundError:
            raise DatasetError(f"{path} is missing: restore it") from None
        check_tokenizer(spec, data)
        return TokenizerFile(spec.kind, data)
    if is_folder(os.path.join(folder, BUILD_DIR)):
        raise DatasetError("the job of this dataset has not finished: run it again")
    if len(names := names_in(folder)) == 1:
        return _of_file(os.path.join(folder, names[0]))
    raise DatasetError(f"Is a directory without a finished dataset (no {MANIFEST})")


def _of_file(path: str) -> TokenizerFile:
    data = _read(path)
    kind = kind_of(data)
    if kind is None:
        raise ValueError(
            f"not a supported tokenizer, {len(data)} bytes that begin with "
            f"{data[:16]!r}"
        )
    return TokenizerFile(kind, data)


def _read(path: str) -> bytes:
    size = status_of(path).size
    if size > _MAX_BYTES:
        raise ValueError(f"{size} bytes, more than {_MAX_BYTES}")
    return read_file(path, at_most=_MAX_BYTES)


def check_tokenizer_file(tokenizer: str, file: TokenizerFile) -> None:
    """Loads a tokenizer from a file's bytes, which reports a damaged file early.

    Args:
        tokenizer: `basic`, `bytes`, a path or a folder, for error messages.
        file: Kind and bytes of the tokenizer.

    Raises:
        UsageError: The file is damaged, or needs a library that is not installed.
    """
    if file.data is None:
        return
    try:
        make_spec(file.kind, file.data)
    except MissingLibraryError:
        raise
    except UsageError as error:
        raise UsageError(f'--tokenizer="{tokenizer}": {error}') from error


def check_kept(tokenizer: str, output: str) -> None:
    """Checks that replacing the output does not remove the tokenizer.

    An interrupted job could not resume without it.

    Raises:
        UsageError: The tokenizer is in the output.
    """
    if tokenizer in ("basic", "bytes"):
        return
    path, folder = (os.path.join(absolute(p), "") for p in (tokenizer, output))
    if path.startswith(folder):
        raise UsageError(
            f"--tokenizer={tokenizer} is in the output, which --overwrite removes: "
            f"copy {TOKENIZER_DIR}/ elsewhere and name the copy"
        )

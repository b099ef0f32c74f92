"""Reads the tokenizer file that `--tokenizer` names and detects its kind."""

from typing import NamedTuple

from beam_jobs.storage.files import read_file, status_of
from reader.contract.errors import UsageError
from reader.contract.host import MissingLibraryError
from reader.contract.tokenizers import byte_level
from reader.contract.tokenizers.protocol import sha256_hex
from reader.contract.tokenizers.registry import kind_of, make_spec

_ACCEPTED = (
    "use basic, bytes, or the path of a Hugging Face tokenizer.json, a SentencePiece "
    "model, or CLIP's merges (bpe_simple_vocab_16e6.txt.gz, merges.txt)"
)
# Ten times the size of the largest vocabularies in use.
_MAX_BYTES = 256 << 20


class TokenizerIdentity(NamedTuple):
    """The kind and checksum that identify a tokenizer.

    Attributes:
        kind: Kind of the tokenizer, as named in the manifest.
        sha256: SHA-256 of the tokenizer's file, in hex. Empty for `basic`, whose
            vocabulary does not exist before the job runs.
    """

    kind: str
    sha256: str


class TokenizerFile(NamedTuple):
    """The kind and bytes of a tokenizer's file.

    Attributes:
        kind: Kind of the tokenizer, as named in the manifest.
        data: Bytes of the file. None for `basic`, whose vocabulary the job counts.
    """

    kind: str
    data: bytes | None

    @property
    def identity(self) -> TokenizerIdentity:
        """Kind and checksum of the tokenizer."""
        sha256 = "" if self.data is None else sha256_hex(self.data)
        return TokenizerIdentity(self.kind, sha256)


def read_tokenizer_file(tokenizer: str) -> TokenizerFile:
    """Reads the tokenizer for `basic`, `bytes` or a path.

    The kind of a file is detected from its content, not from its name.

    Raises:
        UsageError: The file cannot be read, is too large or is not a supported
            tokenizer.
    """
    if tokenizer == "basic":
        return TokenizerFile("basic", None)
    if tokenizer == "bytes":
        return TokenizerFile("bytes", byte_level.DESCRIPTION)
    try:
        size = status_of(tokenizer).size
        if size > _MAX_BYTES:
            raise ValueError(f"{size} bytes, more than {_MAX_BYTES}")
        data = read_file(tokenizer, at_most=_MAX_BYTES)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f'--tokenizer="{tokenizer}": {reason}; {_ACCEPTED}') from error
    kind = kind_of(data)
    if kind is None:
        raise UsageError(
            f'--tokenizer="{tokenizer}": not a supported tokenizer, {len(data)} bytes '
            f"that begin with {data[:16]!r}; {_ACCEPTED}"
        )
    return TokenizerFile(kind, data)


def check_tokenizer_file(tokenizer: str, file: TokenizerFile) -> None:
    """Loads a tokenizer from a file's bytes, which reports a damaged file early.

    Args:
        tokenizer: `basic`, `bytes` or a path, for error messages.
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

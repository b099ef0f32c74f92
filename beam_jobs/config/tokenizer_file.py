"""What `--tokenizer` names: the kind of tokenizer, and the bytes of its file."""

from typing import NamedTuple

from beam_jobs.storage.files import read_file, status_of
from reader.contract.errors import UsageError
from reader.contract.host import MissingLibraryError
from reader.contract.tokenizers import byte_level
from reader.contract.tokenizers.protocol import sha256_hex
from reader.contract.tokenizers.registry import kind_of, make_spec

_ACCEPTED = (
    "accepted are basic, bytes, and the path of a tokenizer.json of Hugging Face, a "
    "SentencePiece model, or CLIP's merges (bpe_simple_vocab_16e6.txt.gz, merges.txt)"
)
# The largest vocabularies in use take a tenth of it.
_MAX_BYTES = 256 << 20


class TokenizerIdentity(NamedTuple):
    """What distinguishes a tokenizer from others.

    Attributes:
        kind: As the manifest names it.
        sha256: Hex digest of its file; empty for `basic`, which has none yet.
    """

    kind: str
    sha256: str


class TokenizerFile(NamedTuple):
    """A tokenizer, before work begins.

    Attributes:
        kind: As the manifest has it.
        data: Of its file; None for `basic`, whose vocabulary the job counts.
    """

    kind: str
    data: bytes | None

    @property
    def identity(self) -> TokenizerIdentity:
        """Kind and checksum of the file."""
        sha256 = "" if self.data is None else sha256_hex(self.data)
        return TokenizerIdentity(self.kind, sha256)


def read_tokenizer_file(tokenizer: str) -> TokenizerFile:
    """Returns what `basic`, `bytes` or a path stands for; its content tells the kind.

    Raises:
        UsageError: There is no such file, or it is of no kind that is known.
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
            f'--tokenizer="{tokenizer}": no tokenizer that is known, {len(data)} bytes '
            f"that begin with {data[:16]!r}; {_ACCEPTED}"
        )
    return TokenizerFile(kind, data)


def given_tokenizer(tokenizer: str, sha256: str) -> bytes | None:
    """Returns the bytes of the tokenizer's file, once a tokenizer was made of them.

    None for `basic`. Nothing is left to fail when the work has begun.

    Args:
        tokenizer: `basic`, `bytes` or a path.
        sha256: Of the file, as it was when the job was configured.

    Raises:
        UsageError: It is not what its first bytes promise, has changed since, or a
            library that it needs is not installed.
    """
    file = read_tokenizer_file(tokenizer)
    if file.identity.sha256 != sha256:
        raise UsageError(f'--tokenizer="{tokenizer}": the file has just changed')
    if file.data is not None:
        try:
            make_spec(file.kind, file.data)
        except MissingLibraryError:
            raise
        except UsageError as error:
            raise UsageError(f'--tokenizer="{tokenizer}": {error}') from error
    return file.data

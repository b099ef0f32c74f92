"""Reads the keys of `--exclude_keys`: a text file with one key a line."""

import hashlib
import unicodedata

from beam_jobs.storage.files import read_file
from reader.contract.errors import UsageError
from reader.contract.schema import display_path

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_keys(flag: str, path: str) -> frozenset[str]:
    """Returns the keys of a file, as text from `key_text`.

    Args:
        flag: Name of the flag that names the file, for the message.
        path: Path of the file.

    Raises:
        UsageError: The file cannot be read.
    """
    try:
        data = read_file(path)
    except OSError as error:
        raise UsageError(f"--{flag}={path}: {error.strerror or error}") from error
    return parse_keys(data)


def parse_keys(data: bytes) -> frozenset[str]:
    """Returns the keys of a file's bytes, as `key_text` has them. Skips empty lines."""
    lines = data.removeprefix(_BYTE_ORDER_MARK).split(b"\n")
    keys = (line.removesuffix(b"\r") for line in lines)
    return frozenset(key_text(key) for key in keys if key)


def key_text(key: bytes) -> str:
    """Returns a key as text, in NFC: names from macOS may be decomposed."""
    return unicodedata.normalize("NFC", display_path(key))


def dump_keys(keys: frozenset[str]) -> bytes:
    """Serializes keys as text with one key a line, in order."""
    return "".join(f"{key}\n" for key in sorted(keys)).encode()


def digest_of_keys(keys: frozenset[str]) -> str:
    """Returns the SHA-256 of keys, in hex, whatever their order in the file."""
    return hashlib.sha256(dump_keys(keys)).hexdigest()

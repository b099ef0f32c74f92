"""Reads the keys of `--exclude_keys`: a text file with one key a line."""

import hashlib
import unicodedata

from beam_jobs.storage.files import read_file
from reader.contract.errors import UsageError
from reader.contract.schema import display_path

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_keys(flag: str, path: str) -> frozenset[str]:
    """Returns the keys of a file, as text from `display_path`.

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
    """Returns the keys of a file's bytes, in NFC, as keys are. Skips empty lines."""
    lines = data.removeprefix(_BYTE_ORDER_MARK).split(b"\n")
    keys = (line.removesuffix(b"\r") for line in lines)
    texts = (display_path(key) for key in keys if key)
    return frozenset(unicodedata.normalize("NFC", text) for text in texts)


def dump_keys(keys: frozenset[str]) -> bytes:
    """Serializes keys as text with one key a line, in order."""
    return "".join(f"{key}\n" for key in sorted(keys)).encode()


def digest_of_keys(keys: frozenset[str]) -> str:
    """Returns the SHA-256 of keys, in hex, whatever their order in the file."""
    return hashlib.sha256(dump_keys(keys)).hexdigest()

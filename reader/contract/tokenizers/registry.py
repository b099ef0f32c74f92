"""The kinds of tokenizers: told by a file's content, described, and loaded."""

import json
from collections.abc import Callable
from typing import NamedTuple

from reader.contract.errors import DatasetError, UsageError
from reader.contract.host import MissingLibraryError
from reader.contract.manifest import TokenizerSpec
from reader.contract.tokenizers.basic import (
    BasicTokenizer,
    basic_spec,
    parse_vocabulary,
)
from reader.contract.tokenizers.byte_level import ByteTokenizer, bytes_spec
from reader.contract.tokenizers.clip import ClipTokenizer, clip_spec, merges_text
from reader.contract.tokenizers.huggingface import (
    HuggingFaceTokenizer,
    huggingface_spec,
)
from reader.contract.tokenizers.protocol import (
    Tokenizer,
    sha256_hex,
)
from reader.contract.tokenizers.sentencepiece_model import (
    SentencePieceTokenizer,
    sentencepiece_spec,
)


class _Kind(NamedTuple):
    """How tokenizers of a kind are described and loaded.

    Attributes:
        make_spec: Bytes of the file → what the manifest says.
        load: That and the bytes → the tokenizer.
        libraries: Distributions whose versions shape the ids.
    """

    make_spec: Callable[[bytes], TokenizerSpec]
    load: Callable[[TokenizerSpec, bytes], Tokenizer]
    libraries: tuple[str, ...] = ()


_KINDS = {
    "basic": _Kind(
        lambda data: basic_spec(parse_vocabulary(data)),
        lambda spec, data: BasicTokenizer(parse_vocabulary(data)),
    ),
    "bytes": _Kind(lambda data: bytes_spec(), lambda spec, data: ByteTokenizer(spec)),
    "huggingface": _Kind(huggingface_spec, HuggingFaceTokenizer, ("tokenizers",)),
    "sentencepiece": _Kind(
        sentencepiece_spec, SentencePieceTokenizer, ("sentencepiece",)
    ),
    "clip": _Kind(clip_spec, ClipTokenizer, ("ftfy", "regex")),
}


def kind_of(data: bytes) -> str | None:
    """Tells by its content what kind of tokenizer a file holds; None if of none."""
    if data.lstrip()[:1] == b"{":
        return "huggingface" if _has_model(data) else None
    if merges_text(data) is not None:
        return "clip"
    # A message of protobuf whose first field is a message with such a field again: the
    # first piece, and its text. The library reads the rest, or says why not.
    if data[:1] == b"\n" and data[2:3] == b"\n":
        return "sentencepiece"
    return None


def _has_model(data: bytes) -> bool:
    try:
        fields = json.loads(data)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return False
    return isinstance(fields, dict) and isinstance(fields.get("model"), dict)


def libraries_of(kind: str) -> tuple[str, ...]:
    """Returns the distributions that a kind of tokenizer needs."""
    return _KINDS[kind].libraries


def make_spec(kind: str, data: bytes) -> TokenizerSpec:
    """Returns what the manifest says of a tokenizer, from the bytes of its file.

    Raises:
        UsageError: The bytes are no tokenizer of that kind, or a library that it
            needs is not installed.
    """
    return _KINDS[kind].make_spec(data)


def check_tokenizer(spec: TokenizerSpec, data: bytes) -> None:
    """Holds the bytes of a tokenizer's file against the manifest; needs no library.

    Raises:
        DatasetError: The bytes are not those the dataset was tokenized with, or this
            version knows no tokenizer of that kind.
    """
    found = sha256_hex(data)
    if found != spec.sha256:
        raise DatasetError(
            f"tokenizer/{spec.file} has changed since the dataset was built "
            f"(sha256 {found[:12]}…, not {spec.sha256[:12]}…): restore it"
        )
    if spec.kind not in _KINDS:
        raise DatasetError(f"unknown kind of tokenizer {spec.kind!r}: upgrade diptych")


def load_tokenizer(spec: TokenizerSpec, data: bytes) -> Tokenizer:
    """Returns the tokenizer that `spec` describes, from the bytes of its file.

    Raises:
        DatasetError: See `check_tokenizer`.
        MissingLibraryError: A library that it needs is not installed.
    """
    check_tokenizer(spec, data)
    try:
        return _KINDS[spec.kind].load(spec, data)
    except MissingLibraryError:
        raise
    except UsageError as error:
        raise DatasetError(f"tokenizer/{spec.file}: {error}") from error

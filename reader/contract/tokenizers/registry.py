"""The registry of tokenizer kinds: detects, describes and loads a tokenizer's file."""

import json
from collections.abc import Callable
from typing import NamedTuple

from reader.contract.errors import DatasetError, UsageError
from reader.contract.host import MissingLibraryError
from reader.contract.manifest import TokenizerSpec
from reader.contract.tokenizers.basic import (
    BasicTokenizer,
    basic_spec,
    checked_vocabulary,
    is_vocabulary,
    parse_vocabulary,
)
from reader.contract.tokenizers.byte_level import (
    DESCRIPTION,
    ByteTokenizer,
    bytes_spec,
)
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
    """Functions of a tokenizer kind.

    Attributes:
        make_spec: Function from the bytes of the file to the manifest entry.
        load: Function from the manifest entry and the bytes to the tokenizer.
        libraries: Distributions whose versions affect the ids.
    """

    make_spec: Callable[[bytes], TokenizerSpec]
    load: Callable[[TokenizerSpec, bytes], Tokenizer]
    libraries: tuple[str, ...] = ()


_KINDS = {
    "basic": _Kind(
        lambda data: basic_spec(checked_vocabulary(data)),
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
    """Returns the kind of tokenizer in a file, detected by content; None if unknown."""
    if data == DESCRIPTION:
        return "bytes"
    if is_vocabulary(data):
        return "basic"
    if data.lstrip()[:1] == b"{":
        return "huggingface" if _has_model(data) else None
    if merges_text(data) is not None:
        return "clip"
    # A SentencePiece model is a protobuf message. Its field 1 is the first piece, a
    # message whose field 1 is the piece's text. The library validates the rest.
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
    """Returns the distributions that a kind of tokenizer depends on."""
    return _KINDS[kind].libraries


def make_spec(kind: str, data: bytes) -> TokenizerSpec:
    """Returns the manifest entry of a tokenizer from the bytes of its file.

    Raises:
        UsageError: The bytes are not a tokenizer of that kind, or a required library
            is not installed.
    """
    return _KINDS[kind].make_spec(data)


def check_tokenizer(spec: TokenizerSpec, data: bytes) -> None:
    """Checks the bytes of a tokenizer's file against the manifest; needs no library.

    Raises:
        DatasetError: The bytes have changed since the dataset was built, or this
            version does not know the tokenizer's kind.
    """
    found = sha256_hex(data)
    if found != spec.sha256:
        raise DatasetError(
            f"tokenizer/{spec.file} has changed since the dataset was built "
            f"(sha256 {found[:12]}…, not {spec.sha256[:12]}…): restore it"
        )
    if spec.kind not in _KINDS:
        raise DatasetError(f"unknown tokenizer kind {spec.kind!r}: upgrade diptych")


def load_tokenizer(spec: TokenizerSpec, data: bytes) -> Tokenizer:
    """Returns the tokenizer that `spec` describes, from the bytes of its file.

    Raises:
        DatasetError: The bytes do not match the manifest, or they are not a tokenizer
            of that kind.
        MissingLibraryError: A library that the tokenizer needs is not installed.
    """
    check_tokenizer(spec, data)
    try:
        return _KINDS[spec.kind].load(spec, data)
    except MissingLibraryError:
        raise
    except UsageError as error:
        raise DatasetError(f"tokenizer/{spec.file}: {error}") from error

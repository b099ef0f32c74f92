"""Hugging Face's `tokenizer.json`, read by the library `tokenizers`.

The file's truncation, padding and dropout are disabled: records hold all ids of a
caption, and the same text always has the same ids.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from reader.contract.errors import UsageError
from reader.contract.host import import_library
from reader.contract.manifest import TokenizerSpec
from reader.contract.tokenizers.protocol import checked_id, sha256_hex, text_ids

FILE = "tokenizer.json"

_PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>")
# A letter that any vocabulary encodes, and a character that hardly any vocabulary has.
# A tokenizer that fails on unknown characters is rejected before any work is done.
_PROBE, _RARE = "a", "\U0010fffd"


def huggingface_spec(data: bytes) -> TokenizerSpec:
    """Returns the manifest entry of a Hugging Face tokenizer.

    Args:
        data: Bytes of `tokenizer.json`.

    Raises:
        UsageError: The library cannot read the bytes or is not installed, or the
            tokenizer puts several tokens before or after a text.
    """
    tokenizer, pad = _parse(data)
    start, end = _start_and_end(tokenizer)
    return TokenizerSpec(
        kind="huggingface",
        file=FILE,
        sha256=sha256_hex(data),
        # Ids may have gaps, so the number of tokens is not an upper bound.
        vocab_size=max(tokenizer.get_vocab().values()) + 1,
        pad_id=0 if pad is None else pad,
        unknown_id=_unknown_id(tokenizer, json.loads(data)["model"]),
        start_id=start,
        end_id=end,
    )


class HuggingFaceTokenizer:
    """A tokenizer of Hugging Face's library `tokenizers`."""

    def __init__(self, spec: TokenizerSpec, data: bytes) -> None:
        """Creates the tokenizer.

        Args:
            spec: Manifest entry of the tokenizer.
            data: Bytes of `tokenizer.json`.

        Raises:
            UsageError: The library cannot read the bytes or is not installed.
        """
        self._spec = spec
        self._tokenizer, pad = _parse(data)
        self._own_pad = pad is not None

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary; every id is below it."""
        return self._spec.vocab_size

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without start and end."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of ids as the library decodes it, with unknown tokens.

        Raises:
            UsageError: An id is not below `vocab_size`.
        """
        plain = text_ids(ids, self._spec, own_pad=self._own_pad)
        text: str = self._tokenizer.decode(plain, skip_special_tokens=False)
        return text

    def token(self, id_: int) -> str:
        """Returns a token in the library's notation, such as `##ing` or `Ġcat`.

        Raises:
            UsageError: The id is not below `vocab_size`.
        """
        token = self._tokenizer.id_to_token(checked_id(id_, self.vocab_size))
        # Ids may have gaps, which have no token.
        return f"[{id_}]" if token is None else str(token)


def _parse(data: bytes) -> tuple[Any, int | None]:
    """Returns the tokenizer without truncation, padding and dropout, and its pad id."""
    tokenizers = import_library("tokenizers", "a Hugging Face tokenizer.json")
    try:
        tokenizer = tokenizers.Tokenizer.from_str(data.decode())
        # Raises if the tokenizer has no token for unknown characters.
        tokenizer.encode(_PROBE + _RARE)
    except Exception as error:  # The library raises no narrower type.
        raise UsageError(
            f"not a tokenizer.json that the library tokenizers reads ({error}): save "
            "the tokenizer again with the version of the library installed here"
        ) from error
    pad = _pad_id(tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if getattr(tokenizer.model, "dropout", None) is not None:
        tokenizer.model.dropout = None
    return tokenizer, pad


def _start_and_end(tokenizer: Any) -> tuple[int | None, int | None]:
    """Returns the ids that the tokenizer puts before and after a text."""
    bare = tokenizer.encode(_PROBE, add_special_tokens=False).ids
    encoding = tokenizer.encode(_PROBE, add_special_tokens=True)
    # Uses the mask instead of a search for the text's ids: both the text and the start
    # or end may be the unknown token.
    full, mask = encoding.ids, encoding.special_tokens_mask
    first = mask.index(0) if 0 in mask else 0
    before, after = full[:first], full[first + len(bare) :]
    for name, ids in (("before", before), ("after", after)):
        if len(ids) > 1:
            tokens = " ".join(map(str, map(tokenizer.id_to_token, ids)))
            raise UsageError(
                f"a tokenizer may put one token {name} a caption, but this one puts "
                f"{len(ids)} ({tokens}): change its post_processor"
            )
    return (*before, None)[0], (*after, None)[0]


def _pad_id(tokenizer: Any) -> int | None:
    """Returns the id of the pad token; None if the tokenizer has no pad token."""
    padding: Mapping[str, Any] | None = tokenizer.padding
    if padding is not None:
        return int(padding["pad_id"])
    ids = (tokenizer.token_to_id(token) for token in _PAD_TOKENS)
    return next((int(id_) for id_ in ids if id_ is not None), None)


def _unknown_id(tokenizer: Any, model: Mapping[str, Any]) -> int | None:
    """Returns the id of the unknown token; None for byte-level models."""
    if model.get("unk_token") is not None:
        found: int | None = tokenizer.token_to_id(model["unk_token"])
        return found
    unknown: int | None = model.get("unk_id")
    return unknown

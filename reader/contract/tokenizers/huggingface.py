"""Hugging Face's `tokenizer.json`, read by their library `tokenizers`.

What the file says of truncation, padding and dropout is switched off: ids are stored
whole, and the same text has the same ids.
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
# A letter, which any vocabulary encodes, and a character that hardly any has: a
# tokenizer that cannot encode the latter is better told of before work begins.
_PROBE, _RARE = "a", "\U0010fffd"


def huggingface_spec(data: bytes) -> TokenizerSpec:
    """Returns what the manifest says of a `tokenizer.json`.

    Raises:
        UsageError: It is none, the library is not installed, or the tokenizer puts
            several tokens before or after a text.
    """
    tokenizer, pad = _parse(data)
    start, end = _start_and_end(tokenizer)
    return TokenizerSpec(
        kind="huggingface",
        file=FILE,
        sha256=sha256_hex(data),
        # Ids may have gaps, so that the number of tokens is no bound.
        vocab_size=max(tokenizer.get_vocab().values()) + 1,
        pad_id=0 if pad is None else pad,
        unknown_id=_unknown_id(tokenizer, json.loads(data)["model"]),
        start_id=start,
        end_id=end,
    )


class HuggingFaceTokenizer:
    """A tokenizer of Hugging Face's library."""

    def __init__(self, spec: TokenizerSpec, data: bytes) -> None:
        """Takes what the manifest says of it, and the bytes of `tokenizer.json`."""
        self._spec = spec
        self._tokenizer, pad = _parse(data)
        self._own_pad = pad is not None

    @property
    def vocab_size(self) -> int:
        """Number of ids; every id is below it."""
        return self._spec.vocab_size

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without start and end."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Returns text again, as the library writes it; unknown tokens are shown.

        Raises:
            UsageError: An id is not of this tokenizer.
        """
        plain = text_ids(ids, self._spec, own_pad=self._own_pad)
        text: str = self._tokenizer.decode(plain, skip_special_tokens=False)
        return text

    def token(self, id_: int) -> str:
        """Returns a token as the library spells it: `##ing`, `Ġcat`.

        Raises:
            UsageError: The id is not of this tokenizer.
        """
        token = self._tokenizer.id_to_token(checked_id(id_, self.vocab_size))
        # Ids may have gaps.
        return f"[{id_}]" if token is None else str(token)


def _parse(data: bytes) -> tuple[Any, int | None]:
    """Returns a tokenizer that neither cuts, pads nor varies, and the id of its pad."""
    tokenizers = import_library("tokenizers", "a Hugging Face tokenizer.json")
    try:
        tokenizer = tokenizers.Tokenizer.from_str(data.decode())
        # Raises for what cannot be encoded at all.
        tokenizer.encode(_PROBE + _RARE)
    except Exception as error:  # The library raises nothing narrower.
        raise UsageError(
            f"not a tokenizer.json that the library tokenizers reads ({error}): save "
            "the tokenizer again with a version that is installed here"
        ) from error
    pad = _pad_id(tokenizer)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if getattr(tokenizer.model, "dropout", None) is not None:
        tokenizer.model.dropout = None
    return tokenizer, pad


def _start_and_end(tokenizer: Any) -> tuple[int | None, int | None]:
    """Returns the ids that the tokenizer itself puts before and after a text."""
    bare = tokenizer.encode(_PROBE, add_special_tokens=False).ids
    encoding = tokenizer.encode(_PROBE, add_special_tokens=True)
    # Told by the mask and not by searching: the text may be unknown, and so the end.
    full, mask = encoding.ids, encoding.special_tokens_mask
    first = mask.index(0) if 0 in mask else 0
    before, after = full[:first], full[first + len(bare) :]
    for name, ids in (("before", before), ("after", after)):
        if len(ids) > 1:
            tokens = " ".join(map(str, map(tokenizer.id_to_token, ids)))
            raise UsageError(
                f"a tokenizer may put one token {name} a caption, this one puts "
                f"{len(ids)} ({tokens}): change its post_processor"
            )
    return (*before, None)[0], (*after, None)[0]


def _pad_id(tokenizer: Any) -> int | None:
    """Returns the id of the pad; None where there is no token for that alone."""
    padding: Mapping[str, Any] | None = tokenizer.padding
    if padding is not None:
        return int(padding["pad_id"])
    ids = (tokenizer.token_to_id(token) for token in _PAD_TOKENS)
    return next((int(id_) for id_ in ids if id_ is not None), None)


def _unknown_id(tokenizer: Any, model: Mapping[str, Any]) -> int | None:
    """Returns the id of the unknown token; models of bytes have none."""
    if model.get("unk_token") is not None:
        found: int | None = tokenizer.token_to_id(model["unk_token"])
        return found
    unknown: int | None = model.get("unk_id")
    return unknown

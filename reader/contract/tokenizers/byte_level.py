"""The `bytes` tokenizer: one token per byte of UTF-8, so no text is out of vocabulary.

    "A é"   -> 69 36 199 173        (bytes 41 20 c3 a9 in hex, each plus 4)

ByT5 has three special tokens instead of four: its ids are these minus one.
"""

import json
from collections.abc import Iterable

from reader.contract.manifest import TokenizerSpec
from reader.contract.tokenizers.basic import (
    END_ID,
    PAD_ID,
    SPECIAL_TOKENS,
    START_ID,
    UNKNOWN_ID,
)
from reader.contract.tokenizers.protocol import checked_id, sha256_hex, text_ids

FILE = "bytes.json"
FIRST_BYTE_ID = 4
VOCAB_SIZE = FIRST_BYTE_ID + 256

# The tokenizer has no vocabulary to store. The file documents the ids, and its checksum
# is verified like that of any other tokenizer's file.
DESCRIPTION = (
    json.dumps(
        {
            "kind": "bytes",
            "encoding": "utf-8",
            "pad": PAD_ID,
            "unknown": UNKNOWN_ID,
            "start": START_ID,
            "end": END_ID,
            "byte_0": FIRST_BYTE_ID,
        },
        indent=1,
    )
    + "\n"
).encode()


def bytes_spec() -> TokenizerSpec:
    """Returns the manifest entry of the `bytes` tokenizer."""
    return TokenizerSpec(
        kind="bytes",
        file=FILE,
        sha256=sha256_hex(DESCRIPTION),
        vocab_size=VOCAB_SIZE,
        pad_id=PAD_ID,
        unknown_id=UNKNOWN_ID,
        start_id=START_ID,
        end_id=END_ID,
    )


class ByteTokenizer:
    """The `bytes` tokenizer."""

    def __init__(self, spec: TokenizerSpec) -> None:
        """Creates the tokenizer from its manifest entry."""
        self._spec = spec

    @property
    def vocab_size(self) -> int:
        """Number of ids, 260: 256 bytes and four special tokens."""
        return self._spec.vocab_size

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text: each byte of its UTF-8, plus four."""
        # UTF-8 cannot encode half a surrogate pair. Captions have none; queries might.
        data = text.encode("utf-8", errors="replace")
        return [byte + FIRST_BYTE_ID for byte in data]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of ids, with U+FFFD for an incomplete character.

        Raises:
            UsageError: An id is not from 0 to 259.
        """
        plain = text_ids(ids, self._spec)
        data = bytes(id_ - FIRST_BYTE_ID for id_ in plain if id_ >= FIRST_BYTE_ID)
        return data.decode("utf-8", errors="replace")

    def token(self, id_: int) -> str:
        """Returns a byte as a character if it is visible ASCII, else as hex: `0xC3`.

        Raises:
            UsageError: The id is not from 0 to 259.
        """
        byte = checked_id(id_, self.vocab_size) - FIRST_BYTE_ID
        if byte < 0:
            return SPECIAL_TOKENS[id_]
        return chr(byte) if 0x20 < byte < 0x7F else f"0x{byte:02X}"

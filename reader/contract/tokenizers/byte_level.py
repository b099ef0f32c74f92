"""The `bytes` tokenizer: a token for each byte of UTF-8. No script is unknown to it.

    "A é"   -> 69 36 199 173        (41 20 c3 a9, each plus 4)

ByT5 does the same with three special tokens: its ids are these minus one.
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

# There is nothing to learn, but whoever opens the folder should find out what the ids
# mean, and a change of it must be noticed as of any other tokenizer's file.
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
    """Returns what the manifest says of the `bytes` tokenizer."""
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
        """Takes what the manifest says of it."""
        self._spec = spec

    @property
    def vocab_size(self) -> int:
        """260: 256 bytes and four special tokens."""
        return self._spec.vocab_size

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text: a byte plus four each."""
        # Half a surrogate pair has no UTF-8; captions have none, queries might.
        data = text.encode("utf-8", errors="replace")
        return [byte + FIRST_BYTE_ID for byte in data]

    def decode(self, ids: Iterable[int]) -> str:
        """Returns text again; a character that was cut is shown as U+FFFD.

        Raises:
            UsageError: An id is not from 0 to 259.
        """
        plain = text_ids(ids, self._spec)
        data = bytes(id_ - FIRST_BYTE_ID for id_ in plain if id_ >= FIRST_BYTE_ID)
        return data.decode("utf-8", errors="replace")

    def token(self, id_: int) -> str:
        """Returns a byte as its character if that is visible ASCII, else as `0xC3`.

        Raises:
            UsageError: The id is not from 0 to 259.
        """
        byte = checked_id(id_, self.vocab_size) - FIRST_BYTE_ID
        if byte < 0:
            return SPECIAL_TOKENS[id_]
        return chr(byte) if 0x20 < byte < 0x7F else f"0x{byte:02X}"

"""SentencePiece's `.model`, read by the library `sentencepiece`.

The module is not named `sentencepiece` because the library has that name.
"""

from collections.abc import Iterable
from typing import Any

from reader.contract.errors import UsageError
from reader.contract.host import import_library
from reader.contract.manifest import TokenizerSpec
from reader.contract.tokenizers.protocol import checked_id, sha256_hex, text_ids

FILE = "sentencepiece.model"


def sentencepiece_spec(data: bytes) -> TokenizerSpec:
    """Returns the manifest entry of a SentencePiece model.

    Args:
        data: Bytes of the `.model` file.

    Raises:
        UsageError: The bytes are not a SentencePiece model, or the library is not
            installed.
    """
    model = _parse(data)
    return TokenizerSpec(
        kind="sentencepiece",
        file=FILE,
        sha256=sha256_hex(data),
        vocab_size=model.get_piece_size(),
        # Many models are trained without a pad. Then 0 pads, and the reader's mask
        # marks the padding.
        pad_id=max(0, model.pad_id()),
        unknown_id=_id(model.unk_id()),
        start_id=_id(model.bos_id()),
        end_id=_id(model.eos_id()),
    )


class SentencePieceTokenizer:
    """A SentencePiece model."""

    def __init__(self, spec: TokenizerSpec, data: bytes) -> None:
        """Creates the tokenizer.

        Args:
            spec: Manifest entry of the tokenizer.
            data: Bytes of the `.model` file.

        Raises:
            UsageError: The bytes are not a SentencePiece model, or the library is not
                installed.
        """
        self._spec = spec
        self._model = _parse(data)
        self._own_pad = self._model.pad_id() >= 0

    @property
    def vocab_size(self) -> int:
        """Number of pieces in the model; every id is below it."""
        return self._spec.vocab_size

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without start and end."""
        ids: list[int] = self._model.encode(text, out_type=int)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of ids as the library decodes it, with ⁇ for unknown pieces.

        Raises:
            UsageError: An id is not below `vocab_size`.
        """
        text: str = self._model.decode(text_ids(ids, self._spec, own_pad=self._own_pad))
        return text

    def token(self, id_: int) -> str:
        """Returns a piece in the model's notation, such as `▁cat`.

        Raises:
            UsageError: The id is not below `vocab_size`.
        """
        return str(self._model.id_to_piece(checked_id(id_, self.vocab_size)))


def _parse(data: bytes) -> Any:
    library = import_library("sentencepiece", "a SentencePiece model")
    try:
        model = library.SentencePieceProcessor(model_proto=data)
    except RuntimeError as error:
        raise UsageError(f"not a SentencePiece model: {error}") from error
    if not model.get_piece_size():
        raise UsageError("not a SentencePiece model: it has no pieces")
    return model


def _id(id_: int) -> int | None:
    """Returns the id, or None for -1: the model was trained without that token."""
    return id_ if id_ >= 0 else None

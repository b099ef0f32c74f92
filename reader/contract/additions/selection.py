"""A selection: chosen records of a dataset, in a folder of its own.

    selections/good/bits.bin          one bit per record
    selections/good/weights.bin       optional: the weight of each record
    selections/good/selection.json    written last: marks a complete selection

`bits.bin` is a sequence of little-endian uint64 values: for each shard of the dataset,
in the manifest's order, one for every 64 records, as in `index/blocks.bin`. Bit j, the
lowest first, states whether record j of these is chosen. Unused bits are 0.

`weights.bin` is a sequence of little-endian uint16 values: for each record of each
shard, in the same order, 256 times its weight; 0 if it is not chosen.

A selection does not depend on when or where it was made. It belongs to the shards of
one build, and readers refuse it for others.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.contract.additions.addition_file import parse_addition
from reader.contract.additions.base_shard import BaseShard, base_from
from reader.contract.json_values import dump_json, known_fields
from reader.contract.layout import FORMAT_VERSION

SELECTION = "selection.json"
BITS = "bits.bin"
WEIGHTS = "weights.bin"
# The value in `weights.bin` of a weight of 1.
WEIGHT_ONE = 256
# The largest weight, whose value fits in a uint16.
MOST_WEIGHT = 255

_KIND = "selection"
_WORD, _WEIGHT = np.dtype("<u8"), np.dtype("<u2")


@dataclass(frozen=True, kw_only=True)
class SelectionManifest:
    """The fields of `selection.json`.

    Attributes:
        base: All shards of the dataset, in the manifest's order.
        num_examples: Number of chosen records of each shard.
        made_by: How the records were chosen: condition, keys, other selections, by the
            names of the flags of `diptych select`.
        accounting: Counts of records by what became of them, and of keys; called
            `books` in the file.
        files: CRC-32C of each file of the selection but this one, `{name: crc32c}`.
        format_version: Format version of the dataset's files.
    """

    base: tuple[BaseShard, ...]
    num_examples: tuple[int, ...]
    made_by: Mapping[str, Any]
    accounting: Mapping[str, int]
    files: Mapping[str, str]
    format_version: int = FORMAT_VERSION

    @property
    def how(self) -> str:
        """How the records were chosen, for people."""
        made = self.made_by
        parts = (
            made.get("where"),
            made.get("keys") and f"in a list of {made.get('match')}s",
            made.get("and") and "in another selection",
            made.get("not") and "not in another selection",
            made.get("top") and f"top {made['top']} by {made.get('by')}",
            made.get("weight") and f"weight {made['weight']}",
        )
        return "; ".join(str(part) for part in parts if part)


def dump_selection(selection: SelectionManifest) -> bytes:
    """Serializes the fields of a selection as the bytes of `selection.json`."""
    data = dataclasses.asdict(selection)
    data["base"] = [list(shard) for shard in selection.base]
    data["books"] = data.pop("accounting")
    return dump_json({**data, "kind": _KIND})


def parse_selection(data: bytes, where: str) -> SelectionManifest:
    """Parses the bytes of `selection.json`; unknown fields are ignored.

    Args:
        data: Bytes of the file.
        where: Path of the file, for error messages.

    Raises:
        DatasetError: The bytes are not such a file, or of a newer format.
    """
    return parse_addition(data, where, _KIND, "select again", _selection_from)


def _selection_from(fields: Mapping[str, Any]) -> SelectionManifest:
    base = base_from(fields["base"])
    counts = [int(count) for count in fields["num_examples"]]
    if len(base) != len(counts):
        raise ValueError(f"{len(counts)} counts for {len(base)} shards")
    selection: SelectionManifest = known_fields(
        SelectionManifest,
        {
            **fields,
            "base": base,
            "num_examples": tuple(counts),
            "accounting": fields["books"],
        },
    )
    return selection


def dump_words(words: NDArray[np.uint64]) -> bytes:
    """Serializes the bits of records, 64 in a word, as `bits.bin`."""
    return words.astype(_WORD).tobytes()


def parse_words(data: bytes) -> NDArray[np.uint64]:
    """Returns the words of `bits.bin`, uint64[num_blocks].

    Raises:
        ValueError: The length of the data is not a multiple of 8 bytes.
    """
    return np.frombuffer(data, _WORD).astype(np.uint64, copy=False)


def dump_weights(weights: NDArray[np.uint16]) -> bytes:
    """Serializes the weights of records as `weights.bin`."""
    return weights.astype(_WEIGHT).tobytes()


def parse_weights(data: bytes | NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Returns the weights of records, uint16[num_records], as a view of the data.

    Raises:
        ValueError: The length of the data is not a multiple of 2 bytes.
    """
    return np.frombuffer(data, _WEIGHT)

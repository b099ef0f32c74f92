"""The columns of `samples/`: a Parquet table per shard with a row per record, in order.

The columns are `COLUMNS`, in this order, then `caption_names` if captions have names,
then the columns carried through.
"""

from collections.abc import Iterable
from typing import NamedTuple

from reader.contract.schema import EXTRA, NAMES_OF_CAPTIONS, Feature

KEY = "key"
OFFSET = "offset"
LENGTH = "length"
SOURCE = "source"
CAPTION_SOURCE = "caption_source"
ORIGINAL_WIDTH = "original_width"
ORIGINAL_HEIGHT = "original_height"
ORIGINAL_FORMAT = "original_format"
WIDTH = "width"
HEIGHT = "height"
ACTIONS = "actions"
CAPTIONS = "captions"
NUM_TOKENS = "num_tokens"
CAPTION_NAMES = "caption_names"
SHA256 = "sha256"


class ColumnType(NamedTuple):
    """The type of a column.

    Attributes:
        value: Arrow type of a single value: `string`, `int32`, `int64` or `float`.
        is_list: Whether a cell is a list of such values.
        size: Length of every list; None if the lists have different lengths.
    """

    value: str
    is_list: bool = False
    size: int | None = None


_TEXT = ColumnType("string")
_INT32, _INT64 = ColumnType("int32"), ColumnType("int64")
_TEXTS = ColumnType("string", is_list=True)

COLUMNS = {
    # Key as text, from `display_path`.
    KEY: _TEXT,
    # Byte offset and length in bytes of the framed record in its shard. The length
    # includes the 16 bytes of framing.
    OFFSET: _INT64,
    LENGTH: _INT64,
    # Paths of the image file and the caption file, relative to their source roots.
    SOURCE: _TEXT,
    CAPTION_SOURCE: _TEXT,
    # Size in pixels and format of the source image.
    ORIGINAL_WIDTH: _INT32,
    ORIGINAL_HEIGHT: _INT32,
    ORIGINAL_FORMAT: _TEXT,
    # Size in pixels of the stored image.
    WIDTH: _INT32,
    HEIGHT: _INT32,
    # Operations applied to the image.
    ACTIONS: _TEXTS,
    # Captions as stored, and the number of tokens of each, without start and end.
    CAPTIONS: _TEXTS,
    NUM_TOKENS: ColumnType("int32", is_list=True),
    # SHA-256 of the source image file, in hex.
    SHA256: _TEXT,
}

# Name of each caption, in datasets whose captions have names.
_NAMES = {CAPTION_NAMES: _TEXTS}

_VALUES = {
    "int64": "int64",
    "float32": "float",
    "float16": "float",
    "bytes": "string",
}


def columns_of(features: Iterable[Feature]) -> dict[str, ColumnType]:
    """Returns all columns of a dataset, `{name: type}`, in order.

    Args:
        features: Features of the dataset's records.
    """
    features = list(features)
    names = _NAMES if NAMES_OF_CAPTIONS in features else {}
    extras = {
        feature.key: column_type(feature)
        for feature in features
        if feature.key.startswith(EXTRA)
    }
    return COLUMNS | names | extras


def column_type(feature: Feature) -> ColumnType:
    """Returns the type of the column of a feature; halves are floats."""
    value = _VALUES[feature.dtype]
    if not feature.shape:
        return ColumnType(value)
    return ColumnType(value, is_list=True, size=feature.shape[0])

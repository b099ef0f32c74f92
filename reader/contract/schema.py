"""The record schema: features of a record and formats of stored images.

Feature keys follow the TensorFlow Model Garden, so existing decoders work.
"""

import typing
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from reader.contract.errors import DatasetError

Dtype = Literal["bytes", "int64", "float32", "float16"]
Values = list[bytes] | list[int] | list[float]

IMAGE = "image/encoded"
IMAGE_FORMAT = "image/format"
HEIGHT = "image/height"
WIDTH = "image/width"
KEY = "image/source_id"
SHA256 = "image/key/sha256"
CAPTIONS = "image/caption"
TOKEN_IDS = "caption/ids"
TOKEN_LENGTHS = "caption/lengths"
CAPTION_NAMES = "caption/names"
# Name of a dataset's own captions that have no other, also beside those of layers.
BASE_CAPTIONS = "base"
# A column carried through is stored as the feature `extra/<name>`.
EXTRA = "extra/"


class Feature(NamedTuple):
    """A feature of a record.

    Attributes:
        key: Key of the feature in the `tf.train.Example`.
        dtype: Type of the values: `bytes`, `int64`, `float32` or `float16`. Halves are
            stored as one value of bytes, two for each, little-endian.
        shape: Shape of the values: `()` for exactly one value, `(n,)` for exactly n
            values, `(None,)` for any number of values.
        role: Meaning of the feature, such as `image`; `extra` for a column carried
            through.
    """

    key: str
    dtype: Dtype
    shape: tuple[int | None, ...]
    role: str


FEATURES = (
    # Encoded image, in one of `STORED_FORMATS`; the name of that format.
    Feature(IMAGE, "bytes", (), "image"),
    Feature(IMAGE_FORMAT, "bytes", (), "format"),
    # Size of the stored image, in pixels.
    Feature(HEIGHT, "int64", (), "height"),
    Feature(WIDTH, "int64", (), "width"),
    # Path of the source relative to its root, without the last suffix.
    Feature(KEY, "bytes", (), "key"),
    # SHA-256 of the source image file, in hex.
    Feature(SHA256, "bytes", (), "sha256"),
    # Captions, in UTF-8 and NFC.
    Feature(CAPTIONS, "bytes", (None,), "captions"),
    # Token ids of all captions, concatenated: not truncated, without padding, start and
    # end. The lengths are the number of ids of each caption.
    Feature(TOKEN_IDS, "int64", (None,), "token_ids"),
    Feature(TOKEN_LENGTHS, "int64", (None,), "token_lengths"),
)


# Name of each caption, in UTF-8; empty if it has none. In the records of datasets whose
# captions have names.
NAMES_OF_CAPTIONS = Feature(CAPTION_NAMES, "bytes", (None,), "caption_names")


def names_in(values: Mapping[str, list[Any]]) -> list[str]:
    """Returns the name of each caption of a record; empty if captions have no names.

    Captions without a name among others with one are called `base`.

    Args:
        values: Values of the record's features, by key.
    """
    names = values.get(CAPTION_NAMES, [])
    return [name.decode("utf-8", "replace") or BASE_CAPTIONS for name in names]


# Key of a feature in a manifest that states the shape of halves. Readers that do not
# know them take what is stored: a single value of bytes.
_FLOAT16: Dtype = "float16"


def dump_feature(feature: Feature) -> dict[str, Any]:
    """Returns the JSON object of a feature in a manifest."""
    fields = feature._asdict()
    if feature.dtype == _FLOAT16:
        fields |= {"dtype": "bytes", "shape": (), _FLOAT16: feature.shape}
    return fields


def feature_from(fields: Mapping[str, Any]) -> Feature:
    """Returns a feature from its JSON object in a manifest.

    Raises:
        KeyError: A field is missing.
        TypeError: The dtype is unknown.
    """
    dtype, shape = fields["dtype"], fields["shape"]
    if _FLOAT16 in fields:
        dtype, shape = _FLOAT16, fields[_FLOAT16]
    if dtype not in typing.get_args(Dtype):
        raise TypeError(f"unknown dtype {dtype!r}")
    return Feature(str(fields["key"]), dtype, tuple(shape), fields["role"])


def is_column(name: str) -> bool:
    """Returns whether a name is that of a column, such as `extra/score`.

    Columns are carried through a build, or belong to a layer; roles have no slash.
    """
    return "/" in name


class StoredFormat(NamedTuple):
    """A format of stored images; its name is the value of `image/format`.

    Attributes:
        needs_size: Whether decoding needs `image/height` and `image/width`.
    """

    needs_size: bool


# `raw` is the bytes of uint8[height, width, 3], row by row from the top.
STORED_FORMATS = {
    "jpeg": StoredFormat(needs_size=False),
    "png": StoredFormat(needs_size=False),
    "raw": StoredFormat(needs_size=True),
}


def check_stored_format(image_format: str | None) -> None:
    """Checks that this version knows a stored format.

    Args:
        image_format: Name of the format; None if the format varies by image.

    Raises:
        DatasetError: A later version of Diptych stored the images.
    """
    if image_format is not None and image_format not in STORED_FORMATS:
        raise DatasetError(
            f'images are stored as "{image_format}", which this version does not '
            "support: upgrade diptych"
        )


def needs_size(image_format: str | None) -> bool:
    """Returns whether decoding a stored format needs the size of the image.

    Args:
        image_format: Name of the format; None if each image's bytes identify their
            format.
    """
    known = STORED_FORMATS.get(image_format or "")
    return known is not None and known.needs_size


def display_path(path: bytes) -> str:
    r"""Returns a key or path as text, with `%XX` for each byte that is not UTF-8.

    >>> display_path(b"caf\xe9/1")
    'caf%E9/1'
    """
    text = path.decode("utf-8", errors="surrogateescape")
    return "".join(
        f"%{ord(char) - 0xDC00:02X}" if 0xDC80 <= ord(char) <= 0xDCFF else char
        for char in text
    )

"""What a record holds: its features, and the formats of stored images.

Feature keys follow TensorFlow's Model Garden, so that existing decoders work.
"""

from typing import Literal, NamedTuple

Dtype = Literal["bytes", "int64", "float32"]
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
# Features of columns carried through are called `extra/<name>`.
EXTRA = "extra/"


class Feature(NamedTuple):
    """One feature of a record.

    Attributes:
        key: Its key in `tf.train.Example`.
        dtype: `bytes`, `int64` or `float32`.
        shape: `()` for one value, `(None,)` for any number of values.
        role: What a reader uses it for.
    """

    key: str
    dtype: Dtype
    shape: tuple[int | None, ...]
    role: str


FEATURES = (
    Feature(IMAGE, "bytes", (), "image"),
    Feature(IMAGE_FORMAT, "bytes", (), "format"),
    Feature(HEIGHT, "int64", (), "height"),
    Feature(WIDTH, "int64", (), "width"),
    Feature(KEY, "bytes", (), "key"),
    Feature(SHA256, "bytes", (), "sha256"),
    Feature(CAPTIONS, "bytes", (None,), "captions"),
    Feature(TOKEN_IDS, "int64", (None,), "token_ids"),
    Feature(TOKEN_LENGTHS, "int64", (None,), "token_lengths"),
)


class StoredFormat(NamedTuple):
    """A format that records hold images in; its name is the value of `image/format`.

    Attributes:
        needs_size: Whether its bytes are meaningless without `image/height` and
            `image/width`.
    """

    needs_size: bool


# `raw` is uint8[height, width, 3], row by row.
STORED_FORMATS = {
    "jpeg": StoredFormat(needs_size=False),
    "png": StoredFormat(needs_size=False),
    "raw": StoredFormat(needs_size=True),
}


def needs_size(image_format: str | None) -> bool:
    """Whether images of a stored format cannot be decoded without their size.

    Args:
        image_format: Its name; None where each image says its own format.
    """
    known = STORED_FORMATS.get(image_format or "")
    return known is not None and known.needs_size


def display_path(path: bytes) -> str:
    r"""Returns a key or path as text; bytes that are not UTF-8 are shown as `%XX`.

    >>> display_path(b"caf\xe9/1")
    'caf%E9/1'
    """
    text = path.decode("utf-8", errors="surrogateescape")
    return "".join(
        f"%{ord(char) - 0xDC00:02X}" if 0xDC80 <= ord(char) <= 0xDCFF else char
        for char in text
    )

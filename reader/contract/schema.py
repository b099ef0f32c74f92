"""What a record holds, and why a key may not have become one.

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

# The closed list of reasons for which a key is not written, each with the line of the
# books that it is counted under.
REASONS = {
    "unpaired_image": "unpaired",
    "unpaired_caption": "unpaired",
    "missing_image": "unpaired",
    "ambiguous_key": "rejected",
    "conflicting_rows": "rejected",
    "bad_row": "rejected",
    "bad_value": "rejected",
    "outside_root": "rejected",
    "not_a_file": "rejected",
    "unknown_extension": "rejected",
    "damaged_archive": "rejected",
    "not_an_image": "rejected",
    "unsupported_image": "rejected",
    "damaged_image": "rejected",
    "too_many_pixels": "rejected",
    "image_file_too_large": "rejected",
    "image_too_small": "filtered",
    "aspect_ratio_too_large": "filtered",
    "caption_too_large": "rejected",
    "undecodable_caption": "rejected",
    "empty_caption": "rejected",
    "duplicate_of": "duplicates",
}


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

"""TFRecords that others wrote: no manifest, no index, other names for things."""

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from reader.content import Content
from reader.contract.errors import DatasetError, UsageError
from reader.contract.record import (
    FOOTER,
    HEADER,
    crc32c_hex,
    masked_crc32c,
    parse_example,
)
from reader.contract.schema import Dtype, Feature
from reader.files import list_folder, read_bytes
from reader.index import ShardFile
from reader.plan import Int64s
from reader.shards import damage_of, scan_headers

# What `features=` of `load` may name, and the roles these have.
ROLES = {
    "image": "image",
    "caption": "captions",
    "ids": "token_ids",
    "key": "key",
    "height": "height",
    "width": "width",
}
# What others call these: TensorFlow's Model Garden, TFDS, and Show and Tell.
_USUAL = {
    "image": ("image/encoded", "image", "image/data", "image_raw", "jpg", "png"),
    "caption": ("image/caption", "caption", "captions/text", "text", "txt"),
    "ids": ("caption/ids", "image/caption_ids"),
    "key": ("image/source_id", "image/image_id", "image/filename", "image/id"),
    "height": ("image/height",),
    "width": ("image/width",),
}
_DTYPES: dict[str, Dtype] = {
    "image": "bytes",
    "caption": "bytes",
    "ids": "int64",
    "key": "bytes",
    "height": "int64",
    "width": "int64",
}
_TYPES: dict[type, Dtype] = {bytes: "bytes", int: "int64", float: "float32"}
# train-00003-of-00064.tfrecord, coco.record-00003-of-00064
_NUMBERED = re.compile(r"(?P<number>[0-9]{5})-of-(?P<num>[0-9]{5})")


def first_record(files: Iterable[ShardFile], *, tolerant: bool) -> bytes | None:
    """Returns the first record of some files, or with `tolerant` the first intact one.

    Raises:
        DatasetError: The first one is damaged.
    """
    for file in files:
        offsets = file.offsets()
        for begin, end in itertools.pairwise(offsets.tolist()):
            framed = read_bytes(file.path, begin, end - begin)
            what = damage_of(framed, end - begin)
            if what is None:
                return framed[HEADER.size : -FOOTER.size]
            if not tolerant:
                raise DatasetError(
                    f"{what} in {file.path} at byte {begin}: restore it, or pass "
                    'on_corrupt="skip"'
                )
    return None


def compression_of(path: str) -> str:
    """Returns `GZIP`, `ZLIB` or nothing, as the first bytes of a file tell.

    A length of an uncompressed record with such first bytes would have its own
    checksum behind it, so it is looked at first.
    """
    header = read_bytes(path, 0, HEADER.size)
    if len(header) == HEADER.size:
        _, length_crc = HEADER.unpack(header)
        if masked_crc32c(header[:8]) == length_crc:
            return ""
    if header[:2] == b"\x1f\x8b":
        return "GZIP"
    # RFC 1950: deflate, with a window of 32 KiB, and a multiple of 31.
    if header[:1] == b"\x78" and int.from_bytes(header[:2], "big") % 31 == 0:
        return "ZLIB"
    return ""


def content_of_record(
    record: bytes, named: Mapping[str, str] | None, where: str
) -> Content:
    """Returns what a record holds: what `named` says, and what has a usual name.

    Raises:
        DatasetError: It is no `tf.train.Example`.
        UsageError: A feature that is named is not there, or of another type.
    """
    try:
        example = parse_example(record)
    except ValueError as error:
        raise DatasetError(f"{where}: the first record is {error}") from error
    found: dict[str, Feature] = {}
    for name, role in ROLES.items():
        key = (named or {}).get(name)
        if key is not None:
            _check_named(name, key, example, where)
        else:
            key = next(
                filter(lambda k: _fits(name, example.get(k)), _USUAL[name]), None
            )
        if key is not None:
            shape = (None,) if role in ("captions", "token_ids") else ()
            found[role] = Feature(key, _DTYPES[name], shape, role)
    return Content(features=found)


def _fits(name: str, values: list[Any] | None) -> bool:
    return (
        values is not None
        and len(values) > 0
        and (_TYPES[type(values[0])] == _DTYPES[name])
    )


def _check_named(name: str, key: str, example: Mapping[str, Any], where: str) -> None:
    if key not in example:
        raise UsageError(
            f'features says that {name} is "{key}", but the first record of {where} '
            f"holds {', '.join(sorted(example))}"
        )
    if not _fits(name, example[key]):
        held = _TYPES[type(example[key][0])] if example[key] else "nothing"
        raise UsageError(
            f'features says that {name} is "{key}", which holds {held} in {where}, '
            f"not {_DTYPES[name]}"
        )


def check_features(features: object) -> Mapping[str, str] | None:
    """Returns what a caller gave as `features`, checked.

    Raises:
        UsageError: It is no mapping of the names there are to keys.
    """
    if features is None:
        return None
    known = ", ".join(ROLES)
    if not isinstance(features, Mapping):
        raise UsageError(
            f'features must be a mapping such as {{"image": "image/encoded"}}, '
            f"got {features!r}"
        )
    for name, key in features.items():
        if name not in ROLES or not isinstance(key, str):
            raise UsageError(
                f"features maps {known} to keys of features, got {name!r}: {key!r}"
            )
    return features


def check_numbers(paths: Iterable[str]) -> None:
    """Refuses files such as `…-00003-of-00064` of which others are not there.

    Raises:
        DatasetError: Some are missing: a copy that is not whole must not end well.
    """
    sets: dict[tuple[str, str, str, int], None] = {}
    for path in paths:
        folder, _, file = path.rpartition("/")
        if match := _NUMBERED.search(file):
            parts = (file[: match.start()], file[match.end() :], int(match["num"]))
            sets.setdefault((folder, *parts))
    for folder, before, after, num in sets:
        there = set(list_folder(folder or "."))
        names = [f"{before}{i:05d}-of-{num:05d}{after}" for i in range(num)]
        missing = [name for name in names if name not in there]
        if missing:
            raise DatasetError(
                f"{len(missing)} of {num} files are missing beside {before}…{after} in "
                f"{folder or '.'}/, the first is {missing[0]}: copy all of them"
            )


def scan(path: str) -> tuple[ShardFile, str | None]:
    """Finds where the records of a file begin, and what stops that before its end.

    Raises:
        DatasetError: It is no TFRecord file.
    """
    found, damage = scan_headers(path)
    if damage is not None and not damage.offset:
        raise DatasetError(f"{path} does not begin as a TFRecord file does")
    offsets: Int64s = np.array(found, np.int64)
    file = ShardFile(
        path=path,
        num_examples=len(offsets) - 1,
        num_bytes=int(offsets[-1]),
        checksum=crc32c_hex(offsets.tobytes()),
        offsets=lambda: offsets,
    )
    problem = None
    if damage is not None:
        problem = f"{damage.what} in {path} at byte {damage.offset}"
    return file, problem

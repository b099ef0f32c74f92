"""The bytes of a `tf.train.Example`: one value found, and left out, without a copy.

    Example   1: Features
    Features  1: entries, each 1: key, 2: Feature
    Feature   1: BytesList (2: FloatList, 3: Int64List)
    BytesList 1: values

All of these are length-delimited: a tag (1: 0x0A, 2: 0x12), a length as a varint, and
so many bytes: https://protobuf.dev/programming-guides/encoding.
"""

from typing import NamedTuple

_FIRST, _SECOND = 0x0A, 0x12


class Found(NamedTuple):
    """A value among the bytes of an Example.

    Attributes:
        begin: Where the value begins.
        end: Where it ends.
        rest: The Example without that feature.
    """

    begin: int
    end: int
    rest: bytes


def find_value(data: memoryview, key: bytes) -> Found:
    """Returns the one value of a feature of bytes.

    Raises:
        ValueError: There is no such feature, it holds another number of values, or
            these are no bytes of an Example as protobuf writes it.
    """
    try:
        return _find(data, key)
    except IndexError:
        raise ValueError("not a tf.train.Example: it ends early") from None


def _find(data: memoryview, key: bytes) -> Found:
    first, end = _inside(data, 0, _FIRST)
    place = first
    while place < end:
        entry, next_entry = _inside(data, place, _FIRST)
        name, name_end = _inside(data, entry, _FIRST)
        if data[name:name_end] == key:
            value, value_end = _single(data[:next_entry], name_end, key)
            before, after = data[first:place], data[next_entry:end]
            length = _varint(len(before) + len(after))
            return Found(value, value_end, b"".join((b"\n", length, before, after)))
        place = next_entry
    raise ValueError(f"it holds no {key.decode()}")


def _single(data: memoryview, place: int, key: bytes) -> tuple[int, int]:
    """Returns where the one value of a feature begins and ends, which ends `data`."""
    feature, end = _inside(data, place, _SECOND)
    values, _ = _inside(data, feature, _FIRST) if feature < end else (end, end)
    value, value_end = _inside(data, values, _FIRST) if values < end else (end, -1)
    if value_end != len(data):
        raise ValueError(f"{key.decode()} holds another number of values than 1")
    return value, value_end


def _inside(data: memoryview, place: int, tag: int) -> tuple[int, int]:
    """Returns where the contents of a field begin and end."""
    if data[place] != tag:
        raise ValueError(f"not a tf.train.Example: a tag {data[place]} at byte {place}")
    length = shift = 0
    while True:
        place += 1
        length |= (data[place] & 0x7F) << shift
        if data[place] < 0x80:
            break
        shift += 7
    begin, end = place + 1, place + 1 + length
    if end > len(data):
        raise ValueError("not a tf.train.Example: it ends early")
    return begin, end


def _varint(number: int) -> bytes:
    groups = bytearray()
    while number >= 0x80:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)

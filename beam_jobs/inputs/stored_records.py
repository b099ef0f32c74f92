"""Reads records of finished datasets: framing, checksums, key and image."""

from beam_jobs.elements import BadInput
from reader.contract.record import (
    FOOTER,
    FRAMING_BYTES,
    HEADER,
    frame_record,
    parse_example,
)
from reader.contract.schema import IMAGE, KEY


def image_of_record(framed: bytes, key: bytes) -> bytes:
    """Returns the stored image of a record.

    Args:
        framed: Bytes of the record, with its framing.
        key: Key that the record must have.

    Raises:
        BadInput: `damaged_record` if the bytes are no such record.
    """
    image, found = _features(framed)
    if found != key:
        raise BadInput("damaged_record", f"it has another key, {found!r}")
    return image


def key_of_record(framed: bytes) -> bytes:
    """Returns the key of a record.

    Raises:
        BadInput: `damaged_record` if the bytes are no record.
    """
    return _features(framed)[1]


def _features(framed: bytes) -> tuple[bytes, bytes]:
    """Returns the image and the key of a record."""
    data = framed[HEADER.size : -FOOTER.size]
    if len(framed) < FRAMING_BYTES or HEADER.unpack_from(framed)[0] != len(data):
        raise BadInput("damaged_record", "no record begins there, or it is truncated")
    if frame_record(data) != (framed[: HEADER.size], framed[-FOOTER.size :]):
        raise BadInput("damaged_record", "its checksum differs from its data")
    try:
        features = parse_example(data, (IMAGE, KEY))
        (image,), (key,) = features[IMAGE], features[KEY]
    except (ValueError, KeyError) as error:
        raise BadInput(
            "damaged_record", f"no image and no key in it: {error}"
        ) from error
    return image, key

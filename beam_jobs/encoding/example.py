"""Converts a pair's image and captions to a serialized record with its statistics.

`Budget` limits the memory that threads use for decoded pixels.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from beam_jobs.config.columns import Value, feature_values
from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import NOT_MET, BadInput, Pair, Reject, StoredImage, facts_of
from beam_jobs.encoding.encode_image import DatasetImage, EncodedImage, SourceImage
from beam_jobs.inputs.captions import Captions
from reader.contract import schema
from reader.contract.record import serialize_example
from reader.contract.schema import Dtype, Values
from reader.contract.tokenizers.protocol import Tokenizer

# Maximum bytes of decoded pixels per DoFn. 256 MB are twenty photographs of
# 4 megapixels. A larger image is decoded while no other image is.
DECODED_BYTES = 256 << 20


class Budget:
    """A thread-safe limit on the bytes that threads hold concurrently."""

    def __init__(self, limit: int = DECODED_BYTES) -> None:
        """Sets the limit, in bytes."""
        self._limit = limit
        self._held = 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def hold(self, num_bytes: int) -> Iterator[None]:
        """Holds bytes of the budget while the context is open.

        Waits until the bytes fit into the budget, or until no bytes are held.

        Args:
            num_bytes: Number of bytes to hold. May exceed the limit.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: not self._held or self._held + num_bytes <= self._limit
            )
            self._held += num_bytes
        try:
            yield
        finally:
            with self._changed:
                self._held -= num_bytes
                self._changed.notify_all()


class ReadsFiles(Protocol):
    """Reads the files of a pair, so that this module needs no input or output."""

    def image(self, pair: Pair) -> bytes:
        """Returns the bytes of the image file."""

    def captions(self, pair: Pair) -> Captions:
        """Returns the cleaned captions."""

    def values(self, pair: Pair) -> tuple[Value, ...]:
        """Returns the values of the extra columns, including long arrays."""


class Example(NamedTuple):
    """A serialized record, with its statistics for `samples/` and the manifest.

    Attributes:
        record: Serialized `tf.train.Example`.
        pair: Source pair of the record.
        image: Stored image, with empty `data` because `record` contains the bytes.
        num_image_bytes: Size of the encoded image in bytes.
        captions: Stored captions, and the number of dropped captions.
        num_tokens: Number of tokens of each caption.
        num_unknown: Number of out-of-vocabulary tokens in all captions.
    """

    record: bytes
    pair: Pair
    image: EncodedImage
    num_image_bytes: int
    captions: Captions
    num_tokens: tuple[int, ...]
    num_unknown: int


def make_example(
    pair: Pair,
    files: ReadsFiles,
    config: JobConfig,
    tokenizer: Tokenizer,
    unknown_id: int | None,
    budget: Budget,
) -> Example | Reject:
    """Converts a pair to an example, or to a `Reject` with the reason.

    Args:
        pair: Source pair.
        files: Reader of the pair's files.
        config: Configuration of the job.
        tokenizer: Tokenizer of the captions.
        unknown_id: Id of the out-of-vocabulary token, or None.
        budget: Limit on the memory for decoded pixels.
    """
    stage, source = "caption", pair.caption.path
    try:
        captions = files.captions(pair)
        pair = pair._replace(values=files.values(pair))
        stage, source = "image", pair.image.path
        image = _encode_image(pair, files, config, budget)
    except BadInput as error:
        return Reject(pair.key, (source,), stage, error.reason, error.detail)
    ids = [tokenizer.encode(caption) for caption in captions.texts]
    return Example(
        record=serialize_example(
            _features(pair.key, image, captions.texts, ids)
            | _names(captions, config)
            | _extras(pair, config)
        ),
        pair=pair,
        image=image._replace(data=b""),
        num_image_bytes=len(image.data),
        captions=captions,
        num_tokens=tuple(map(len, ids)),
        num_unknown=sum(id_ == unknown_id for row in ids for id_ in row),
    )


def _encode_image(
    pair: Pair, files: ReadsFiles, config: JobConfig, budget: Budget
) -> EncodedImage:
    if pair.image.size > config.max_image_bytes:
        raise BadInput(
            "image_file_too_large",
            f"{pair.image.size} bytes, more than {config.max_image_bytes}",
        )
    if pair.image.stored is not None:
        return _image_of_dataset(pair, pair.image.stored, files, config, budget)
    image = SourceImage(files.image(pair), max_pixels=config.max_pixels)
    image.check_filters(
        min_image_size=config.min_image_size, max_aspect_ratio=config.max_aspect_ratio
    )
    with budget.hold(image.decoded_bytes(config.image_spec)):
        encoded = image.encode(config.image_spec)
    _check_where(pair, encoded, config)
    return encoded


def _image_of_dataset(
    pair: Pair,
    stored: StoredImage,
    files: ReadsFiles,
    config: JobConfig,
    budget: Budget,
) -> EncodedImage:
    image = DatasetImage(stored, config.image_spec, max_pixels=config.max_pixels)
    image.check_filters(
        min_image_size=config.min_image_size, max_aspect_ratio=config.max_aspect_ratio
    )
    if image.kept is not None:
        # All is known before the image is read.
        _check_where(pair, image.kept, config)
        return image.kept._replace(data=files.image(pair))
    with budget.hold(image.decoded_bytes()):
        encoded = image.encode(files.image(pair))
    _check_where(pair, encoded, config)
    return encoded


def _check_where(pair: Pair, image: EncodedImage, config: JobConfig) -> None:
    """Checks a condition that depends on the image.

    Raises:
        BadInput: The pair does not meet the condition.
    """
    condition = config.row_filter
    if condition is None or not condition.needs_images:
        return
    row = condition.row_of(pair.values, facts_of(pair) | image.facts)
    if not condition.keeps(row):
        raise BadInput(*NOT_MET)


def _features(
    key: bytes, image: EncodedImage, captions: Sequence[str], ids: list[list[int]]
) -> dict[str, tuple[Dtype, Values]]:
    values: dict[str, Values] = {
        schema.IMAGE: [image.data],
        schema.IMAGE_FORMAT: [image.format.encode()],
        schema.HEIGHT: [image.height],
        schema.WIDTH: [image.width],
        schema.KEY: [key],
        schema.SHA256: [image.sha256.encode()],
        schema.CAPTIONS: [caption.encode() for caption in captions],
        schema.TOKEN_IDS: [id_ for row in ids for id_ in row],
        schema.TOKEN_LENGTHS: [len(row) for row in ids],
    }
    return {
        feature.key: (feature.dtype, values[feature.key]) for feature in schema.FEATURES
    }


def _names(captions: Captions, config: JobConfig) -> dict[str, tuple[Dtype, Values]]:
    if not config.names_of_captions:
        return {}
    feature = schema.NAMES_OF_CAPTIONS
    return {feature.key: (feature.dtype, [name.encode() for name in captions.names])}


def _extras(pair: Pair, config: JobConfig) -> dict[str, tuple[Dtype, Values]]:
    return {
        column.feature.key: (column.feature.dtype, feature_values(column, value))
        for column, value in zip(
            config.columns, pair.values[: len(config.columns)], strict=True
        )
    }

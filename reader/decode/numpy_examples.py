"""Converts one parsed record to an example of `reader.open`, without TensorFlow."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reader.config.image_config import ImageConfig
from reader.config.read_config import DEFAULT_OUTPUTS, OUTPUTS, ReadConfig
from reader.contract.errors import UsageError
from reader.contract.host import import_library
from reader.contract.record import parse_halves
from reader.contract.schema import Feature, display_path, names_in, needs_size
from reader.datasets.record_schema import RecordSchema
from reader.decode.example_arrays import ExampleArrays
from reader.decode.named_captions import NAMES
from reader.decode.outputs import (
    TOKEN_OUTPUTS,
    check_caption_names,
    check_conflicts,
    check_tokens,
    missing,
    no_names,
    not_held,
    pad_id,
    special_tokens,
)
from reader.pixels.codecs import decoder, undecodable
from reader.shuffle.randomness import Draws, random_bits, random_key

# The outputs of `load` without those that describe a batch, and two of single examples.
# Columns such as `extra/score` are allowed too.
_BATCH_OUTPUTS = ("valid", "caption_valid")
RECORD_OUTPUTS = (
    *(name for name in OUTPUTS if name not in _BATCH_OUTPUTS),
    "captions",
    "caption_names",
    "draws",
)

Values = Mapping[str, list[Any]]
# Outputs that are those of one caption.
_CAPTION_OUTPUTS = (*TOKEN_OUTPUTS, "caption", "caption_name")

# (values of a record, place of the record) → output
Make = Callable[[Values, "Place"], Any]


class Place(NamedTuple):
    """What is known of a record without its bytes.

    Attributes:
        number: Record number.
        epoch: Epoch, counted from 0.
        dataset: Number of the dataset that the record belongs to.
    """

    number: int
    epoch: int
    dataset: int


def makers(
    names: tuple[str, ...] | None, record_schema: RecordSchema, config: ReadConfig
) -> dict[str, Make]:
    """Returns functions that compute each output from the values of a record, by name.

    The functions raise a ValueError if the record lacks a required value or an image
    does not decode.

    Args:
        names: Names of the outputs; None for the default outputs that the records
            provide.
        record_schema: Schema of the records.
        config: Read configuration, with `max_tokens` and `add_special_tokens`.

    Raises:
        DatasetError: This version does not support the stored image format.
        UsageError: The records do not provide an output, the sources differ in it,
            `max_tokens` is too small, or a required library is not installed.
    """
    check_conflicts(names or DEFAULT_OUTPUTS, record_schema)
    if names is None:
        image, *others = DEFAULT_OUTPUTS
        names = (image, *(name for name in others if not missing(name, record_schema)))
    if NAMES in names and NAMES not in record_schema.features:
        raise UsageError(no_names(f"outputs names {NAMES}"))
    for name in names:
        if missing(name, record_schema):
            raise UsageError(not_held(name, record_schema))
    of_captions = tuple(name for name in names if name in _CAPTION_OUTPUTS)
    chosen = dataclasses.replace(config, outputs=of_captions or ("key",))
    check_caption_names(chosen, record_schema)
    check_tokens(config, record_schema)
    make = {name: _maker(name, record_schema, config) for name in names}
    if config.caption != "first":
        for name in of_captions:
            make[name] = _ChosenCaption(name, record_schema, config).make
    return make


def _maker(name: str, record_schema: RecordSchema, config: ReadConfig) -> Make:
    match name:
        case "image":
            return _image_maker(record_schema, config)
        case "encoded":
            image = record_schema.features["image"].key
            return lambda values, _: _one(values, image)
        case "draws":
            return _RecordDraws(config.seed)
        case "tokens":
            return _Tokens(record_schema, config).row
        case "mask":
            return _Tokens(record_schema, config).mask
        case "length":
            return _Tokens(record_schema, config).length
        case "dataset":
            return lambda _, place: place.dataset
        case "key":
            key = record_schema.features["key"].key
            return lambda values, _: display_path(_one(values, key))
        case "caption":
            # In foreign TFRecords, an image may have no caption.
            captions = record_schema.features["captions"]
            return lambda values, _: next(iter(_column(values, captions)), "")
        case "caption_name":
            return lambda values, _: next(iter(names_in(values)), "")
        case "caption_names":
            return lambda values, _: names_in(values)
    feature = record_schema.features[name]
    return lambda values, _: _column(values, feature)


def _image_maker(record_schema: RecordSchema, config: ReadConfig) -> Make:
    decode = decoder(record_schema.image_format)  # Raises if a library is missing.
    if config.images.size is not None:
        return _Images(record_schema, config).make
    image, sides = record_schema.features["image"].key, []
    if needs_size(record_schema.image_format):
        sides = [record_schema.features[role].key for role in ("height", "width")]

    def make(values: Values, _: Place) -> NDArray[Any]:
        size = [_one(values, side) for side in sides] or [0, 0]
        encoded = _one(values, image)
        try:
            return decode(encoded, *size)
        except ValueError as error:
            raise ValueError(undecodable(error)) from error

    return make


class _Images:
    """Crops and resizes images, with the random numbers of `load`."""

    def __init__(self, record_schema: RecordSchema, config: ReadConfig) -> None:
        # Imported here: without `image_size`, OpenCV is not needed.
        import_library("cv2", "image_size", "opencv-python-headless")
        from reader.pixels.engine import PixelEngine

        self._engine = PixelEngine(config.images, record_schema.image_format)
        self._draws = Draws(config.seed, config.images.num_draws)
        features, roles = record_schema.features, ("height", "width")
        self._image = features["image"].key
        self._sides = [features[role].key for role in roles if role in features]
        if record_schema.image_format is None:
            self._sides = []  # The size of such images is read from them.

    def make(self, values: Values, place: Place) -> NDArray[Any]:
        """Returns the image of a record.

        Raises:
            ValueError: The image is damaged.
        """
        sides = [_one(values, side) for side in self._sides]
        draws = self._draws.of(np.array([place.number]), np.array([place.epoch]))
        size = (sides[0], sides[1]) if sides else None
        return self._engine.make_one(_one(values, self._image), size, draws)


class _RecordDraws:
    """Random numbers of a record for a user's own transform."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        images = ImageConfig(size=(1, 1), crop="random_resized", flip=True)
        self._draws = Draws(seed, {**images.num_draws, "caption": 1})

    def __call__(self, _: Values, place: Place) -> dict[str, Any]:
        """Returns the numbers of each use, and a seed for more of them."""
        number = np.array([place.number])
        (row,) = self._draws.of(number, np.array([place.epoch]))
        columns = self._draws.columns
        bits = random_bits(random_key("transform", self._seed, place.epoch), number)
        return {
            "crop": row[columns["crop"]],
            "flip": row[columns["flip"]][0],
            "caption": row[columns["caption"]][0],
            # 63 bits: PyTorch has no more for an integer.
            "seed": int(bits[0] >> np.uint64(1)),
        }


def _column(values: Values, feature: Feature) -> Any:
    """Returns the value of a column: a scalar, a list of strings, or an array."""
    found = values.get(feature.key, [])
    if feature.dtype == "float16":
        return _halves(found, feature)
    if feature.dtype == "bytes":
        found = [text.decode("utf-8", "replace") for text in found]
    if feature.shape:
        return found if feature.dtype == "bytes" else np.array(found, feature.dtype)
    value = _only(found, feature.key)
    # PyTorch would convert a Python float to float64.
    return np.float32(value) if feature.dtype == "float32" else value


def _halves(found: list[Any], feature: Feature) -> Any:
    numbers = parse_halves(_only(found, feature.key))
    num = math.prod(feature.shape)  # type: ignore[arg-type]
    if len(numbers) != num:
        raise ValueError(f"it holds {len(numbers)} values of {feature.key}, not {num}")
    # A copy, since the bytes of a record cannot be written to.
    return numbers.copy() if feature.shape else numbers[0]


def _one(values: Values, key: str) -> Any:
    return _only(values.get(key, []), key)


def _only(found: list[Any], key: str) -> Any:
    if len(found) != 1:
        raise ValueError(f"it holds {len(found)} values of {key}, not 1")
    return found[0]


class _ChosenCaption:
    """Makes an output of the caption that `load` takes of a record."""

    def __init__(
        self, name: str, record_schema: RecordSchema, config: ReadConfig
    ) -> None:
        self._name = "length" if name == "mask" else name
        self._max_tokens = config.max_tokens if name == "mask" else None
        config = dataclasses.replace(config, outputs=(name,))
        self._draws = config.draws
        self._arrays = ExampleArrays(record_schema, config)

    def make(self, values: Values, place: Place) -> Any:
        """Returns the output of a record."""
        draws = self._draws.of(np.array([place.number]), np.array([place.epoch]))
        (made,) = self._arrays.chosen_captions([values], draws)[self._name]
        if self._max_tokens is not None:
            return np.arange(self._max_tokens) < made
        if isinstance(made, bytes):
            return made.decode("utf-8", "replace")
        return int(made) if self._name == "length" else made


class _Tokens:
    """Pads the token ids of a caption to `max_tokens`, with start and end tokens.

    With start 2, end 3, pad 0 and `max_tokens=5`:

        [7]            -> [2, 7, 3, 0, 0]
        [7, 8, 9, 10]  -> [2, 7, 8, 9, 3]
    """

    def __init__(self, record_schema: RecordSchema, config: ReadConfig) -> None:
        """Looks up the features of token ids, and the start, end and pad ids."""
        lengths = record_schema.features.get("token_lengths")
        self._ids = record_schema.features["token_ids"].key
        self._lengths = None if lengths is None else lengths.key
        self._pad = pad_id(record_schema.tokenizer)
        self._start, self._end = special_tokens(record_schema.tokenizer, config)
        self._max_tokens = config.max_tokens
        self._room = config.max_tokens - len(self._start) - len(self._end)

    def row(self, values: Values, _: Place) -> NDArray[np.int32]:
        """Returns int32[max_tokens]: the token ids, padded."""
        framed = self._framed(values)
        row = np.full(self._max_tokens, self._pad, np.int32)
        row[: len(framed)] = framed
        return row

    def mask(self, values: Values, place: Place) -> NDArray[np.bool_]:
        """Returns bool[max_tokens]: True where tokens are not padding."""
        return np.arange(self._max_tokens) < self.length(values, place)

    def length(self, values: Values, _: Place) -> int:
        """Returns the number of tokens that are not padding."""
        return len(self._framed(values))

    def _framed(self, values: Values) -> list[int]:
        """Returns the ids of the first caption, truncated, with start and end."""
        ids = values.get(self._ids, [])
        if self._lengths is not None:  # Without lengths, there is one caption.
            ids = ids[: next(iter(values.get(self._lengths, ())), 0)]
        return [*self._start, *ids[: self._room], *self._end]

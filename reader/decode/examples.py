"""Parses and decodes records into a Dataset of examples with the requested outputs.

Every operation except image decoding processes a whole chunk of records at once: for 16
records it takes hardly longer than for one.
"""

import math

import tensorflow as tf

from reader.config.read_config import ReadConfig
from reader.contract import schema
from reader.datasets.record_schema import RecordSchema
from reader.decode.captions import (
    Choice,
    choose_captions,
    join_groups,
    lengths_of,
    take_names,
    take_texts,
    take_tokens,
)
from reader.decode.named_captions import CAPTION_ROLES, MISSING
from reader.decode.outputs import roles_of
from reader.records.window_reads import Records

# Types of outputs by the type of their feature.
TYPES = {
    "bytes": tf.string,
    "int64": tf.int64,
    "float32": tf.float32,
    "float16": tf.float16,
}

# Input of the pixel workers, beside the encoded images.
SIZES, PIXEL_DRAWS = "sizes of images", "draws of images"


def make_examples(
    records: tf.data.Dataset,
    record_schema: RecordSchema,
    config: ReadConfig,
    num_calls: int,
) -> tf.data.Dataset:
    """Returns a Dataset of dictionaries, one for each chunk of records.

    A dictionary holds the requested outputs except `mask`, which needs one comparison
    per batch and is computed there. Chunks with tokens also hold `length`. With
    `remainder="pad"`, chunks also hold `blank`, and `MISSING` if captions are drawn by
    name.

    Args:
        records: Dataset of `Records`, one chunk per element.
        record_schema: Schema of the records.
        config: Read configuration.
        num_calls: Number of chunks to process concurrently.
    """
    roles = roles_of(record_schema, config)
    makes_images = "image" in config.names
    features = {
        record_schema.features[role].key: feature_spec(record_schema.features[role])
        for role in roles
    }

    def make(chunk: Records) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(chunk.records, features)
        values = {
            role: _numbers(parsed[feature.key], feature)
            for role in roles
            for feature in [record_schema.features[role]]
        }
        examples = {name: values[name] for name in config.names if name in values}
        if "encoded" in config.names:
            examples["encoded"] = values["image"]
        for side in {"height", "width"} & {*config.names}:
            examples[side] = tf.cast(values[side], tf.int32)
        if makes_images:
            sizes = _sizes(values, record_schema)
            if sizes is not None:
                examples[SIZES] = sizes
            examples[PIXEL_DRAWS] = pixel_draws(chunk.draws, config)
        if config.caption_weights is not None:
            values |= join_groups(values, record_schema, config.caption_weights)
        if {*CAPTION_ROLES} & {*values}:
            choice = choose_captions(values, chunk.draws, config)
            if choice.missing is not None:
                examples[MISSING] = choice.missing
            examples |= _captions(values, choice, record_schema, config)
        if "dataset" in config.names:
            examples["dataset"] = chunk.datasets
        if "valid" in config.names:
            examples["valid"] = chunk.valid
        if config.remainder == "pad":
            examples["blank"] = chunk.blank
        return examples

    return records.map(make, num_parallel_calls=num_calls, deterministic=True)


def pixel_draws(draws: tf.Tensor, config: ReadConfig) -> tf.Tensor:
    """Returns float64[n, k]: the random numbers of crops, then of flips.

    Args:
        draws: float64[n, draws]: All random numbers of each record.
        config: Read configuration.
    """
    columns = config.draws.columns
    parts = [draws[:, columns[use]] for use in ("crop", "flip") if use in columns]
    return tf.concat([draws[:, :0], *parts], axis=1)


def _sizes(
    values: dict[str, tf.Tensor], record_schema: RecordSchema
) -> tf.Tensor | None:
    """Returns int32[n, 2]: the stored height and width of each image, in pixels.

    Returns None if the image format varies; the decoder then reads sizes from images.
    """
    if record_schema.image_format is None:
        return None
    return tf.cast(tf.stack([values["height"], values["width"]], axis=1), tf.int32)


def _captions(
    values: dict[str, tf.Tensor],
    choice: Choice,
    record_schema: RecordSchema,
    config: ReadConfig,
) -> dict[str, tf.Tensor]:
    outputs = {}
    if "token_ids" in values:
        lengths = lengths_of(values)
        outputs["tokens"], outputs["length"] = take_tokens(
            values["token_ids"], lengths, choice, record_schema.tokenizer, config
        )
    if "caption" in config.names:
        outputs["caption"] = take_texts(values["captions"], choice)
    if "caption_valid" in config.names:
        outputs["caption_valid"] = choice.valid
    if "caption_name" in config.names:
        outputs["caption_name"] = take_names(values, choice, config)
    if config.caption == "all":
        return outputs
    return {name: tf.squeeze(value, axis=1) for name, value in outputs.items()}


def feature_spec(feature: schema.Feature) -> object:
    """Returns the TensorFlow parsing specification of a feature."""
    if feature.dtype == "float16":
        return tf.io.FixedLenFeature((), tf.string)
    dtype = TYPES[feature.dtype]
    if None not in feature.shape:
        return tf.io.FixedLenFeature(feature.shape, dtype)
    return tf.io.RaggedFeature(dtype)


def _numbers(parsed: tf.Tensor, feature: schema.Feature) -> tf.Tensor:
    """Returns the values of a parsed feature, of which halves are stored as bytes."""
    if feature.dtype != "float16":
        return parsed
    halves = tf.io.decode_raw(parsed, tf.float16)
    halves = tf.ensure_shape(halves, (None, math.prod(feature.shape)))  # type: ignore[arg-type]
    return tf.reshape(halves, (-1, *feature.shape))

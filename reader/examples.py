"""Records → a Dataset of examples: parsed, decoded, framed, as far as asked for."""

import tensorflow as tf

from reader.captions import first_caption, frame_tokens
from reader.config import ReadConfig, is_extra
from reader.contract import schema
from reader.contract.manifest import Manifest
from reader.images import make_decoder

_TYPES = {"bytes": tf.string, "int64": tf.int64, "float32": tf.float32}

# Which features each output is made of.
_NEEDS = {
    "image": (schema.IMAGE, schema.HEIGHT, schema.WIDTH),
    "tokens": (schema.TOKEN_IDS, schema.TOKEN_LENGTHS),
    "mask": (schema.TOKEN_IDS, schema.TOKEN_LENGTHS),
    "length": (schema.TOKEN_IDS, schema.TOKEN_LENGTHS),
    "key": (schema.KEY,),
    "caption": (schema.CAPTIONS,),
    "height": (schema.HEIGHT,),
    "width": (schema.WIDTH,),
}


def make_examples(
    records: tf.data.Dataset, manifest: Manifest, config: ReadConfig
) -> tf.data.Dataset:
    """Returns a Dataset of dictionaries: the outputs of one example, and `length`.

    `mask` is left to the batch, where it costs one comparison.
    """
    features = _parsing_spec(manifest, config)
    wants_image = "image" in config.names
    decode_image = make_decoder(config, manifest.image) if wants_image else None

    def make(record: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_single_example(record, features)
        example = {}
        for name in config.names:
            if name == "image" and decode_image is not None:
                example[name] = decode_image(*(parsed[key] for key in _NEEDS[name]))
            elif is_extra(name):
                example[name] = parsed[name]
            elif name == "key":
                example[name] = parsed[schema.KEY]
            elif name == "caption":
                example[name] = parsed[schema.CAPTIONS][0]
            elif name in ("height", "width"):
                example[name] = tf.cast(parsed[_NEEDS[name][0]], tf.int32)
        if schema.TOKEN_IDS in parsed:
            ids = first_caption(parsed[schema.TOKEN_IDS], parsed[schema.TOKEN_LENGTHS])
            row, length = frame_tokens(ids, manifest.tokenizer, config)
            example |= {"tokens": row, "length": length}
        return example

    return records.map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _parsing_spec(manifest: Manifest, config: ReadConfig) -> dict[str, object]:
    """Returns what `tf.io.parse_single_example` needs, from the manifest's features."""
    needed = {key for name in config.names for key in _NEEDS.get(name, (name,))}
    return {
        feature.key: _feature_spec(feature)
        for feature in manifest.features
        if feature.key in needed
    }


def _feature_spec(feature: schema.Feature) -> object:
    dtype = _TYPES[feature.dtype]
    if None not in feature.shape:
        return tf.io.FixedLenFeature(feature.shape, dtype)
    return tf.io.FixedLenSequenceFeature((), dtype, allow_missing=True)

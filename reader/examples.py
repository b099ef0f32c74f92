"""Records → a Dataset of examples: parsed, decoded, framed, as far as asked for."""

import tensorflow as tf

from reader.captions import first_caption, frame_tokens
from reader.config import ReadConfig
from reader.content import Content
from reader.contract import schema
from reader.images import make_decoder
from reader.records import Element

_TYPES = {"bytes": tf.string, "int64": tf.int64, "float32": tf.float32}

# Which roles each output is made of: those it needs, and those it can do without.
_TOKENS = (("token_ids",), ("token_lengths",))
_NEEDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "image": (("image",), ("height", "width")),
    "tokens": _TOKENS,
    "mask": _TOKENS,
    "length": _TOKENS,
    "key": (("key",), ()),
    "caption": (("captions",), ()),
    "height": (("height",), ()),
    "width": (("width",), ()),
    "valid": ((), ()),
}


def missing_roles(name: str, content: Content) -> list[str]:
    """Returns what an output would need and records do not hold."""
    needed, _ = _needs(name, content)
    return [role for role in needed if role not in content.features]


def make_examples(
    records: tf.data.Dataset, content: Content, config: ReadConfig
) -> tf.data.Dataset:
    """Returns a Dataset of dictionaries: the outputs of one example, and `length`.

    `mask` is left to the batch, where it costs one comparison. `blank` is there where
    batches are filled up.
    """
    roles = _roles(content, config)
    features = {
        content.features[role].key: _feature_spec(content.features[role])
        for role in roles
    }
    decode_image = None
    if "image" in config.names:
        decode_image = make_decoder(config, content.image_format)

    def make(element: Element) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_single_example(element.record, features)
        values = {role: parsed[content.features[role].key] for role in roles}
        example = {}
        for name in config.names:
            if name == "image" and decode_image is not None:
                sizes = (values.get("height"), values.get("width"))
                example[name] = decode_image(values["image"], *sizes)
            elif name == "caption":
                # Others may have an image without one.
                example[name] = tf.strings.reduce_join(values["captions"][:1])
            elif name in ("height", "width"):
                example[name] = tf.cast(values[name], tf.int32)
            elif name == "valid":
                example[name] = element.valid
            elif name in values:
                example[name] = values[name]
        if "token_ids" in values:
            ids = first_caption(values["token_ids"], values.get("token_lengths"))
            row, length = frame_tokens(ids, content.tokenizer, config)
            example |= {"tokens": row, "length": length}
        if config.remainder == "pad":
            example["blank"] = element.blank
        return example

    return records.map(make, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def _roles(content: Content, config: ReadConfig) -> list[str]:
    """Returns the roles to parse for what is asked for."""
    wanted = [
        role
        for name in config.names
        for roles in _needs(name, content)
        for role in roles
    ]
    return [role for role in dict.fromkeys(wanted) if role in content.features]


def _needs(name: str, content: Content) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the roles that an output needs, and those it can do without."""
    if name == "image" and content.image_format is None:
        return ("image",), ()  # Each says its own size, and others may not.
    return _NEEDS.get(name, ((name,), ()))


def _feature_spec(feature: schema.Feature) -> object:
    dtype = _TYPES[feature.dtype]
    if None not in feature.shape:
        return tf.io.FixedLenFeature(feature.shape, dtype)
    return tf.io.FixedLenSequenceFeature((), dtype, allow_missing=True)

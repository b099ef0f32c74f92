"""Generates `features.json` and `dataset_info.json` for TensorFlow Datasets (TFDS).

Both files are protobuf messages as JSON, in which an unknown field is an error. The
messages are in tensorflow_datasets/core/proto/feature.proto and dataset_info.proto.
"""

from collections.abc import Iterator
from typing import Any

from reader.contract import schema
from reader.contract.manifest import Manifest, Split
from reader.contract.record import FRAMING_BYTES
from reader.contract.schema import Feature, needs_size
from reader.contract.statistics import Statistics

Json = dict[str, Any]

_CORE = "tensorflow_datasets.core.features."
_DTYPES = {"bytes": "string", "int64": "int64", "float32": "float32"}
# Diptych's shard names. By default, TFDS puts the name of the dataset first.
_FILES = "{SPLIT}-{SHARD_X_OF_Y}.{FILEFORMAT}"


def features(manifest: Manifest) -> Json:
    """Returns the content of `features.json`: the features of a record."""
    made = {
        feature.key: _image(manifest) if feature.key == schema.IMAGE else _of(feature)
        for feature in manifest.features
    }
    return {
        "pythonClassName": f"{_CORE}features_dict.FeaturesDict",
        "featuresDict": {"features": made},
    }


def _of(feature: Feature) -> Json:
    if feature.dtype == "float16":
        return _tensor("bytes", ())  # TFDS knows no halves in a value of bytes.
    if feature.shape != (None,):
        return _tensor(feature.dtype, feature.shape)
    return {
        "pythonClassName": f"{_CORE}sequence_feature.Sequence",
        "sequence": {"length": "-1", "feature": _tensor(feature.dtype, ())},
    }


def _tensor(dtype: str, shape: tuple[int | None, ...], encoding: str = "none") -> Json:
    if (dtype, shape) == ("bytes", ()):
        return {"pythonClassName": f"{_CORE}text_feature.Text", "text": {}}
    kind = "tensor_feature.Tensor" if shape else "scalar.Scalar"
    return {
        "pythonClassName": f"{_CORE}{kind}",
        "tensor": {
            "shape": _shape(shape),
            "dtype": _DTYPES.get(dtype, dtype),
            "encoding": encoding,
        },
    }


def _shape(shape: tuple[int | None, ...]) -> Json:
    dimensions = [str(-1 if size is None else size) for size in shape]
    return {"dimensions": dimensions} if dimensions else {}


def _image(manifest: Manifest) -> Json:
    """Returns the feature of the stored images, which TFDS decodes.

    For raw pixels, TFDS allows only one unknown dimension. If image sizes differ, an
    image is a flat list of pixels, to be reshaped by `image/height` and `image/width`.
    """
    if needs_size(manifest.image.format):
        sides = _uniform_size(manifest.splits) or (None,)
        return _tensor("uint8", (*sides, 3), "bytes")
    return {
        "pythonClassName": f"{_CORE}image_feature.Image",
        "image": {
            "shape": _shape((None, None, 3)),
            "dtype": "uint8",
            "encodingFormat": manifest.image.format,
        },
    }


def _uniform_size(splits: tuple[Split, ...]) -> tuple[int, int] | None:
    """Returns (height, width) of all images, or None if sizes differ."""
    statistics = Statistics()
    for split in splits:
        statistics = statistics.merge(split.statistics)
    width, height = statistics.width, statistics.height
    if (width.min, height.min) != (width.max, height.max):
        return None
    return height.min, width.min


def dataset_info(manifest: Manifest) -> Json:
    """Returns the content of `dataset_info.json`: metadata, splits, shard lengths."""
    about = manifest.about
    info: Json = {
        "name": manifest.name,
        "version": about.version,
        "description": manifest.description,
        "fileFormat": "tfrecord",
        "supervisedKeys": {
            "tuple": {
                "items": [
                    {"featureKey": key} for key in (schema.IMAGE, schema.CAPTIONS)
                ]
            }
        },
        "splits": list(_splits(manifest)),
    }
    if about.citation:
        info["citation"] = about.citation
    if about.license:
        info["redistributionInfo"] = {"license": about.license}
    if about.url:
        info["location"] = {"urls": [about.url]}
    return info


def _splits(manifest: Manifest) -> Iterator[Json]:
    for split in manifest.splits:
        if not split.num_examples:
            continue  # TFDS fails on an empty split, even when reading all splits.
        framing = FRAMING_BYTES * split.num_examples
        yield {
            "name": split.name,
            "shardLengths": [str(shard.num_examples) for shard in split.shards],
            "numBytes": str(split.num_bytes - framing),
            "filepathTemplate": _FILES,
        }

"""Generates `croissant.json`: metadata in Croissant 1.1, which dataset catalogs read.

Croissant supports Parquet but not TFRecord. Therefore the rows of `samples/` are the
records, and the shards are listed as plain files. Specification:
docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

from collections.abc import Iterator
from itertools import starmap
from typing import Any
from urllib.parse import quote

from reader.contract import layout
from reader.contract.manifest import Manifest
from reader.contract.samples import KEY, ColumnType, columns_of

Json = dict[str, Any]

# Verbatim from the specification, because consumers may warn about any other context.
_CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_TYPES = {
    "string": "sc:Text",
    "int32": "cr:Int32",
    "int64": "cr:Int64",
    "float": "cr:Float32",
}

_SHARDS = "shards"
_SAMPLES = "parquet"
_ROWS = "samples"
_SPLITS = "splits"
# The pattern also matches its own result, because `mlcroissant` applies it twice to
# fields with references. `mlcroissant` also converts the pattern to a glob to select a
# single split.
_SPLIT_OF_PATH = rf"(?:{layout.SAMPLES_DIR}/)?([a-z][a-z0-9_]*)(?:-.+\.parquet)?$"


def metadata(manifest: Manifest) -> Json:
    """Returns the content of `croissant.json`."""
    about = manifest.about
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": manifest.name,
        "description": manifest.description,
        "version": about.version,
        "distribution": list(_files(manifest)),
        "recordSet": [_splits(manifest), _samples(manifest)],
    } | {
        name: value
        for name, value in (
            ("citeAs", about.citation),
            ("datePublished", about.date_published),
            ("license", about.license),
            ("url", about.url),
        )
        if value is not None
    }


def _files(manifest: Manifest) -> Iterator[Json]:
    tokenizer = manifest.tokenizer
    path = f"{layout.TOKENIZER_DIR}/{tokenizer.file}"
    yield _file_set(
        _SHARDS,
        "*.tfrecord",
        "application/x-tfrecord",
        "Records: tf.train.Example in TFRecord files, shuffled; manifest.json has the "
        "features.",
    )
    yield _file_set(
        _SAMPLES,
        f"{layout.SAMPLES_DIR}/*.parquet",
        "application/x-parquet",
        "A row for each record, and in the same order.",
    )
    yield {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "description": f"What captions were tokenized with ({tokenizer.kind}).",
        "contentUrl": path,
        "encodingFormat": "application/octet-stream",
        "sha256": tokenizer.sha256,
    }


def _file_set(name: str, includes: str, kind: str, description: str) -> Json:
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "description": description,
        "encodingFormat": kind,
        "includes": includes,
    }


def _splits(manifest: Manifest) -> Json:
    name = f"{_SPLITS}/name"
    return {
        "@type": "cr:RecordSet",
        "@id": _SPLITS,
        "name": _SPLITS,
        "dataType": "cr:Split",
        "key": {"@id": name},
        "field": [{**_named(name, "name"), "dataType": "sc:Text"}],
        "data": [{name: split.name} for split in manifest.splits],
    }


def _named(identifier: str, name: str) -> Json:
    return {"@type": "cr:Field", "@id": identifier, "name": name}


def _samples(manifest: Manifest) -> Json:
    columns = columns_of(manifest.features)
    split = {
        **_named(f"{_ROWS}/split", "split"),
        "dataType": "sc:Text",
        "references": {"field": {"@id": f"{_SPLITS}/name"}},
        "source": {
            "fileSet": {"@id": _SAMPLES},
            "extract": {"fileProperty": "fullpath"},
            "transform": {"regex": _SPLIT_OF_PATH},
        },
    }
    return {
        "@type": "cr:RecordSet",
        "@id": _ROWS,
        "name": _ROWS,
        "description": "What is known of each record, its captions among it.",
        "key": {"@id": f"{_ROWS}/{KEY}"},
        "field": [split, *starmap(_column, columns.items())],
    }


def _column(name: str, column: ColumnType) -> Json:
    field = {
        **_named(f"{_ROWS}/{quote(name)}", name),
        "source": {"fileSet": {"@id": _SAMPLES}, "extract": {"column": name}},
        "dataType": _TYPES[column.value],
    }
    if not column.is_list:
        return field
    size = -1 if column.size is None else column.size
    return {**field, "isArray": True, "arrayShape": str(size)}

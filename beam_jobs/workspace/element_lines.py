"""Pairs and rejects as lines of JSON, in which paths are kept whatever their bytes."""

import json
from typing import Any

from beam_jobs.config.columns import Value
from beam_jobs.elements import (
    Cell,
    Pair,
    Reject,
    SourceFile,
    StoredArray,
    StoredImage,
)


def text_of(path: bytes) -> str:
    """Decodes a path to text. `path_of` restores the same bytes."""
    return path.decode("utf-8", errors="surrogateescape")


def path_of(text: str) -> bytes:
    """Encodes text from `text_of` to the original path."""
    return text.encode("utf-8", errors="surrogateescape")


def dump_pair(pair: Pair) -> str:
    """Serializes a pair to a line of JSON."""
    fields: list[Any] = [
        text_of(pair.key),
        pair.split,
        _dump_file(pair.image),
        _dump_file(pair.caption),
        pair.texts,
        [v._asdict() if isinstance(v, StoredArray) else v for v in pair.values],
        pair.sha256,
    ]
    if pair.names is not None or pair.more:
        fields += [pair.names, [_dump_file(file) for file in pair.more]]
    return json.dumps(fields) + "\n"


def load_pair(line: str | bytes) -> Pair:
    """Parses a pair from a line of JSON."""
    key, split, image, caption, texts, values, sha256, *named = json.loads(line)
    names, more = named or (None, ())
    return Pair(
        key=path_of(key),
        split=split,
        image=_load_file(image),
        caption=_load_file(caption),
        texts=None if texts is None else tuple(texts),
        values=tuple(map(_load_value, values)),
        sha256=sha256,
        names=None if names is None else tuple(names),
        more=tuple(map(_load_file, more)),
    )


def _load_value(value: Any) -> Value | StoredArray:
    if isinstance(value, dict):
        return StoredArray(**value)
    loaded: Value = tuple(value) if isinstance(value, list) else value
    return loaded


def _dump_file(file: SourceFile) -> list[Any]:
    fields = [text_of(file.path), file.size, file.version, file.root]
    if file.archive or file.stored is not None or file.cell is not None:
        fields += [text_of(file.archive), file.offset]
    if file.stored is not None or file.cell is not None:
        fields.append(file.stored)
    return fields if file.cell is None else [*fields, file.cell]


def _load_file(fields: list[Any]) -> SourceFile:
    path, size, version, root, *member = fields
    file = SourceFile(path_of(path), size, version, root)
    if not member:
        return file
    archive, offset, *more = member
    stored, cell = (*more, None, None)[:2]
    return file._replace(
        archive=path_of(archive),
        offset=offset,
        stored=stored and _load_stored(*stored),
        cell=cell and Cell(*cell),
    )


def _load_stored(*fields: Any) -> StoredImage:
    stored = StoredImage(*fields)
    return stored._replace(actions=tuple(stored.actions))


def dump_reject(reject: Reject) -> str:
    """Serializes a reject to a line of JSON."""
    fields: dict[str, Any] = reject._asdict()
    fields |= {
        "key": text_of(reject.key),
        "source": [text_of(path) for path in reject.source],
    }
    return json.dumps(fields) + "\n"


def load_reject(line: str | bytes) -> Reject:
    """Parses a reject from a line of JSON."""
    fields = json.loads(line)
    fields |= {
        "key": path_of(fields["key"]),
        "source": tuple(path_of(path) for path in fields["source"]),
    }
    return Reject(**fields)

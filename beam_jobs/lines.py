r"""Pairs and rejects as lines of JSON, for the job's own files.

Bytes that are not UTF-8 become lone surrogates, which JSON carries as `\udcXX`.
"""

import json
from typing import Any

from beam_jobs.config.columns import Value
from beam_jobs.elements import Pair, Reject, SourceFile, Spilled


def text_of(path: bytes) -> str:
    """Returns a path as text from which `path_of` makes the same path."""
    return path.decode("utf-8", errors="surrogateescape")


def path_of(text: str) -> bytes:
    """Returns the path that `text_of` made text of."""
    return text.encode("utf-8", errors="surrogateescape")


def dump_pair(pair: Pair) -> str:
    """Returns a pair as a line."""
    fields: list[Any] = [
        text_of(pair.key),
        pair.split,
        _dump_file(pair.image),
        _dump_file(pair.caption),
        pair.texts,
        [v._asdict() if isinstance(v, Spilled) else v for v in pair.values],
        pair.sha256,
    ]
    return json.dumps(fields) + "\n"


def load_pair(line: str | bytes) -> Pair:
    """Returns the pair of a line."""
    key, split, image, caption, texts, values, sha256 = json.loads(line)
    return Pair(
        key=path_of(key),
        split=split,
        image=_load_file(image),
        caption=_load_file(caption),
        texts=None if texts is None else tuple(texts),
        values=tuple(map(_load_value, values)),
        sha256=sha256,
    )


def _load_value(value: Any) -> Value | Spilled:
    if isinstance(value, dict):
        return Spilled(**value)
    loaded: Value = tuple(value) if isinstance(value, list) else value
    return loaded


def _dump_file(file: SourceFile) -> list[Any]:
    fields = [text_of(file.path), file.size, file.version, file.root]
    return [*fields, text_of(file.archive), file.offset] if file.archive else fields


def _load_file(fields: list[Any]) -> SourceFile:
    path, size, version, root, *member = fields
    file = SourceFile(path_of(path), size, version, root)
    if not member:
        return file
    return file._replace(archive=path_of(member[0]), offset=member[1])


def dump_reject(reject: Reject) -> str:
    """Returns a reject as a line."""
    fields: dict[str, Any] = reject._asdict()
    fields |= {
        "key": text_of(reject.key),
        "source": [text_of(path) for path in reject.source],
    }
    return json.dumps(fields) + "\n"


def load_reject(line: str | bytes) -> Reject:
    """Returns the reject of a line."""
    fields = json.loads(line)
    fields |= {
        "key": path_of(fields["key"]),
        "source": tuple(path_of(path) for path in fields["source"]),
    }
    return Reject(**fields)

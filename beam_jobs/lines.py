r"""Pairs and rejects as lines of JSON, for the job's own files.

Bytes that are not UTF-8 become lone surrogates, which JSON carries as `\udcXX`.
"""

import json
from typing import Any

from beam_jobs.elements import Pair, Reject, SourceFile


def text_of(path: bytes) -> str:
    """Returns a path as text from which `path_of` makes the same path."""
    return path.decode("utf-8", errors="surrogateescape")


def path_of(text: str) -> bytes:
    """Returns the path that `text_of` made text of."""
    return text.encode("utf-8", errors="surrogateescape")


def dump_pair(pair: Pair) -> str:
    """Returns a pair as a line."""
    fields: list[Any] = [text_of(pair.key)]
    for path, *status in (pair.image, pair.caption):
        fields += [text_of(path), *status]
    return json.dumps(fields) + "\n"


def load_pair(line: str | bytes) -> Pair:
    """Returns the pair of a line."""
    key, image, image_size, image_time, caption, size, mtime_ns = json.loads(line)
    return Pair(
        path_of(key),
        SourceFile(path_of(image), image_size, image_time),
        SourceFile(path_of(caption), size, mtime_ns),
    )


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

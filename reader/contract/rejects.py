"""`rejects.jsonl`: a line of JSON for each key that was not written, and why."""

import json
from collections.abc import Iterable
from typing import NamedTuple

from reader.contract.schema import display_path

# The closed list of reasons for which a key is not written, each with the category of
# the accounting that it is counted under.
REASONS = {
    "unpaired_image": "unpaired",
    "unpaired_caption": "unpaired",
    "missing_image": "unpaired",
    "ambiguous_key": "rejected",
    "conflicting_rows": "rejected",
    "bad_row": "rejected",
    "bad_value": "rejected",
    "outside_root": "rejected",
    "not_a_file": "rejected",
    "unknown_extension": "rejected",
    "damaged_archive": "rejected",
    "not_an_image": "rejected",
    "unsupported_image": "rejected",
    "damaged_image": "rejected",
    "too_many_pixels": "rejected",
    "image_file_too_large": "rejected",
    "image_too_small": "filtered",
    "aspect_ratio_too_large": "filtered",
    "caption_too_large": "rejected",
    "undecodable_caption": "rejected",
    "empty_caption": "rejected",
    "duplicate_of": "duplicates",
}


class RejectedKey(NamedTuple):
    """A line of `rejects.jsonl`.

    Attributes:
        key: The key, as `display_path` shows it.
        source: Paths of the files concerned, below their roots.
        stage: `list`, `pair`, `caption` or `image`.
        reason: One of `REASONS`; a later version may have more.
        detail: What exactly was found, for a person to read.
    """

    key: str
    source: tuple[str, ...]
    stage: str
    reason: str
    detail: str


def category_of(reason: str) -> str:
    """Returns the category that a reason is counted under, such as `rejected`."""
    return REASONS.get(reason, "rejected")


def rejected_key(
    key: bytes, source: Iterable[bytes], stage: str, reason: str, detail: str
) -> RejectedKey:
    """Returns the line of a key, with paths as text."""
    sources = tuple(map(display_path, source))
    return RejectedKey(display_path(key), sources, stage, reason, detail)


def dump_rejects(rejects: Iterable[RejectedKey]) -> bytes:
    """Returns the bytes of `rejects.jsonl`, in UTF-8."""
    lines = (json.dumps(one._asdict(), ensure_ascii=False) + "\n" for one in rejects)
    # A library's message about damaged bytes need not be text itself.
    return "".join(lines).encode(errors="backslashreplace")


def parse_reject(line: bytes) -> RejectedKey:
    """Returns what a line holds; fields that this version does not know are ignored.

    Raises:
        ValueError: It is not such a line.
    """
    fields = json.loads(line)
    try:
        return RejectedKey(
            key=str(fields["key"]),
            source=tuple(map(str, fields["source"])),
            stage=str(fields["stage"]),
            reason=str(fields["reason"]),
            detail=str(fields["detail"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a line of rejects.jsonl: {error!r}") from error


def text_in_line(text: str) -> bytes:
    """Returns the bytes that a line holds wherever it holds a text.

    A line without them need not be parsed.
    """
    return json.dumps(text, ensure_ascii=False)[1:-1].encode(errors="backslashreplace")

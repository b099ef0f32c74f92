"""The file `rejects.jsonl`: a JSON object per line for each key not written.

Each object has the fields of `RejectedKey`: `key`, `source` (a list), `stage`, `reason`
and `detail`.
"""

import json
from collections.abc import Iterable
from typing import NamedTuple

from reader.contract.schema import display_path

# All reasons for not writing a key, each with its category in the accounting. Names of
# reasons never change.
REASONS = {
    "unpaired_image": "unpaired",
    "unpaired_caption": "unpaired",
    "missing_image": "unpaired",
    "unknown_key": "unpaired",
    "ambiguous_key": "rejected",
    "conflicting_rows": "rejected",
    "bad_row": "rejected",
    "bad_value": "rejected",
    "outside_root": "rejected",
    "not_a_file": "rejected",
    "unknown_extension": "rejected",
    "damaged_archive": "rejected",
    "damaged_record": "rejected",
    "not_an_image": "rejected",
    "unsupported_image": "rejected",
    "damaged_image": "rejected",
    "too_many_pixels": "rejected",
    "image_file_too_large": "rejected",
    "image_too_small": "filtered",
    "aspect_ratio_too_large": "filtered",
    "where_not_met": "filtered",
    "excluded_key": "filtered",
    "caption_too_large": "rejected",
    "undecodable_caption": "rejected",
    "empty_caption": "rejected",
    "caption_too_short": "filtered",
    "duplicate_of": "duplicates",
}


class RejectedKey(NamedTuple):
    """A line of `rejects.jsonl`.

    Attributes:
        key: Key as text, from `display_path`.
        source: Paths of the key's source files, relative to their roots, as text from
            `display_path`.
        stage: Stage that rejected the key: `list`, `pair`, `caption` or `image`.
        reason: Reason, one of `REASONS`; later versions may add reasons.
        detail: Explanation of this case, for people.
    """

    key: str
    source: tuple[str, ...]
    stage: str
    reason: str
    detail: str


def category_of(reason: str) -> str:
    """Returns the category of a reason in the accounting, such as `rejected`.

    An unknown reason, from a later version, counts as `rejected`.
    """
    return REASONS.get(reason, "rejected")


def rejected_key(
    key: bytes, source: Iterable[bytes], stage: str, reason: str, detail: str
) -> RejectedKey:
    """Builds the line of a key, with the key and paths as text."""
    sources = tuple(map(display_path, source))
    return RejectedKey(display_path(key), sources, stage, reason, detail)


def dump_rejects(rejects: Iterable[RejectedKey]) -> bytes:
    """Serializes rejected keys as the bytes of `rejects.jsonl`, in UTF-8."""
    lines = (json.dumps(one._asdict(), ensure_ascii=False) + "\n" for one in rejects)
    # A library's message about damaged bytes may hold characters that UTF-8 cannot.
    return "".join(lines).encode(errors="backslashreplace")


def parse_reject(line: bytes) -> RejectedKey:
    """Parses a line of `rejects.jsonl`; unknown fields are ignored.

    Raises:
        ValueError: The line is not a JSON object with the fields of `RejectedKey`.
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
    """Returns a text as it is encoded within a line of `rejects.jsonl`.

    A line without these bytes does not contain the text and need not be parsed.
    """
    return json.dumps(text, ensure_ascii=False)[1:-1].encode(errors="backslashreplace")

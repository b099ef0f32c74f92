"""What a caller points at → the corpora that are meant, and their weights."""

import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any

from reader.contract.errors import UsageError
from reader.corpus import Corpus, open_corpus
from reader.foreign import check_features
from reader.shuffle.mixture import PATTERN_TURNS
from reader.storage.files import Pattern

Patterns = Pattern | Sequence[Pattern] | Mapping[str, float]


def open_corpora(
    pattern: Patterns,
    split: str | None = None,
    features: Mapping[str, str] | None = None,
    *,
    tolerant: bool = False,
) -> tuple[list[Corpus], list[float] | None]:
    """Returns one corpus and no weights, or those of a mixture.

    Args:
        pattern: A glob or folder, a list of these, or `{pattern: weight}`.
        split: The split to take, where a folder holds several.
        features: What others call what, where they have no manifest.
        tolerant: Whether to take files of others that end in the middle of a record.

    Raises:
        DatasetError: A dataset is unfinished or not whole.
        UsageError: Nothing matches, a weight is none, or what matches cannot be read
            as one.
    """
    named = check_features(features)
    if isinstance(pattern, Mapping):
        weights = [_weight(key, value) for key, value in pattern.items()]
        if not weights:
            raise UsageError("pattern must not be an empty mapping")
        if len(weights) > PATTERN_TURNS:
            raise UsageError(
                f"a mixture has at most {PATTERN_TURNS} parts, got {len(weights)}"
            )
        corpora = [
            open_corpus([os.fspath(key)], split, named, tolerant=tolerant)
            for key in pattern
        ]
        return corpora, weights
    parts = list_patterns(pattern)
    return [open_corpus(parts, split, named, tolerant=tolerant)], None


def list_patterns(pattern: Pattern | Sequence[Pattern]) -> list[str]:
    """Returns what is one pattern, or several, as a list."""
    single = isinstance(pattern, (str, os.PathLike))
    patterns: Any = [pattern] if single else pattern
    return [os.fspath(part) for part in patterns]


def open_one_corpus(
    pattern: Patterns, split: str | None, features: Mapping[str, str] | None
) -> Corpus:
    """Returns the corpus that has epochs: no mixture, and no compressed files.

    Raises:
        DatasetError, UsageError: As `open_corpora`, or it has none.
    """
    corpora, weights = open_corpora(pattern, split, features)
    if weights is not None:
        raise UsageError("a mixture has no epochs: ask for its parts")
    if corpora[0].compression:
        raise UsageError(
            f"{corpora[0].name} is compressed: nobody knows how many records it holds"
        )
    return corpora[0]


def _weight(pattern: object, weight: object) -> float:
    if isinstance(weight, numbers.Real) and not isinstance(weight, bool):
        value = float(weight)
        if 0 < value < float("inf"):
            return value
    raise UsageError(
        f"the weight of {pattern} must be a positive number, got {weight!r}"
    )

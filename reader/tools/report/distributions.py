"""Computes statistics of a dataset from rows of `samples/`, table by table."""

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reader.contract import samples
from reader.contract.schema import BASE_CAPTIONS
from reader.distributions.distribution import Distribution

# Columns of `samples/` that the statistics need.
COUNTED = (
    samples.KEY,
    samples.WIDTH,
    samples.HEIGHT,
    samples.LENGTH,
    samples.ORIGINAL_FORMAT,
    samples.ACTIONS,
    samples.CAPTIONS,
    samples.NUM_TOKENS,
)
_NUM_LONGEST = 5
# Precision of record sizes and aspect ratios, which may all be distinct.
_DIGITS = 3


class LongCaption(NamedTuple):
    """One of the longest captions.

    Attributes:
        num_tokens: Number of tokens, without start and end.
        split: Name of the record's split.
        key: Key of the record.
        text: Full text of the caption.
    """

    num_tokens: int
    split: str
    key: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Statistics of records.

    Attributes:
        width: Widths of the stored images in pixels.
        height: Heights of the stored images in pixels.
        aspect: Aspect ratios (width / height), rounded to three digits.
        record_bytes: Sizes of whole records in bytes, including captions and framing,
            rounded to three digits.
        tokens: Lengths of captions in tokens, without start and end.
        formats: Number of source images by format.
        actions: Number of images by processing step, such as `converted`.
        longest: Captions with the most tokens, the longest first.
        names: Number of captions by name, if captions have names.
    """

    width: Distribution = field(default_factory=Distribution)
    height: Distribution = field(default_factory=Distribution)
    aspect: Distribution = field(default_factory=Distribution)
    record_bytes: Distribution = field(default_factory=Distribution)
    tokens: Distribution = field(default_factory=Distribution)
    formats: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    longest: tuple[LongCaption, ...] = ()
    names: Counter[str] = field(default_factory=Counter)

    def add(self, split: str, table: Any) -> "Statistics":
        """Returns the statistics with the rows of a table added.

        Args:
            split: Name of the split of the rows.
            table: A `pyarrow.Table` with the columns `COUNTED`, and with the names of
                captions if there are any.
        """
        width, height = _numbers(table, samples.WIDTH), _numbers(table, samples.HEIGHT)
        lengths = np.asarray(
            _flat(table.column(samples.NUM_TOKENS)).to_numpy(), np.int64
        )
        return dataclasses.replace(
            self,
            width=self.width.add(width),
            height=self.height.add(height),
            aspect=self.aspect.add(_rounded(width / height)),
            record_bytes=self.record_bytes.add(
                _rounded(_numbers(table, samples.LENGTH))
            ),
            tokens=self.tokens.add(lengths),
            formats=self.formats + _counts(table.column(samples.ORIGINAL_FORMAT)),
            actions=self.actions + _counts(_flat(table.column(samples.ACTIONS))),
            longest=_longest([*self.longest, *_longest_of(split, table, lengths)]),
            names=self.names + _names(table),
        )


def captions_of(table: Any) -> list[str]:
    """Returns all captions of a table with the columns `COUNTED`, in order."""
    captions: list[str] = _flat(table.column(samples.CAPTIONS)).to_pylist()
    return captions


def _longest_of(
    split: str, table: Any, lengths: NDArray[np.int64]
) -> list[LongCaption]:
    most = np.argsort(-lengths, kind="stable")[:_NUM_LONGEST]
    texts = _flat(table.column(samples.CAPTIONS))
    parents = _parents(table.column(samples.NUM_TOKENS))
    keys = table.column(samples.KEY)
    return [
        LongCaption(
            int(lengths[place]),
            split,
            keys[int(parents[place])].as_py(),
            texts[int(place)].as_py(),
        )
        for place in most
    ]


def _longest(captions: list[LongCaption]) -> tuple[LongCaption, ...]:
    """Returns the longest captions; earlier ones win ties."""
    return tuple(sorted(captions, key=lambda c: -c.num_tokens)[:_NUM_LONGEST])


def _names(table: Any) -> Counter[str]:
    if samples.CAPTION_NAMES not in table.column_names:
        return Counter()
    counts = _counts(_flat(table.column(samples.CAPTION_NAMES)))
    return Counter({name or BASE_CAPTIONS: num for name, num in counts.items()})


def _rounded(values: NDArray[Any]) -> NDArray[np.float64]:
    """Rounds positive numbers to three digits."""
    unit = 10.0 ** (np.floor(np.log10(values)) - _DIGITS + 1)
    rounded: NDArray[np.float64] = np.round(values / unit) * unit
    return rounded


def _numbers(table: Any, name: str) -> NDArray[np.int64]:
    return np.asarray(table.column(name).to_numpy(), np.int64)


def _flat(lists: Any) -> Any:
    from pyarrow import compute

    return compute.list_flatten(lists)


def _parents(lists: Any) -> NDArray[np.int64]:
    """Returns the index of the list of each value, `int64[n]`."""
    from pyarrow import compute

    return np.asarray(compute.list_parent_indices(lists).to_numpy(), np.int64)


def _counts(values: Any) -> Counter[str]:
    from pyarrow import compute

    return Counter(
        {
            pair["values"]: pair["counts"]
            for pair in compute.value_counts(values).to_pylist()
        }
    )

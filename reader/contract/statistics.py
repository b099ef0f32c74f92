"""Exact, mergeable statistics of records."""

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from reader.contract.json_values import known_fields


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Exact count, sum, minimum and maximum of integers; mergeable.

    All attributes are 0 for no integers.

    Attributes:
        count: Number of integers.
        sum: Sum of the integers.
        min: Smallest integer.
        max: Largest integer.
    """

    count: int = 0
    sum: int = 0
    min: int = 0
    max: int = 0

    @classmethod
    def of(cls, values: Collection[int]) -> "Tally":
        """Returns the tally of integers."""
        if not values:
            return cls()
        return cls(count=len(values), sum=sum(values), min=min(values), max=max(values))

    def merge(self, other: "Tally") -> "Tally":
        """Returns the tally of the integers of both tallies."""
        if not self.count or not other.count:
            return self if self.count else other
        return Tally(
            count=self.count + other.count,
            sum=self.sum + other.sum,
            min=min(self.min, other.min),
            max=max(self.max, other.max),
        )


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Exact statistics of a split's records, as stored.

    Attributes:
        width: Widths of the images, in pixels.
        height: Heights of the images, in pixels.
        image_bytes: Sizes of the encoded images, in bytes.
        captions: Captions per record; None if a manifest of format 0 lacks it.
        caption_tokens: Tokens per caption, without start and end.
        unknown_tokens: Number of out-of-vocabulary tokens in all captions.
        one_token_captions: Number of captions with a single token; None if a manifest
            of format 0 lacks it.
        no_token_captions: Number of captions without a token. Also 0 if the dataset was
            built before they were counted: a manifest holds only other numbers than 0.
    """

    width: Tally = Tally()
    height: Tally = Tally()
    image_bytes: Tally = Tally()
    captions: Tally | None = Tally()
    caption_tokens: Tally = Tally()
    unknown_tokens: int = 0
    one_token_captions: int | None = 0
    no_token_captions: int = 0

    def merge(self, other: "Statistics") -> "Statistics":
        """Returns the statistics of the records of both."""
        return Statistics(
            width=self.width.merge(other.width),
            height=self.height.merge(other.height),
            image_bytes=self.image_bytes.merge(other.image_bytes),
            captions=_merged(self.captions, other.captions),
            caption_tokens=self.caption_tokens.merge(other.caption_tokens),
            unknown_tokens=self.unknown_tokens + other.unknown_tokens,
            one_token_captions=_sum(self.one_token_captions, other.one_token_captions),
            no_token_captions=self.no_token_captions + other.no_token_captions,
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON object of a manifest."""
        data = dataclasses.asdict(self)
        if not self.no_token_captions:
            # Manifests of before this number keep their bytes.
            del data["no_token_captions"]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Statistics":
        """Builds statistics from the JSON object in a manifest."""
        tallies = ("width", "height", "image_bytes", "caption_tokens")
        return cls(
            **{name: known_fields(Tally, data[name]) for name in tallies},
            captions=(
                known_fields(Tally, data["captions"]) if data.get("captions") else None
            ),
            unknown_tokens=data["unknown_tokens"],
            one_token_captions=data.get("one_token_captions"),
            no_token_captions=data.get("no_token_captions", 0),
        )


def _merged(one: Tally | None, other: Tally | None) -> Tally | None:
    return None if one is None or other is None else one.merge(other)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def statistics_of(
    *,
    widths: Collection[int],
    heights: Collection[int],
    image_bytes: Collection[int],
    num_tokens: Collection[Collection[int]],
    num_unknown: int,
) -> Statistics:
    """Returns the statistics of records.

    Args:
        widths: Width of each record's image, in pixels.
        heights: Height of each record's image, in pixels.
        image_bytes: Size of each record's encoded image, in bytes.
        num_tokens: Number of tokens of each caption, for each record.
        num_unknown: Number of out-of-vocabulary tokens in all captions.
    """
    tokens = [number for numbers in num_tokens for number in numbers]
    return Statistics(
        width=Tally.of(widths),
        height=Tally.of(heights),
        image_bytes=Tally.of(image_bytes),
        captions=Tally.of([len(numbers) for numbers in num_tokens]),
        caption_tokens=Tally.of(tokens),
        unknown_tokens=num_unknown,
        one_token_captions=tokens.count(1),
        no_token_captions=tokens.count(0),
    )

"""What was counted of records, exactly: tallies that can be merged."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from reader.contract.json_values import known_fields


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Count, sum, smallest and largest of some integers; exact, and mergeable."""

    count: int = 0
    sum: int = 0
    min: int = 0
    max: int = 0

    @classmethod
    def of(cls, values: Collection[int]) -> "Tally":
        """Returns the tally of some values."""
        if not values:
            return cls()
        return cls(count=len(values), sum=sum(values), min=min(values), max=max(values))

    def merge(self, other: "Tally") -> "Tally":
        """Returns the tally of both."""
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
        width, height: Of images, in pixels.
        image_bytes: Of encoded images.
        captions: Of each record; None in manifests of before this was counted.
        caption_tokens: Tokens of each caption, without start and end.
        unknown_tokens: How many of these tokens are unknown.
        one_token_captions: How many captions are a single token; None in manifests of
            before this was counted.
    """

    width: Tally = Tally()
    height: Tally = Tally()
    image_bytes: Tally = Tally()
    captions: Tally | None = Tally()
    caption_tokens: Tally = Tally()
    unknown_tokens: int = 0
    one_token_captions: int | None = 0

    def merge(self, other: "Statistics") -> "Statistics":
        """Returns the statistics of both."""
        return Statistics(
            width=self.width.merge(other.width),
            height=self.height.merge(other.height),
            image_bytes=self.image_bytes.merge(other.image_bytes),
            captions=_merged(self.captions, other.captions),
            caption_tokens=self.caption_tokens.merge(other.caption_tokens),
            unknown_tokens=self.unknown_tokens + other.unknown_tokens,
            one_token_captions=_sum(self.one_token_captions, other.one_token_captions),
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Statistics":
        """Reads what `dataclasses.asdict` and JSON made of one."""
        tallies = ("width", "height", "image_bytes", "caption_tokens")
        return cls(
            **{name: known_fields(Tally, data[name]) for name in tallies},
            captions=(
                known_fields(Tally, data["captions"]) if data.get("captions") else None
            ),
            unknown_tokens=data["unknown_tokens"],
            one_token_captions=data.get("one_token_captions"),
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
    """Returns the statistics of some records.

    Args:
        widths: Of each record's image, in pixels.
        heights: Likewise.
        image_bytes: Of each encoded image.
        num_tokens: Of each record's captions.
        num_unknown: How many of all tokens are unknown.
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
    )

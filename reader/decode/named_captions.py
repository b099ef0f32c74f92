"""START HERE for captions with names: groups of captions, and the draw by weights.

A record has one or several groups of captions: its own, and those of layers. Captions
have names, or the name of their group. For each example a name is drawn by its weight,
among those that the record has, and then one of its captions, each equally likely.

`captions` does the same with TensorFlow, bit for bit: weights are whole numbers, whose
sums are exact in any order.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from reader.contract.additions.layer import CAPTION, IDS, LENGTHS
from reader.contract.schema import BASE_CAPTIONS, CAPTIONS, NAMES_OF_CAPTIONS
from reader.datasets.record_schema import RecordSchema
from reader.shuffle.arrays import Float64s, Int64s

Bools = NDArray[np.bool_]

# Role of codes of names, from `codes_of`; they are not stored.
CODES = "codes of names"
# Roles of a record's own captions, and of their names.
CAPTION_ROLES = ("captions", "token_ids", "token_lengths")
NAMES = NAMES_OF_CAPTIONS.role

# Output of the decoders besides those of the user: bool[n, names].
MISSING = "names that records lack"

# The largest weight. Sums over 2²¹ names are below 2⁵², where every product with a
# draw in [0, 1) is rounded to less than the sum.
_MOST = 2**31


class CaptionGroup(NamedTuple):
    """Captions that belong together in a record: its own, or those of a layer.

    Attributes:
        name: Name of captions that have no other.
        roles: Roles of its features, by the roles of a record's own captions; those
            that records lack are missing.
        names: Role of the names; None if all captions have the name of the group.
    """

    name: str
    roles: Mapping[str, str]
    names: str | None = None


def caption_groups(record_schema: RecordSchema) -> dict[str, CaptionGroup]:
    """Returns the groups of captions that records have, by name."""
    features = record_schema.features
    groups = {}
    if "captions" in features:
        # A layer that replaces the captions gives them its name.
        layer, _, part = features["captions"].key.rpartition("/")
        is_own = features["captions"].key == CAPTIONS or part != CAPTION
        own = BASE_CAPTIONS if is_own else layer
        roles = {role: role for role in CAPTION_ROLES if role in features}
        names = NAMES if NAMES in features else None
        groups[own] = CaptionGroup(own, roles, names)
    for role, feature in features.items():
        if feature.role == "captions" and role == feature.key:
            layer = role.removesuffix(f"/{CAPTION}")
            parts = zip(CAPTION_ROLES, (CAPTION, IDS, LENGTHS), strict=True)
            groups[layer] = CaptionGroup(
                layer, {own: f"{layer}/{part}" for own, part in parts}
            )
    return groups


def drawn_groups(
    record_schema: RecordSchema, weights: Mapping[str, float]
) -> list[CaptionGroup]:
    """Returns the groups of captions that captions of some names may be in."""
    groups = caption_groups(record_schema).values()
    return [group for group in groups if group.names or group.name in weights]


def roles_of_groups(
    groups: Iterable[CaptionGroup], wanted: Iterable[str]
) -> Iterator[str]:
    """Yields the roles to parse for some of a record's own roles of captions."""
    wanted = [*wanted]
    for group in groups:
        roles = [group.roles[role] for role in wanted if role in group.roles]
        yield from roles
        if roles and group.names:
            yield group.names


class Names(NamedTuple):
    """Names to draw from.

    Attributes:
        names: The names, in UTF-8.
        weights: int64[names], the weight of each.
    """

    names: tuple[bytes, ...]
    weights: Int64s


def names_of(weights: Mapping[str, float]) -> Names:
    """Returns names with whole weights, in proportion to those of a configuration."""
    largest = max(weights.values())
    whole = [max(1, round(weight / largest * _MOST)) for weight in weights.values()]
    names = tuple(name.encode() for name in weights)
    return Names(names, np.array(whole, np.int64))


def codes_of(found: Sequence[bytes], names: Sequence[bytes]) -> Int64s:
    """Returns int64[n]: the place of each found name among names, from 1; 0 for none.

    Captions without a name have the name `base`.
    """
    places = {name: place for place, name in enumerate(names, 1)}
    places[b""] = places.get(BASE_CAPTIONS.encode(), 0)
    return np.array([places.get(name, 0) for name in found], np.int64)


class Drawn(NamedTuple):
    """The captions that were drawn.

    Attributes:
        which: int64[n, 1], index of each drawn caption in its example.
        valid: bool[n, 1], False where the example has none of the names.
        missing: bool[n, names], True where the example lacks a name.
    """

    which: Int64s
    valid: Bools
    missing: Bools


def draw_captions(
    codes: Int64s, weights: Int64s, name_draws: Float64s, draws: Float64s
) -> Drawn:
    """Draws a caption of each example: a name by weight, then one of its captions.

    Args:
        codes: int64[n, captions]: Names of the captions of each example, from
            `codes_of`; 0 for captions that are not drawn, and to fill up rows.
        weights: int64[names]: Weight of each name.
        name_draws: float64[n, 1]: Random numbers in [0, 1) for the names.
        draws: float64[n, 1]: Random numbers in [0, 1) for the captions of a name.
    """
    numbers = np.arange(1, len(weights) + 1)
    counts = (codes[:, :, np.newaxis] == numbers).sum(axis=1)
    ends = np.cumsum(np.where(counts > 0, weights, 0), axis=1)
    total = ends[:, -1:]
    at = np.floor(name_draws * total).astype(np.int64)
    drawn = np.minimum((ends <= at).sum(axis=1, keepdims=True), len(weights) - 1)
    num = np.take_along_axis(counts, drawn, axis=1)
    place = np.floor(draws * num).astype(np.int64)
    of_name = codes == drawn + 1
    found = of_name & (np.cumsum(of_name, axis=1) == place + 1)
    return Drawn(np.argmax(found, axis=1)[:, np.newaxis], total > 0, counts == 0)

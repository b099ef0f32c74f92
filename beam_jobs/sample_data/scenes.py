"""Generates scenes: shapes, their positions and a background."""

import math
import random
from typing import NamedTuple

RGB = tuple[int, int, int]

KINDS = ("circle", "square", "triangle", "star", "heart", "cross")

COLORS: dict[str, RGB] = {
    "red": (215, 38, 46),
    "orange": (246, 134, 31),
    "yellow": (250, 212, 48),
    "green": (42, 157, 84),
    "blue": (38, 104, 214),
    "purple": (134, 66, 182),
    "pink": (246, 142, 190),
    "brown": (146, 92, 52),
}

LIGHT_BACKGROUNDS: dict[str, RGB] = {
    "white": (250, 250, 250),
    "cream": (250, 244, 229),
    "mist": (222, 230, 237),
}
DARK_BACKGROUNDS: dict[str, RGB] = {
    "charcoal": (40, 42, 48),
    "midnight": (26, 35, 64),
}
BACKGROUNDS = LIGHT_BACKGROUNDS | DARK_BACKGROUNDS

# The two ranges are far apart, so small and large are never ambiguous.
_RADII = {"small": (0.09, 0.115), "large": (0.19, 0.235)}
_GAP = 0.03
_COUNT_WEIGHTS = {1: 30, 2: 35, 3: 20, 4: 15}
_REPEAT_CHANCE = 0.35
_PLACING_TRIES = 20


class Shape(NamedTuple):
    """A shape of a scene.

    Attributes:
        kind: Kind of the shape: "circle", "square", "triangle", "star", "heart" or
            "cross".
        color: Name of the color, a key of `COLORS`.
        size: Size class of the shape: "small" or "large".
        x: Horizontal position of the center, as a fraction in [0, 1] of the image width
            from the left.
        y: Vertical position of the center, as a fraction in [0, 1] of the image height
            from the top.
        radius: Radius of the bounding circle, as a fraction of the shorter side of the
            image.
    """

    kind: str
    color: str
    size: str
    x: float
    y: float
    radius: float


class Scene(NamedTuple):
    """The content of one image.

    Attributes:
        shapes: One to four shapes. Their bounding circles do not overlap and are inside
            the image at any aspect ratio.
        background: Name of the background color, a key of `BACKGROUNDS`.
    """

    shapes: tuple[Shape, ...]
    background: str


def make_scene(index: int, *, seed: int = 0) -> Scene:
    """Returns the scene at an index. The scene depends only on `index` and `seed`."""
    # A text seed is hashed with SHA-512, which is independent of PYTHONHASHSEED.
    rng = random.Random(f"scene {seed} {index}")
    background = rng.choice(list(BACKGROUNDS))
    [count] = rng.choices(list(_COUNT_WEIGHTS), list(_COUNT_WEIGHTS.values()))
    while True:
        # Four large shapes may not fit. In that case all of them are chosen again.
        shapes = _place(_choose_looks(count, rng), rng)
        if len(shapes) == count:
            return Scene(tuple(shapes), background)


def _choose_looks(count: int, rng: random.Random) -> list[tuple[str, str, str]]:
    """Chooses the kind, color and size of each shape, sometimes repeating one.

    Independent choices would rarely give equal shapes, which captions can count.
    """
    looks = [_choose_look(rng) for _ in range(count)]
    if count > 1 and rng.random() < _REPEAT_CHANCE:
        alike = rng.randint(2, count)
        kind, color, size = looks[0]
        same_size = rng.random() < 0.5
        looks[:alike] = [
            (kind, color, size if same_size else other) for _, _, other in looks[:alike]
        ]
    return looks


def _choose_look(rng: random.Random) -> tuple[str, str, str]:
    return rng.choice(KINDS), rng.choice(list(COLORS)), rng.choice(list(_RADII))


def _place(looks: list[tuple[str, str, str]], rng: random.Random) -> list[Shape]:
    """Places shapes at random and stops at the first one that does not fit."""
    placed: list[Shape] = []
    for look in looks:
        tries = (_place_one(look, rng) for _ in range(_PLACING_TRIES))
        shape = next((shape for shape in tries if _is_clear(shape, placed)), None)
        if shape is None:
            break
        placed.append(shape)
    return placed


def _place_one(look: tuple[str, str, str], rng: random.Random) -> Shape:
    kind, color, size = look
    radius = round(rng.uniform(*_RADII[size]), 4)
    margin = radius + _GAP
    x, y = (round(rng.uniform(margin, 1 - margin), 4) for _ in range(2))
    return Shape(kind, color, size, x, y, radius)


def _is_clear(shape: Shape, others: list[Shape]) -> bool:
    """Returns whether a shape is clear of all other shapes.

    Distances are measured in a square image. Any other aspect ratio only moves shapes
    further apart, because radii are fractions of the shorter side.
    """
    return all(
        math.hypot(shape.x - other.x, shape.y - other.y)
        > shape.radius + other.radius + _GAP
        for other in others
    )

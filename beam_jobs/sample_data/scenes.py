"""Decides what each sample picture holds: which shapes, where, on what background."""

import math
import random
from typing import NamedTuple

RGB = tuple[int, int, int]

KINDS = ("circle", "square", "triangle", "star", "heart", "cross")

COLOURS: dict[str, RGB] = {
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

# The two ranges lie well apart, so that a picture never leaves the size in doubt.
_RADII = {"small": (0.09, 0.115), "large": (0.19, 0.235)}
_GAP = 0.03
_COUNT_WEIGHTS = {1: 30, 2: 35, 3: 20, 4: 15}
_REPEAT_CHANCE = 0.35
_PLACING_TRIES = 20


class Shape(NamedTuple):
    """One object of a scene.

    Attributes:
        kind: "circle", "square", "triangle", "star", "heart" or "cross".
        color: A key of `COLOURS`.
        size: "small" or "large".
        x: The centre, as a fraction in [0, 1] of the picture's width.
        y: The centre, as a fraction in [0, 1] of the picture's height, from the top.
        radius: The bounding circle's radius, as a fraction of the shorter side.
    """

    kind: str
    color: str
    size: str
    x: float
    y: float
    radius: float


class Scene(NamedTuple):
    """What one picture shows.

    Attributes:
        shapes: One to four shapes whose bounding circles lie apart and wholly inside
            the picture, whatever its proportions.
        background: A key of `BACKGROUNDS`.
    """

    shapes: tuple[Shape, ...]
    background: str


def make_scene(index: int, *, seed: int = 0) -> Scene:
    """Makes the scene numbered `index`, a function of `seed` and `index` only."""
    # Seeding from text goes through SHA-512, so PYTHONHASHSEED has no say.
    rng = random.Random(f"scene {seed} {index}")
    background = rng.choice(list(BACKGROUNDS))
    [count] = rng.choices(list(_COUNT_WEIGHTS), list(_COUNT_WEIGHTS.values()))
    while True:
        # Four large shapes may not fit: then everything about them is chosen anew.
        shapes = _place(_choose_looks(count, rng), rng)
        if len(shapes) == count:
            return Scene(tuple(shapes), background)


def _choose_looks(count: int, rng: random.Random) -> list[tuple[str, str, str]]:
    """Chooses the kind, colour and size of each shape, sometimes repeating one.

    Chance alone would seldom give like shapes, and captions need some to count.
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
    return rng.choice(KINDS), rng.choice(list(COLOURS)), rng.choice(list(_RADII))


def _place(looks: list[tuple[str, str, str]], rng: random.Random) -> list[Shape]:
    """Places shapes at random, stopping short at the first that finds no room."""
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
    """Tells whether `shape` keeps its distance from every other shape.

    It measures in a square picture: any other proportions only draw shapes apart,
    since a radius is a fraction of the shorter side.
    """
    return all(
        math.hypot(shape.x - other.x, shape.y - other.y)
        > shape.radius + other.radius + _GAP
        for other in others
    )

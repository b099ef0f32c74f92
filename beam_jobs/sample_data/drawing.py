"""Draws a scene as flat colored shapes with smooth edges."""

import math

from PIL import Image, ImageDraw

from beam_jobs.sample_data.scenes import BACKGROUNDS, COLORS, Scene, Shape
from reader.contract.checks import check_at_least

_Outline = list[tuple[float, float]]

_SUPERSAMPLING = 4


def draw(scene: Scene, width: int, height: int) -> Image.Image:
    """Draws a scene.

    Args:
        scene: Scene to draw.
        width: Width of the image in pixels.
        height: Height of the image in pixels.

    Returns:
        An RGB image, `uint8[height, width, 3]` as an array.

    Raises:
        UsageError: `width` or `height` is less than 1.
    """
    check_at_least("width", width, 1)
    check_at_least("height", height, 1)
    large = (width * _SUPERSAMPLING, height * _SUPERSAMPLING)
    canvas = Image.new("RGB", large, BACKGROUNDS[scene.background])
    brush = ImageDraw.Draw(canvas)
    for shape in scene.shapes:
        brush.polygon(_scale_outline(shape, *large), fill=COLORS[shape.color])
    return canvas.reduce(_SUPERSAMPLING)


def _scale_outline(shape: Shape, width: int, height: int) -> _Outline:
    """Returns a shape's outline in pixels for an image of the given size."""
    radius = shape.radius * min(width, height)
    return [
        (shape.x * width + radius * x, shape.y * height + radius * y)
        for x, y in _OUTLINES[shape.kind]
    ]


def _make_polygon(corners: int, *, turn: float = 0.0) -> _Outline:
    """Makes a regular polygon whose first corner points up.

    `turn` rotates it clockwise, as a fraction of the angle between two corners.
    """
    angles = [math.tau * (corner + turn) / corners for corner in range(corners)]
    return [(math.sin(angle), -math.cos(angle)) for angle in angles]


def _make_star() -> _Outline:
    """Makes a five-pointed star, wider than a pentagram to be clear at small sizes."""
    return [
        (x * reach, y * reach)
        for corner, (x, y) in enumerate(_make_polygon(10))
        for reach in [0.45 if corner % 2 else 1.0]
    ]


def _make_heart() -> _Outline:
    """Makes a heart from the usual trigonometric curve, scaled to the unit circle."""
    waves = ((1, 13), (2, -5), (3, -2), (4, -1))
    return [
        (
            16 * math.sin(angle) ** 3 / 17.5,
            -sum(height * math.cos(step * angle) for step, height in waves) / 17.5,
        )
        for angle in (math.tau * part / 72 for part in range(72))
    ]


def _make_cross() -> _Outline:
    """Makes an upright cross with four equal arms."""
    arm, half = 0.94, 0.33
    quarter = [(half, -half), (half, -arm), (-half, -arm)]
    turns = [quarter]
    for _ in range(3):
        turns.append([(y, -x) for x, y in turns[-1]])
    return [point for turn in turns for point in turn]


# Outlines within the unit circle, with y pointing down. Each contains the center.
_OUTLINES: dict[str, _Outline] = {
    "circle": _make_polygon(96),
    "square": _make_polygon(4, turn=0.5),
    "triangle": _make_polygon(3),
    "star": _make_star(),
    "heart": _make_heart(),
    "cross": _make_cross(),
}

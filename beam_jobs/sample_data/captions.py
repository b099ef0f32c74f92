"""Generates correct captions of a scene, in plain lower-case English.

Every caption names the color and the kind of at least one shape. In scenes with one or
two shapes, every caption names all of them.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise, permutations, zip_longest

from beam_jobs.sample_data.scenes import LIGHT_BACKGROUNDS, Scene, Shape
from reader.contract.checks import check_at_least

_NUMBERS = {2: "two", 3: "three", 4: "four"}

# A relation such as "above" requires one offset to be this many times the other one, so
# that it still holds in images with an aspect ratio of up to 3:2.
_DOMINANCE = 1.6
# As fractions of the image: the smallest horizontal step between shapes listed from
# left to right, the largest gap between a corner's edges and a shape in the corner, and
# the largest distance between the center and a shape in the middle.
_ORDER_STEP = 0.1
_CORNER_GAP = 0.14
_MIDDLE = 0.1
# Smallest distance between the middle line and the center of a shape "in a half", as a
# fraction of the shape's radius.
_CLEARANCE = 0.75


def describe(scene: Scene, num_captions: int = 1, *, seed: int = 0) -> list[str]:
    """Returns distinct, correct captions of a scene.

    Args:
        scene: Scene to describe.
        num_captions: Largest number of captions to return. Every scene has at least
            five.
        seed: Seed that chooses among the phrasings. The captions depend only on the
            scene and the seed. Fewer captions are a prefix of more captions.

    Raises:
        UsageError: `num_captions` is less than 1.
    """
    check_at_least("num_captions", num_captions, 1)
    # The field's first spelling: the same arguments draw the same captions forever.
    text = str(scene).replace("color=", "colour=")
    rng = random.Random(f"captions {seed} {text}")
    families = [
        list(family(scene))
        for family in (_list_shapes, _relate, _locate, _order, _count)
    ]
    rng.shuffle(families)
    for captions in families:
        rng.shuffle(captions)
    # Round-robin over the families, so that a large family does not dominate.
    mixed = chain.from_iterable(zip_longest(*families))
    return list(dict.fromkeys(filter(None, mixed)))[:num_captions]


def _list_shapes(scene: Scene) -> Iterator[str]:
    """Yields captions that name every shape: "a red circle and two blue stars"."""
    total = len(scene.shapes)
    tone = "light" if scene.background in LIGHT_BACKGROUNDS else "dark"
    for sized in (False, True):
        groups = _group(scene, sized)
        things = _join([_count_noun(noun, count) for noun, count in groups.items()])
        yield things
        yield f"{things} on a {tone} background"
        yield f"a picture of {things}"
        yield f"a drawing of {things}"
        yield f"this picture shows {things}"
        if total == 1:
            yield f"a single {_name(scene.shapes[0], sized)}"
        if len(groups) > 1:
            yield f"{_NUMBERS[total]} shapes, {things}"


def _relate(scene: Scene) -> Iterator[str]:
    """Yields captions such as "a red circle above a blue square", if unambiguous."""
    for sized in (False, True):
        groups = _group(scene, sized)
        for one, other in permutations(scene.shapes, 2):
            relation = _relation(one, other)
            first, second = _name(one, sized), _name(other, sized)
            if relation and first != second:
                yield f"{_article(first)} {relation} {_article(second)}"
                if groups[first] == groups[second] == 1:
                    yield f"the {first} is {relation} the {second}"
            elif relation and len(scene.shapes) == 2:
                level = relation.startswith("to the")
                manner = " side by side" if level else ", one above the other"
                yield _count_noun(first, 2) + manner


def _locate(scene: Scene) -> Iterator[str]:
    """Yields captions such as "a red circle in the upper left corner"."""
    for sized in (False, True):
        if len(scene.shapes) == 2:
            yield from _locate_both(*scene.shapes, sized=sized)
            continue
        for shape in scene.shapes:
            located = f"{_article(_name(shape, sized))} {_place(shape)}"
            yield located
            yield f"there is {located}"


def _locate_both(one: Shape, other: Shape, *, sized: bool) -> Iterator[str]:
    if _place(one) != _place(other):
        first, second = _name(one, sized), _name(other, sized)
        then = "another" if first == second else _article(second)
        yield f"{_article(first)} {_place(one)} and {then} {_place(other)}"


def _order(scene: Scene) -> Iterator[str]:
    """Yields "from left to right, a red circle and a blue square", if unambiguous."""
    shapes = _from_left(scene)
    clear = all(right.x - left.x >= _ORDER_STEP for left, right in pairwise(shapes))
    for sized in (False, True):
        if len(_group(scene, sized)) == len(shapes) > 1 and clear:
            names = [_article(_name(shape, sized)) for shape in shapes]
            yield f"from left to right, {_join(names)}"


def _count(scene: Scene) -> Iterator[str]:
    """Yields captions such as "there are three green stars", with exact counts."""
    for sized in (False, True):
        for noun, count in _group(scene, sized).items():
            if count > 1:
                yield _count_noun(noun, count)
                yield f"there are {_count_noun(noun, count)}"


def _relation(one: Shape, other: Shape) -> str | None:
    """Returns the position of `one` relative to `other`, or None if ambiguous."""
    across, down = one.x - other.x, one.y - other.y
    if abs(across) >= _DOMINANCE * abs(down):
        return "to the left of" if across < 0 else "to the right of"
    if abs(down) >= _DOMINANCE * abs(across):
        return "above" if down < 0 else "below"
    return None


def _place(shape: Shape) -> str:
    """Returns the position of a shape in the image, in words."""
    across, down = shape.x - 0.5, shape.y - 0.5
    side = "left" if across < 0 else "right"
    level = "upper" if down < 0 else "lower"
    farthest_gap = 0.5 - min(abs(across), abs(down)) - shape.radius
    if farthest_gap <= _CORNER_GAP:
        return f"in the {level} {side} corner"
    if max(abs(across), abs(down)) <= _MIDDLE:
        return "in the middle of the picture"
    sideways = abs(across) > abs(down)
    if max(abs(across), abs(down)) >= _CLEARANCE * shape.radius:
        return f"in the {side if sideways else level} half of the picture"
    # The shape crosses the middle line too far to be in either half.
    direction = f"{side} of" if sideways else ("above" if down < 0 else "below")
    return f"just {direction} the middle"


def _group(scene: Scene, sized: bool) -> Counter[str]:
    """Counts the shapes of each name, ordered from left to right."""
    return Counter(_name(shape, sized) for shape in _from_left(scene))


def _from_left(scene: Scene) -> list[Shape]:
    return sorted(scene.shapes, key=lambda shape: shape.x)


def _name(shape: Shape, sized: bool) -> str:
    name = f"{shape.color} {shape.kind}"
    return f"{shape.size} {name}" if sized else name


def _count_noun(noun: str, count: int) -> str:
    if count == 1:
        return _article(noun)
    return f"{_NUMBERS[count]} {noun}{'es' if noun.endswith('s') else 's'}"


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _join(items: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))

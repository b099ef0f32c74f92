import itertools
import math
import os
import re
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import beam_jobs.sample_data
from beam_jobs.sample_data import Scene, Shape, describe, draw, make_scene, write_sample
from reader.contract.errors import UsageError

# Typical values of the named colors, independent of the module's palette.
USUAL_COLORS = {
    "red": (220, 20, 30),
    "orange": (255, 140, 0),
    "yellow": (255, 220, 0),
    "green": (20, 150, 60),
    "blue": (30, 90, 230),
    "purple": (130, 40, 180),
    "pink": (255, 150, 195),
    "brown": (140, 80, 40),
}
KINDS = ("circle", "square", "triangle", "star", "heart", "cross")
SCENES = [make_scene(index) for index in range(400)]


# A parser of captions that shares no code with the generator.

NOUN = (
    r"(?:a single|an?|the|two|three|four)(?: small| large)?"
    rf" (?:{'|'.join(USUAL_COLORS)}) (?:{'|'.join(KINDS)})(?:es|s)?"
)
RELATION = r"to the left of|to the right of|above|below"
PLACE = (
    r"in the (?:upper|lower) (?:left|right) corner|in the middle of the picture"
    r"|in the (?:left|right|upper|lower) half of the picture"
    r"|just (?:left of|right of|above|below) the middle"
)
OPENING = (
    r"(?:a picture of |a drawing of |this picture shows |there is |there are "
    r"|from left to right, |(?:two|three|four) shapes, )?"
)
NUMBERS = {"a": 1, "an": 1, "a single": 1, "the": 1, "two": 2, "three": 3, "four": 4}
DIRECTIONS: dict[str, Callable[[float, float], bool]] = {
    "to the left of": lambda across, down: -across > abs(down),
    "to the right of": lambda across, down: across > abs(down),
    "above": lambda across, down: -down > abs(across),
    "below": lambda across, down: down > abs(across),
}


class Noun:
    """A phrase such as "two small red circles", checked against a scene."""

    def __init__(self, text: str, scene: Scene) -> None:
        self.number, noun = re.fullmatch(
            rf"({'|'.join(NUMBERS)}) ((?:small |large )?\w+ \w+)", text
        ).groups()
        words = noun.split()
        self.count = NUMBERS[self.number]
        kind = next(kind for kind in KINDS if words[-1].startswith(kind))
        self.matches = [
            shape
            for shape in scene.shapes
            if (shape.color, shape.kind) == (words[-2], kind)
            and words[0] in (shape.size, shape.color)
        ]
        plural = {"cross": "crosses"}.get(kind, f"{kind}s")
        assert words[-1] == (plural if self.count > 1 else kind), text
        if self.number in ("a", "an"):
            assert (self.number == "an") == (words[0][0] in "aeiou"), text

    @property
    def is_true(self) -> bool:
        if self.number in ("a", "an"):
            return len(self.matches) >= 1
        return len(self.matches) == self.count


def read_caption(caption: str, scene: Scene) -> tuple[bool, list[Noun]]:
    """Returns whether a caption is correct for a scene, and its noun phrases."""
    body = re.fullmatch(rf"({OPENING})(.*?)( on a (?:light|dark) background)?", caption)
    opening, text, ground = body.groups()
    nouns = [Noun(noun, scene) for noun in re.findall(NOUN, text)]
    true = [noun.is_true for noun in nouns]
    if opening.startswith("there"):
        assert (opening == "there are ") == (nouns[0].count > 1), caption
    if opening.endswith("shapes, "):
        true.append(NUMBERS[opening.split()[0]] == len(scene.shapes))
    if "single" in text:
        true.append(len(scene.shapes) == 1)
    if ground:
        lightness = np.mean(draw(scene, 64, 64).getpixel((0, 0)))
        true.append(("light" in ground) == (lightness > 127))
    return all([*true, is_claim_true(opening, text, nouns, scene)]), nouns


def is_claim_true(opening: str, text: str, nouns: list[Noun], scene: Scene) -> bool:
    """Returns whether the relations, places and lists of a caption are correct."""
    if found := re.fullmatch(rf"{NOUN}(?: is)? ({RELATION}) {NOUN}", text):
        pairs = itertools.product(nouns[0].matches, nouns[1].matches)
        return any(is_related(*pair, found[1]) for pair in pairs)
    if found := re.fullmatch(rf"{NOUN}( side by side|, one above the other)", text):
        one, other = nouns[0].matches
        relations = list(DIRECTIONS)[:2] if "side" in found[1] else ["above", "below"]
        return any(is_related(one, other, relation) for relation in relations)
    if found := re.fullmatch(rf"{NOUN} ({PLACE})", text):
        return any(is_at(shape, found[1]) for shape in nouns[0].matches)
    if found := re.fullmatch(
        rf"{NOUN} ({PLACE}) and (?:another|{NOUN}) ({PLACE})", text
    ):
        if "another" in text:
            nouns.append(nouns[0])
        return any(
            one != other and is_at(one, found[1]) and is_at(other, found[2])
            for one in nouns[0].matches
            for other in nouns[1].matches
        )
    assert re.fullmatch(rf"{NOUN}(?:(?:, {NOUN})* and {NOUN})?", text), text
    if opening.startswith("from left"):
        across = [noun.matches[0].x for noun in nouns]
        return across == sorted(across) and is_complete(nouns, scene)
    return len(nouns) == 1 or is_complete(nouns, scene)


def is_complete(nouns: list[Noun], scene: Scene) -> bool:
    named = [shape for noun in nouns for shape in noun.matches]
    return sorted(named) == sorted(scene.shapes)


def is_related(one: Shape, other: Shape, relation: str) -> bool:
    """Returns whether a relation holds in wide and in tall images."""
    across, down = one.x - other.x, one.y - other.y
    return all(
        DIRECTIONS[relation](across * width, down * height)
        for width, height in ((3, 2), (1, 1), (2, 3))
    )


def is_at(shape: Shape, place: str) -> bool:
    x, y, radius = shape.x, shape.y, shape.radius
    ends = {
        "left": x + radius,
        "right": 1 - x + radius,
        "upper": y + radius,
        "lower": 1 - y + radius,
    }
    named = [word for word in ends if word in place.split()]
    if "corner" in place:
        centers = (ends[word] - radius for word in named)
        return all(center < 0.4 for center in centers)
    if "half" in place:
        return all(ends[word] - 0.3 * radius < 0.5 for word in named)
    if "just" in place:
        word = place.removeprefix("just ").split(" ")[0]
        end = ends[{"above": "upper", "below": "lower"}.get(word, word)]
        return end - radius < 0.5 < end - 0.2 * radius
    return math.hypot(x - 0.5, y - 0.5) < 0.15


def shape(name: str, x: float, y: float) -> Shape:
    size, color, kind = name.split()
    return Shape(kind, color, size, x, y, {"small": 0.1, "large": 0.2}[size])


PAIR = Scene(
    (shape("small red circle", 0.2, 0.5), shape("large blue square", 0.65, 0.5)),
    "white",
)
TRIO = Scene(
    (
        shape("small green star", 0.2, 0.2),
        shape("small green star", 0.8, 0.2),
        shape("large green star", 0.5, 0.7),
    ),
    "midnight",
)


class TestMakeScene:
    @given(st.integers(), st.integers())
    def test_shapes_lie_apart_and_inside(self, seed, index):
        shapes = make_scene(index, seed=seed).shapes
        assert 1 <= len(shapes) <= 4
        for one in shapes:
            assert one.radius <= min(one.x, one.y, 1 - one.x, 1 - one.y)
        for one, other in itertools.combinations(shapes, 2):
            distance = math.hypot(one.x - other.x, one.y - other.y)
            assert distance > one.radius + other.radius

    def test_every_small_shape_is_well_below_every_large_one(self):
        shapes = [shape for scene in SCENES for shape in scene.shapes]
        small, large = (
            [shape.radius for shape in shapes if shape.size == size]
            for size in ("small", "large")
        )
        assert len(small) + len(large) == len(shapes)
        assert max(small) * 1.5 < min(large)

    def test_all_kinds_colors_and_counts_come_up(self):
        shapes = [shape for scene in SCENES for shape in scene.shapes]
        assert {shape.kind for shape in shapes} == set(KINDS)
        assert {shape.color for shape in shapes} == set(USUAL_COLORS)
        assert {len(scene.shapes) for scene in SCENES} == {1, 2, 3, 4}
        assert len({scene.background for scene in SCENES}) > 2

    def test_seed_and_index_both_matter(self):
        scenes = {make_scene(index, seed=seed) for index in (0, 1) for seed in (0, 1)}
        assert len(scenes) == 4

    def test_same_in_every_process(self):
        code = (
            "from beam_jobs.sample_data import *;"
            "print([(s, describe(s, 3)) for s in map(make_scene, range(20))])"
        )
        root = str(Path(beam_jobs.sample_data.__file__).parents[2])
        runs = [
            subprocess.run(
                [sys.executable, "-c", code],
                env={**os.environ, "PYTHONPATH": root, "PYTHONHASHSEED": hash_seed},
                capture_output=True,
                check=True,
            ).stdout
            for hash_seed in ("1", "2")
        ]
        assert runs[0] == runs[1] != b""


class TestDescribe:
    @pytest.mark.parametrize(
        ("scene", "caption"),
        [
            (PAIR, "a small red circle to the left of a large blue square"),
            (PAIR, "the blue square is to the right of the red circle"),
            (PAIR, "a red circle and a blue square on a light background"),
            (PAIR, "from left to right, a red circle and a blue square"),
            (TRIO, "three green stars"),
            (TRIO, "there are two small green stars"),
            (TRIO, "two small green stars and a large green star on a dark background"),
            (TRIO, "a small green star in the upper left corner"),
        ],
    )
    def test_says_what_one_would_expect(self, scene, caption):
        assert caption in describe(scene, 1000)

    @pytest.mark.parametrize(
        ("scene", "caption"),
        [
            (PAIR, "a red circle to the right of a blue square"),
            (PAIR, "a red circle above a blue square"),
            (PAIR, "a red square"),
            (PAIR, "a large red circle and a large blue square"),
            (PAIR, "a red circle and a blue square on a dark background"),
            (PAIR, "from left to right, a blue square and a red circle"),
            (PAIR, "three shapes, a red circle and a blue square"),
            (PAIR, "a single red circle"),
            (PAIR, "a red circle in the upper left corner"),
            (PAIR, "a red circle just left of the middle"),
            (PAIR, "a blue square in the left half of the picture"),
            (TRIO, "two green stars"),
            (TRIO, "three small green stars"),
            (TRIO, "the small green star is above the large green star"),
        ],
    )
    def test_lies_are_not_told_and_would_be_noticed(self, scene, caption):
        assert not read_caption(caption, scene)[0]
        assert caption not in describe(scene, 1000)

    def test_every_caption_is_true(self):
        for scene in SCENES:
            for caption in describe(scene, 1000):
                assert read_caption(caption, scene)[0], (caption, scene)

    @given(st.integers(), st.integers(), st.integers())
    @settings(max_examples=50)
    def test_captions_are_true_for_any_seed(self, seed, index, caption_seed):
        scene = make_scene(index, seed=seed)
        for caption in describe(scene, 5, seed=caption_seed):
            assert read_caption(caption, scene)[0], (caption, scene)

    def test_captions_name_all_of_one_or_two_shapes(self):
        for scene in SCENES:
            if len(scene.shapes) > 2:
                continue
            for caption in describe(scene, 1000):
                _, nouns = read_caption(caption, scene)
                assert sum(noun.count for noun in nouns) == len(scene.shapes), caption
                assert {one for noun in nouns for one in noun.matches} == {
                    *scene.shapes
                }, caption

    @pytest.mark.parametrize("num", [1, 2, 5])
    def test_as_many_distinct_captions_as_asked(self, num):
        for scene in SCENES:
            captions = describe(scene, num)
            assert len(captions) == len(set(captions)) == num

    def test_fewer_captions_are_a_prefix_of_more(self):
        for scene in SCENES[:50]:
            everything = describe(scene, 1000)
            assert len(everything) == len(set(everything)) < 1000
            assert describe(scene, 3) == everything[:3]

    def test_seed_chooses_among_phrasings(self):
        assert len({describe(PAIR, seed=seed)[0] for seed in range(50)}) > 8

    def test_words_are_plain(self):
        captions = [caption for scene in SCENES for caption in describe(scene, 1000)]
        assert {*"".join(captions)} <= {*string.ascii_lowercase, " ", ","}
        assert len({word for text in captions for word in text.split()}) < 100
        for caption in captions:
            assert caption == " ".join(caption.split()).strip(",")

    def test_first_captions_are_phrased_in_many_ways(self):
        first = " | ".join(describe(scene)[0] for scene in SCENES)
        for phrase in (
            "left of",
            "right of",
            "above",
            "below",
            "corner",
            "half",
            "middle",
            "three",
            "background",
            "from left to right",
            "there are",
            "the",
        ):
            assert re.search(rf"\b{phrase}\b", first), phrase

    def test_captions_of_one_scene_differ_in_kind(self):
        for scene in SCENES:
            if len(scene.shapes) > 2:
                kinds = {
                    next(p for p in (PLACE, RELATION, "") if re.search(p, caption))
                    for caption in describe(scene, 4)
                }
                assert len(kinds) > 1, scene

    @pytest.mark.parametrize("num", [0, -1])
    def test_refuses_less_than_one(self, num):
        with pytest.raises(UsageError, match=f"num_captions .* at least 1, got {num}"):
            describe(PAIR, num)


class TestDraw:
    @pytest.mark.parametrize("size", [(320, 240), (240, 320), (288, 288), (97, 61)])
    def test_centers_have_the_named_colors(self, size):
        for scene in SCENES[:60]:
            picture = draw(scene, *size)
            assert (picture.size, picture.mode) == (size, "RGB")
            for one in scene.shapes:
                pixel = picture.getpixel((int(one.x * size[0]), int(one.y * size[1])))
                assert nearest_color(pixel) == one.color

    def test_nothing_shows_outside_the_bounding_circles(self):
        for scene in SCENES[:60]:
            pixels = np.asarray(draw(scene, 300, 200))
            rows, columns = np.mgrid[:200, :300] + 0.5
            outside = np.ones((200, 300), bool)
            for one in scene.shapes:
                distances = np.hypot(columns - one.x * 300, rows - one.y * 200)
                outside &= distances > one.radius * 200 + 1
            assert (pixels[outside] == pixels[0, 0]).all()

    @pytest.mark.parametrize(
        ("kind", "area"),
        [("circle", math.pi), ("square", 2), ("triangle", 3 * math.sqrt(3) / 4)],
    )
    def test_areas_are_those_of_the_figures(self, kind, area):
        scene = Scene((Shape(kind, "red", "large", 0.5, 0.5, 0.2),), "white")
        pixels = np.asarray(draw(scene, 300, 200)).astype(float)
        blank, ink = pixels[0, 0], pixels[100, 150]
        covered = ((pixels - blank) @ (ink - blank)).sum() / np.sum((ink - blank) ** 2)
        assert covered == pytest.approx(area * 40**2, rel=0.02)

    @pytest.mark.parametrize("kind", KINDS)
    def test_kinds_are_upright_and_unlike_each_other(self, kind):
        def ink(of):
            scene = Scene((Shape(of, "red", "large", 0.5, 0.5, 0.2),), "white")
            return np.asarray(draw(scene, 200, 200))[..., 2].astype(int)

        # A quarter of the range of a pixel: mirror images differ by rounding.
        assert np.abs(ink(kind) - ink(kind)[:, ::-1]).max() <= 64
        for other in set(KINDS) - {kind}:
            assert (np.abs(ink(kind) - ink(other)) > 100).sum() > 400

    @pytest.mark.parametrize(
        ("kind", "points"), [("triangle", 3), ("square", 4), ("cross", 4), ("star", 5)]
    )
    def test_figures_have_as_many_points_as_they_should(self, kind, points):
        scene = Scene((Shape(kind, "red", "large", 0.5, 0.5, 0.2),), "white")
        pixels = np.asarray(draw(scene, 400, 400))[..., 2]
        turns = np.linspace(0, math.tau, 720, endpoint=False)
        rows, columns = (200 + 64 * wave(turns) for wave in (np.cos, np.sin))
        inked = pixels[rows.astype(int), columns.astype(int)] < 128
        assert (inked & ~np.roll(inked, 1)).sum() == points

    def test_edges_are_smooth(self):
        scene = Scene((Shape("circle", "red", "large", 0.5, 0.5, 0.2),), "white")
        assert len(draw(scene, 200, 200).getcolors()) > 8

    @pytest.mark.parametrize("size", [(0, 10), (10, -1)])
    def test_refuses_empty_pictures(self, size):
        with pytest.raises(UsageError, match=r"(width|height) must be at least 1, got"):
            draw(PAIR, *size)


def nearest_color(pixel):
    return min(USUAL_COLORS, key=lambda name: math.dist(USUAL_COLORS[name], pixel))


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    target = tmp_path_factory.mktemp("new") / "deeper" / "sample"
    write_sample(str(target), 60, seed=3, captions_per_image=5)
    return target


class TestWriteSample:
    def test_pictures_and_captions_pair_up(self, sample):
        assert sorted(path.name for path in sample.iterdir()) == ["captions", "images"]
        stems = [f"scene-{index:05d}" for index in range(60)]
        assert sorted(path.stem for path in (sample / "images").iterdir()) == stems
        assert sorted(path.name for path in (sample / "captions").iterdir()) == [
            f"{stem}.txt" for stem in stems
        ]

    def test_sizes_and_suffixes_vary(self, sample):
        pictures = sorted((sample / "images").iterdir())
        suffixes = [path.suffix for path in pictures]
        assert set(suffixes) == {".jpg", ".jpeg", ".png"}
        assert suffixes.count(".jpg") > 30
        shapes = set()
        for path in pictures:
            with Image.open(path) as picture:
                assert picture.format == ("PNG" if path.suffix == ".png" else "JPEG")
                assert picture.mode == "RGB"
                width, height = picture.size
                assert max(picture.size) <= 1.5 * min(picture.size)
                shapes.add((width > height) - (width < height))
        assert shapes == {-1, 0, 1}

    def test_pictures_show_the_scenes_their_captions_tell(self, sample):
        for index, path in enumerate(sorted((sample / "images").iterdir())):
            scene = make_scene(index, seed=3)
            with Image.open(path) as picture:
                for one in scene.shapes:
                    x, y = one.x * picture.width, one.y * picture.height
                    pixel = picture.getpixel((int(x), int(y)))
                    assert nearest_color(pixel) == one.color
            written = (sample / "captions" / f"{path.stem}.txt").read_bytes()
            *captions, rest = written.decode().split("\n")
            assert (len(set(captions)), rest) == (5, "")
            assert all(read_caption(caption, scene)[0] for caption in captions)

    def test_two_runs_give_the_same_bytes(self, sample, tmp_path):
        write_sample(str(tmp_path), 60, seed=3, captions_per_image=5)
        assert read_folder(tmp_path) == read_folder(sample)

    def test_a_shorter_run_is_a_prefix(self, sample, tmp_path):
        write_sample(str(tmp_path), 7, seed=3, captions_per_image=5)
        assert read_folder(tmp_path).items() <= read_folder(sample).items()

    def test_another_seed_gives_other_scenes(self, sample, tmp_path):
        write_sample(str(tmp_path), 5, seed=4, captions_per_image=5)
        assert not read_folder(tmp_path).items() & read_folder(sample).items()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"num": 0}, "num must be at least 1, got 0"),
            (
                {"num": 1, "captions_per_image": -2},
                "captions_per_image must be at least 1, got -2",
            ),
        ],
    )
    def test_refuses_less_than_one(self, tmp_path, arguments, message):
        with pytest.raises(UsageError, match=message):
            write_sample(str(tmp_path), **arguments)
        assert not any(tmp_path.iterdir())

    def test_refuses_a_folder_in_use(self, tmp_path):
        (tmp_path / "mine.txt").write_text("keep")
        with pytest.raises(UsageError, match=rf"must be empty.*{tmp_path.name}"):
            write_sample(str(tmp_path), 1)
        assert read_folder(tmp_path) == {"mine.txt": b"keep"}

    def test_refuses_a_file(self, tmp_path):
        target = tmp_path / "file"
        target.write_text("keep")
        with pytest.raises(UsageError, match="must be a folder"):
            write_sample(str(target), 1)
        assert target.read_text() == "keep"


def read_folder(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }

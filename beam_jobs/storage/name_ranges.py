"""Splits the names in a folder of a bucket into ranges, to list them concurrently.

A store answers a list 1,000 names at a time, and each answer says where the next one
begins: a million names take a thousand requests, one after the other. Ranges of names
are listed at the same time. Their bounds are found by probing, because neither the
subfolders nor the numbers of their files are known before.
"""

import bisect
import itertools
import string
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

# Names in one answer of a store.
PAGE_NAMES = 1000

# Number of ranges of a large folder that are enough.
_ENOUGH_RANGES = 128

# In a round, each large range is split by so many probes at most. A round may find no
# more than the next character that all names share.
_MOST_POINTS = 16
_MOST_ROUNDS = 24

# Characters of points between two names. They have no meaning in a path.
_ALPHABETS = (string.digits, string.ascii_uppercase, string.ascii_lowercase)
_LETTERS_OF_A_POINT = 3
_LAST_LETTER = "\U0010ffff"

Page = Callable[[str], list[str]]
"""Returns the first `PAGE_NAMES` names that come after a name."""


class NameRange(NamedTuple):
    """A range of names of objects, relative to a folder.

    The order of names is that of their UTF-8 bytes, and of Python's strings.

    Attributes:
        after: Name before the range. Empty for the first range.
        until: Last name of the range. Empty for the last range.
    """

    after: str = ""
    until: str = ""


@dataclass
class _Stretch:
    """The names from the answer to a probe up to the next stretch.

    Attributes:
        names: Names in the answer.
        empty_from: No name of the stretch comes after this one.
        is_split: Whether no further probe would split it.
    """

    names: list[str]
    empty_from: str = _LAST_LETTER
    is_split: bool = False

    def is_large(self) -> bool:
        """Returns whether the stretch has more names than the answer to the probe."""
        return (
            not self.is_split
            and len(self.names) == PAGE_NAMES
            and self.names[-1] < self.empty_from
        )


def ranges_between(bounds: Sequence[str]) -> list[NameRange]:
    """Returns the ranges between bounds, which contain every possible name once."""
    return [
        NameRange(after, until)
        for after, until in zip(["", *bounds], [*bounds, ""], strict=True)
    ]


def split_names(page: Page, pool: Executor) -> list[str]:
    """Splits the names of a folder into ranges.

    Args:
        page: Function that requests names.
        pool: Executor of the requests.

    Returns:
        Bounds of the ranges, which are some of the names. A folder of more than
        `PAGE_NAMES` names has 100 to 300 ranges, of different sizes; a smaller one, and
        one in a store that does not sort its names, a single range.
    """
    stretches = [_Stretch(page(""))]
    for _ in range(_MOST_ROUNDS):
        large = [stretch for stretch in stretches if stretch.is_large()]
        if not large or len(stretches) >= _ENOUGH_RANGES:
            break
        number = min(_MOST_POINTS, max(2, 2 * _ENOUGH_RANGES // len(large)))
        points = [_points_in(stretch, number) for stretch in large]
        pages = pool.map(page, itertools.chain.from_iterable(points))
        for stretch, its_points in zip(large, points, strict=True):
            found = [(point, next(pages)) for point in its_points]
            if not all(map(_is_sorted, found)):
                return []
            stretches += _split(stretch, found)
        stretches.sort(key=lambda stretch: stretch.names[:1])
    return [stretch.names[0] for stretch in stretches[1:]]


def _is_sorted(found: tuple[str, list[str]]) -> bool:
    point, names = found
    return all(before < name for before, name in itertools.pairwise([point, *names]))


def _split(
    stretch: _Stretch, found: Sequence[tuple[str, list[str]]]
) -> Iterator[_Stretch]:
    """Ends a stretch where the next one begins, and yields the next ones."""
    stretch.is_split = not found
    end = stretch.empty_from
    for point, names in found:
        if not names or names[0] > end:
            stretch.empty_from = point
            return
        if names[0] != stretch.names[0]:
            stretch.empty_from = point
            stretch = _Stretch(names, end)
            yield stretch


def _points_in(stretch: _Stretch, number: int) -> list[str]:
    """Returns about `number` sorted points to probe."""
    low, high = stretch.names[-1], stretch.empty_from
    points = _behind_folders(stretch, number)
    points += _between(low, high, number, _letters_of(stretch.names))
    return sorted({point for point in points if low < point < high})


def _behind_folders(stretch: _Stretch, number: int) -> list[str]:
    """Returns points behind all names that begin like those of the answer.

    They find the characters that all names share in a few rounds, however many.
    """
    low = stretch.names[-1]
    shared = len(_shared(low, stretch.empty_from))
    begin = _shared(stretch.names[0], low)
    step = max(0, len(begin) - shared) // number + 1
    lengths = range(len(begin), shared, -step)
    return [begin[:length] + _LAST_LETTER for length in lengths]


def _letters_of(names: Sequence[str]) -> list[str]:
    """Returns the letters of which points between names are made."""
    shared = len(_shared(names[0], names[-1]))
    ends = (name[shared : shared + _LETTERS_OF_A_POINT] for name in names)
    seen = set("".join(ends))
    alphabets = [letters for letters in _ALPHABETS if seen.intersection(letters)]
    return sorted("".join(alphabets or _ALPHABETS))


def _between(low: str, high: str, number: int, letters: Sequence[str]) -> list[str]:
    """Returns `number` points between two names, at equal distances."""
    shared = _shared(low, high)
    begin = _place(low[len(shared) :], letters)
    end = _place(high[len(shared) :], letters)
    places = (begin + (end - begin) * n / (number + 1) for n in range(1, number + 1))
    return [shared + _at(place, letters) for place in places]


def _shared(one: str, other: str) -> str:
    """Returns the characters that two names begin with."""
    pairs = zip(one, other, strict=False)
    return "".join(
        a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)
    )


def _place(name: str, letters: Sequence[str]) -> float:
    """Returns the place of a name among all names of letters, from 0 to 1."""
    place, width = 0.0, 1.0
    for character in name[:_LETTERS_OF_A_POINT]:
        width /= len(letters)
        digit = bisect.bisect_left(letters, character)
        place += width * digit
        if letters[digit : digit + 1] != [character]:
            break
    return place


def _at(place: float, letters: Sequence[str]) -> str:
    """Returns the name of letters at a place."""
    name = ""
    for _ in range(_LETTERS_OF_A_POINT):
        place *= len(letters)
        digit = min(int(place), len(letters) - 1)
        name += letters[digit]
        place -= digit
    return name

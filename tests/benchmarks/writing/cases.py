"""What is compared: who writes which corpora, of which sizes."""

from typing import NamedTuple

from tests.benchmarks.writing.contenders import OURS


class Case(NamedTuple):
    """A comparison.

    Attributes:
        kind: Of the corpora, as in `originals.py`.
        sizes: Numbers of images, growing: what lies between two tells what one costs.
        against: Contenders beside ours.
    """

    kind: str
    sizes: tuple[int, ...]
    against: tuple[str, ...] = ()

    @property
    def contenders(self) -> tuple[str, ...]:
        """All that take part."""
        return (OURS, *self.against)

    def scaled(self, by: float) -> "Case":
        """Returns the same with corpora so many times as large."""
        return self._replace(sizes=tuple(round(size * by) for size in self.sizes))


CASES = {
    "photographs": Case("photographs", (1500, 6000), ("codecs",)),
    "kept": Case("kept", (1500, 6000), ("copying",)),
    "large": Case("large", (50, 250), ("codecs",)),
    "img2dataset": Case(
        "photographs", (1500, 6000), ("img2dataset", "img2dataset, tuned")
    ),
    "scaling": Case("small", (1_000, 10_000, 100_000)),
}

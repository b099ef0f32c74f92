"""From what whole commands took to what an image costs.

Of two corpora, the marginal cost of an image is what the larger one took longer, by the
images that it has more; the fixed cost is what is then left of the smaller one. That is
done with what each round took, so that a ratio compares commands of the same minute.
"""

import statistics
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from tests.benchmarks.process import Seconds
from tests.benchmarks.spread import spread
from tests.benchmarks.writing.contenders import OURS
from tests.benchmarks.writing.measure import Rounds

CLOCKS: tuple[Literal["wall", "cpu"], ...] = ("wall", "cpu")


class Step(NamedTuple):
    """What writing costs from one size to the next, in each round.

    Attributes:
        contender: Who writes.
        sizes: Numbers of images.
        marginal: Seconds an image.
        fixed: Seconds before the first one.
    """

    contender: str
    sizes: tuple[int, int]
    marginal: list[Seconds]
    fixed: list[Seconds]


def steps(costs: Rounds) -> list[Step]:
    """Returns what each size costs beyond the one before."""
    return [
        _step(contender, sizes, rounds)
        for contender, rounds in costs.items()
        for sizes in pairwise(rounds[0])
    ]


def _step(
    contender: str, sizes: tuple[int, int], rounds: list[dict[int, Seconds]]
) -> Step:
    marginal, fixed = [], []
    for took in rounds:
        few, many = (took[size] for size in sizes)
        each = [(m - f) / (sizes[1] - sizes[0]) for f, m in zip(few, many, strict=True)]
        marginal.append(Seconds(*each))
        left = [f - sizes[0] * e for f, e in zip(few, each, strict=True)]
        fixed.append(Seconds(*left))
    return Step(contender, sizes, marginal, fixed)


def reference(step: Step, among: list[Step]) -> Step:
    """Returns what a step is held against: ours of the same sizes, or our first one."""
    ours = [one for one in among if one.contender == OURS]
    if step.contender == OURS:
        return ours[0]
    return next(one for one in ours if one.sizes == step.sizes)


def ratios(step: Step, to: Step, clock: str) -> list[float]:
    """Returns how many times as much an image costs as in another step, by rounds."""
    pairs = zip(step.marginal, to.marginal, strict=True)
    return [getattr(it, clock) / getattr(other, clock) for it, other in pairs]


def summary(costs: Rounds) -> list[dict[str, Any]]:
    """Returns all steps, for JSON: seconds in each round, and their medians."""
    among = steps(costs)
    return [
        {
            "contender": step.contender,
            "from": step.sizes[0],
            "to": step.sizes[1],
        }
        | {clock: _told(step, reference(step, among), clock) for clock in CLOCKS}
        for step in among
    ]


def _told(step: Step, to: Step, clock: str) -> dict[str, Any]:
    marginal = [getattr(seconds, clock) for seconds in step.marginal]
    fixed = [getattr(seconds, clock) for seconds in step.fixed]
    return {
        "images_per_second": 1 / statistics.median(marginal),
        "fixed_seconds": statistics.median(fixed),
        "to_ours": [] if step is to else ratios(step, to, clock),
        "rounds": {
            "images_per_second": [1 / seconds for seconds in marginal],
            "fixed_seconds": fixed,
        },
    }


def markdown(costs: Rounds) -> str:
    """Returns the table of a case."""
    lines = [
        "| | images | images/s | images per CPU-second | fixed s | fixed CPU-s "
        "| an image's cost to ours | in CPU-seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in summary(costs):
        wall, cpu = (row[clock] for clock in CLOCKS)
        cells = [row["contender"], f"{row['from']:,} to {row['to']:,}"]
        rounds = [each["rounds"] for each in (wall, cpu)]
        cells += [spread(each["images_per_second"], digits=0) for each in rounds]
        cells += [spread(each["fixed_seconds"], digits=1) for each in rounds]
        cells += [spread(each["to_ours"]) for each in (wall, cpu)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)

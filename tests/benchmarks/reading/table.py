"""From what each round took to a table."""

import statistics
from typing import Any, NamedTuple

from tests.benchmarks.reading.measure import Cost
from tests.benchmarks.reading.roster import PEERS
from tests.benchmarks.spread import spread


class Case(NamedTuple):
    """A peer and what it is asked for."""

    peer: str
    dtype: str


Rounds = dict[Case, list[Cost]]


def ratios(costs: Rounds, case: Case) -> list[float]:
    """Returns our images per CPU-second to its own, in each round; empty without us."""
    ours = costs.get(Case(PEERS[case.peer].rival, case.dtype), [])
    pairs = zip(ours, costs[case], strict=False)
    return [_per_cpu(us) / _per_cpu(it) for us, it in pairs]


def summary(costs: Rounds) -> list[dict[str, Any]]:
    """Returns medians and rounds of each case, for JSON."""
    return [
        case._asdict()
        | {
            "images_per_cpu_second": statistics.median(map(_per_cpu, of)),
            "images_per_second": statistics.median(map(_per_second, of)),
            "ours_to_it": ratios(costs, case),
            "rounds": [cost._asdict() for cost in of],
        }
        for case, of in costs.items()
    ]


def markdown(costs: Rounds) -> str:
    """Returns the table."""
    lines = [
        "| peer | dtype | images per CPU-second | images/s | ours to it |",
        "|---|---|---|---|---|",
    ]
    for row in summary(costs):
        rates = f"{row['images_per_cpu_second']:,.0f} | {row['images_per_second']:,.0f}"
        ratio = spread(row["ours_to_it"])
        lines.append(f"| {row['peer']} | {row['dtype']} | {rates} | {ratio} |")
    return "\n".join(lines)


def _per_cpu(cost: Cost) -> float:
    return cost.images / cost.cpu_seconds


def _per_second(cost: Cost) -> float:
    return cost.images / cost.wall_seconds

"""From what each round took to tables."""

import statistics
from typing import Any

from tests.benchmarks.reading.measure import Cost
from tests.benchmarks.reading.roster import OURS, Case
from tests.benchmarks.spread import confidence, spread

Rounds = dict[Case, list[Cost]]
Row = dict[str, Any]


def ratios(costs: Rounds, case: Case) -> list[float]:
    """Returns our images per CPU-second ÷ theirs in each round; empty without us."""
    ours = costs.get(case._replace(peer=OURS), [])
    if case.peer == OURS:
        return []
    pairs = zip(ours, costs[case], strict=False)
    return [us.per_cpu_second / it.per_cpu_second for us, it in pairs]


def summary(costs: Rounds, antialiased: dict[Case, float | None]) -> list[Row]:
    """Returns medians and rounds of each case, for JSON.

    Of cases beside something busy, whose CPU time holds that of a busy thread, only
    images per second and `thread_to_process`, the ratio of these, are of use.
    """
    rows = []
    for case, of in costs.items():
        row = case._asdict()
        row["images_per_cpu_second"] = statistics.median(c.per_cpu_second for c in of)
        row["images_per_second"] = statistics.median(c.per_second for c in of)
        if case.beside == "thread":
            row["thread_to_process"] = _thread_to_process(costs, case)
        elif not case.beside:
            row["ours_to_it"] = ratios(costs, case)
            row["antialiased"] = antialiased.get(case)
        rows.append(row | {"rounds": [cost._asdict() for cost in of]})
    return rows


def _thread_to_process(costs: Rounds, case: Case) -> list[float]:
    pairs = zip(
        costs[case], costs.get(case._replace(beside="process"), []), strict=False
    )
    return [thread.per_second / process.per_second for thread, process in pairs]


def markdown(rows: list[Row]) -> str:
    """Returns the table of cases by themselves, or of those beside something busy."""
    alone = [row for row in rows if not row["beside"]]
    return _of_costs(alone) if alone else _of_busy(rows)


def _of_costs(rows: list[Row]) -> str:
    lines = [
        "| task | dtype | peer | images per CPU-second | images/s | ours ÷ theirs "
        "(95 %) | antialiased |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rates = f"{row['images_per_cpu_second']:,.0f} | {row['images_per_second']:,.0f}"
        ends = f"{confidence(row['ours_to_it'])} | {_yes_or_no(row['antialiased'])}"
        lines.append(f"| {_names(row)} | {rates} | {ends} |")
    return "\n".join(lines)


def _of_busy(rows: list[Row]) -> str:
    lines = [
        "| task | dtype | peer | images/s beside a busy process | beside a busy thread "
        "| thread ÷ process |",
        "|---|---|---|---|---|---|",
    ]
    of = {Case(*(row[name] for name in Case._fields)): row for row in rows}
    for case, row in of.items():
        beside = of.get(case._replace(beside="process"))
        if case.beside == "thread" and beside:
            rates = (f"{each['images_per_second']:,.0f}" for each in (beside, row))
            ratio = spread(row["thread_to_process"])
            lines.append(f"| {_names(row)} | {' | '.join(rates)} | {ratio} |")
    return "\n".join(lines)


def _names(row: Row) -> str:
    return f"{row['task']} | {row['dtype']} | {row['peer']}"


def _yes_or_no(share: float | None) -> str:
    if share is None:
        return ""
    return (
        "yes" if share >= 0.95 else "no" if share < 0.05 else f"{share:.0%} of images"
    )

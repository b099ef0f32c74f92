"""Whether what a peer gives is what all should give."""

from typing import Any

from tests.benchmarks.reading.pixels import CORES
from tests.benchmarks.reading.roster import BATCH, SIZE

SHAPES = ([BATCH, SIZE, SIZE, 3], [BATCH, 3, SIZE, SIZE])


def faults(held: dict[str, Any], dtype: str, num: int, mean: float) -> list[str]:
    """Returns what is wrong with an epoch.

    Args:
        held: What `task.check` tells of it.
        dtype: What was asked for.
        num: How many records there are. Up to a batch for each worker may be dropped.
        mean: Of all pixels, in [0, 1], as ours gives them.
    """
    top = 255.0 if dtype == "uint8" else 1.0
    its_mean = held["mean"] / top
    least = num - (BATCH - 1) * CORES
    wrong = {
        f"shapes {held['shapes']}": any(s not in SHAPES for s in held["shapes"]),
        f"dtypes {held['dtypes']}": held["dtypes"] != [dtype],
        f"{held['images']} images of {num}": not least <= held["images"] <= num,
        f"values up to {held['max']}": not top / 2 < held["max"] <= top * 1.0001,
        f"values down to {held['min']}": not 0 <= held["min"] < top / 2,
        f"mean {its_mean:.4f}, not {mean:.4f}": abs(its_mean / mean - 1) > 0.01,
    }
    return [what for what, is_so in wrong.items() if is_so]

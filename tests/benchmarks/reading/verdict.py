"""Whether a peer does what all should do: two epochs of the probe, judged."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reader.config.defaults import CROP_RATIO, CROP_SCALE
from tests.benchmarks.reading.pixels import CORES
from tests.benchmarks.reading.probe import COUNT, HEIGHT, WIDTH, Views, joined
from tests.benchmarks.reading.roster import BATCH, SIZE, Case, Peer

SHAPES = ([BATCH, SIZE, SIZE, 3], [BATCH, 3, SIZE, SIZE])
# Pixels by which a region may be off: the fast inverse DCT is a level off, 1.6 pixels.
_NEAR = 3
# Where 1.2 pixels or more become one, Pillow's filter leaves at most 0.36 of the
# stripes, a filter without antialiasing 0.53 or more. Areas leave 0.32 to 0.48.
_SMALLER, _FEW_STRIPES = 1.2, 0.4
_QUARTILES = (0.25, 0.5, 0.75)


def faults(held: dict[str, Any], case: Case, peer: Peer) -> list[str]:
    """Returns what is wrong with two epochs.

    Args:
        held: What `task.check` found.
        case: What was asked for.
        peer: Who was asked.
    """
    first, second = (Views(*map(np.array, epoch.values())) for epoch in held["epochs"])
    wrong = [*_faults_of_batches(held, case.dtype)]
    if not wrong:
        for epoch in (first, second):
            wrong += _faults_of_number(len(epoch.left))
        if case.task == "random_resized":
            wrong += _faults_of_random(first, second)
            share = antialiased(held)
            if peer.antialiases and share < 0.95:
                wrong.append(f"{share:.0%} of smaller images antialiased")
        else:
            wrong += _faults_of_center(first)
    return wrong


def antialiased(held: dict[str, Any]) -> float:
    """Returns the share of the images made smaller that are antialiased."""
    width, stripes = (
        np.concatenate([epoch[name] for epoch in held["epochs"]])
        for name in ("width", "stripes")
    )
    left = stripes[width > _SMALLER * SIZE]
    return float((left < _FEW_STRIPES).mean()) if left.size else 0.0


def _faults_of_batches(held: dict[str, Any], dtype: str) -> Iterator[str]:
    top = 255.0 if dtype == "uint8" else 1.0
    if any(shape not in SHAPES for shape in held["shapes"]):
        yield f"shapes {held['shapes']}"
    if held["dtypes"] != [dtype]:
        yield f"dtypes {held['dtypes']}"
    if not top / 2 < held["max"] <= top * 1.0001 or not 0 <= held["min"] < top / 2:
        yield f"values from {held['min']} to {held['max']}"


def _faults_of_number(num: int) -> Iterator[str]:
    # Each worker may drop what makes no whole batch.
    if not COUNT - (BATCH - 1) * CORES <= num <= COUNT:
        yield f"{num} images of {COUNT}"


def _faults_of_center(seen: Views) -> Iterator[str]:
    expected = ((WIDTH - SIZE) // 2, (HEIGHT - SIZE) // 2, SIZE, SIZE)
    off = np.abs(np.array(seen[:4]) - np.array(expected)[:, np.newaxis]).max()
    if off > _NEAR:
        yield f"a region is {off:.1f} pixels off the center"
    if seen.flipped.any():
        yield "images are flipped"


def _faults_of_random(first: Views, second: Views) -> Iterator[str]:
    left, top, width, height, flipped, _ = joined([first, second])
    if not 0.42 < flipped.mean() < 0.58:
        yield f"{flipped.mean():.0%} of images are flipped"
    ends = np.stack([-left, -top, left + width - WIDTH, top + height - HEIGHT])
    if ends.max() > _NEAR:
        yield f"a region ends {ends.max():.1f} pixels outside of the image"
    areas, shapes = expected_regions()
    for name, drawn, expected in (
        ("areas", width * height / (WIDTH * HEIGHT), areas),
        ("logarithms of aspect ratios", np.log(width / height), shapes),
    ):
        found, due = (np.quantile(each, _QUARTILES) for each in (drawn, expected))
        if np.abs(found - due).max() > 0.06:
            yield f"{name} have quartiles {found.round(2)}, not {due.round(2)}"
    repeated = _share_repeated(np.array(first[:4]), np.array(second[:4]))
    if repeated > 0.2:
        yield f"{repeated:.0%} of regions come again in the next epoch"


def _share_repeated(these: NDArray[Any], those: NDArray[Any]) -> float:
    gaps = np.abs(these[:, :, np.newaxis] - those[:, np.newaxis]).max(axis=0)
    return float((gaps.min(axis=1) < 0.5).mean())


def expected_regions(num: int = 4000) -> tuple[list[float], list[float]]:
    """Returns areas, and logarithms of aspect ratios, as torchvision draws them."""
    import torch
    from torchvision.transforms.v2 import RandomResizedCrop

    torch.manual_seed(0)
    crop = RandomResizedCrop(SIZE, scale=CROP_SCALE, ratio=CROP_RATIO)
    image = torch.empty((3, HEIGHT, WIDTH), dtype=torch.uint8)
    drawn = [crop.make_params([image]) for _ in range(num)]
    areas = [each["height"] * each["width"] / (HEIGHT * WIDTH) for each in drawn]
    return areas, [math.log(each["width"] / each["height"]) for each in drawn]

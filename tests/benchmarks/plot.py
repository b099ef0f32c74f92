"""Draws what a benchmark of reading measured.

python -m tests.benchmarks.reading … --json=reading.json
python -m tests.benchmarks.plot reading.json docs/reading.svg
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Grey enough to be read on white and on black; the page behind shows through.
_INK, _OURS, _LIMIT, _PEER = "#808080", "#4477aa", "#bbbbbb", "#ccaa66"
_LABELS = {
    "bare": "TensorFlow's decoder alone",
    "diptych": "reader.load",
    "stream": "reader.stream",
    "open": "reader.open in a DataLoader",
    "tutorial": "TensorFlow's tutorial",
    "dali": "NVIDIA DALI, on the CPU",
    "ffcv": "FFCV",
    "torchvision": "torchvision in a DataLoader",
    "webdataset": "WebDataset",
    "streaming": "MosaicML Streaming",
    "grain": "Grain and ArrayRecord",
    "loose": "loose photographs",
}
_TITLES = {
    "random_resized": "random crops and flips of JPEGs",
    "center": "center crops of JPEGs",
    "raw": "center crops of raw pixels",
}
_PER_CPU = "images per CPU-second"
_BUSY = "images/s beside a busy Python thread ÷ beside a busy process"


def draw(told: dict[str, Any]) -> Figure:
    """Returns a panel for each task and dtype, with a bar for each peer.

    Bars are images per CPU-second, or with `--busy` the ratio of images per second.
    """
    panels: dict[str, list[tuple[str, float]]] = {}
    for case in told["cases"]:
        if case["beside"] == "process":
            continue
        if case["beside"]:
            what, value = _BUSY, statistics.median(case["thread_to_process"])
        else:
            what, value = _PER_CPU, case["images_per_cpu_second"]
        title = f"{_TITLES[case['task']]} to {case['dtype']}, {what}"
        panels.setdefault(title, []).append((case["peer"], value))
    figure = Figure(
        figsize=(8, 0.6 * len(panels) + 0.3 * sum(map(len, panels.values())))
    )
    heights = [len(bars) + 1 for bars in panels.values()]
    axes = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for ax, (title, bars) in zip(axes, panels.items(), strict=True):
        _bars(ax, title, sorted(bars, key=lambda bar: bar[1]))
    figure.tight_layout()
    return figure


def _bars(ax: Axes, title: str, values: list[tuple[str, float]]) -> None:
    peers, rates = zip(*values, strict=True)
    bars = ax.barh(
        [_LABELS[peer] for peer in peers],
        rates,
        color=[_color(peer) for peer in peers],
        height=0.7,
    )
    digits = 0 if max(rates) > 100 else 2
    labels = [f"{rate:,.{digits}f}" for rate in rates]
    ax.bar_label(bars, labels, padding=3, color=_INK)
    ax.set_title(title[0].upper() + title[1:], loc="left", color=_INK, size=10)
    ax.spines[:].set_visible(False)
    ax.tick_params(colors=_INK, length=0, labelbottom=False)
    ax.margins(x=0.12)


def _color(peer: str) -> str:
    if peer == "bare":
        return _LIMIT
    return _OURS if _LABELS[peer].startswith("reader.") else _PEER


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.plot")
    parser.add_argument("json", type=Path, help="as --json wrote it")
    parser.add_argument("svg", type=Path)
    args = parser.parse_args()
    # The same bytes of the same figures.
    mpl.rcParams["svg.hashsalt"] = "diptych"
    mpl.rcParams["svg.fonttype"] = "none"
    figure = draw(json.loads(args.json.read_text()))
    figure.savefig(args.svg, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()

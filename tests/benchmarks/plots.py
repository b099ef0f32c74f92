"""Draws the plots of docs/performance.md from the JSON of benchmarks of reading.

python -m tests.benchmarks.reading … --json=docs/images/reading.json
python -m tests.benchmarks.reading … --busy --json=docs/images/busy.json
python -m tests.benchmarks.plots docs/images
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.benchmarks.spread import interval

# Gray enough to be read on white and on black; the page behind shows through.
_INK, _OURS, _LIMIT, _PEER = "#808080", "#4477aa", "#bbbbbb", "#ccaa66"
LABELS = {
    "bare": "TensorFlow's decoder alone",
    "diptych": "reader.load",
    "stream": "reader.stream",
    "open": "reader.open in a DataLoader",
    "tutorial": "TensorFlow's tutorial",
    "dali": "NVIDIA DALI, on the CPU",
    "ffcv": "FFCV",
    "torchvision": "torchvision over reader.open",
    "webdataset": "WebDataset",
    "streaming": "MosaicML Streaming",
    "grain": "Grain and ArrayRecord",
    "loose": "loose photographs",
}
TITLES = {
    "random_resized": "Random resized crops and flips of JPEGs",
    "center": "Center crops of JPEGs",
}
_DTYPE = "uint8"

Told = dict[str, Any]


def rates(told: Told) -> Figure:
    """Returns a panel for each task, with images per CPU-second of each peer."""
    panels = {
        task: {case["peer"]: case["images_per_cpu_second"] for case in _of(told, task)}
        for task in TITLES
    }
    figure = Figure(
        figsize=(8, 0.6 * len(panels) + 0.3 * sum(map(len, panels.values())))
    )
    heights = [len(values) + 1 for values in panels.values()]
    axes = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for ax, (task, values) in zip(axes, panels.items(), strict=True):
        _bars(ax, f"{TITLES[task]}: images per CPU-second", values, "{:,.0f}")
    figure.tight_layout()
    return figure


def ratios(told: Told) -> Figure:
    """Returns the ratio to each peer, with its interval, of each task."""
    figure = Figure(figsize=(8, 4.2))
    ax = figure.subplots()
    of = {
        task: {c["peer"]: c["ours_to_it"] for c in _of(told, task) if c["ours_to_it"]}
        for task in TITLES
    }
    largest: dict[str, float] = {}
    for values in of.values():
        for peer, found in values.items():
            largest[peer] = max(largest.get(peer, 0), interval(found)[0])
    peers = sorted(largest, key=lambda peer: -largest[peer])
    for task, color, shift in zip(TITLES, (_OURS, _PEER), (0.14, -0.14), strict=True):
        for place, peer in enumerate(peers):
            if found := of[task].get(peer):
                middle, low, high = interval(found)
                ax.plot([low, high], [place + shift] * 2, color=color, linewidth=2)
                label = TITLES[task] if place == len(peers) - 1 else None
                ax.plot(middle, place + shift, "o", color=color, label=label)
    ax.axvline(1, color=_INK, linewidth=1, linestyle=":")
    ax.set_xscale("log", base=2)
    ticks = [0.5, 1, 2, 4]
    ax.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    ax.set_yticks(range(len(peers)), [LABELS[peer] for peer in peers])
    ax.legend(frameon=False, labelcolor=_INK, loc="upper right")
    _plain(ax, "Images per CPU-second of reader.load ÷ of the other, 95 % interval")
    figure.tight_layout()
    return figure


def gil(told: Told) -> Figure:
    """Returns what is left of each peer's speed beside Python code in its process."""
    kept = {
        case["peer"]: statistics.median(case["thread_to_process"])
        for case in told["cases"]
        if case["beside"] == "thread"
    }
    figure = Figure(figsize=(8, 0.6 + 0.3 * len(kept)))
    title = "Images/s beside a busy Python thread ÷ beside a busy process"
    _bars(figure.subplots(), title, kept, "{:.2f}")
    figure.tight_layout()
    return figure


_PLOTS = {
    "rates.svg": ("reading.json", rates),
    "ratios.svg": ("reading.json", ratios),
    "gil.svg": ("busy.json", gil),
}


def _of(told: Told, task: str) -> list[dict[str, Any]]:
    return [c for c in told["cases"] if (c["task"], c["dtype"]) == (task, _DTYPE)]


def _bars(ax: Axes, title: str, values: dict[str, float], label: str) -> None:
    peers = sorted(values, key=values.__getitem__)
    bars = ax.barh(
        [LABELS[peer] for peer in peers],
        [values[peer] for peer in peers],
        color=[_color(peer) for peer in peers],
        height=0.7,
    )
    labels = [label.format(values[peer]) for peer in peers]
    ax.bar_label(bars, labels, padding=3, color=_INK)
    ax.tick_params(labelbottom=False)
    ax.margins(x=0.12)
    _plain(ax, title)


def _plain(ax: Axes, title: str) -> None:
    ax.set_title(title, loc="left", color=_INK, size=10)
    ax.spines[:].set_visible(False)
    ax.tick_params(which="both", colors=_INK, length=0)


def _color(peer: str) -> str:
    if peer == "bare":
        return _LIMIT
    return _OURS if peer in ("diptych", "stream", "open") else _PEER


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.plots")
    parser.add_argument("folder", type=Path, help="of the JSON, and of the plots")
    folder = parser.parse_args().folder
    # The same bytes of the same figures.
    mpl.rcParams["svg.hashsalt"] = "diptych"
    mpl.rcParams["svg.fonttype"] = "none"
    for name, (source, draw) in _PLOTS.items():
        figure = draw(json.loads((folder / source).read_text()))
        figure.savefig(folder / name, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()

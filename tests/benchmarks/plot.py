"""Draws what a benchmark of reading measured.

python -m tests.benchmarks.reading … --json=reading.json
python -m tests.benchmarks.plot reading.json docs/reading.svg
"""

import argparse
import json
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
    "tutorial": "TensorFlow's tutorial",
    "dali": "NVIDIA DALI, on the CPU",
    "ffcv": "FFCV",
    "webdataset": "WebDataset",
    "streaming": "MosaicML Streaming",
    "grain": "Grain and ArrayRecord",
    "loose": "loose photographs",
    "diptych-raw": "reader.load",
    "open-raw": "reader.open",
    "ffcv-raw": "FFCV",
}


def draw(told: dict[str, Any]) -> Figure:
    """Returns a panel for each kind of pixels: images per CPU-second of everyone."""
    panels = {
        "JPEG to float32": _of(told, "float32"),
        "JPEG to uint8": _of(told, "uint8"),
        "raw pixels to uint8": _of(told, "uint8", raw=True),
    }
    panels = {title: cases for title, cases in panels.items() if cases}
    figure = Figure(
        figsize=(8, 0.6 * len(panels) + 0.3 * sum(map(len, panels.values())))
    )
    heights = [len(cases) + 1 for cases in panels.values()]
    axes = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for ax, (title, cases) in zip(axes, panels.items(), strict=True):
        _bars(ax, title, cases)
    figure.tight_layout()
    return figure


def _of(told: dict[str, Any], dtype: str, *, raw: bool = False) -> list[dict[str, Any]]:
    cases = [
        case
        for case in told["cases"]
        if case["dtype"] == dtype and case["peer"].endswith("-raw") == raw
    ]
    return sorted(cases, key=lambda case: case["images_per_cpu_second"])


def _bars(ax: Axes, title: str, cases: list[dict[str, Any]]) -> None:
    rates = [case["images_per_cpu_second"] for case in cases]
    bars = ax.barh(
        [_LABELS[case["peer"]] for case in cases],
        rates,
        color=[_colour(case["peer"]) for case in cases],
        height=0.7,
    )
    ax.bar_label(bars, [f"{rate:,.0f}" for rate in rates], padding=3, color=_INK)
    ax.set_title(f"{title}, images per CPU-second", loc="left", color=_INK, size=10)
    ax.spines[:].set_visible(False)
    ax.tick_params(colors=_INK, length=0, labelbottom=False)
    ax.margins(x=0.12)


def _colour(peer: str) -> str:
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

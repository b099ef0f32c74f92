"""The comparison of docs/performance.md, against the JSON of the benchmark."""

import json
import re

import pytest
from pages import ROOT

from tests.benchmarks.spread import confidence, interval

CASES = json.loads((ROOT / "docs/images/reading.json").read_text())["cases"]
PAGE = (ROOT / "docs/performance.md").read_text()
COLUMNS = [(t, d) for t in ("random_resized", "center") for d in ("uint8", "float32")]
# What a row of the table begins with. Cases without a row are in the benchmark only.
ROWS = {
    "stream": "`reader.stream` |",
    "ffcv": "FFCV",
    "dali": "DALI",
    "torchvision": "torchvision",
    "streaming": "MosaicML",
    "webdataset": "WebDataset",
    "grain": "Grain",
    "tutorial": "TensorFlow's tutorial",
    "loose": "loose",
}


@pytest.mark.parametrize("peer", ROWS)
def test_ratios_are_those_of_the_json(peer):
    found = re.search(rf"^\| {re.escape(ROWS[peer])}.*\|$", PAGE, re.M)
    ratios = {
        (c["task"], c["dtype"]): c["ours_to_it"] for c in CASES if c["peer"] == peer
    }
    expected = [confidence(ratios.get(column, [])) for column in COLUMNS]
    assert [cell.strip() for cell in found[0].split("|")[2:-1]] == expected


def test_a_plot_shows_the_rates_of_the_json():
    shown = (ROOT / "docs/images/rates.svg").read_text()
    rates = [
        case["images_per_cpu_second"]
        for case in CASES
        if case["dtype"] == "uint8" and case["task"] != "raw"
    ]
    assert sorted(re.findall(r">([\d,]+)</text>", shown)) == sorted(
        map("{:,}".format, rates)
    )


def test_intervals_of_paired_ratios():
    # Student's t for two degrees of freedom: 4.303; all logarithms are multiples of 1.
    middle, low, high = interval([0.5, 1, 2])
    assert middle == pytest.approx(1)
    assert high == pytest.approx(1 / low)
    assert high == pytest.approx(2 ** (4.3027 / 3**0.5), rel=1e-4)

"""Datasets to report on, and a browser that opens the page.

Without Chromium, the tests that need a browser are skipped with a message. With
DIPTYCH_REQUIRE_BROWSER=1 they fail.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import naughty
import numpy as np
import pytest
from html_tree import Element, parse_page
from PIL import Image

from beam_jobs.config.values import parse_splits
from reader.tools.report.write import write_report

Page = Callable[..., Element]


@pytest.fixture(scope="session")
def naughty_dataset(
    build: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Dataset with every naughty caption and name, and with some rejects."""
    source = tmp_path_factory.mktemp("naughty")
    rng = np.random.default_rng(0)
    for number, caption in enumerate(naughty.CAPTIONS):
        height, width = rng.integers(20, 60, 2)
        noise = io.BytesIO()
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(noise, "PNG")
        key = dict(enumerate(naughty.NAMES)).get(number, f"{number}")
        _write_pair(source, key, noise.getvalue(), caption)
    for name in naughty.NAMES:
        _write_pair(source, f"damaged {name}", b"<b>no image", "none")
    return build(
        source,
        source,
        tmp_path_factory.mktemp("naughty_dataset") / "out",
        name="<script>alert(30)</script>",
        splits=parse_splits("train=0.7,validation=0.3"),
        max_rejects="100%",
        max_unpaired="100%",
    )


def _write_pair(folder: Path, key: str, image: bytes, caption: str) -> None:
    # Not `with_suffix`: a name may contain dots.
    path = folder / f"{key}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image)
    (folder / f"{key}.txt").write_text(caption)


@pytest.fixture(scope="session")
def naughty_page(
    naughty_dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Page of `naughty_dataset`, with all its examples."""
    page = tmp_path_factory.mktemp("naughty_page") / "report.html"
    write_report(naughty_dataset, page)
    return page


@pytest.fixture
def page(tmp_path: Path) -> Page:
    """`page(dataset, num_samples)` writes the page of a dataset, returns its tree."""

    def page(dataset: Path, num_samples: int = 60) -> Element:
        output = tmp_path / "page.html"
        write_report(dataset, output, num_samples)
        return parse_page(output.read_text(encoding="utf-8"))

    return page


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """Browser shared by all tests."""
    from browser import NoBrowserError, browser

    with contextlib.ExitStack() as stack:
        try:
            started = stack.enter_context(browser())
        except NoBrowserError as error:
            required = os.environ.get("DIPTYCH_REQUIRE_BROWSER", "0") not in ("", "0")
            end = pytest.fail if required else pytest.skip
            end(str(error))
        yield started

"""Runs commands in this process, and datasets that they are run on."""

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from beam_jobs.__main__ import main


class Done(NamedTuple):
    """Exit status and output of a command."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class WithColumns(NamedTuple):
    """A dataset with columns carried through, and the cells of its table."""

    folder: Path
    cells: dict[str, list[str]]


def write_with_columns(source: Path) -> WithColumns:
    """Builds 120 records in four shards, with scores, stars, licenses and others."""
    rng = np.random.default_rng(0)
    num = 120
    cells = {
        "file_name": [f"{n:03}.png" for n in range(num)],
        "caption": [f"picture {n}" for n in range(num)],
        "score": [f"{x:.4f}" if n % 20 else "" for n, x in enumerate(rng.random(num))],
        "stars": [str(rng.integers(1, 6)) for _ in range(num)],
        "license": [("CC0", "CC-BY 4.0", "", "CC0")[n % 4] for n in range(num)],
        "url": [f"https://example.com/{n}" for n in range(num)],
        "emb": [json.dumps([n, 0.5]) if n % 10 else "" for n in range(num)],
        "<b>odd": ["inf" if n == 7 else "-0.5" for n in range(num)],
    }
    for name in cells["file_name"]:
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(source / name)
    with (source / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([cells, *zip(*cells.values(), strict=True)])
    columns = "score:float,stars:int,license:str,url:str,emb:float[2],<b>odd:float"
    paths = [f"--table={source}/table.csv", f"--images={source}"]
    flags = [f"--columns={columns}", "--num_shards=4", f"--output={source}/out"]
    assert main(["build", *paths, *flags]) == 0
    return WithColumns(source / "out", cells)

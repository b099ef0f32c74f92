"""Who writes: ours, the bare loops, img2dataset."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

import reader
from reader.contract.host import num_cores
from tests.benchmarks.writing.corpus import Corpus

OURS = "diptych"

# img2dataset resizes in one thread of each process, and other threads fetch: as many
# processes as cores, and few fetchers, since files answer at once. Shards so small that
# the least corpus has one for each process of two.
_TUNED: dict[str, Any] = {
    "processes_count": num_cores(),
    "thread_count": 4,
    "number_sample_per_shard": 750,
    "extract_exif": False,
}


class Contender(NamedTuple):
    """Something that writes a corpus.

    Attributes:
        command: What to type, for a corpus and a folder that is not there yet.
        num_written: How many images are then there; None where they are dropped.
    """

    command: Callable[[Corpus, Path], list[str]]
    num_written: Callable[[Path], int] | None


def build(corpus: Corpus, output: Path, *flags: str) -> list[str]:
    """Returns the command that builds a dataset, with defaults for all but `flags`."""
    command = [sys.executable, "-m", "beam_jobs", "build", f"--images={corpus.images}"]
    return [*command, f"--captions={corpus.captions}", f"--output={output}", *flags]


def _written(output: Path) -> int:
    return len(reader.open(str(output)))


def _loop(name: str) -> Contender:
    def command(corpus: Corpus, output: Path) -> list[str]:
        module = [sys.executable, "-m", "tests.benchmarks.writing.loops", name]
        return [*module, f"--images={corpus.images}", f"--output={output}"]

    return Contender(command, None)


def _img2dataset(python: str, settings: dict[str, Any]) -> Contender:
    def command(corpus: Corpus, output: Path) -> list[str]:
        asked = {
            "url_list": _urls_of(corpus),
            "input_format": "parquet",
            "caption_col": "caption",
            "output_folder": output,
            "output_format": "webdataset",
            "resize_mode": "keep_ratio",
            "image_size": 256,
            "encode_quality": 90,
        }
        flags = [f"--{name}={value}" for name, value in (asked | settings).items()]
        return [python, "-m", "img2dataset.main", *flags]

    return Contender(command, _successes)


def _urls_of(corpus: Corpus) -> Path:
    """Writes once where images are, with captions; `urllib` reads files by URLs too."""
    table, paths = corpus.folder / "urls.parquet", corpus.photographs()
    if not table.exists():
        texts = (corpus.captions / path.relative_to(corpus.images) for path in paths)
        captions = [
            text.with_suffix(".txt").read_text("utf-8", "replace") for text in texts
        ]
        urls = [path.as_uri() for path in paths]
        parquet.write_table(pa.table({"url": urls, "caption": captions}), table)
    return table


def _successes(output: Path) -> int:
    stats = (json.loads(path.read_text()) for path in output.glob("*_stats.json"))
    return sum(shard["successes"] for shard in stats)


def contenders(img2dataset: str | None) -> dict[str, Contender]:
    """Returns all by name.

    Args:
        img2dataset: A Python that has it. It takes part where there is one.
    """
    ours = {
        OURS: Contender(build, _written),
        "codecs": _loop("codecs"),
        "copying": _loop("copying"),
    }
    if img2dataset is None:
        return ours
    return ours | {
        "img2dataset": _img2dataset(img2dataset, {}),
        "img2dataset, tuned": _img2dataset(img2dataset, _TUNED),
    }

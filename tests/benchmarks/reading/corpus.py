"""The data that all peers read: one dataset of JPEGs, one of raw pixels, built once.

Below the folder of work:

    jpeg/         diptych build --image_size=256 --min_image_size=256
    raw/          the same pictures as raw pixels
    captions/     a text for each, if none are given
    corpus.json   of what they were built
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import reader
from reader.contract.record import parse_example
from reader.datasets.open_sources import open_one_record_source
from reader.storage.tfrecord_file import read_shard
from tests.benchmarks.reading.roster import BATCH, MAX_TOKENS, STORED
from tests.benchmarks.scratch import claim

# Each worker of a loader must find some shards; as many as others' examples have.
NUM_SHARDS = 16
LEAST_RECORDS = 8 * BATCH


class Row(NamedTuple):
    """A record: its key, its stored JPEG, and int32[64] of its first caption."""

    key: str
    jpeg: bytes
    tokens: NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Where photographs and captions are, and what was made of them.

    Attributes:
        images: A folder of photographs.
        captions: A folder of texts of the same names; None for the same text for each.
        work: Where datasets are put.
        quality: Of the stored JPEGs.
    """

    images: str
    captions: str | None
    work: str
    quality: int = 90

    def dataset(self, kind: str = "jpeg") -> Path:
        """Returns the folder of the dataset of JPEGs, or of `"raw"` pixels."""
        return Path(self.work, kind).resolve()

    def link(self, folder: Path, kind: str = "jpeg") -> None:
        """Makes a dataset known as `dataset` in a peer's folder."""
        os.symlink(self.dataset(kind), folder / "dataset")

    def rows(self) -> Iterator[Row]:
        """Yields all records, in the order written."""
        return read_rows(self.dataset())

    def photographs(self) -> list[str]:
        """Returns the paths of the photographs that became these records."""
        samples = reader.open(str(self.dataset())).samples
        return [
            os.path.join(self.images, path) for path in samples["source"].to_pylist()
        ]

    def build(self, kind: str = "jpeg") -> int:
        """Builds a dataset, if it is not there yet; returns the number of records.

        Raises:
            SystemExit: The folder of work holds another corpus, or this one is so small
                that an epoch is over before it can be measured.
        """
        claim(Path(self.work), asdict(self))
        if not (self.dataset(kind) / "manifest.json").exists():
            self._build(kind)
        num = len(reader.open(str(self.dataset(kind))))
        if num < LEAST_RECORDS:
            raise SystemExit(
                f"{self.images} has {num} photographs of at least {STORED} pixels, and "
                f"{LEAST_RECORDS} are needed: link each under several names"
            )
        return num

    def _build(self, kind: str) -> None:
        captions = self.captions or self._write_captions()
        command = [sys.executable, "-m", "beam_jobs", "build"]
        command += [f"--images={self.images}", f"--captions={captions}"]
        command += [f"--output={self.dataset(kind)}", f"--num_shards={NUM_SHARDS}"]
        command += [f"--image_size={STORED}", f"--min_image_size={STORED}"]
        command += [f"--image_format={kind}", "--max_rejects=100%"]
        # Small images are left out, so that nobody has to enlarge any.
        command += [f"--jpeg_quality={self.quality}"] if kind == "jpeg" else []
        subprocess.run(command, check=True, stdout=sys.stderr)

    def _write_captions(self) -> str:
        captions = Path(self.work, "captions")
        for image in filter(Path.is_file, Path(self.images).rglob("*")):
            caption = captions / image.relative_to(self.images).with_suffix(".txt")
            caption.parent.mkdir(parents=True, exist_ok=True)
            caption.write_text("one of the photographs that are read here")
        return str(captions)


def read_rows(dataset: Path) -> Iterator[Row]:
    """Yields the records of a dataset of JPEGs."""
    tokens = reader.open(str(dataset), outputs=("tokens",), max_tokens=MAX_TOKENS)
    shards = open_one_record_source(str(dataset), None, None).shards
    records = (record for shard in shards for record in read_shard(shard.path))
    for number, record in enumerate(records):
        (jpeg,) = parse_example(record.data)["image/encoded"]
        yield Row(f"{number:08}", jpeg, tokens[number][0])

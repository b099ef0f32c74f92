"""FFCV, with raw pixels."""

from pathlib import Path

from ffcv.fields import RGBImageField
from ffcv.writer import DatasetWriter

import reader
from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.peers.ffcv import TOKENS
from tests.benchmarks.reading.peers.ffcv import epoch as epoch


def prepare(corpus: Corpus, folder: Path) -> None:
    fields = {"image": RGBImageField(write_mode="raw"), "tokens": TOKENS}
    rows = reader.open(str(corpus.dataset("raw")), outputs=("image", "tokens"))
    writer = DatasetWriter(str(folder / "data.beton"), fields, num_workers=1)
    writer.from_indexed_dataset(rows)

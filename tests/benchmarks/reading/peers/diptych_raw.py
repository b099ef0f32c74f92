"""`reader.load` of raw pixels."""

from pathlib import Path

from tests.benchmarks.reading.corpus import Corpus
from tests.benchmarks.reading.peers.diptych import epoch as epoch


def prepare(corpus: Corpus, folder: Path) -> None:
    corpus.link(folder, "raw")

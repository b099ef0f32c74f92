"""Folders of as many images and captions as are wanted: links to a few originals.

Below the folder of work:

    corpus.json                     of which folders all was made
    originals/KIND/                 what images and captions link to: originals.py
    corpora/KIND-1500/images/       000/000000.jpg …, a thousand to a folder
    corpora/KIND-1500/captions/     000/000000.txt …
"""

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.scratch import claim
from tests.benchmarks.writing.originals import originals


class Corpus(NamedTuple):
    """A folder of images and captions.

    Attributes:
        folder: It holds `images` and `captions`.
        size: How many of each.
    """

    folder: Path
    size: int

    @property
    def images(self) -> Path:
        """The folder of images."""
        return self.folder / "images"

    @property
    def captions(self) -> Path:
        """The folder of captions."""
        return self.folder / "captions"

    def photographs(self) -> list[Path]:
        """Returns the paths of all images."""
        return sorted(self.images.rglob("*.jpg"))


@dataclass(frozen=True, kw_only=True)
class Corpora:
    """All corpora of a folder of work, made when they are asked for.

    Attributes:
        images: A folder of photographs.
        captions: A folder of texts of the same names.
        work: Where corpora are put.
    """

    images: Path
    captions: Path
    work: Path

    def claim(self) -> None:
        """Notes of what corpora are made.

        Raises:
            SystemExit: The folder of work holds others.
        """
        claim(self.work, {"images": str(self.images), "captions": str(self.captions)})

    def num_originals(self, kind: str) -> int:
        """Returns of how many different images a corpus is made."""
        return len(list(self._originals(kind).glob("*.jpg")))

    def corpus(self, kind: str, size: int) -> Corpus:
        """Returns a corpus; a larger one begins with a smaller one."""
        folder = self.work / "corpora" / f"{kind}-{size}"
        corpus = Corpus(folder, size)
        if not folder.exists():
            with _aside(folder) as new:
                _link(self._originals(kind), Corpus(new, size))
        return corpus

    def _originals(self, kind: str) -> Path:
        folder = self.work / "originals" / kind
        if not folder.exists():
            with _aside(folder) as new:
                made = originals(kind, self.images, self.captions)
                for number, original in enumerate(made):
                    name = f"{number:06}"
                    (new / f"{name}.jpg").write_bytes(original.jpeg)
                    (new / f"{name}.txt").write_bytes(original.caption)
                if not any(new.iterdir()):
                    raise SystemExit(
                        f"{self.images} holds no JPEG larger than 256 pixels "
                        f"whose caption is in {self.captions}"
                    )
        return folder


def _link(originals: Path, corpus: Corpus) -> None:
    images = itertools.cycle(sorted(originals.glob("*.jpg")))
    for number, image in enumerate(itertools.islice(images, corpus.size)):
        key = f"{number // 1000:03}/{number:06}"
        for folder, file in (
            (corpus.images, image),
            (corpus.captions, image.with_suffix(".txt")),
        ):
            link = folder / f"{key}{file.suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            # No symbolic links, which would be resolved one by one.
            os.link(file, link)


@contextlib.contextmanager
def _aside(folder: Path) -> Iterator[Path]:
    """Gives a folder to fill, which gets its name once it is full."""
    new = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    yield new
    new.rename(folder)

"""How near the pixels of large photographs come to those of a full decode.

A build decodes what is much too large at a half, a quarter or an eighth of its size,
and then resizes it; here all of it is decoded first. Compared are grey values, by the
mean SSIM of Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error
visibility to structural similarity", IEEE TIP 13 (4), 2004: Gaussian windows of
11 × 11, σ = 1.5, K₁ = 0.01, K₂ = 0.03.
"""

import shutil
import statistics
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

import reader
from beam_jobs.encoding.codecs import configure_codecs
from beam_jobs.encoding.resize import resize
from tests.benchmarks.process import run
from tests.benchmarks.writing.contenders import build
from tests.benchmarks.writing.corpus import Corpora, Corpus
from tests.benchmarks.writing.loops import SPEC

Pixels = NDArray[np.uint8]

RAW = "ours to a full decode, before JPEG"
CODED = "ours to a full decode, both as JPEG"
STORED = "ours as JPEG to a full decode before it"
JPEG = "a full decode as JPEG to itself before it"


class Likeness(NamedTuple):
    """SSIM over some photographs."""

    what: str
    images: int
    least: float
    mean: float


def likeness(corpora: Corpora) -> list[Likeness]:
    """Builds a dataset of the large photographs; returns how near it comes.

    `JPEG` is what coding alone costs, to which `STORED` adds what we do.
    """
    configure_codecs()  # As workers do.
    corpus = corpora.corpus("large", corpora.num_originals("large"))
    found: dict[str, list[float]] = {RAW: [], CODED: [], STORED: [], JPEG: []}
    ours = {format: _stored(corpus, corpora.work, format) for format in ("raw", "jpeg")}
    for path in corpus.photographs():
        whole = resize(simplejpeg.decode_jpeg(path.read_bytes(), "RGB"), SPEC)
        coded = _coded(whole)
        name = str(path.relative_to(corpus.images))
        found[RAW].append(ssim(ours["raw"][name], whole))
        found[CODED].append(ssim(ours["jpeg"][name], coded))
        found[STORED].append(ssim(ours["jpeg"][name], whole))
        found[JPEG].append(ssim(coded, whole))
    return [
        Likeness(what, len(values), min(values), statistics.mean(values))
        for what, values in found.items()
    ]


def _stored(corpus: Corpus, work: Path, format: str) -> dict[str, Pixels]:
    """Returns the pixels that a build stores, by the names of images."""
    output = work / "output"
    shutil.rmtree(output, ignore_errors=True)
    run(build(corpus, output, f"--image_format={format}"), work / "log")
    dataset = reader.open(str(output))
    names = dataset.samples["source"].to_pylist()
    stored = {name: dataset[at]["image"] for at, name in enumerate(names)}
    shutil.rmtree(output)
    return stored


def _coded(pixels: Pixels) -> Pixels:
    jpeg = simplejpeg.encode_jpeg(pixels, SPEC.quality, "RGB", SPEC.subsampling)
    decoded: Pixels = simplejpeg.decode_jpeg(jpeg, "RGB")
    return decoded


def ssim(one: Pixels, other: Pixels) -> float:
    """Returns the mean SSIM of two pictures, uint8[height, width, 3]."""
    grey = (cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) for pixels in (one, other))
    # What makes of scikit-image's windows those of the paper.
    as_published = {"gaussian_weights": True, "sigma": 1.5}
    like: float = structural_similarity(
        *grey, **as_published, use_sample_covariance=False, data_range=255
    )
    return like


def markdown(found: list[Likeness]) -> str:
    """Returns the table."""
    lines = ["| SSIM | photographs | least | mean |", "|---|---|---|---|"]
    for one in found:
        lines.append(
            f"| {one.what} | {one.images} | {one.least:.4f} | {one.mean:.4f} |"
        )
    return "\n".join(lines)


def summary(found: list[Likeness]) -> list[dict[str, Any]]:
    """Returns the same, for JSON."""
    return [one._asdict() for one in found]

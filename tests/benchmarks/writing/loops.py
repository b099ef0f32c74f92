"""Bare loops: the limits that a build is held against.

    python -m tests.benchmarks.writing.loops LOOP --images=FOLDER --output=FOLDER

codecs     read, decode, resize to 256 pixels, encode; what comes out is dropped
copying    read, decode, and write the bytes read, to files of 128 MB

A thread for each core takes its share of the files. Nothing is checked: no EXIF, no
colour profiles, no damage, no captions, no records.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import simplejpeg

from beam_jobs.encoding.codecs import configure_codecs
from beam_jobs.encoding.resize import resize
from reader.contract.host import num_cores
from reader.contract.manifest import ImageSpec

# What `diptych build` makes unless told otherwise.
SPEC = ImageSpec(
    format="jpeg", quality=90, subsampling="420", resize="shorter_side", size=256
)
_FILE_BYTES = 128e6


def codecs(images: Sequence[Path], output: Path) -> None:
    """Decodes, resizes and encodes images."""
    for path in images:
        pixels = resize(simplejpeg.decode_jpeg(path.read_bytes(), "RGB"), SPEC)
        simplejpeg.encode_jpeg(pixels, SPEC.quality, "RGB", SPEC.subsampling)


def copying(images: Sequence[Path], output: Path) -> None:
    """Decodes images, and writes them as they are."""
    remaining = iter(images)
    for path in remaining:
        with (output / path.stem).open("wb") as file:
            for each in itertools.chain([path], remaining):
                data = each.read_bytes()
                simplejpeg.decode_jpeg(data, "RGB")
                file.write(data)
                if file.tell() >= _FILE_BYTES:
                    break


LOOPS: dict[str, Callable[[Sequence[Path], Path], None]] = {
    "codecs": codecs,
    "copying": copying,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    args = parser.parse_args()
    args.output.mkdir()
    configure_codecs()  # As workers do.
    images, threads = sorted(args.images.rglob("*.jpg")), num_cores()
    shares = [images[first::threads] for first in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(LOOPS[args.loop], shares, itertools.repeat(args.output)):
            pass  # It raises what a thread raised.


if __name__ == "__main__":
    main()

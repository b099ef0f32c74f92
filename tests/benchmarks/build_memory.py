"""How much memory building takes at its peak, with few images and with many.

    python -m tests.benchmarks.build_memory --images=photos --captions=texts

The photographs are made 500 pixels wide or high, then linked under as many keys as are
wanted. Printed is the largest sum of the PSS of all processes of the job: what each has
for itself, and its share of what they have together. A control group's `memory.peak`
would count the page cache too, which the kernel takes back whenever it likes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import simplejpeg

from tests.benchmarks.usage import held_bytes

LONGER_SIDE = 500
SIZES = (5_000, 20_000)
SETTINGS = (("--workers=2", "--threads=1"), ("--workers=1", "--threads=2"))
LOOK_EVERY_SECONDS = 0.05
# More would be a defect.
MOST_BYTES = 700e6
MOST_RATIO = 1.15


def main() -> None:
    """Prints a row for each setting; exits with 1 where it takes too much."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", required=True, type=Path)
    parser.add_argument("--captions", required=True, type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    args = parser.parse_args()
    print(f"| | {' | '.join(f'{size:,} images' for size in args.sizes)} | ratio |")
    print(f"|---|{'---|' * (len(args.sizes) + 1)}")
    too_much = False
    with tempfile.TemporaryDirectory(prefix="diptych-memory-") as name:
        folder = Path(name)
        photographs = list(photographs_of(args.images, args.captions, folder / "some"))
        sources = {size: folder / str(size) for size in args.sizes}
        for size, source in sources.items():
            link(photographs, source, size)
        for flags in SETTINGS:
            peaks = [peak(source, folder / "out", flags) for source in sources.values()]
            ratio = peaks[-1] / peaks[0]
            cells = [f"{most / 1e6:,.0f} MB" for most in peaks]
            print(f"| `{' '.join(flags)}` | {' | '.join(cells)} | {ratio:.2f} |")
            too_much |= max(peaks) > MOST_BYTES or ratio > MOST_RATIO
    sys.exit(too_much)


def photographs_of(
    images: Path, captions: Path, folder: Path
) -> Iterator[tuple[Path, Path]]:
    """Makes the JPEGs of a folder `LONGER_SIDE` large; yields each and its caption."""
    folder.mkdir()
    for path in sorted(images.rglob("*.jpg")):
        pixels = simplejpeg.decode_jpeg(path.read_bytes(), "RGB")
        scale = LONGER_SIDE / max(pixels.shape[:2])
        size = round(pixels.shape[1] * scale), round(pixels.shape[0] * scale)
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        photograph = folder / path.name
        photograph.write_bytes(simplejpeg.encode_jpeg(pixels, 90, "RGB", "420"))
        yield photograph, captions / f"{path.stem}.txt"


def link(photographs: list[tuple[Path, Path]], source: Path, size: int) -> None:
    """Makes `size` pairs of a few; a thousand to a folder."""
    for number in range(size):
        key = f"{number // 1000:03d}/{number:06d}"
        image, caption = photographs[number % len(photographs)]
        for kind, file in (("images", image), ("captions", caption)):
            link = source / kind / f"{key}{file.suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            # No symbolic links, which would be resolved one by one.
            (os.link if kind == "images" else copy)(file, link)


def copy(file: Path, to: Path) -> None:
    to.write_bytes(file.read_bytes())


def peak(source: Path, output: Path, flags: tuple[str, ...]) -> int:
    """Builds a dataset; returns the most bytes that its processes held together."""
    command = [sys.executable, "-m", "beam_jobs", "build", "--overwrite"]
    command += [f"--images={source}/images", f"--captions={source}/captions"]
    job = subprocess.Popen(
        [*command, f"--output={output}", "--num_shards=16", *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    most = 0
    while job.poll() is None:
        most = max(most, sum(map(held_bytes, processes_of(job.pid))))
        time.sleep(LOOK_EVERY_SECONDS)
    if job.returncode:
        sys.exit(job.stderr.read().decode())
    return most


def processes_of(session: int) -> list[int]:
    """Returns the processes of a session: the job's own, however they were started."""
    found = []
    for entry in os.scandir("/proc"):
        try:
            if entry.name.isdecimal() and os.getsid(int(entry.name)) == session:
                found.append(int(entry.name))
        except ProcessLookupError:
            pass  # It has just ended.
    return found


if __name__ == "__main__":
    main()

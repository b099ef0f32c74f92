"""Memory of batches and of encoded images is used again."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS

# A uint8 image of 224 x 224 pixels takes 37 pages of memory. The code prints the number
# of pages that the kernel allocates per image, after a warm-up.
CODE = """
import itertools, resource, sys
import reader

batches = reader.load(
    sys.argv[1], batch_size=8, image_size=224, dtype="uint8", epochs=None
)
pages = []
for step, batch in zip(range(151), batches):
    if step % 50 == 0:
        pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(min(after - before for before, after in itertools.pairwise(pages)) / (8 * 50))
"""


def pages_per_image(folder: Path, **environment: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", CODE, f"{folder}/train-*"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's malloc")
def test_images_take_no_fresh_memory(dataset):
    assert pages_per_image(dataset) < 3

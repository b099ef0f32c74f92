"""Memory of decoded images is reused; TensorFlow on its own would release it."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# A uint8 image of 224 x 224 pixels takes 37 pages of memory. The code prints the number
# of pages that the kernel allocates per image of an epoch, after a warm-up epoch.
CODE = """
import resource, sys
import reader

batches = reader.load(sys.argv[1], batch_size=8, image_size=224, dtype="uint8")
pages = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
for epoch in range(4):
    for batch in batches:
        pass
    pages.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(min(after - before for before, after in zip(pages[1:], pages[2:]))
      / (8 * len(batches)))
"""


def pages_per_image(folder: Path, **environment: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", CODE, f"{folder}/train-*"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's malloc")
def test_decoded_images_take_no_fresh_memory(dataset):
    tensorflows = pages_per_image(dataset, MALLOC_MMAP_THRESHOLD_="131072")
    assert tensorflows > 37
    assert pages_per_image(dataset) < tensorflows / 2

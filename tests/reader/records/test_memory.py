"""Memory of decoded images is used again, where TensorFlow would give it back."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# An image of 224 pixels is 37 pages of memory. Prints how many pages the kernel gives
# for each image of an epoch, once the process has what it needs.
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's malloc alone")
def test_decoded_images_take_no_fresh_memory(dataset):
    tensorflows = pages_per_image(dataset, MALLOC_MMAP_THRESHOLD_="131072")
    assert tensorflows > 37
    assert pages_per_image(dataset) < tensorflows / 2

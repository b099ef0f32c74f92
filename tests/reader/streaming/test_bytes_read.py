"""Bytes that a rank reads, as the kernel counts them: those of its own records."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from damaged_shards import places
from PIL import Image
from training_scripts import Scripts

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux counts the bytes that a process reads"
)

# More than one block of 64 in each shard, and in each rank's share of a window.
NUM = 1536

CODE = """
import json, sys
import reader

def bytes_read():
    with open("/proc/self/io") as file:
        return int(file.readline().removeprefix("rchar: "))

function, dataset, host_index, host_count, where = sys.argv[1:]
settings = {
    "batch_size": 640, "outputs": ("key",), "workers": 0, "epochs": 1,
    "host_index": int(host_index), "host_count": int(host_count),
    "where": where or None,
}
batches = getattr(reader, function)(dataset, **settings)
list(batches)  # Imports, indexes, and what TensorFlow looks up once.
before, keys = bytes_read(), []
for (batch,) in batches:
    keys += [key.decode() for key in getattr(batch, "numpy", lambda: batch)()]
print(json.dumps([bytes_read() - before, keys]))
"""


@pytest.fixture(scope="module")
def many(build, tmp_path_factory) -> Path:
    source = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for number in range(NUM):
        size = int(rng.integers(20, 60))
        pixels = rng.integers(0, 256, (size, size, 3), np.uint8)
        Image.fromarray(pixels).save(source / f"{number:04d}.png", compress_level=0)
        (source / f"{number:04d}.txt").write_text(str(number))
    return build(source, source, source / "out", num_shards=3)


@pytest.fixture(scope="module")
def scripts() -> Iterator[Scripts]:
    with Scripts() as running:
        yield running


@pytest.mark.parametrize("function", ["load", "stream"])
@pytest.mark.parametrize(
    ("host_index", "host_count"), [(0, 1), (3, 5), (17, 40), (100, 128)]
)
def test_a_rank_reads_its_own_records_alone(
    many: Path, scripts: Scripts, function: str, host_index: int, host_count: int
) -> None:
    done = scripts.run(CODE, function, many, host_index, host_count, "")
    num_bytes, keys = json.loads(done.out)
    lengths = {place.key.decode(): place.end - place.begin for place in places(many)}
    assert len(lengths) == NUM and len(keys) == NUM // 640 * 640 // host_count
    own = sum(lengths[key] for key in keys)
    # The file that is read to count bytes has some, too.
    assert own <= num_bytes <= 1.05 * own + 1000


@pytest.mark.parametrize("function", ["load", "stream"])
def test_records_that_are_not_selected_are_not_read(
    many: Path, scripts: Scripts, function: str
) -> None:
    code = CODE.replace('"batch_size": 640', '"batch_size": 10')
    done = scripts.run(code, function, many, 0, 1, "width <= 23 or key like '*77'")
    num_bytes, keys = json.loads(done.out)
    lengths = {place.key.decode(): place.end - place.begin for place in places(many)}
    assert 0.05 < len(keys) / NUM < 0.2
    own = sum(lengths[key] for key in keys)
    # What does not fill the last batch may be read too.
    assert own <= num_bytes <= 1.01 * own + 10 * max(lengths.values())

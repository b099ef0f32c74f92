"""Many small batches, more than workers take at a time, are read ahead."""

import sys
from pathlib import Path

import pytest
from training_scripts import run_program

# Images take more space than is kept for what there is of a record beside its image.
READ = """
import sys
import reader
from reader.pixel_workers import session

here = []
make_rows = session.make_rows
session.make_rows = lambda *args: here.append(0) or make_rows(*args)
function, pattern = sys.argv[1:]
settings = {"batch_size": 1, "image_size": 16, "workers": 8, "epochs": 2}
if function == "load":
    settings["num_threads"] = 8
else:
    settings["prefetch"] = 40
batches = getattr(reader, function)(pattern, outputs=("encoded", "image"), **settings)
num = sum(1 for _ in batches)
assert num == len(batches), (num, len(batches))
print(len(here) / num)
"""


@pytest.mark.parametrize("function", ["load", "stream"])
def test_workers_make_nearly_all_of_them_and_nobody_waits_for_ever(
    dataset: Path, function: str
) -> None:
    command = [sys.executable, "-c", READ, function, f"{dataset}/train-*"]
    done = run_program(command, patience=60)
    assert done.status == 0, done.err
    assert float(done.out) < 0.3

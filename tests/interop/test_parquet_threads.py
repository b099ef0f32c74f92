"""Parquet is read in the caller's thread alone.

A thread of pyarrow's that lets go of bytes or a file of Python's while the interpreter
ends aborts the process ("terminate called without an active exception"). It happens
in one of a hundred runs, so the test looks for the threads instead.
"""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

READS = {
    "samples": """
from reader.datasets.samples_table import read_table_at
def read(path):
    return len(read_table_at(path, 50_000))
""",
    "some columns of samples": """
from reader.datasets.samples_table import read_table_at
def read(path):
    return len(read_table_at(path, 50_000, ["caption"]))
""",
    "a source table": """
from beam_jobs.inputs.parquet_rows import read_cells
def read(path):
    with open(path, "rb") as file:
        return sum(1 for _ in read_cells(file, path.encode(), ["caption"]))
""",
}
COUNTED = """
import os, sys
import pyarrow.parquet
def num_threads():
    return len(os.listdir("/proc/self/task"))
before = num_threads()
print(read(sys.argv[1]), num_threads() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts the threads in /proc")
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_reading_starts_no_thread(tmp_path, read):
    path = tmp_path / "table.parquet"
    columns = {"key": map(str, range(50_000)), "caption": ["text"] * 50_000}
    table = pa.table({name: list(values) for name, values in columns.items()})
    pq.write_table(table, path, row_group_size=10_000)
    command = [sys.executable, "-c", read + COUNTED, str(path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.stdout.split() == ["50000", "0"], done.stderr

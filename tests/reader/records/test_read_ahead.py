"""Files are read into the kernel's cache before they are needed."""

import itertools
import os
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import SOON_SECONDS

from reader.records.read_ahead import ReadAhead, _runs


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=40))
def test_neighbors_are_one_run(records):
    """Record n of a shard is the bytes from 10 n on."""
    places = [(0, shard, 10 * n, 10 * n + 10) for shard, n in records]
    runs = _runs(np.array(places, np.int64).reshape(-1, 4))
    covered = [(s, b) for s, begin, end in runs for b in range(begin, end, 10)]
    assert covered == sorted({(shard, 10 * n) for shard, n in records})
    for (shard, _, end), (other, begin, _) in itertools.pairwise(runs):
        assert shard < other or end < begin


def cached(path, offset: int) -> bool:
    file = os.open(path, os.O_RDONLY)
    try:
        return os.preadv(file, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False
    finally:
        os.close(file)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="needs posix_fadvise")
def test_records_come_into_the_cache_of_the_kernel(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(8 << 20))
    file = os.open(path, os.O_RDWR)
    os.fsync(file)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(file)
    begin, end = 1 << 20, 6 << 20
    ReadAhead([str(path)]).stage(np.array([[0, 0, begin, end]]), 0)
    for offset in range(begin, end, 1 << 18):
        deadline = time.monotonic() + SOON_SECONDS
        while not cached(path, offset) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert cached(path, offset)


def test_a_missing_file_is_left_to_the_reader(tmp_path):
    places = np.array([[0, 0, 0, 10]])
    assert ReadAhead([str(tmp_path / "none")]).stage(places, 0) is places

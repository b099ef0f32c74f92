"""What pixel workers return: the same as one process, in memory that is used again."""

import functools
import io
import os
import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from patience import PATIENCE_SECONDS
from PIL import Image
from toy_engine import CornerEngine, ScriptEngine, by_pillow

from reader.pixel_workers.parts import part_bounds
from reader.pixel_workers.worker_pool import PixelWorkers
from reader.pixels.errors import PixelsError, PixelWorkerError

NO_DRAWS = np.empty((1, 0))


@functools.cache
def jpeg(seed: int, height: int = 256, width: int = 300) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8))
    out = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(out, "JPEG")
    return out.getvalue()


def script(workers: PixelWorkers, *words: str):
    return workers.make([word.encode() for word in words], None, draws(len(words)))


def draws(n: int, k: int = 2, seed: int = 0):
    return np.random.default_rng(seed).random((n, k))


@pytest.fixture
def pool():
    made = []

    def pool(*args, **more):
        made.append(PixelWorkers(*args, **more))
        return made[-1]

    yield pool
    for workers in made:
        workers.close()


@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize("n", [1, 5, 64, 150])
def test_images_are_those_of_pillow(pool, num_workers, n):
    encoded = [jpeg(i, 200 + i, 300) for i in range(n)]
    sizes = np.array([(200 + i, 300) for i in range(n)], np.int32)
    images = pool(CornerEngine(), num_workers).make(encoded, sizes, draws(n))
    assert (images.dtype, images.shape) == (np.uint8, (n, 224, 224, 3))
    expected = [by_pillow(*pair) for pair in zip(encoded, draws(n), strict=True)]
    np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize("dtype", ["uint16", "float32", "float64"])
def test_rows_have_the_dtype_and_shape_of_the_engine(pool, dtype):
    engine = CornerEngine((32, 40, 3), dtype)
    images = pool(engine, 2).make([jpeg(1)] * 9, None, draws(9))
    assert images.dtype == dtype
    expected = [by_pillow(jpeg(1), row, (32, 40, 3)) for row in draws(9)]
    np.testing.assert_array_equal(images, expected)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_of_any_size_follow_each_other(pool, num_workers):
    workers = pool(ScriptEngine(), num_workers)
    for n in (1, 3, 0, 5000, 2, 64):
        words = ["x" * ((i * 37) % 1000) for i in range(n)]
        rows = script(workers, *words)
        assert rows.shape == (n, 4)
        assert rows[:, 3].tolist() == [len(word) for word in words]
        assert rows[:, 2].tolist() == draws(n)[:, 0].tolist()


def test_draws_may_be_none(pool):
    rows = pool(ScriptEngine(), 1).make([b"a", b"bb"], None, np.empty((2, 0)))
    assert rows[:, 2:].tolist() == [[-1, 1], [-1, 2]]


def test_an_array_of_objects_will_do(pool):
    """As `tf.numpy_function` passes strings."""
    encoded = np.array([b"a", b"bb"], object)
    rows = pool(ScriptEngine(), 1).make(encoded, None, draws(2))
    assert rows[:, 3].tolist() == [1, 2]


@pytest.mark.parametrize("num_rows", [1, 4, 31, 64, 65, 1000, 10**5])
@pytest.mark.parametrize("num_workers", [0, 1, 2, 16, 100])
def test_parts_cover_a_batch_once(num_rows, num_workers):
    bounds = part_bounds(num_rows, num_workers)
    assert [i for begin, end in bounds for i in range(begin, end)] == [*range(num_rows)]
    assert len(bounds) <= 128
    assert len(bounds) >= min(num_workers, num_rows // 7)


def test_workers_share_a_batch(pool):
    workers, makers = pool(ScriptEngine(), 4), set()
    end = time.monotonic() + PATIENCE_SECONDS
    # On a busy machine, one of them may come late.
    while len(makers) < 4 and time.monotonic() < end:
        makers |= set(script(workers, *["sleep:0.05"] * 16)[:, 0])
    assert len(makers) == 4
    assert os.getpid() not in makers


@pytest.mark.parametrize("num_workers", [0, 3])
def test_threads_share_the_workers(pool, num_workers):
    workers = pool(ScriptEngine(), num_workers)

    def batch(seed: int) -> bool:
        words = ["x" * (seed + i) for i in range(40)]
        encoded = [word.encode() for word in words]
        rows = workers.make(encoded, None, draws(40, 1, seed))
        counts = [len(word) for word in words]
        chances = draws(40, 1, seed)[:, 0].tolist()
        return (rows[:, 3].tolist(), rows[:, 2].tolist()) == (counts, chances)

    with ThreadPoolExecutor(24) as threads:  # More than there are channels.
        assert all(threads.map(batch, range(500)))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_that_are_kept_stay_valid(pool, num_workers):
    workers = pool(CornerEngine((64, 64, 3)), num_workers)
    encoded = [jpeg(i) for i in range(6)]
    kept = [workers.make(encoded, None, draws(6, 2, seed)) for seed in range(100)]
    assert {batch.ctypes.data % 64 for batch in kept} == {0}
    workers.close()
    for seed, batch in enumerate(kept):
        rows = zip(encoded, draws(6, 2, seed), strict=True)
        expected = [by_pillow(*row, (64, 64, 3)) for row in rows]
        np.testing.assert_array_equal(batch, expected)


def test_a_view_keeps_a_batch(pool):
    workers = pool(ScriptEngine(), 1)
    view = script(workers, "a", "bb").view(np.uint64).view(np.float64)[1:, 3]
    for _ in range(20):
        script(workers, "cccc", "ccc")
    assert view.tolist() == [2]


def test_memory_of_batches_that_are_gone_is_used_again(pool):
    workers = pool(ScriptEngine(), 1, held=3)
    places = set()
    for _ in range(30):
        kept = [script(workers, "a", "b") for _ in range(3)]
        places.update(batch.ctypes.data for batch in kept)
        del kept
    assert len(places) == 3


def test_there_are_no_page_faults_once_memory_is_warm(pool):
    workers = pool(ScriptEngine((224, 224, 4)), 2)
    words = ["x" * 30_000] * 32
    for _ in range(10):
        script(workers, *words)
    faults = []
    for _ in range(4):  # Threads of other tests may need memory meanwhile.
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            script(workers, *words)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults) < 0.1 * 10 * 32


@pytest.mark.parametrize("num_workers", [0, 3])
def test_the_first_damaged_image_is_named(pool, num_workers):
    workers = pool(ScriptEngine(), num_workers)
    words = ["fine"] * 50
    words[48], words[21] = "damaged:hail", "damaged:fire ü" + "!" * 5000
    with pytest.raises(PixelsError, match=r"^damaged by fire ü!+$") as caught:
        script(workers, *words)
    assert caught.value.index == 21
    assert script(workers, *["fine"] * 50)[:, 3].tolist() == [4] * 50


def test_a_bug_in_a_worker_is_an_error_with_its_traceback(pool):
    workers = pool(ScriptEngine(), 2)
    with pytest.raises(PixelWorkerError, match=r"(?s)Traceback.*ZeroDivisionError: 7"):
        script(workers, "fine", "bug:7")
    assert script(workers, "fine")[0, 3] == 4


def test_a_bug_in_this_process_is_itself(pool):
    with pytest.raises(ZeroDivisionError):
        script(pool(ScriptEngine(), 0), "bug:7")


def test_workers_have_no_tensorflow_and_get_no_ctrl_c(pool):
    workers = pool(ScriptEngine(), 2)
    assert not script(workers, *["x"] * 20)[:, 1].any()
    assert script(workers, *["sigint"] * 20).all()
    pids = {int(row[0]) for row in script(workers, *["sleep:0.1"] * 8)}
    for pid in pids:
        os.kill(pid, signal.SIGINT)
    assert {int(row[0]) for row in script(workers, *["sleep:0.1"] * 8)} == pids


def test_files_in_the_working_folder_are_not_imported(pool, tmp_path, monkeypatch):
    for name in ("queue", "numpy", "simplejpeg", "pickle"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    assert script(pool(ScriptEngine(), 1), "x")[0, 3] == 1


def test_without_memfd_a_temporary_file_is_shared(pool, monkeypatch, tmp_path):
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    workers = pool(CornerEngine(), 2)
    images = workers.make([jpeg(1)] * 20, None, draws(20))
    expected = [by_pillow(jpeg(1), row) for row in draws(20)]
    np.testing.assert_array_equal(images, expected)
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded_though_batches_grow(pool):
    """Areas that became too small are given back to the system."""
    workers = pool(ScriptEngine(), 2)
    with ThreadPoolExecutor(4) as threads:
        for size in np.geomspace(1000, 1_000_000, 40).astype(int).tolist():
            list(threads.map(lambda _, size=size: script(workers, "x" * size), "1234"))
    fd = workers._session._memory.fd
    assert os.fstat(fd).st_blocks * 512 < 4 * 1.25e6 + 1e6


def test_processes_start_at_the_first_batch(pool):
    before = {*threading.enumerate()}
    workers = pool(ScriptEngine(), 2)
    assert {*threading.enumerate()} <= before
    script(workers, "x")
    assert len({*threading.enumerate()} - before) == 1

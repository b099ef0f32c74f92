"""`reader.open` with DataLoaders, processes, threads, buckets and few libraries.

Expected values come from `reader.load`, from TensorFlow's own parser, and from Pillow.
"""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from record_access import NUM_MANY, NUM_TRAIN, equal, keys_of, open_train, run_python
from torch.utils.data import DataLoader

import reader
import reader.datasets.index_files
import reader.datasets.record_index
import reader.records.random_access
from reader import DatasetError, UsageError

# PyTorch, processes and threads.


@pytest.mark.parametrize(
    ("workers", "context"), [(0, None), (2, "fork"), (1, "spawn")], ids=str
)
def test_it_is_a_map_style_dataset_for_pytorch(many, workers, context):
    names = ("image", "tokens", "mask", "key")
    data = open_train(many, *names)
    loader = DataLoader(
        data, 64, shuffle=True, num_workers=workers, multiprocessing_context=context
    )
    found = {}
    for *tensors, keys in loader:
        assert [t.shape[1:] for t in tensors] == [(12, 12, 3), (64,), (64,)]
        found |= dict(zip(keys, zip(*tensors, strict=True), strict=True))
    assert len(found) == NUM_MANY
    for *arrays, key in data:
        pairs = zip(arrays, found[key], strict=True)
        assert all(np.array_equal(mine, theirs.numpy()) for mine, theirs in pairs)


def test_a_pickled_one_is_small_and_reads_the_same(many):
    data = open_train(many, max_tokens=7)
    data.by_key("007"), data.samples, [data[i] for i in range(0, NUM_MANY, 50)]
    pickled = pickle.dumps(data)
    assert len(pickled) < 1000
    copy = pickle.loads(pickled)
    assert len(copy) == NUM_MANY
    assert all(map(equal, copy, data))


def test_a_pickled_one_of_a_dataset_that_has_changed_is_refused(own_dataset):
    pickled = pickle.dumps(open_train(own_dataset))
    manifest = own_dataset / "manifest.json"
    data = json.loads(manifest.read_bytes())
    # As if the dataset were built again, with the same number of records.
    data["splits"][0]["shards"][1]["crc32c"] = "01234567"
    manifest.write_text(json.dumps(data))
    with pytest.raises(DatasetError, match=r"changed"):
        pickle.loads(pickled)


def test_threads_may_share_one_and_files_are_closed(many, monkeypatch):
    monkeypatch.setattr(reader.storage.open_files, "_MAX_OPEN_FILES", 1)
    monkeypatch.setattr(reader.datasets.record_index, "_MAX_OFFSETS", 1)

    def num_open() -> int:
        fds = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        files = [os.readlink(fd) for fd in fds if os.path.lexists(fd)]
        return sum(file.startswith(f"{many}/") for file in files)

    data, expected = open_train(many, "key"), keys_of(many)
    before = num_open()
    numbers = random.Random(0).choices(range(NUM_MANY), k=2000)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(data.__getitem__, numbers))
    assert found == [(expected[number],) for number in numbers]
    assert num_open() == before + 1
    del data
    assert num_open() == before


def test_a_process_forked_while_a_thread_reads_is_not_stuck(own_dataset, monkeypatch):
    (own_dataset / "index/lengths.bin").unlink()  # Then the text index is read, later.
    data, expected = open_train(own_dataset, "key"), keys_of(own_dataset)
    read_bytes = reader.datasets.index_files.read_bytes
    reading, done = threading.Event(), threading.Event()

    def slow(*args: Any) -> bytes:
        reading.set()
        done.wait(20)
        return read_bytes(*args)

    monkeypatch.setattr(reader.datasets.index_files, "read_bytes", slow)
    thread = threading.Thread(target=data.__getitem__, args=(0,))
    thread.start()
    assert reading.wait(20)
    child = os.fork()
    if not child:
        signal.alarm(10)  # Kills it if it is stuck.
        done.set()
        os._exit(data[-1] != (expected[-1],))
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


# Buckets and imported libraries.


def test_buckets_are_read_without_tensorflow(bucket_store, dataset):
    bucket = bucket_store.upload(dataset, "random-access")
    code = (
        "import sys; sys.modules['tensorflow'] = None; "
        "from reader.map_dataset.open_dataset import open; "
        "data = open(sys.argv[1], outputs=('key', 'length')); "
        "print(data[-1] == data.by_key(sys.argv[2]), len(data.samples), len(data))"
    )
    command = [sys.executable, "-c", code, f"{bucket}/train-*", keys_of(dataset)[-1]]
    environment = os.environ | bucket_store.environment
    done = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["True", str(NUM_TRAIN), str(NUM_TRAIN)]


def test_neither_tensorflow_nor_beam_nor_pyarrow_is_loaded_for_items(dataset):
    code = (
        "import sys; from reader.map_dataset.open_dataset import open\n"
        "data = open(sys.argv[1]); "
        "data[0]; data[-1]; heavy = 'tensorflow apache_beam pyarrow PIL cv2 tqdm'; "
        "print(len(data), [m for m in heavy.split() if m in sys.modules])"
    )
    found = run_python(code, f"{dataset}/train-*.tfrecord")
    assert found.split(maxsplit=1) == [str(NUM_TRAIN), "[]\n"]


def test_what_is_open_when_python_ends_is_closed_without_a_word(dataset):
    # TensorFlow keeps modules alive, so Python clears them before it destroys their
    # objects.
    code = (
        "import sys, tensorflow, reader; "
        "data = reader.open(sys.argv[1], split='train'); data[0]"
    )
    command = [sys.executable, "-c", code, str(dataset)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "Exception ignored" not in done.stderr


def test_numpy_protobuf_crc32c_and_simplejpeg_are_enough(dataset):
    code = (
        "import sys\n"
        "for name in sys.argv[2].split(','):\n    sys.modules[name] = None\n"
        "from reader.map_dataset.open_dataset import open\n"
        "data = open(sys.argv[1])\n"
        "assert data.by_key(sys.argv[3]).keys() == {'image', 'tokens', 'mask'}\n"
        "try:\n    data.samples\n"
        "except ValueError as error:\n    print(error)\n"
    )
    blocked = "tensorflow,apache_beam,pyarrow,PIL,cv2,tqdm"
    found = run_python(code, f"{dataset}/train-*", blocked, keys_of(dataset)[5])
    assert "pip install pyarrow" in found


@pytest.mark.parametrize(
    ("form", "blocked", "package"),
    [("jpeg", "simplejpeg", "simplejpeg"), ("png", "PIL", "pillow")],
)
def test_a_missing_decoder_is_told_when_opening(
    own_dataset, form, blocked, package, monkeypatch
):
    manifest = own_dataset / "manifest.json"
    data = json.loads(manifest.read_bytes())
    data["image"]["format"] = form
    manifest.write_text(json.dumps(data))
    monkeypatch.setitem(sys.modules, blocked, None)
    assert open_train(own_dataset, "key", "tokens")[0]
    with pytest.raises(UsageError, match=f"pip install {package}"):
        open_train(own_dataset)

"""Batches of a dataset in buckets are those of its local copy, byte range by range."""

import contextlib
import gc
import os
import re
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from patience import PATIENCE_SECONDS, SOON_SECONDS
from stand_ins.faulty import FaultyStore, faulty

import reader
from reader.contract.errors import DatasetError
from reader.contract.record import parse_example
from reader.object_stores.counts import snapshot
from reader.storage.tfrecord_file import read_shard

TRAIN = {"batch_size": 8, "image_size": 12, "split": "train"}
PLAIN = {"batch_size": 50, "image_size": 8}
# Starting processes takes longer than these batches, which are the same without.
ALONE = {"workers": 0}
SHARD = r"GET .*\.tfrecord-?"


class Copies(NamedTuple):
    """A dataset, and its copy in a bucket behind a proxy."""

    local: str
    remote: str
    proxy: FaultyStore


@pytest.fixture(scope="module")
def s3(s3_store):
    with pytest.MonkeyPatch.context() as patch, faulty(s3_store, patch) as proxy:
        patch.setenv("DIPTYCH_RETRY_SECONDS", "20")
        yield proxy


@pytest.fixture(scope="module")
def gs(bucket_store):
    with pytest.MonkeyPatch.context() as patch, faulty(bucket_store, patch) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def copies(dataset: Path, s3: FaultyStore) -> Copies:
    """Four shards of photographs' size, two splits, several captions."""
    return Copies(str(dataset), s3.upload(dataset, "remote_reading/small"), s3)


@pytest.fixture(scope="module")
def many_copies(many: Path, s3: FaultyStore) -> Copies:
    """509 small records in five shards."""
    return Copies(str(many), s3.upload(many, "remote_reading/many"), s3)


@pytest.fixture(autouse=True)
def healed(request):
    yield
    if "s3" in request.fixturenames:
        proxy = request.getfixturevalue("s3")
        proxy.heal()
        proxy.reset()
        proxy.latency = 0.0


def arrays(batch: Any) -> dict[str, Any]:
    return {
        name: values.numpy() if hasattr(values, "numpy") else values
        for name, values in batch.items()
    }


def check_same(found: Any, expected: Any, most: int | None = None) -> int:
    """Checks that batches are equal bit for bit; returns their number."""
    num = 0
    pairs = zip(found, expected, strict=most is None)
    for left, right in pairs:
        left, right = arrays(left), arrays(right)
        assert left.keys() == right.keys()
        for name, values in left.items():
            assert np.array_equal(values, right[name]), name
        num += 1
        if num == most:
            break
    assert num
    return num


SETTINGS = {
    "plain": {},
    "random crops": {"crop": "random_resized", "flip": True, "caption": "random"},
    "small windows": {"shuffle_bytes": 20_000, "epochs": 3},
    "a host of four": {"host_count": 4, "host_index": 3, "shuffle_bytes": 20_000},
    "as written": {"shuffle": False},
    "padded": {"remainder": "pad", "batch_size": 7, "epochs": 2},
    "by length": {"bucket_by_length": True, "epochs": 2},
    "no processes": {"workers": 0},
    "little memory": {"workers": 0, "ram_budget": 1 << 30, "shuffle_bytes": 20_000},
    "from the middle": {"start_step": 4, "epochs": 2},
    "texts alone": {"outputs": None, "image_size": None, "caption": "all"},
}


def settings_of(name: str) -> dict[str, Any]:
    settings = {**TRAIN, **SETTINGS[name]}
    if name == "texts alone":
        settings |= {"outputs": ("tokens", "mask", "key", "caption")}
    return settings


def named(batches: Any) -> Any:
    """Yields dictionaries of batches that are tuples."""
    for batch in batches:
        if isinstance(batch, tuple):
            batch = dict(zip(map(str, range(len(batch))), batch, strict=True))
        yield batch


@pytest.mark.parametrize("name", SETTINGS)
def test_streams_from_s3_are_those_from_a_folder(copies, name):
    settings = settings_of(name)
    local = reader.stream(copies.local, **settings | ALONE)
    check_same(named(reader.stream(copies.remote, **settings)), named(local))


@pytest.mark.parametrize(
    "name", ["random crops", "a host of four", "by length", "padded"]
)
def test_datasets_from_s3_are_those_from_a_folder(copies, name):
    settings = settings_of(name)
    local = reader.load(copies.local, **settings | ALONE)
    check_same(named(reader.load(copies.remote, **settings)), named(local))


def test_both_are_those_from_gs(dataset, gs):
    remote = gs.upload(dataset, "remote_reading/small")
    local = list(reader.stream(dataset, **TRAIN, **ALONE))
    check_same(reader.stream(remote, **TRAIN), local)
    check_same(reader.load(remote, **TRAIN, **ALONE), local)


def test_a_run_resumes_on_the_other_copy(copies):
    settings = {**TRAIN, **ALONE, "epochs": None, "shuffle_bytes": 20_000}
    local = reader.stream(copies.local, **settings)
    check_same(local, reader.stream(copies.remote, **settings), 5)
    state = reader.state(local, 5)
    resumed = (reader.stream(each, resume=state, **settings) for each in copies[:2])
    check_same(*resumed, 9)


def test_local_and_remote_datasets_mix(copies, many_copies):
    settings = {"batch_size": 16, "epochs": None, "workers": 0, "image_size": 8}
    settings["outputs"] = ("image", "key", "dataset")
    parts = [
        {f"{folder}/train-*": 2, str(many): 1}
        for folder, many in (
            (copies.local, many_copies.local),
            (copies.remote, many_copies.local),
            (copies.remote, many_copies.remote),
        )
    ]
    local, mixed, remote = (reader.stream(each, **settings) for each in parts)
    check_same(named(mixed), named(local), 12)
    check_same(named(remote), named(local), 12)


def own_bytes(folder: str, keys: set[bytes]) -> int:
    """Returns the size of records with their framing, found by reading all of them."""
    return sum(
        len(record.data) + 16
        for shard in Path(folder).glob("*.tfrecord")
        for record in read_shard(str(shard))
        if parse_example(record.data)["image/source_id"][0] in keys
    )


def fetched(proxy: FaultyStore) -> int:
    return proxy.counts(SHARD).bytes


@pytest.mark.parametrize("num_hosts", [1, 5, 128])
def test_hosts_fetch_little_more_than_their_records(many_copies, num_hosts):
    settings = {"batch_size": 128 if num_hosts == 128 else 50, "workers": 0}
    hosts = {"host_count": num_hosts, "host_index": num_hosts // 2}
    batches = reader.stream(
        many_copies.remote, outputs=("key",), streams=16, **settings, **hosts
    )
    many_copies.proxy.reset()
    keys = {key for (batch,) in batches for key in batch.tolist()}
    local = reader.stream(
        many_copies.local, outputs=("key",), streams=16, **settings, **hosts
    )
    assert keys == {key for (batch,) in local for key in batch.tolist()}
    own = own_bytes(many_copies.local, keys)
    # Records of the last window that fill no batch are fetched too.
    allowed = 1.05 if num_hosts > 1 else 1.09
    assert own <= fetched(many_copies.proxy) <= allowed * own + 4096


@pytest.mark.parametrize("percent", [1, 10, 50])
def test_selections_fetch_few_gaps(many_copies, percent):
    chosen = np.random.default_rng(percent).permutation(509)[: 509 * percent // 100]
    keys = ", ".join(f"'{number:03}'" for number in chosen)
    where = f"key in ({keys})"
    settings = {"batch_size": 1, "outputs": ("key",), "workers": 0, "where": where}
    local = reader.stream(many_copies.local, **settings)
    remote = reader.stream(many_copies.remote, **settings)
    many_copies.proxy.reset()
    found = [batch[0][0] for batch in remote]
    assert found == [batch[0][0] for batch in local]
    assert len(found) == len(chosen)
    own = own_bytes(many_copies.local, set(found))
    assert own <= fetched(many_copies.proxy) <= 1.55 * own


FAULTS = ("500", "503", "reset", "cut", "short", "shifted", "whole", "damaged")


@pytest.mark.parametrize("how", FAULTS)
def test_what_fails_once_is_asked_for_again(copies, how):
    # What is damaged is asked for again once; other faults may meet a request again.
    copies.proxy.fail(how, every=5 if how == "damaged" else 3, match=SHARD)
    settings = {**TRAIN, **ALONE, "shuffle_bytes": 20_000}
    remote = reader.stream(copies.remote, **settings)
    before = snapshot()
    check_same(remote, reader.stream(copies.local, **settings))
    assert copies.proxy.faults() > 2
    assert snapshot().since(before).retried > 2


@pytest.mark.parametrize("read", [reader.stream, reader.load])
def test_what_fails_for_good_is_named(copies, monkeypatch, read):
    monkeypatch.setenv("DIPTYCH_RETRY_SECONDS", "0.3")
    batches = read(copies.remote, **TRAIN)
    copies.proxy.fail("503", match=SHARD)
    with pytest.raises(OSError, match=r"503|SlowDown") as caught:
        list(batches)
    assert f"{copies.remote}/train-0000" in str(caught.value)
    assert "cannot read bytes " in str(caught.value)
    assert '(key "' in str(caught.value)


@pytest.mark.parametrize("read", [reader.load, partial(reader.load, workers=0)])
def test_ctrl_c_ends_the_wait_for_a_batch(many_copies, read):
    batches = iter(read(many_copies.remote, shuffle_bytes=20_000, epochs=None, **PLAIN))
    next(batches)
    many_copies.proxy.latency = 4.0 * SOON_SECONDS
    begun: list[float] = []

    def interrupt() -> None:
        begun.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(0.5, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        for _ in batches:
            pass
    del batches  # TensorFlow waits here for what its threads wait for.
    gc.collect()
    assert time.monotonic() - begun[0] < 2 * SOON_SECONDS


def test_a_missing_shard_is_named(dataset, s3):
    remote = s3.upload(dataset, "remote_reading/missing")
    batches = reader.stream(remote, **TRAIN)
    s3.delete(f"{remote}/train-00001-of-00003.tfrecord")
    with pytest.raises(DatasetError, match=r"train-00001.*is missing: restore it"):
        list(batches)


def test_a_table_that_the_store_refuses_is_not_damaged(copies):
    copies.proxy.fail("403", match="samples")
    with pytest.raises(PermissionError, match=r"samples.*\.parquet"):
        reader.stream(copies.remote, where="key != ''", **TRAIN)


def test_damage_is_named_or_replaced(dataset, s3, tmp_path):
    (shard,) = sorted(dataset.glob("train-00000*"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    remote = s3.upload(dataset, "remote_reading/damaged")
    s3.put(f"remote_reading/damaged/{shard.name}", bytes(data))
    with pytest.raises(DatasetError, match=r"corrupt record.*train-00000.*key"):
        list(reader.stream(remote, **TRAIN, **ALONE))
    for read in (reader.stream, reader.load):
        outputs = ("image", "valid")
        batches = read(remote, on_corrupt="skip", outputs=outputs, **TRAIN, **ALONE)
        found = [np.asarray(valid) for _, valid in batches]
        assert sum(valid.size - valid.sum() for valid in found) == 1
        assert len(batches.losses) == 1


def test_iterators_that_are_left_stop_fetching_and_free_their_memory(many_copies):
    batches = reader.stream(
        many_copies.remote, **PLAIN, workers=1, epochs=None, shuffle_bytes=50_000
    )
    areas = batches._reader.access._areas
    iterators = [iter(batches) for _ in range(2)]
    for iterator in iterators:
        next(iterator)
    assert areas.num_used > 0
    for iterator in iterators:
        iterator.close()
    with contextlib.suppress(StopIteration):
        next(iterators[0])
    # Requests that had begun end by themselves.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while areas.num_used and time.monotonic() < deadline:
        time.sleep(0.05)
    assert areas.num_used == 0


def test_a_forked_child_reads_and_refuses_the_iterators_of_its_parent(many_copies):
    settings = {**PLAIN, "epochs": 1, "workers": 0, "shuffle_bytes": 50_000}
    stream = reader.stream(many_copies.remote, **settings)
    iterator = iter(stream)
    first = next(iterator)["image"].copy()
    there, here = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            try:
                list(iterator)  # The first may have been read before.
            except ValueError:
                again = reader.stream(many_copies.remote, **settings)
                if np.array_equal(next(iter(again))["image"], first):
                    status = 0
        finally:
            os._exit(status)
    os.close(there)
    os.close(here)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    local = reader.stream(many_copies.local, **settings)
    rest = iter(local)
    next(rest)
    check_same(iterator, rest)


@pytest.mark.parametrize(("glob", "is_folder"), [("", 0), ("/train-*", 1)])
def test_the_first_batch_takes_three_round_trips(many_copies, glob, is_folder):
    proxy = many_copies.proxy
    proxy.latency = 0.3

    def begun(match: str) -> list[float]:
        return sorted(seen.begun for seen in proxy.requests(match))

    def none_waits() -> bool:
        """Returns whether no request of a trip waited for the answer to another."""
        proxy.reset()
        settings = {**PLAIN, "workers": 0, "streams": 16}
        next(iter(reader.stream(f"{many_copies.remote}{glob}", **settings)))
        # The folder and its manifest, then the index, then records.
        folder, index = begun(r"list-type|manifest"), begun(r"index/")
        records = begun(SHARD)
        assert (len(folder), len(index)) == (2 + is_folder, 2)
        assert len(records) == proxy.counts().requests - 4 - is_folder
        first = records[: len(records) // 2]  # Those of the first batch.
        return all(trip[-1] - trip[0] < 0.3 for trip in (folder, index, first))

    # On a loaded machine, a request may be late for other reasons.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not none_waits():
        assert time.monotonic() < deadline


@pytest.mark.parametrize("read", [reader.stream, reader.load])
def test_a_store_slower_than_training_is_reported(many_copies, read):
    settings = {"outputs": ("key",), "batch_size": 8, "workers": 0}
    batches = read(many_copies.remote, shuffle_bytes=20_000, **settings)
    many_copies.proxy.latency = 0.2
    bar = reader.progress(batches, disable=True)
    shares = [(bar.waiting_for_store, bar.waiting) for _ in bar]
    assert shares[-1][0] > 0.3  # The rest is the work of a busy machine.
    assert all(store <= waiting for store, waiting in shares)
    assert re.search(r"waiting \d+% \(\d+% for the store\)", str(bar))

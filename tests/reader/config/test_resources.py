"""Threads, memory and prefetching, which affect only the speed of reading."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import reader
from reader.config.image_config import ImageConfig
from reader.config.read_config import ReadConfig, Resources
from reader.streaming.budget import Concurrency, concurrency_of

STEPS = 6


def load(folder: Path, **settings: Any) -> tf.data.Dataset:
    usual = {"batch_size": 8, "image_size": 16, "split": "train"}
    return reader.load(folder, **{**usual, **settings})


def least(folder: Path, **settings: Any) -> int:
    """The smallest budget, from the error message for a budget of one byte."""
    with pytest.raises(reader.UsageError, match="ram_budget") as raised:
        load(folder, ram_budget=1, **settings)
    assert "got 1:" in str(raised.value)
    return int(re.search(r"at least (\d+)", str(raised.value))[1])


@pytest.fixture(scope="module")
def plain(dataset) -> list[dict[str, np.ndarray]]:
    return list(load(dataset, crop="random", caption="random").as_numpy_iterator())


@pytest.mark.parametrize(
    "settings",
    [
        {"num_threads": 1},
        {"num_threads": 2},
        {"prefetch": 50},
        {"workers": 0},
        {"workers": 3, "num_threads": 1},
        {"num_threads": 1, "prefetch": 0},
        {"ram_budget": 1 << 30},
    ],
    ids=repr,
)
def test_resources_do_not_change_what_is_read(dataset, plain, settings):
    batches = load(dataset, crop="random", caption="random", **settings)
    loaded = list(batches.as_numpy_iterator())
    assert len(batches) == len(loaded) == STEPS
    for one, other in zip(loaded, plain, strict=True):
        assert all((one[name] == other[name]).all() for name in other)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_threads_are_really_set(dataset, num_threads):
    options = load(dataset, num_threads=num_threads).options()
    assert options.threading.private_threadpool_size == num_threads


def test_without_settings_threads_are_tensorflows(dataset):
    options = load(dataset).options()
    assert options.threading.private_threadpool_size is None


def test_an_iterator_that_is_done_does_not_wait_for_tensorflows_tuning(dataset):
    """The tuning thread sleeps up to a minute, and its end would be waited for."""
    assert load(dataset).options().autotune.enabled is False


def test_batches_are_never_sharded_again(dataset):
    off = tf.data.experimental.AutoShardPolicy.OFF
    for settings in ({}, {"num_threads": 1}, {"ram_budget": 1 << 30}):
        options = load(dataset, **settings).options()
        assert options.experimental_distribute.auto_shard_policy == off


@pytest.mark.parametrize("name", ["num_threads", "ram_budget", "prefetch"])
def test_resources_may_be_numbers_of_numpy(dataset, name):
    value = {"num_threads": 2, "ram_budget": 1 << 30, "prefetch": 1}[name]
    batches = load(dataset, outputs=("length",), **{name: np.int64(value)})
    assert len(list(batches)) == STEPS


# Memory.


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prefetch": 0},
        {"batch_size": 24, "dtype": "uint8"},
        {"batch_size": 24, "host_count": 3, "shuffle": False},
        {"caption": "all", "max_tokens": 500},
        {"outputs": ("tokens", "mask")},
    ],
    ids=repr,
)
def test_the_smallest_budget_is_named_and_is_enough(dataset, settings):
    settings = {"shuffle_bytes": 1 << 20, **settings}
    enough = least(dataset, **settings)
    batches = load(dataset, ram_budget=enough, **settings)
    assert len(list(batches)) == len(batches)
    with pytest.raises(reader.UsageError, match=f"at least {enough}.*{enough - 1}"):
        load(dataset, ram_budget=enough - 1, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dtype": "uint8"},
        {"dtype": "bfloat16"},
        {"image_size": (7, 5)},
        {"caption": "all", "max_tokens": 100},
        {"caption": "all", "max_captions": 7},
        {"batch_size": 24, "host_count": 2},
    ],
    ids=repr,
)
def test_a_batch_counts_with_the_bytes_that_it_has(dataset, settings):
    batch = next(load(dataset, **settings).as_numpy_iterator())
    num_bytes = sum(batch[name].nbytes for name in ("image", "tokens", "mask"))
    with pytest.raises(reader.UsageError, match=rf"batches of {num_bytes}\b"):
        load(dataset, ram_budget=1, **settings)


def test_what_costs_memory_raises_the_smallest_budget(dataset):
    usual = {"shuffle_bytes": 1 << 20}
    enough = least(dataset, **usual)
    assert least(dataset, shuffle_bytes=1 << 21) == enough + 3 * (1 << 20)
    assert least(dataset, **usual, host_count=2) < enough
    assert least(dataset, **usual, shuffle=False) == enough - 3 * (1 << 20)
    assert least(dataset, **usual, batch_size=16) > enough
    assert (
        least(dataset, **usual, prefetch=3)
        > enough
        > least(dataset, **usual, prefetch=1)
    )


IMAGES = ImageConfig(size=(100, 100))
WORKER = 48 << 20
# uint8[100, 100, 3] as float32, with 64 token ids and mask values.
BATCH = 32 * (120_000 + 64 * 5)


def concurrency(ram_budget: int | None = None, **resources: int | None) -> Concurrency:
    resources = {"num_threads": 6, **resources}
    return concurrency_of(
        ReadConfig(
            batch_size=32,
            images=IMAGES,
            resources=Resources(ram_budget=ram_budget, **resources),
        )
    )


def enough_for(**resources: int | None) -> int:
    with pytest.raises(reader.UsageError) as raised:
        concurrency(1, **resources)
    return int(re.search(r"at least (\d+)", str(raised.value))[1])


def test_more_memory_is_more_workers_and_then_more_batches():
    enough = enough_for()
    assert concurrency(enough) == Concurrency(1, 2, 1)
    assert concurrency(enough + BATCH - 1) == Concurrency(1, 2, 1)
    assert concurrency(enough + BATCH) == Concurrency(1, 2, 2)
    assert concurrency(enough + WORKER - 1) == Concurrency(1, 2, 2)
    assert concurrency(enough + WORKER) == Concurrency(2, 2, 1)
    assert concurrency(enough + 5 * WORKER + BATCH - 1) == Concurrency(6, 2, 1)
    assert concurrency(enough + 5 * WORKER + BATCH) == Concurrency(6, 2, 2)
    assert concurrency(1 << 40) == Concurrency(6, 2, 2)


def test_workers_that_are_asked_for_are_never_fewer():
    enough = enough_for(workers=3)
    assert enough == enough_for() + 2 * WORKER
    assert concurrency(enough, workers=3) == Concurrency(3, 2, 1)
    assert enough_for(workers=0) == enough_for() - WORKER
    assert concurrency(enough_for(workers=0), workers=0) == Concurrency(0, 2, 1)


def test_without_a_budget_all_are_kept_busy():
    assert concurrency(num_threads=1) == Concurrency(1, 2, 2)
    # Each worker makes at least four images of a batch.
    assert concurrency(num_threads=64) == Concurrency(64, 2, 9)
    assert concurrency(workers=0) == Concurrency(0, 2, 6)
    cores = len(os.sched_getaffinity(0))
    assert concurrency(num_threads=None) == concurrency(num_threads=cores)


@pytest.mark.parametrize("platform", ["win32", "cygwin"])
def test_elsewhere_than_on_linux_and_macos_this_process_makes_images(
    monkeypatch, platform
):
    monkeypatch.setattr("sys.platform", platform)
    assert concurrency().workers == 0
    assert concurrency(workers=2).workers == 2


def test_the_way_out_of_too_small_a_budget_is_named(dataset):
    with pytest.raises(reader.UsageError) as raised:
        load(dataset, ram_budget=1 << 20)
    text = str(raised.value)
    for part in (
        "1048576",
        str(64 << 20),
        "shuffle_bytes",
        "batch_size",
        "prefetch",
        "workers",
    ):
        assert part in text


# Wrong values.


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"num_threads": 0}, ["num_threads", "at least 1", "0"]),
        ({"num_threads": -1}, ["num_threads", "-1"]),
        ({"num_threads": 1.5}, ["num_threads", "1.5"]),
        ({"num_threads": True}, ["num_threads", "True"]),
        ({"num_threads": "2"}, ["num_threads", "'2'"]),
        ({"workers": -1}, ["workers", "at least 0", "-1"]),
        ({"workers": 0.5}, ["workers", "0.5"]),
        ({"workers": True}, ["workers", "True"]),
        ({"ram_budget": 0}, ["ram_budget", "0"]),
        ({"ram_budget": -5}, ["ram_budget", "-5"]),
        ({"ram_budget": 1e9}, ["ram_budget", "1000000000.0"]),
        ({"ram_budget": "1G"}, ["ram_budget", "'1G'"]),
        ({"prefetch": -1}, ["prefetch", "at least 0", "-1"]),
        ({"prefetch": None}, ["prefetch", "None"]),
        ({"prefetch": 2.0}, ["prefetch", "2.0"]),
        ({"prefetch": False}, ["prefetch", "False"]),
        ({"cache": 5}, ["cache", "5"]),
        ({"cache": ["folder"]}, ["cache", "folder"]),
        ({"cache": True}, ["cache", "True"]),
        ({"cache": "gs://bucket/folder"}, ["cache", "local", "gs://bucket/folder"]),
        ({"cache": "s3://bucket/folder"}, ["cache", "local", "s3://bucket/folder"]),
    ],
    ids=repr,
)
def test_a_wrong_value_is_refused_by_name(dataset, settings, parts):
    with pytest.raises(reader.UsageError) as raised:
        load(dataset, **settings)
    for part in parts:
        assert part in str(raised.value)

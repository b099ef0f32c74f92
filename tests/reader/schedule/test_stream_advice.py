"""Advice about `streams`, as `load` gives it."""

import warnings

import pytest
from foreign_records import load as load_foreign
from foreign_records import row, write

import reader


def advice(function, *args, **more) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*args, **{"remainder": "pad", "outputs": ("key",), **more})
    return [str(w.message) for w in caught if "streams" in str(w.message)]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    return write(tmp_path_factory.mktemp("foreign") / "a", map(row, range(4)))


def test_more_hosts_than_streams_are_told_once(dataset):
    (text,) = advice(
        reader.load, dataset, split="train", batch_size=193, host_count=193
    )
    assert text == (
        "host_count=193 is more than streams=192, so hosts share streams and read "
        "small pieces: consider streams=1536 and shuffle_bytes=512 << 20. Only a new "
        "run can choose them, since they change the order"
    )


def test_large_batches_of_files_from_other_tools_are_told(foreign):
    (text,) = advice(load_foreign, foreign, batch_size=1025)
    assert text.startswith("files from other tools may be sorted, and a batch of 1025")


@pytest.mark.parametrize(
    "more",
    [
        {"host_index": 1},
        {"streams": 1536},
        {"shuffle": False},
        {"start_step": 1},
        {"host_count": 192, "batch_size": 192},
    ],
    ids=str,
)
def test_other_runs_are_not_advised(dataset, more):
    usual = {"split": "train", "batch_size": 193, "host_count": 193, "epochs": None}
    assert advice(reader.load, dataset, **{**usual, **more}) == []


def test_runs_that_go_on_are_not_advised(dataset):
    usual = {"split": "train", "batch_size": 193, "epochs": None}
    usual["outputs"] = ("key",)
    state = reader.state(reader.load(dataset, **usual, remainder="pad"), 2)
    more = {"resume": state, "host_count": 193}
    assert advice(reader.load, dataset, **usual, **more) == []


def test_small_batches_and_datasets_of_ours_are_not_advised(dataset, foreign):
    assert advice(load_foreign, foreign, batch_size=1024) == []
    assert advice(load_foreign, foreign, batch_size=1025, shuffle=False) == []
    assert advice(reader.load, dataset, split="train", batch_size=4096) == []

"""`reader.sampler`: the examples of each step of `reader.load`, by a DataLoader."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from loaded_batches import NUM_TRAIN
from torch.utils.data import DataLoader

import reader
from reader.tools.show.step_keys import step_keys


def load_keys(dataset: Any, **settings: Any) -> list[list[str]]:
    loaded = reader.load(dataset, split="train", outputs=("key",), **settings)
    return [
        [key.decode() for key in keys if key] for (keys,) in loaded.as_numpy_iterator()
    ]


def read_keys(dataset: Any, num_workers: int = 0, **settings: Any) -> list[list[str]]:
    data = reader.open(dataset, split="train", outputs=("key",))
    batches = reader.sampler(data, **settings)
    more = {"multiprocessing_context": "spawn"} if num_workers else {}
    loader = DataLoader(data, batch_sampler=batches, num_workers=num_workers, **more)
    found = [list(keys) for (keys,) in loader]
    assert len(batches) == len(loader) == len(found)
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"epochs": 3, "start_step": 4},
        {"host_count": 5, "host_index": 2, "batch_size": 10},
        {"remainder": "pad", "batch_size": 13, "epochs": 2},
        {"shuffle": False},
        {"seed": 3, "streams": 11, "shuffle_bytes": 40_000},
    ],
    ids=str,
)
def test_batches_are_those_of_load(dataset, settings):
    settings = {"batch_size": 8, **settings}
    assert read_keys(dataset, **settings) == load_keys(dataset, **settings)


@pytest.mark.parametrize("num_workers", [2, 8])
def test_workers_read_the_same(dataset, num_workers):
    found = read_keys(dataset, num_workers, batch_size=8, epochs=2)
    assert found == load_keys(dataset, batch_size=8, epochs=2)


def test_keys_are_those_that_show_tells(dataset):
    for step, keys in enumerate(read_keys(dataset, batch_size=8, epochs=2)):
        told = step_keys(dataset, step, batch_size=8, split="train")
        assert keys == [place.key for place in told.places]


def test_crops_and_flips_are_those_of_load_in_each_epoch(dataset):
    settings = {
        "split": "train",
        "image_size": 20,
        "crop": "random_resized",
        "flip": True,
        "dtype": "uint8",
        "outputs": ("image",),
        "seed": 4,
    }
    data = reader.open(dataset, **settings)
    batches = reader.sampler(data, batch_size=6, epochs=3, seed=4)
    expected = reader.load(dataset, **settings, batch_size=6, epochs=3)
    found = DataLoader(data, batch_sampler=batches)
    for (one,), (other,) in zip(found, expected.as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_iterators_are_epochs(dataset):
    data = reader.open(dataset, split="train", outputs=("key",))
    loader = DataLoader(data, batch_sampler=reader.sampler(data, batch_size=8))
    found = [list(keys) for (keys,) in [*loader, *loader]]
    assert found == load_keys(dataset, batch_size=8, epochs=2)


def test_states_go_on_anywhere(dataset):
    data = reader.open(dataset, split="train", outputs=("key",))
    expected = load_keys(dataset, batch_size=8, epochs=2)
    sampler = reader.sampler(data, batch_size=8, epochs=2)
    list(itertools.islice(sampler, 7))
    state = json.loads(json.dumps(sampler.state_dict()))
    assert state == reader.state(sampler, 7)
    assert load_keys(dataset, batch_size=8, epochs=2, resume=state) == expected[7:]
    other = reader.sampler(data, batch_size=8, epochs=2)
    other.load_state_dict(state)
    keys = [[data[number][0] for number in batch] for batch in other]
    assert keys == expected[7:]
    with pytest.raises(reader.UsageError, match="seed"):
        reader.sampler(data, batch_size=8, seed=1, resume=state)


PROGRAM = """
import json, sys
sys.modules["tensorflow"] = None
import reader
from torch.utils.data import DataLoader
def first(batch): return [key for (key,) in batch]
if __name__ == "__main__":
    folder, out, state, rank, ranks = sys.argv[1:]
    data = reader.open(folder, split="train", outputs=("key",))
    sampler = reader.sampler(data, batch_size=6, resume=json.loads(state) or None,
        host_index=int(rank), host_count=int(ranks))
    loader = DataLoader(data, batch_sampler=sampler, num_workers=2, collate_fn=first)
    step = sampler.position.begin_step
    for keys in loader:
        step += 1
        with open(out, "a") as file:
            print(json.dumps([keys, reader.state(sampler, step)]), file=file)
        if not json.loads(state) and step == 3:
            input()
"""


@pytest.mark.slow
def test_a_killed_program_goes_on_with_another_number_of_ranks(dataset, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)

    def start(name: str, *words: object) -> Any:
        command = [sys.executable, script, dataset, tmp_path / name, *words]
        command = list(map(str, command))
        return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    process = start("before", "null", 0, 1)
    lines: list[str] = []
    while len(lines) < 3:
        time.sleep(0.05)
        if (tmp_path / "before").exists():
            lines = (tmp_path / "before").read_text().splitlines()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    taken = [key for line in lines for key in json.loads(line)[0]]
    state = json.dumps(json.loads(lines[-1])[1])
    processes = [start(f"after{rank}", state, rank, 3) for rank in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    for rank in range(3):
        for line in (tmp_path / f"after{rank}").read_text().splitlines():
            taken += json.loads(line)[0]
    assert len(taken) == len(set(taken)) == NUM_TRAIN


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 7, "host_count": 2}, "divisible"),
        ({"batch_size": 8, "resume": 3}, "resume must"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(dataset, settings, message):
    data = reader.open(dataset, split="train")
    with pytest.raises(reader.UsageError, match=message):
        reader.sampler(data, **settings)
    with pytest.raises(reader.UsageError, match=r"what reader\.open returned, got str"):
        reader.sampler("out", batch_size=8)

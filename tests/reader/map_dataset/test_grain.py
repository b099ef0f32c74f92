"""`reader.open` as a source of Grain: its shuffle, the planned order and its states.

Expected values come from `reader.open` without Grain, and from `reader.load`.
"""

import hashlib
import itertools
import json
import subprocess
import sys
from typing import Any

import grain
import numpy as np
import pytest
from absl import flags
from patience import PATIENCE_SECONDS
from record_access import NUM_TRAIN, flip

import reader
from reader.map_dataset.map_dataset import MapDataset

# Grain's worker processes ask for flags, which programs of absl parse first.
flags.FLAGS.mark_as_parsed()

BATCH = 6
IMAGES = {
    "split": "train",
    "image_size": 20,
    "crop": "random_resized",
    "flip": True,
    "outputs": ("image", "tokens", "key"),
}
AHEAD = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)


def in_workers(batches: grain.MapDataset, num_workers: int) -> grain.IterDataset:
    options = grain.MultiprocessingOptions(num_workers=num_workers)
    return batches.to_iter_dataset(AHEAD).mp_prefetch(options)


def shuffled(data: MapDataset, epochs: int = 1) -> grain.MapDataset:
    numbers = grain.MapDataset.source(data).seed(0).shuffle()
    return numbers.repeat(epochs).batch(BATCH, drop_remainder=True)


def planned(data: MapDataset, **order: Any) -> grain.MapDataset:
    """Batches in the order of `reader.load`, as docs/recipes/grain.md makes them."""
    order = {"batch_size": BATCH, **order}

    def batch_at(step: int) -> tuple[np.ndarray, ...]:
        import numpy as np

        import reader

        numbers = next(iter(reader.sampler(data, **order, start_step=step)))
        examples = [data[number] for number in numbers]
        return tuple(map(np.stack, zip(*examples, strict=True)))

    return grain.MapDataset.range(len(reader.sampler(data, **order))).map(batch_at)


def loader(data: MapDataset) -> grain.DataLoader:
    return grain.DataLoader(
        data_source=data,
        sampler=grain.samplers.IndexSampler(
            len(data), shuffle=True, seed=0, num_epochs=2
        ),
        operations=[grain.transforms.Batch(BATCH, drop_remainder=True)],
        worker_count=2,
    )


def assert_same(found: Any, expected: Any) -> None:
    assert len(found) == len(expected)
    for batch, other in zip(found, expected, strict=True):
        for one, another in zip(batch, other, strict=True):
            np.testing.assert_array_equal(one, another)


def check_examples(batches: list[Any], data: MapDataset) -> None:
    """Checks that each of two epochs has all keys, and what `data` gives for each."""
    keys = [str(key) for _, _, keys in batches for key in keys]
    epochs = keys[:NUM_TRAIN], keys[NUM_TRAIN:]
    assert epochs[0] != epochs[1]
    everything = sorted(key for _, _, key in data)
    assert [sorted(epoch) for epoch in epochs] == [everything] * 2
    for batch in batches:
        assert_same([data.by_key(str(key)) for key in batch[2]], zip_rows(batch))


def zip_rows(batch: Any) -> list[Any]:
    return list(zip(*batch, strict=True))


def loaded(dataset: Any, **order: Any) -> list[tuple[Any, ...]]:
    batches = reader.load(dataset, **IMAGES, dtype="uint8", batch_size=BATCH, **order)
    return [
        (image, tokens, [key.decode() for key in keys])
        for image, tokens, keys in batches.as_numpy_iterator()
    ]


def in_two_parts(batches: Any) -> tuple[Any, list[Any], list[Any]]:
    """Returns the state after five batches, the batches before it and those after."""
    iterator = iter(batches)
    before = list(itertools.islice(iterator, 5))
    return iterator.get_state(), before, list(iterator)


def test_keys_come_once_an_epoch_with_the_crops_of_open(dataset):
    data = reader.open(dataset, **IMAGES)
    first = [data[number][0] for number in range(len(data))]
    data.set_epoch(3)
    assert not all(map(np.array_equal, first, [image for image, _, _ in data]))
    check_examples(list(in_workers(shuffled(data, epochs=2), 0)), data)


@pytest.mark.parametrize(
    "order",
    [
        {"epochs": 2, "seed": 4},
        {"host_index": 1, "host_count": 3},
        {"shuffle": False},
    ],
    ids=str,
)
def test_planned_batches_are_those_of_load(dataset, order):
    data = reader.open(dataset, **IMAGES, seed=order.get("seed", 0))
    assert_same(list(in_workers(planned(data, **order), 0)), loaded(dataset, **order))


def test_a_step_of_the_planned_order_is_its_state(dataset):
    data = reader.open(dataset, **IMAGES)
    batches = planned(data, epochs=2)
    state = reader.state(reader.sampler(data, batch_size=BATCH, epochs=2), 11)
    found = [batches[step] for step in range(11, len(batches))]
    assert_same(found, loaded(dataset, epochs=2, resume=state))


# Worker processes.


PROGRAM = """
import hashlib, json, sys
sys.modules["tensorflow"] = None
import grain, reader
from absl import flags
flags.FLAGS.mark_as_parsed()
if __name__ == "__main__":
    folder, settings, state = sys.argv[1:]
    data = reader.open(folder, **json.loads(settings))
    data.set_epoch(3)
    batches = grain.MapDataset.source(data).seed(0).shuffle().repeat(2)
    batches = batches.batch(6, drop_remainder=True)
    batches = batches.to_iter_dataset(grain.ReadOptions(2, 2))
    iterator = iter(batches.mp_prefetch(grain.MultiprocessingOptions(2)))
    iterator.set_state(json.loads(state))
    digest = hashlib.sha256()
    for batch in iterator:
        for array in batch:
            digest.update(array)
    print(digest.hexdigest())
"""


@pytest.mark.slow
def test_workers_shuffle_alike_and_another_program_goes_on_without_tensorflow(
    dataset, tmp_path
):
    data = reader.open(dataset, **IMAGES)
    data.set_epoch(3)
    state, before, after = in_two_parts(in_workers(shuffled(data, epochs=2), 2))
    check_examples(before + after, data)
    assert_same(before + after, list(shuffled(data, epochs=2)))
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, script, dataset, json.dumps(IMAGES), json.dumps(state)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    digest = hashlib.sha256()
    for batch in after:
        for array in batch:
            digest.update(np.ascontiguousarray(array))
    assert done.stdout.strip() == digest.hexdigest()


@pytest.mark.slow
def test_workers_make_the_planned_batches_and_go_on_after_a_state(dataset):
    data = reader.open(dataset, **IMAGES)
    state, before, after = in_two_parts(in_workers(planned(data, epochs=2), 2))
    assert_same(before + after, loaded(dataset, epochs=2))
    again = planned(reader.open(dataset, **IMAGES), epochs=2)
    resumed = iter(in_workers(again, 2))
    resumed.set_state(json.loads(json.dumps(state)))
    assert_same(list(resumed), after)


@pytest.mark.slow
def test_a_data_loader_reads_all_keys_and_goes_on_after_a_state(dataset):
    data = reader.open(dataset, **IMAGES)
    state, before, after = in_two_parts(loader(data))
    check_examples(before + after, data)
    resumed = iter(loader(reader.open(dataset, **IMAGES)))
    resumed.set_state(state)
    assert_same(list(resumed), after)


@pytest.mark.slow
def test_a_damaged_record_is_named_by_a_worker(own_dataset):
    path = min(own_dataset.glob("train-*.tfrecord"))
    flip(path, path.stat().st_size // 2)
    data = reader.open(own_dataset, **IMAGES)
    with pytest.raises(reader.DatasetError, match=rf"checksum.*{path.name}.*key"):
        list(in_workers(shuffled(data), 1))

"""Several datasets, as one larger one and as a mixture by weight."""

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import foreign_records
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import reader
from reader.contract.record import parse_example
from reader.storage.tfrecord_file import read_shard

NUM_A, NUM_B = 200, 61
# A record is about 1000 bytes: one round of the 192 streams, or two.
WINDOWS = 250_000


class Pair(NamedTuple):
    """Two datasets whose tokenizers are equal; keys begin with `a` and with `b`."""

    a: Path
    b: Path


@pytest.fixture(scope="module")
def pair(build, tmp_path_factory) -> Pair:
    folders = []
    for name, num in (("a", NUM_A), ("b", NUM_B)):
        source = tmp_path_factory.mktemp(name)
        rng = np.random.default_rng(num)
        for number in range(num):
            noise = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(noise).save(source / f"{name}{number:03}.png")
            text = "x" * int(rng.integers(1, 40))
            (source / f"{name}{number:03}.txt").write_text(text)
        out = source / "out"
        folders.append(build(source, source, out, tokenizer="bytes", num_shards=2))
    return Pair(*folders)


def load(pattern, **settings) -> tf.data.Dataset:
    usual = {"batch_size": 24, "image_size": 4, "seed": 3, "outputs": ("key",)}
    usual["shuffle_bytes"] = WINDOWS
    return reader.load(pattern, **{**usual, **settings})


def keys(batches: tf.data.Dataset, num: int | None = None) -> list[list[bytes]]:
    read = batches if num is None else batches.take(num)
    return [batch.tolist() for (batch,) in read.as_numpy_iterator()]


def flat(lists: list[list[bytes]]) -> list[bytes]:
    return list(itertools.chain(*lists))


def written_keys(folder: Path) -> list[bytes]:
    return [
        parse_example(record.data)["image/source_id"][0]
        for shard in sorted(folder.glob("*.tfrecord"))
        for record in read_shard(str(shard))
    ]


def weighed(pair: Pair, a: float = 3, b: float = 1) -> dict[str, float]:
    return {f"{pair.a}/*.tfrecord": a, str(pair.b): b}


# Union.


def test_a_list_of_datasets_is_one_in_which_each_example_comes_once(pair):
    both = written_keys(pair.a) + written_keys(pair.b)
    for pattern in ([pair.a, pair.b], [f"{pair.a}/*.tfrecord", f"{pair.b}/*-00*"]):
        batches = load(pattern, batch_size=29, epochs=2)
        assert len(batches) == 2 * (NUM_A + NUM_B) // 29 == 18
        read = flat(keys(batches))
        for epoch in (read[:261], read[261:]):
            assert sorted(epoch) == sorted(both)
        assert read[:261] != read[261:]


def test_a_union_is_shuffled_through_and_through(pair):
    read = flat(keys(load([pair.a, pair.b], batch_size=1)))
    # Of 87 examples by chance 20 ± 3 are of b.
    for third in (read[:87], read[87:174], read[174:]):
        assert 8 <= sum(key.startswith(b"b") for key in third) <= 33


def test_a_union_in_the_order_written_has_each_dataset_in_its_own(pair):
    read = flat(keys(load([pair.a, pair.b], batch_size=29, shuffle=False)))
    for name, folder in (b"a", pair.a), (b"b", pair.b):
        assert [k for k in read if k.startswith(name)] == written_keys(folder)
    assert sum(one[:1] != other[:1] for one, other in itertools.pairwise(read)) == 1


def test_examples_of_a_union_are_those_of_its_datasets(pair):
    outputs = ("key", "image", "tokens", "mask", "caption")

    def examples(pattern) -> dict[bytes, tuple]:
        batches = load(pattern, batch_size=1, outputs=outputs)
        return {
            batch[0][0]: tuple(np.asarray(value).tolist() for value in batch)
            for batch in batches.as_numpy_iterator()
        }

    assert examples([pair.a, pair.b]) == examples(pair.a) | examples(pair.b)


def test_a_union_is_resumed_and_shared_by_hosts(pair):
    union = [pair.a, pair.b]
    line = flat(keys(load(union, batch_size=1, epochs=2)))
    state = reader.state(load(union, epochs=2), 9)
    begin = 9 * 24
    expected = [range(begin, begin + 32), *(range(n, n + 32) for n in (261, 293))]
    for host in range(2):
        batches = load(
            union,
            epochs=2,
            resume=json.dumps(state),
            batch_size=32,
            host_index=host,
            host_count=2,
        )
        assert keys(batches, 3) == [
            [line[n] for n in step if n % 261 % 2 == host] for step in expected
        ]


def test_a_state_of_a_union_is_none_of_its_parts(pair):
    state = reader.state(load([pair.a, pair.b]), 2)
    with pytest.raises(reader.UsageError, match="other records"):
        load(pair.a, resume=state)
    with pytest.raises(reader.UsageError, match="other records"):
        load(weighed(pair), epochs=None, resume=state)


# Mixture.


@pytest.mark.parametrize(("a", "b"), [(3, 1), (0.5, 0.5), (1, 9)])
def test_a_mixture_has_as_much_of_each_dataset_as_its_weight(pair, a, b):
    num = 120
    read = flat(keys(load(weighed(pair, a, b), epochs=None), num))
    counts = Counter(key[:1] for key in read)
    assert set(counts) == {b"a", b"b"}
    assert counts[b"a"] / len(read) == pytest.approx(a / (a + b), abs=0.01)
    # From the beginning on, and not only in the long run.
    early = Counter(key[:1] for key in read[:192])
    assert early[b"a"] / 192 == pytest.approx(a / (a + b), abs=0.05)


def test_examples_of_a_dataset_in_a_mixture_come_equally_often(pair):
    counts = Counter(flat(keys(load(weighed(pair, 1, 1), epochs=None), 100)))
    for folder, num in (pair.a, NUM_A), (pair.b, NUM_B):
        often = [counts[key] for key in written_keys(folder)]
        assert len(often) == num
        assert sum(often) == pytest.approx(1200, abs=24)
        assert max(often) - min(often) <= 2


def test_only_the_proportion_of_weights_counts(pair):
    one = keys(load(weighed(pair, 3, 1), epochs=None), 20)
    assert one == keys(load(weighed(pair, 0.75, 0.25), epochs=None), 20)
    assert one != keys(load(weighed(pair, 1, 3), epochs=None), 20)
    assert one != keys(load(weighed(pair, 3, 1), epochs=None, seed=4), 20)


@pytest.fixture(scope="module")
def mixed_line(pair) -> list[bytes]:
    return flat(keys(load(weighed(pair), epochs=None, batch_size=1), 3000))


@settings(max_examples=7)
@given(data=st.data())
def test_a_mixture_is_resumed_at_any_step_on_any_hosts(pair, mixed_line, data):
    old = data.draw(st.integers(1, 60))
    step = data.draw(st.integers(0, 2400 // old))
    hosts = data.draw(st.sampled_from([1, 2, 3, 4, 8]))
    host = data.draw(st.integers(0, hosts - 1))
    new = hosts * data.draw(st.integers(1, 96 // hosts))
    before = load(weighed(pair), epochs=None, batch_size=old)
    batches = load(
        weighed(pair),
        epochs=None,
        batch_size=new,
        host_index=host,
        host_count=hosts,
        resume=json.dumps(reader.state(before, step)),
    )
    begins = [old * step + new * number for number in range(4)]
    assert keys(batches, 4) == [
        [mixed_line[n] for n in range(begin, begin + new) if n % hosts == host]
        for begin in begins
    ]


@pytest.mark.parametrize("start", [{"start_step": 40}, {"start_example": 960}], ids=str)
def test_a_mixture_begins_at_any_step(pair, mixed_line, start):
    batches = load(weighed(pair), epochs=None, **start)
    for _ in range(2):
        assert flat(keys(batches, 5)) == mixed_line[960:1080]


def test_a_state_of_a_mixture_is_a_whole_number_of_examples(pair):
    states = [
        reader.state(load(weighed(pair), epochs=None, batch_size=24), step)
        for step in (0, 5, 10**9)
    ]
    assert [state["examples"] for state in states] == [0, 120, 24 * 10**9]
    differing = {name for name in states[0] if states[0][name] != states[1][name]}
    assert differing == {"step", "examples"}
    assert len(json.dumps(states[2])) < 1000


def test_a_mixture_is_resumed_far_from_its_beginning(pair):
    far = 10**9
    line = flat(keys(load(weighed(pair), epochs=None, start_step=far), 4))
    assert len(set(line)) > 48
    halves = [
        flat(
            keys(
                load(
                    weighed(pair),
                    epochs=None,
                    start_step=far,
                    host_index=host,
                    host_count=2,
                ),
                4,
            )
        )
        for host in range(2)
    ]
    assert line == flat([list(two) for two in zip(*halves, strict=True)])


def test_other_weights_are_refused_when_resuming(pair):
    state = reader.state(load(weighed(pair), epochs=None), 3)
    with pytest.raises(reader.UsageError, match="weights"):
        load(weighed(pair, 2, 1), epochs=None, resume=state)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "epochs=None"),
        ({"epochs": 3}, "epochs=None"),
        ({"epochs": None, "remainder": "pad"}, 'remainder="pad"'),
        ({"epochs": None, "shuffle": False}, "shuffle=False"),
    ],
    ids=str,
)
def test_what_a_mixture_cannot_have_is_refused(pair, settings, message):
    with pytest.raises(reader.UsageError, match=message):
        load(weighed(pair), **settings)


@pytest.mark.parametrize(
    "weight", [0, -1, float("nan"), float("inf"), "1", None, True], ids=repr
)
def test_a_weight_must_be_a_positive_number(pair, weight):
    with pytest.raises(reader.UsageError, match="weight"):
        load(weighed(pair, 1, weight), epochs=None)


def test_a_mixture_of_nothing_is_refused():
    with pytest.raises(reader.UsageError, match="empty"):
        load({}, epochs=None)


def test_a_mixture_has_neither_length_nor_epochs(pair):
    with pytest.raises(TypeError):
        len(load(weighed(pair), epochs=None))
    with pytest.raises(reader.UsageError, match="mixture"):
        reader.steps_per_epoch(weighed(pair), batch_size=8)
    with pytest.raises(reader.UsageError, match="mixture"):
        reader.coverage(weighed(pair), batch_size=8)


# Which of them an example is from.

FORMS = {
    "workers": {"outputs": ("key", "dataset", "image")},
    "tensorflow": {"outputs": ("key", "dataset", "image"), "workers": 0},
    "texts": {"outputs": ("key", "dataset")},
    "sorted": {"outputs": ("key", "dataset", "tokens"), "bucket_by_length": True},
}


def check_datasets(batches, names: bytes, num: int) -> None:
    """Checks the number that goes with each key; `names` begin the keys, in order."""
    counts = Counter()
    for found, numbers, *_ in itertools.islice(batches, num):
        assert numbers.dtype == np.int32
        assert numbers.tolist() == [names.index(key[:1]) for key in found]
        counts.update(numbers.tolist())
    assert len(counts) == len(names)


@pytest.mark.parametrize("form", FORMS)
def test_examples_know_the_number_of_their_dataset(pair, form):
    for pattern, names in ((weighed(pair), b"ab"), ([pair.b, pair.a], b"ba")):
        batches = load(pattern, epochs=None, **FORMS[form])
        check_datasets(batches.as_numpy_iterator(), names, 10)


def test_patterns_of_one_folder_are_one_dataset(pair):
    parts = [f"{pair.a}/*-00000-*", pair.b, f"{pair.a}/*-00001-*"]
    settings = {"batch_size": 20, "outputs": ("key", "dataset"), "epochs": None}
    for pattern, names in (parts, b"ab"), (pair.b, b"b"):
        check_datasets(reader.stream(pattern, **settings), names, 10)
    check_datasets(reader.stream(weighed(pair), **settings), b"ab", 10)


def test_compressed_files_of_several_folders_do_not_know_their_dataset(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        rows = map(foreign_records.small, range(4))
        foreign_records.write(tmp_path / name / "x.gz", rows, "GZIP")
    outputs = ("key", "dataset")
    with pytest.warns(UserWarning, match="GZIP"):
        batches = load(f"{tmp_path}/a/x.gz", batch_size=4, outputs=outputs)
    assert [b.tolist() for _, b in batches.as_numpy_iterator()] == [[0, 0, 0, 0]]
    with pytest.raises(reader.UsageError, match="output dataset"):
        load([f"{tmp_path}/{name}/x.gz" for name in "ab"], outputs=outputs)


def test_records_opened_know_the_number_of_their_dataset(pair):
    examples = reader.open([pair.b, pair.a], outputs=("key", "dataset"))
    numbers = [number for _, number in examples]
    assert numbers == [0] * NUM_B + [1] * NUM_A
    assert all(key.startswith("ba"[number]) for key, number in examples)
    assert {number for (number,) in reader.open(pair.a, outputs=("dataset",))} == {0}


def test_selected_and_padded_examples_know_the_number_of_their_dataset(pair):
    settings = {"where": "key >= 'a100'", "remainder": "pad"}
    outputs = ("key", "dataset", "valid")
    batches = load([pair.a, pair.b], outputs=outputs, batch_size=32, **settings)
    read = [
        (number, key[:1])
        for found, numbers, valid in batches.as_numpy_iterator()
        for key, number, is_valid in zip(found, numbers, valid, strict=True)
        if is_valid or number != 0 or key != b""
    ]
    assert Counter(read) == {(0, b"a"): 100, (1, b"b"): NUM_B}

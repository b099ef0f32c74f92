"""The progress bar: the batches it yields, and the text it shows."""

import io
import itertools
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import reader
import reader.frameworks.progress

STEPS = 6
EACH = np.zeros((8, 2))


def load(folder: Path, **settings: Any) -> tf.data.Dataset:
    usual = {"batch_size": 8, "image_size": 8, "split": "train"}
    return reader.load(folder, **{**usual, **settings})


class Clock:
    """A clock that tests advance."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def produce(self, seconds: Iterable[float], batch: Any = EACH) -> Iterator[Any]:
        """Yields batches, each after the given number of seconds."""
        for each in seconds:
            self.now += each
            yield batch


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    fake = SimpleNamespace(perf_counter=clock.perf_counter)
    monkeypatch.setattr(reader.frameworks.progress, "time", fake)
    return clock


# Batches.


@pytest.mark.parametrize("convert", [None, "as_jax", "as_torch"])
def test_batches_are_passed_on_as_they_are(dataset, convert):
    batches, others = load(dataset), load(dataset)
    made = getattr(reader, convert)(batches) if convert else batches
    bar = reader.progress(made, disable=True)
    assert len(bar) == STEPS
    for _ in range(2):
        loaded = list(bar)
        expected = list(others.as_numpy_iterator())
        assert len(loaded) == len(expected) == STEPS
        for one, other in zip(loaded, expected, strict=True):
            assert {*one} == {*other}
            assert (np.asarray(one["tokens"]) == other["tokens"]).all()
            assert (np.asarray(one["image"]) == other["image"]).all()


def test_a_batch_is_the_very_one_that_came():
    batches = [object(), object()]
    assert list(reader.progress(batches, disable=True)) == batches


def test_endless_batches_have_no_length_but_a_bar(dataset):
    file = io.StringIO()
    bar = reader.progress(load(dataset, epochs=None), file=file)
    with pytest.raises(TypeError):
        len(bar)
    assert len(list(itertools.islice(bar, 8))) == 8
    assert "images/s" in file.getvalue()


def test_an_error_in_reading_goes_through():
    def broken() -> Iterator[Any]:
        yield EACH
        raise reader.DatasetError("corrupt")

    bar = iter(reader.progress(broken(), disable=True))
    next(bar)
    with pytest.raises(reader.DatasetError, match="corrupt"):
        next(bar)


def test_a_loop_may_be_left_early_and_begun_again(dataset):
    file = io.StringIO()
    bar = reader.progress(load(dataset), file=file)
    assert len(list(itertools.islice(bar, 2))) == 2
    assert len(list(bar)) == STEPS
    assert f"{STEPS}/{STEPS}" in file.getvalue()


def test_the_state_of_a_run_is_known_behind_a_bar(dataset):
    batches = load(dataset)
    bar = reader.progress(batches, disable=True)
    taken = len(list(bar)) + len(list(itertools.islice(bar, 3)))
    assert reader.state(batches, taken)["examples"] == 8 * taken


# Text and rates.


@pytest.mark.parametrize("convert", [lambda batches: batches, reader.as_torch])
def test_the_bar_of_resumed_batches_ends_full(dataset, convert):
    settings = {"split": "train", "batch_size": 8, "image_size": 8, "workers": 0}
    state = reader.state(reader.stream(dataset, **settings), 4)
    resumed = convert(reader.stream(dataset, **settings))
    resumed.load_state_dict(state)
    file = io.StringIO()
    batches = list(reader.progress(resumed, file=file))
    assert len(batches) == STEPS - 4
    assert f"{STEPS - 4}/{STEPS - 4}" in file.getvalue()


def test_the_bar_says_images_per_second_and_who_waits(dataset):
    file = io.StringIO()
    list(reader.progress(load(dataset), file=file, mininterval=0))
    text = file.getvalue()
    assert f"{STEPS}/{STEPS}" in text
    assert re.search(r"[\d,]+ images/s, waiting \d+%", text)


def test_options_are_those_of_tqdm(dataset):
    file = io.StringIO()
    batches = load(dataset)
    list(reader.progress(batches, file=file, desc="epoch 1", total=99, unit="step"))
    assert "epoch 1:" in file.getvalue()
    assert "/99" in file.getvalue()
    assert "step" in file.getvalue()


def test_a_disabled_bar_says_nothing_and_knows_it_all(clock, capsys):
    bar = reader.progress(clock.produce([1.0, 3.0, 3.0]), disable=True)
    list(bar)
    assert capsys.readouterr() == ("", "")
    assert bar.waiting == 1


def test_rate_and_waiting_are_those_of_the_clock(clock):
    bar = reader.progress(clock.produce([5.0, 3.0, 3.0, 3.0]), disable=True)
    seen = []
    for _ in bar:
        seen.append((bar.images_per_second, bar.waiting))
        clock.now += 1  # A step takes one second, a batch three.
    # The first batch only starts the measurement.
    assert seen == [(0, 0), *[(pytest.approx(8 / 4), pytest.approx(3 / 4))] * 3]
    assert str(bar) == "2 images/s, waiting 75%"


def test_what_was_long_ago_is_forgotten(clock):
    slow_then_fast = clock.produce([1.0] * 20 + [0.0] * 40)
    bar = reader.progress(slow_then_fast, disable=True)
    waiting = []
    for number, _ in enumerate(bar):
        waiting.append(bar.waiting)
        clock.now += 0 if number < 20 else 1
    assert waiting[19] == 1
    assert waiting[-1] == 0
    assert bar.images_per_second == pytest.approx(8)


def test_steps_slower_than_what_is_remembered_are_measured_too(clock):
    bar = reader.progress(clock.produce([30.0] * 4), disable=True)
    for _ in bar:
        clock.now += 10
    assert bar.waiting == pytest.approx(0.75)
    assert bar.images_per_second == pytest.approx(8 / 40)


@pytest.mark.parametrize(
    ("batch", "num"),
    [
        (np.zeros((8, 4, 4, 3)), 8),
        ({"image": np.zeros((5, 2)), "mask": np.zeros((5, 9))}, 5),
        ((np.zeros((6, 2)), np.zeros(6)), 6),
        (((np.zeros((7, 2)), np.zeros((7, 1))), np.zeros((7, 9))), 7),
        ((np.array([b"abc", b"d"], object), np.zeros((2, 9))), 2),
        ([np.zeros((9, 2)), np.zeros(9)], 9),
        (tf.zeros((4, 2)), 4),
        ((tf.constant(["abc", "d", "e"]),), 3),
        (([b"a long key", b"another"], np.zeros((2, 9))), 2),
        ({"key": [b"a long key", b"another", b"third"]}, 3),
        ([b"a long key", b"another"], 2),
    ],
    ids=repr,
)
def test_images_are_counted_whatever_a_batch_looks_like(clock, batch, num):
    bar = reader.progress(clock.produce([1.0] * 4, batch), disable=True)
    list(bar)
    assert bar.images_per_second == pytest.approx(num)


@pytest.mark.parametrize("convert", ["as_numpy", "as_jax", "as_torch"])
@pytest.mark.parametrize("outputs", [("key", "length"), ("length", "key"), ("key",)])
def test_images_are_counted_in_every_framework(dataset, clock, convert, outputs):
    batches = getattr(reader, convert)(load(dataset, outputs=outputs))
    bar = reader.progress(batches, disable=True)
    for _ in bar:
        clock.now += 1
    assert bar.images_per_second == pytest.approx(8)


@pytest.mark.parametrize(
    ("making", "step", "low", "high"), [(0.03, 0.0, 0.8, 1.0), (0.0, 0.03, 0.0, 0.2)]
)
def test_it_shows_who_waits_for_whom(making, step, low, high):
    def produce() -> Iterator[Any]:
        for _ in range(10):
            time.sleep(making)
            yield EACH

    bar = reader.progress(produce(), disable=True)
    for _ in bar:
        time.sleep(step)
    assert low <= bar.waiting <= high
    assert 8 / 0.3 < bar.images_per_second <= 8 / 0.03


def test_images_of_all_replicas_are_counted():
    from tensorflow.python.distribute.values import PerReplica

    images = PerReplica((tf.zeros([3, 2]), tf.zeros([4, 2])))
    assert reader.frameworks.progress.num_examples({"image": images}) == 7

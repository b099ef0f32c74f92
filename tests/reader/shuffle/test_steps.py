import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reader.contract.errors import UsageError
from reader.shuffle.order import Stretch
from reader.shuffle.steps import EndlessSteps, Steps


class Batch(NamedTuple):
    """A batch of the plain loop below: its epoch and its positions."""

    epoch: int
    start: int
    stop: int


def plain_epoch(
    epoch: int, start: int, num_examples: int, batch_size: int, pad: bool
) -> Iterator[Batch]:
    """The batches of the rest of an epoch from a position on."""
    while start < num_examples:
        if start + batch_size > num_examples and not pad:
            return
        yield Batch(epoch, start, start + batch_size)
        start += batch_size


def plain_iterators(
    num_examples: int, batch_size: int, pad: bool, epochs: int, begin: int
) -> Iterator[list[Batch]]:
    """One list of batches for each iterator, which has the next `epochs` epochs."""
    epoch, start = begin // num_examples, begin % num_examples
    # With one epoch per iterator, the first one is the epoch in which the run begins.
    last = epoch + 1 if epochs == 1 else epochs
    while True:
        batches: list[Batch] = []
        while epoch < last:
            batches += plain_epoch(epoch, start, num_examples, batch_size, pad)
            epoch, start = epoch + 1, 0
        yield batches
        last += epochs


def cut(stretches: Iterator[Stretch], batch_size: int) -> Iterator[Batch]:
    for epoch, start, stop in stretches:
        assert (stop - start) % batch_size == 0
        for at in range(start, stop, batch_size):
            yield Batch(epoch, at, at + batch_size)


@st.composite
def runs(draw: st.DrawFn) -> dict[str, int | bool]:
    num_examples = draw(st.integers(1, 40))
    pad = draw(st.booleans())
    batch_size = draw(st.integers(1, 60 if pad else num_examples))
    epochs = draw(st.integers(1, 4))
    last = 3 * num_examples if epochs == 1 else epochs * num_examples
    return {
        "num_examples": num_examples,
        "batch_size": batch_size,
        "pad": pad,
        "epochs": epochs,
        "begin": draw(st.integers(0, last)),
    }


@given(run=runs(), begin_step=st.integers(0, 100))
@settings(max_examples=300)
def test_iterators_go_through_the_epochs_that_a_plain_loop_does(
    run: dict, begin_step: int
) -> None:
    steps = Steps(**run, begin_step=begin_step)
    expected = itertools.islice(plain_iterators(**run), 4)
    for iterator, batches in enumerate(expected):
        assert list(cut(steps.stretches(iterator), run["batch_size"])) == batches
        assert steps.length(iterator) == len(batches)
    assert not steps.endless


@given(run=runs(), begin_step=st.integers(0, 100))
@settings(max_examples=300)
def test_a_step_stands_where_a_plain_loop_takes_its_batch(
    run: dict, begin_step: int
) -> None:
    steps = Steps(**run, begin_step=begin_step)
    iterators = itertools.islice(plain_iterators(**run), 4)
    for ahead, batch in enumerate(itertools.chain.from_iterable(iterators)):
        at = batch.epoch * run["num_examples"] + batch.start
        assert steps.example_at(begin_step + ahead) == at


@given(run=runs(), data=st.data())
@settings(max_examples=150)
def test_a_run_begun_where_another_stands_goes_on_like_it(
    run: dict, data: st.DataObject
) -> None:
    steps = Steps(**run)
    whole = list(cut(steps.stretches(0), run["batch_size"]))
    taken = data.draw(st.integers(0, len(whole)))
    resumed = Steps(
        **run | {"begin": steps.example_at(taken)},
        begin_step=taken,
    )
    stretches = resumed.stretches(0)
    rest = list(itertools.islice(cut(stretches, run["batch_size"]), len(whole) - taken))
    assert rest == whole[taken:]
    for step in range(taken, len(whole) + 9):
        assert resumed.example_at(step) == steps.example_at(step)


@given(run=runs())
@settings(max_examples=150)
def test_iterators_without_end_all_begin_at_the_same_place(run: dict) -> None:
    steps = Steps(**run | {"epochs": None})
    batch_size = run["batch_size"]
    one_by_one = plain_iterators(**run | {"epochs": 1})
    expected = list(
        itertools.islice(itertools.chain.from_iterable(one_by_one), 3 * 40 + 1)
    )
    for iterator in (0, 1, 5):
        batches = cut(steps.stretches(iterator), batch_size)
        assert list(itertools.islice(batches, len(expected))) == expected
        assert steps.length(iterator) is None
    assert steps.endless


@given(
    num_examples=st.integers(1, 500), batch_size=st.integers(1, 600), pad=st.booleans()
)
def test_steps_of_an_epoch_are_counted(
    num_examples: int, batch_size: int, pad: bool
) -> None:
    steps = Steps(num_examples=num_examples, batch_size=batch_size, pad=pad)
    assert steps.per_epoch == len(
        list(plain_epoch(0, 0, num_examples, batch_size, pad))
    )


def test_a_run_with_too_little_left_of_an_epoch_begins_with_the_next() -> None:
    steps = Steps(num_examples=10, batch_size=4, epochs=2, begin=7, begin_step=2)
    assert list(cut(steps.stretches(0), 4)) == [(1, 0, 4), (1, 4, 8)]
    assert steps.length() == 2
    assert steps.example_at(2) == 10


def test_dropped_examples_count() -> None:
    steps = Steps(num_examples=10, batch_size=4, epochs=3)
    assert [steps.example_at(step) for step in range(7)] == [0, 4, 10, 14, 20, 24, 30]


@pytest.mark.parametrize("begin", [21, 30, 10**9])
def test_a_run_that_begins_behind_its_end_is_refused(begin: int) -> None:
    with pytest.raises(UsageError, match=rf"example {begin}, but epochs=2 ends at 20"):
        Steps(num_examples=10, batch_size=3, epochs=2, begin=begin)


def test_a_run_that_begins_at_its_end_is_empty_and_goes_on() -> None:
    steps = Steps(num_examples=10, batch_size=3, epochs=2, begin=20, begin_step=6)
    assert list(steps.stretches(0)) == []
    assert [steps.length(0), steps.length(1)] == [0, 6]
    assert [stretch.epoch for stretch in steps.stretches(1)] == [2, 3]


@pytest.mark.parametrize("epochs", [1, None])
def test_a_run_of_single_epochs_begins_anywhere(epochs: int | None) -> None:
    steps = Steps(num_examples=10, batch_size=3, epochs=epochs, begin=10**6 + 4)
    assert next(steps.stretches(0)) == (10**5, 4, 10)


def test_a_mixture_goes_on_without_end() -> None:
    steps = EndlessSteps(batch_size=6, begin=100, begin_step=9)
    assert [steps.example_at(step) for step in (9, 10, 1009)] == [100, 106, 6100]
    for iterator in (0, 3):
        (stretch,) = steps.stretches(iterator)
        assert stretch[:2] == (0, 100)
        assert (stretch.stop - stretch.start) % 6 == 0
        assert stretch.stop > 10**12
        assert steps.length(iterator) is None
    assert steps.endless

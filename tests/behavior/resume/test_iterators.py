"""Iterators, epochs and lengths."""

import pytest
import tensorflow as tf
from resumed_runs import (
    EPOCHS,
    STEPS,
    N,
    example_at,
    expected,
    expected_keys,
    first_keys,
    keys,
    load,
)

import reader

# Iterators and epochs.


def test_each_iterator_is_the_next_epochs(many, line):
    batches = load(many, epochs=1)
    loaded = [batch for _ in range(EPOCHS) for batch in keys(batches)]
    assert loaded == expected_keys(line, 0)


def test_an_iterator_of_two_epochs_is_followed_by_the_two_next(many, line):
    two = load(many, batch_size=100, epochs=2)
    assert keys(two) == expected_keys(line, 0, 100, epochs=2)
    third, fourth = keys(two)[:7], keys(load(many, batch_size=100, start_step=21))
    assert third == expected_keys(line, 2 * N, 100)
    assert len(fourth) == 7
    assert fourth != third


@pytest.mark.parametrize("epochs", [1, 2])
def test_an_iterator_after_one_begun_within_an_epoch_is_whole_again(many, line, epochs):
    batches = load(many, epochs=epochs, start_step=20)
    first, second = keys(batches), keys(batches)
    assert first == expected_keys(line, example_at(20), epochs=epochs)
    assert len(second) == epochs * STEPS
    assert second[:STEPS] == expected_keys(line, epochs * N)[:STEPS]


def test_one_epoch_begun_behind_the_first_goes_on_epoch_by_epoch(many, line):
    batches = load(many, epochs=1, start_step=STEPS + 10)
    assert keys(batches) == expected_keys(line, example_at(STEPS + 10), epochs=2)
    assert keys(batches) == expected_keys(line, 2 * N)


def test_iterators_without_end_all_begin_at_the_same_step(many, line):
    batches = load(many, epochs=None, start_step=17)
    wanted = expected_keys(line, example_at(17))[: STEPS + 5]
    assert first_keys(batches, STEPS + 5) == wanted
    assert first_keys(batches, STEPS + 5) == wanted


def test_endless_batches_go_through_one_epoch_after_the_other(many, line):
    loaded = first_keys(load(many, epochs=None), EPOCHS * STEPS)
    assert loaded == expected_keys(line, 0)


# Length.


@pytest.mark.parametrize(("epochs", "step"), [(1, 0), (1, 28), (3, 1)])
def test_the_length_is_what_is_left_of_all_epochs(many, epochs, step):
    batches = load(many, epochs=epochs, start_step=step)
    assert len(batches) == epochs * STEPS - step == len(keys(batches))


@pytest.mark.parametrize(("host", "num"), [(0, 3), (7, 8)])
def test_the_length_is_the_same_on_every_host(many, host, num):
    batches = load(many, epochs=2, start_step=30, host_index=host, host_count=num)
    assert len(batches) == 2 * STEPS - 30 == len(keys(batches))


@pytest.mark.parametrize("example", [1, 677, N - 1, N + 5, 2 * N - 1])
def test_the_length_of_a_run_begun_at_an_example_is_exact(many, line, example):
    batches = load(many, epochs=EPOCHS, start_example=example)
    assert len(batches) == len(list(expected(line, example)))


def test_the_length_of_batches_stays_that_of_the_first_iterator(many):
    batches = load(many, start_step=25)
    sizes = [len(batches), len(keys(batches)), len(keys(batches)), len(batches)]
    assert sizes == [4, 4, STEPS, 4]


def test_a_run_begun_at_its_end_is_empty(many):
    batches = load(many, epochs=2, start_step=2 * STEPS)
    assert len(batches) == 0
    assert keys(batches) == []


def test_a_run_begun_behind_its_end_is_refused(many):
    with pytest.raises(reader.UsageError, match="epochs=2"):
        load(many, epochs=2, start_step=2 * STEPS + 1)


def test_endless_batches_have_no_length(many):
    batches = load(many, epochs=None)
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY
    with pytest.raises(TypeError, match="epochs=None"):
        len(batches)


@pytest.mark.parametrize(("batch_size", "pad"), [(24, 30), (7, 100), (N, 1)])
def test_steps_per_epoch_is_the_length_of_an_epoch(many, batch_size, pad):
    sizes = [
        reader.steps_per_epoch(str(many), batch_size=batch_size, remainder=remainder)
        for remainder in ("drop", "pad")
    ]
    assert sizes == [N // batch_size, pad]
    assert len(load(many, batch_size=batch_size)) == sizes[0]


def test_start_steps_count_padded_steps_too(many, line):
    batches = load(many, remainder="pad", epochs=2, start_step=STEPS + 1)
    (first, *_) = keys(batches)
    assert len(batches) == STEPS + 1
    assert first == expected_keys(line, N)[0]

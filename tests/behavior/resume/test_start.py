"""Runs that begin at a step or an example."""

import pytest
import tensorflow as tf
from resumed_runs import (
    BATCH,
    EPOCHS,
    NAMES,
    STEPS,
    N,
    assert_equal_tensors,
    example_at,
    expected,
    expected_keys,
    first_keys,
    keys,
    load,
    written_keys,
)

# The line itself.


def test_each_epoch_of_the_line_has_each_example_once(many, line):
    wanted = sorted(written_keys(many))
    epochs = [[row[4] for row in line[e * N : (e + 1) * N]] for e in range(EPOCHS)]
    assert [sorted(epoch) for epoch in epochs] == [wanted] * EPOCHS
    assert len(set(map(tuple, epochs))) == EPOCHS


# start_step, start_example.


@pytest.mark.parametrize("step", [0, 13, STEPS, 2 * STEPS + 9])
def test_a_run_begun_at_a_step_has_every_tensor_of_the_whole_run(many, line, step):
    batches = load(many, epochs=EPOCHS, start_step=step, outputs=NAMES)
    assert_equal_tensors(batches, list(expected(line, example_at(step))))


@pytest.mark.parametrize("example", [1, 690, N, 1999])
def test_a_run_begins_at_any_example(many, line, example):
    batches = load(many, epochs=EPOCHS, start_example=example)
    assert keys(batches) == expected_keys(line, example)


def test_a_run_begun_at_an_example_has_every_tensor(many, line):
    batches = load(many, epochs=2, start_example=611, batch_size=20, outputs=NAMES)
    assert_equal_tensors(batches, list(expected(line, 611, 20, epochs=2)))


@pytest.mark.parametrize(("host", "num"), [(1, 2), (7, 8)])
def test_a_host_begun_at_a_step_has_every_tensor_of_its_share(many, line, host, num):
    batches = load(
        many,
        epochs=2,
        start_step=STEPS - 2,
        host_index=host,
        host_count=num,
        outputs=NAMES,
    )
    begin = example_at(STEPS - 2)
    assert_equal_tensors(batches, list(expected(line, begin, BATCH, (host, num), 2)))


def test_the_first_example_of_a_run_may_be_another_hosts(many, line):
    batches = load(many, start_example=101, host_index=2, host_count=8)
    assert keys(batches) == expected_keys(line, 101, BATCH, (2, 8), epochs=1)


def test_start_example_counts_examples_that_an_epoch_dropped(many, line):
    # Batches of 24 drop positions 696 to 699; batches of 50 do not.
    batches = load(many, start_example=650, batch_size=50)
    assert keys(batches) == expected_keys(line, 650, 50, epochs=1)


@pytest.mark.parametrize("step", [3, STEPS + 4])
def test_without_shuffling_a_run_begins_at_a_step_too(many, step):
    in_order = written_keys(many) * 2
    batches = load(many, shuffle=False, epochs=2, start_step=step)
    wanted = list(expected(in_order, example_at(step), epochs=2))
    assert keys(batches) == wanted


def test_a_seed_decides_the_order_from_any_step_on(many):
    one, same, other = (
        keys(load(many, seed=seed, start_step=27)) for seed in (1, 1, 2)
    )
    assert one == same != other


# What the order does not depend on.


def test_the_order_does_not_depend_on_threads(many, line):
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    single = load(many).with_options(options)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 16
    several = load(many).with_options(options)
    assert keys(single) == keys(several) == expected_keys(line, 0, epochs=1)


def test_the_order_does_not_depend_on_tensorflows_seed(many, line):
    tf.random.set_seed(99)
    try:
        loaded = keys(load(many, epochs=2))
    finally:
        tf.random.set_seed(None)
    assert loaded == expected_keys(line, 0, epochs=2)


def test_the_order_does_not_depend_on_what_was_read_before(many, line):
    first_keys(load(many, start_step=9), 3)
    batches = load(many, start_step=4, epochs=2)
    assert keys(batches) == expected_keys(line, 4 * BATCH, epochs=2)


@pytest.mark.parametrize("batch_size", [7, 192, N])
def test_the_order_does_not_depend_on_the_batch_size(many, line, batch_size):
    loaded = keys(load(many, batch_size=batch_size))
    assert loaded == expected_keys(line, 0, batch_size, epochs=1)

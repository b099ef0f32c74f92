"""state and resume, and what they refuse."""

import itertools
import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
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

import reader

# state and resume.


def taken(batches: tf.data.Dataset, num: int, first_step: int = 0) -> dict:
    """The state after so many batches were taken."""
    assert len(first_keys(batches, num)) == num
    return reader.state(batches, first_step + num)


def test_a_state_is_a_small_json(many):
    state = reader.state(load(many, epochs=3), 5)
    text = json.dumps(state)
    assert json.loads(text) == state
    assert len(text) < 500


def test_a_resumed_run_has_every_tensor_of_the_whole_run(many, line):
    state = taken(load(many, epochs=EPOCHS), STEPS + 11)
    batches = load(many, epochs=EPOCHS, resume=state, outputs=NAMES)
    assert_equal_tensors(batches, list(expected(line, example_at(STEPS + 11))))


def test_states_are_equal_on_all_hosts(many):
    states = [
        taken(load(many, epochs=2, host_index=host, host_count=num), 7)
        for host, num in [(0, 1), (3, 4), (7, 8)]
    ]
    assert states == [states[0]] * 3


@settings(max_examples=4)
@given(
    begin=st.integers(0, 2 * STEPS),
    ahead=st.integers(0, 6),
    batch_size=st.sampled_from([1, 8, 24, 96, 120]),
    data=st.data(),
)
def test_a_run_goes_on_at_any_step_with_other_sizes_and_hosts(
    many, line, begin, ahead, batch_size, data
):
    counts = [num for num in (1, 2, 3, 4, 6, 8, 24) if batch_size % num == 0]
    num = data.draw(st.sampled_from(counts))
    host = data.draw(st.integers(0, num - 1))
    before = load(many, epochs=EPOCHS, start_step=begin)
    state = taken(before, ahead, begin)
    after = load(
        many,
        epochs=EPOCHS,
        resume=json.dumps(state),
        batch_size=batch_size,
        host_index=host,
        host_count=num,
    )
    wanted = expected_keys(line, example_at(begin + ahead), batch_size, (host, num))
    assert len(after) == len(wanted)
    assert keys(after) == wanted


def test_runs_resumed_again_and_again_miss_and_repeat_nothing(many, line):
    # (batch size, hosts, steps): 700 = 24·10 + 48·3 + 10·16 + 39·4.
    state, loaded = None, []
    for batch_size, hosts, steps in [(24, 3, 10), (48, 1, 3), (10, 5, 16), (39, 13, 4)]:
        states = []
        for host in range(hosts):
            batches = load(
                many,
                epochs=1,
                batch_size=batch_size,
                resume=state,
                host_index=host,
                host_count=hosts,
            )
            loaded += itertools.chain(*first_keys(batches, steps))
            before = 0 if state is None else state["step"]
            states.append(reader.state(batches, before + steps))
        assert states == [states[0]] * hosts
        state = states[0]
    assert sorted(loaded) == sorted(written_keys(many))
    assert state["step"] == 10 + 3 + 16 + 4
    assert keys(load(many, resume=state)) == expected_keys(line, N, epochs=2)


def test_a_state_names_streams_if_they_are_not_the_usual_ones(many):
    usual = load(many, epochs=None)
    assert "streams" not in reader.state(usual, 3)
    state = reader.state(load(many, epochs=None, streams=50), 3)
    assert state["streams"] == 50
    assert load(many, epochs=None, streams=50, resume=state)
    with pytest.raises(reader.UsageError, match=r"streams=50, and .*=192"):
        load(many, epochs=None, resume=state)
    with pytest.raises(reader.UsageError, match=r"streams=192, and .*=50"):
        load(many, epochs=None, streams=50, resume=reader.state(usual, 3))


def test_a_state_counts_steps_from_the_beginning_of_the_first_run(many, line):
    one = taken(load(many, epochs=3, start_step=6), 4, 6)
    assert one == taken(load(many, epochs=3), 10)
    two = taken(load(many, epochs=3, resume=one), 25, 10)
    assert two == taken(load(many, epochs=3), 35)
    assert keys(load(many, epochs=3, resume=two)) == expected_keys(line, example_at(35))


def test_a_state_of_a_run_begun_at_an_example_counts_from_there(many, line):
    state = taken(load(many, epochs=EPOCHS, start_example=650), 3)
    # 650 to 697, after which nothing fits, and a batch of the next epoch.
    batches = load(many, epochs=EPOCHS, resume=state)
    assert keys(batches) == expected_keys(line, N + BATCH)


def test_a_state_before_the_first_step_is_the_beginning(many, line):
    state = reader.state(load(many, epochs=2), 0)
    assert keys(load(many, epochs=2, resume=state)) == expected_keys(line, 0, epochs=2)


def test_a_state_in_the_second_iterator_goes_on_there(many, line):
    batches = load(many)
    assert len(keys(batches)) == STEPS
    end, behind = reader.state(batches, STEPS), taken(batches, 8, STEPS)
    assert first_keys(load(many, resume=end), 2) == expected_keys(line, N)[:2]
    wanted = expected_keys(line, N + 8 * BATCH, epochs=2)
    assert keys(load(many, resume=behind)) == wanted


def test_a_state_of_endless_batches_goes_on_there(many, line):
    batches = load(many, epochs=None)
    first_keys(batches, 3)
    state = taken(batches, STEPS + 2)
    resumed = first_keys(load(many, epochs=None, resume=state), 5)
    assert resumed == expected_keys(line, example_at(STEPS + 2))[:5]


def test_a_state_of_padded_epochs_goes_on_there(many, line):
    before = load(many, remainder="pad", epochs=2)
    state = taken(before, STEPS + 3)  # An epoch has a step more: 30.
    (first, *_) = keys(load(many, remainder="pad", epochs=2, resume=state))
    assert first == expected_keys(line, N + 2 * BATCH)[0]


def test_a_state_without_shuffling_goes_on_there(many):
    state = reader.state(load(many, shuffle=False), 3)
    batches = load(
        many, shuffle=False, resume=state, batch_size=10, host_index=1, host_count=2
    )
    in_order = written_keys(many)
    begins = range(3 * BATCH, N - 9, 10)
    # The second half of each batch.
    assert keys(batches) == [in_order[at + 5 : at + 10] for at in begins]


def test_what_does_not_touch_the_order_may_change_on_resuming(many, line):
    state = reader.state(load(many, epochs=None), 4)
    batches = load(
        many,
        epochs=1,
        resume=state,
        image_size=4,
        max_tokens=9,
        outputs=("tokens", "key"),
    )
    loaded = [key.tolist() for _, key in batches.as_numpy_iterator()]
    assert loaded == expected_keys(line, 4 * BATCH, epochs=1)


def test_a_dataset_that_was_moved_is_the_same_records(many, line, tmp_path):
    state = reader.state(load(many), 4)
    moved = Path(shutil.copytree(many, tmp_path / "moved"))
    assert keys(load(moved, resume=state)) == expected_keys(line, 4 * BATCH, epochs=1)


# Refusals.


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"seed": 4}, ["seed=3", "seed=4"]),
        ({"shuffle_bytes": 99}, ["shuffle_bytes=450000", "shuffle_bytes=99"]),
        ({"shuffle": False}, ["shuffle=True", "shuffle=False"]),
        ({"bucket_by_length": True}, ["bucket_by_length=False", "=True"]),
    ],
    ids=repr,
)
def test_a_state_of_another_order_is_refused_by_name(many, changed, parts):
    state = reader.state(load(many), 3)
    with pytest.raises(reader.UsageError) as raised:
        load(many, resume=state, **changed)
    for part in ["resume", *parts]:
        assert part in str(raised.value)


def test_a_state_without_shuffling_is_refused_where_there_is_shuffling(many):
    state = reader.state(load(many, shuffle=False), 3)
    with pytest.raises(reader.UsageError, match="shuffle=False"):
        load(many, resume=state)


def test_a_state_of_other_records_is_refused(many):
    state = reader.state(load(many), 3)
    with pytest.raises(reader.UsageError, match="other records"):
        load(many / "train-0000[01]-*", resume=state)


def test_a_state_of_another_plan_version_is_refused(many):
    state = reader.state(load(many), 3)
    state["plan_version"] += 1
    with pytest.raises(reader.UsageError, match="plan version"):
        load(many, resume=state)


@pytest.mark.parametrize("start", [{"start_step": 2}, {"start_example": 2}])
def test_resume_and_a_start_are_not_taken_together(many, start):
    state = reader.state(load(many), 3)
    with pytest.raises(reader.UsageError, match="resume"):
        load(many, resume=state, **start)


def test_a_start_in_steps_and_in_examples_is_refused(many):
    with pytest.raises(reader.UsageError, match="start_step and start_example"):
        load(many, start_step=2, start_example=48)


@pytest.mark.parametrize(
    "nonsense", ["", "no json", "[1]", "{}", 5, {"step": 3}, {"step": -1}], ids=repr
)
def test_what_is_no_state_is_refused(many, nonsense):
    with pytest.raises(reader.UsageError, match="resume"):
        load(many, resume=nonsense)


def test_a_state_with_something_taken_out_is_refused(many):
    state = reader.state(load(many), 3)
    for name in state:
        part = {key: value for key, value in state.items() if key != name}
        with pytest.raises(reader.UsageError, match="resume"):
            load(many, resume=part)


@pytest.mark.parametrize(
    ("start", "parts"),
    [
        ({"start_step": -1}, ["start_step", "-1"]),
        ({"start_step": 1.5}, ["start_step", "1.5"]),
        ({"start_example": -1}, ["start_example", "-1"]),
        ({"start_example": "3"}, ["start_example", "3"]),
        ({"epochs": 0}, ["epochs", "0"]),
        ({"epochs": 2.5}, ["epochs", "2.5"]),
    ],
    ids=repr,
)
def test_a_wrong_start_is_refused_with_its_value(many, start, parts):
    with pytest.raises(reader.UsageError) as raised:
        load(many, **start)
    for part in parts:
        assert part in str(raised.value)


def test_a_state_before_the_beginning_of_the_batches_is_refused(many):
    batches = load(many, start_step=5)
    with pytest.raises(reader.UsageError, match="at least 5"):
        reader.state(batches, 4)


@pytest.mark.parametrize("step", [-1, 1.5, None, "3", True])
def test_a_step_that_is_no_count_is_refused(many, step):
    with pytest.raises(reader.UsageError, match="step"):
        reader.state(load(many), step)


def test_a_state_after_an_iterator_was_left_is_refused(many):
    batches = load(many, epochs=1)
    next(iter(batches))
    first_keys(batches, 5)
    with pytest.raises(reader.UsageError, match="before its end"):
        reader.state(batches, 5)


def test_a_state_of_whole_epochs_after_an_iterator_was_left_is_refused(many):
    batches = load(many, epochs=1)
    next(iter(batches))
    keys(batches)
    keys(batches)
    # Two epochs were taken whole, but they are the second and the third.
    with pytest.raises(reader.UsageError, match="before its end"):
        reader.state(batches, 2 * STEPS)


def test_a_state_after_iterators_taken_to_their_last_batch_is_no_refusal(many):
    batches = load(many, batch_size=350)
    for _ in range(2):  # As Keras does it, which never asks for what is not there.
        iterator = iter(batches)
        for _ in range(len(batches)):
            next(iterator)
    assert reader.state(batches, 4)["examples"] == 2 * N


def test_a_state_of_the_first_of_many_iterators_is_refused(many):
    batches = load(many, batch_size=350)
    for _ in range(2):
        assert len(first_keys(batches, 1)) == 1
    with pytest.raises(reader.UsageError, match="before its end"):
        reader.state(batches, 1)


def test_a_state_needs_what_load_returned(many):
    with pytest.raises(reader.UsageError, match="batches that reader"):
        reader.state(load(many).prefetch(1), 3)

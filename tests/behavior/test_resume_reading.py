import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import reader
from reader.contract.record import parse_example
from reader.storage.tfrecord_file import read_shard

N, EPOCHS, BATCH = 700, 3, 24
STEPS = N // BATCH  # 29, and 4 examples are left over.
NAMES = ("image", "tokens", "mask", "length", "key", "caption")
SHUFFLE_BYTES = 450_000  # Two records of each stream: two windows in an epoch.
SEED = 3

Rows = list[tuple[np.ndarray, ...]]


def make_pictures(folder: Path, num: int) -> Path:
    """Noise of 8 × 8 pixels, with captions of 1 to 39 words."""
    rng = np.random.default_rng(0)
    for number in range(num):
        noise = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{number:03}.png")
        words = " ".join(f"w{word}" for word in rng.integers(0, 9, rng.integers(1, 40)))
        (folder / f"{number:03}.txt").write_text(words)
    return folder


@pytest.fixture(scope="module")
def many(build, tmp_path_factory) -> Path:
    """700 pictures in three shards: 12 blocks, and 3 to 4 records of each stream."""
    source = make_pictures(tmp_path_factory.mktemp("many"), N)
    return build(source, source, source / "out", resize="none", num_shards=3)


def load(folder: Path, **more) -> tf.data.Dataset:
    usual = {
        "batch_size": BATCH,
        "image_size": 8,
        "seed": SEED,
        "shuffle_bytes": SHUFFLE_BYTES,
        "outputs": ("key",),
    }
    return reader.load(str(folder), **{**usual, **more})


def keys(batches: tf.data.Dataset) -> list[list[bytes]]:
    return [batch[0].tolist() for batch in batches.as_numpy_iterator()]


def first_keys(batches: tf.data.Dataset, num: int) -> list[list[bytes]]:
    taken = itertools.islice(batches.as_numpy_iterator(), num)
    return [batch[0].tolist() for batch in taken]


def written_keys(folder: Path) -> list[bytes]:
    return [
        parse_example(record.data)["image/source_id"][0]
        for shard in sorted(folder.glob("train-*.tfrecord"))
        for record in read_shard(str(shard))
    ]


@pytest.fixture(scope="module")
def line(many) -> Rows:
    """All tensors of all examples of three epochs, one after the other."""
    batches = load(many, batch_size=1, epochs=EPOCHS, outputs=NAMES)
    return [tuple(value[0] for value in batch) for batch in batches.as_numpy_iterator()]


def expected(
    line: list,
    begin: int,
    batch_size: int = BATCH,
    host: tuple[int, int] = (0, 1),
    epochs: int = EPOCHS,
) -> Iterator[list]:
    """What a host finds in its batches from an example on, as the issue tells it."""
    epoch, start = divmod(begin, N)
    while epoch < epochs:
        while start + batch_size <= N:
            positions = range(start, start + batch_size)
            yield [line[epoch * N + p] for p in positions if p % host[1] == host[0]]
            start += batch_size
        epoch, start = epoch + 1, 0


def expected_keys(line: Rows, begin: int, *args, **more) -> list[list[bytes]]:
    return list(
        expected([row[NAMES.index("key")] for row in line], begin, *args, **more)
    )


def example_at(step: int, batch_size: int = BATCH) -> int:
    """Where a step of a run of whole epochs begins."""
    epoch, within = divmod(step, N // batch_size)
    return epoch * N + within * batch_size


def assert_equal_tensors(batches: tf.data.Dataset, rows: list[list]) -> None:
    loaded = list(batches.as_numpy_iterator())
    assert len(loaded) == len(rows) > 0
    for batch, examples in zip(loaded, rows, strict=True):
        for value, wanted in zip(batch, zip(*examples, strict=True), strict=True):
            if value.dtype == object:
                assert value.tolist() == list(wanted)
            else:
                stacked = np.stack(wanted)
                assert (value.dtype, value.shape) == (stacked.dtype, stacked.shape)
                assert value.tobytes() == stacked.tobytes()


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
    for batch_size, hosts, steps in [(24, 3, 10), (48, 1, 3), (10, 2, 16), (39, 1, 4)]:
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
    with pytest.raises(reader.UsageError, match="what reader"):
        reader.state(load(many).prefetch(1), 3)

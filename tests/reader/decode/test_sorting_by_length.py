import itertools
import json
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

N, BATCH, STREAMS = 700, 24, 192
STEPS = N // BATCH
PAD = 0
SHUFFLE_BYTES = 450_000
ROUNDS = 2  # Records per stream in a window of SHUFFLE_BYTES.


@pytest.fixture(scope="module")
def many(build, tmp_path_factory) -> Path:
    """700 pictures in three shards, with captions of 1 to 39 words, mostly short."""
    source = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for number in range(N):
        noise = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(noise).save(source / f"{number:03}.png")
        num = min(39, 1 + int(rng.exponential(9)))
        words = " ".join(f"w{word}" for word in rng.integers(0, 9, num))
        (source / f"{number:03}.txt").write_text(words)
    return build(source, source, source / "out", resize="none", num_shards=3)


def load(folder: Path, **more) -> tf.data.Dataset:
    usual = {
        "batch_size": BATCH,
        "image_size": 8,
        "seed": 1,
        "shuffle_bytes": SHUFFLE_BYTES,
        "outputs": ("key", "length"),
        "bucket_by_length": True,
    }
    return reader.load(str(folder), **{**usual, **more})


def keys(batches: tf.data.Dataset, num: int | None = None) -> list[list[bytes]]:
    taken = itertools.islice(batches.as_numpy_iterator(), num)
    return [batch[0].tolist() for batch in taken]


@pytest.fixture(scope="module")
def words(many) -> dict[bytes, list[int]]:
    """Stored token ids of each example, without start and end, by key."""
    examples = [
        parse_example(record.data)
        for shard in sorted(many.glob("train-*.tfrecord"))
        for record in read_shard(str(shard))
    ]
    return {e["image/source_id"][0]: e["caption/ids"] for e in examples}


@pytest.fixture(scope="module")
def line(many) -> list[bytes]:
    """Keys of two consecutive sorted epochs."""
    return list(itertools.chain(*keys(load(many, batch_size=1, epochs=2))))


def rounded_up(length: int) -> int:
    return (length + 7) // 8 * 8


# Less padding.


def test_sorting_by_length_saves_padding(many):
    def num_padding(**more) -> int:
        """Returns the padding of rows as wide as the longest, in multiples of 8."""
        lengths = [length for _, length in load(many, **more).as_numpy_iterator()]
        return sum(rounded_up(each.max()) * BATCH - each.sum() for each in lengths)

    sorted_, unsorted = num_padding(), num_padding(bucket_by_length=False)
    assert sorted_ < 0.95 * unsorted
    assert num_padding(shuffle_bytes=1 << 22) < 0.75 * unsorted


def test_less_padding_is_read_than_without(many):
    def size(**more) -> int:
        batches = load(many, outputs=("tokens",), **more).as_numpy_iterator()
        return sum(tokens.size for (tokens,) in batches)

    assert size() < 0.6 * size(bucket_by_length=False)
    assert size(bucket_by_length=False) == STEPS * BATCH * 64


# Shapes and values.


@pytest.mark.parametrize("max_tokens", [64, 20, 5])
def test_rows_are_as_wide_as_the_longest_in_steps_of_eight(many, max_tokens):
    batches = load(many, outputs=("tokens", "mask", "length"), max_tokens=max_tokens)
    widths = set()
    for tokens, mask, length in batches.as_numpy_iterator():
        width = min(max_tokens, rounded_up(length.max()))
        assert tokens.shape == mask.shape == (BATCH, width)
        assert (mask == (np.arange(width) < length[:, np.newaxis])).all()
        assert (tokens[~mask] == PAD).all()
        assert (tokens[mask] != PAD).all()
        widths.add(width)
    assert (len(widths) > 1) is (max_tokens > 8)


def test_tokens_are_those_stored_whatever_the_width(many, words):
    batches = load(many, outputs=("key", "tokens", "length"), add_special_tokens=False)
    for batch in batches.as_numpy_iterator():
        for key, tokens, length in zip(*batch, strict=True):
            assert tokens[:length].tolist() == words[key]


def test_width_is_unknown_beforehand_and_all_else_is_known(many):
    assert load(many, outputs=None).element_spec == {
        "image": tf.TensorSpec((BATCH, 8, 8, 3), tf.float32),
        "tokens": tf.TensorSpec((BATCH, None), tf.int32),
        "mask": tf.TensorSpec((BATCH, None), tf.bool),
    }


@pytest.mark.parametrize("outputs", [("key",), ("image", "key"), ("mask", "key")])
def test_outputs_without_tokens_come_in_the_same_order(many, line, outputs):
    batches = load(many, outputs=outputs).as_numpy_iterator()
    loaded = [key for *_, batch in batches for key in batch.tolist()]
    assert loaded == line[: STEPS * BATCH]


# Order.


def test_each_example_comes_once_in_each_epoch(many, words, line):
    one, other = line[:N], line[N:]
    assert sorted(one) == sorted(other) == sorted(words)
    assert one != other


def test_each_stream_of_a_window_is_sorted_and_keeps_its_examples(many, words, line):
    num_bytes = sum(shard.stat().st_size for shard in many.glob("train-*.tfrecord"))
    assert SHUFFLE_BYTES // (num_bytes // N) // STREAMS == ROUNDS
    (plain,) = keys(load(many, batch_size=N, bucket_by_length=False))
    directions = []
    for begin in range(0, N, ROUNDS * STREAMS):
        end = min(N, begin + ROUNDS * STREAMS)
        ups, downs = 0, 0
        for stream in range(STREAMS):
            places = range(begin + stream, end, STREAMS)
            assert {line[p] for p in places} == {plain[p] for p in places}
            lengths = [len(words[line[p]]) for p in places]
            ups += lengths == sorted(lengths)
            downs += lengths == sorted(lengths, reverse=True)
        assert STREAMS in (ups, downs)
        directions.append(ups == STREAMS)
    assert directions == [True, False]


def test_one_window_of_all_sorts_the_whole_epoch(many, words):
    (order,) = keys(load(many, batch_size=N, shuffle_bytes=1 << 22))
    for stream in range(STREAMS):
        lengths = [len(words[key]) for key in order[stream::STREAMS]]
        assert lengths == sorted(lengths)


def test_windows_of_one_record_have_nothing_to_sort(many):
    plain = keys(load(many, shuffle_bytes=1, bucket_by_length=False))
    assert keys(load(many, shuffle_bytes=1)) == plain


def test_the_order_does_not_depend_on_max_tokens(many, line):
    loaded = keys(load(many, max_tokens=4))
    assert list(itertools.chain(*loaded)) == line[: STEPS * BATCH]


@pytest.mark.parametrize("batch_size", [7, 192])
def test_the_order_does_not_depend_on_the_batch_size(many, line, batch_size):
    loaded = list(itertools.chain(*keys(load(many, batch_size=batch_size))))
    assert loaded == line[: len(loaded)]
    assert N - len(loaded) == N % batch_size


def test_only_the_first_caption_of_an_example_counts(dataset):
    batches = load(dataset / "train-*", shuffle_bytes=1 << 22, batch_size=48)
    plain = load(
        dataset / "train-*",
        shuffle_bytes=1 << 22,
        batch_size=48,
        bucket_by_length=False,
    )
    # 48 examples in 192 streams: no stream has more than one.
    assert keys(batches) == keys(plain)


# Hosts and resuming.


@pytest.mark.parametrize("num", [2, 8])
def test_a_step_holds_the_same_examples_on_any_number_of_hosts(many, line, num):
    hosts = [keys(load(many, host_index=host, host_count=num)) for host in range(num)]
    assert {len(host) for host in hosts} == {STEPS}
    for step in range(STEPS):
        whole = line[step * BATCH : (step + 1) * BATCH]
        assert [host[step] for host in hosts] == [whole[h::num] for h in range(num)]


@settings(max_examples=6)
@given(
    step=st.integers(1, 2 * STEPS - 1),
    batch_size=st.sampled_from([8, 24, 96]),
    num=st.sampled_from([1, 4, 8]),
    data=st.data(),
)
def test_a_run_goes_on_at_any_step_also_within_a_window(
    many, line, step, batch_size, num, data
):
    host = data.draw(st.integers(0, num - 1))
    state = json.dumps(reader.state(load(many, epochs=2), step))
    batches = load(
        many,
        epochs=2,
        resume=state,
        batch_size=batch_size,
        host_index=host,
        host_count=num,
    )
    epoch, within = divmod(step, STEPS)
    start, wanted = within * BATCH, []
    while epoch < 2:
        while start + batch_size <= N:
            places = [p for p in range(start, start + batch_size) if p % num == host]
            wanted.append([line[epoch * N + p] for p in places])
            start += batch_size
        epoch, start = epoch + 1, 0
    assert keys(batches) == wanted


def test_a_state_without_buckets_is_refused_with_them(many):
    state = reader.state(load(many, bucket_by_length=False), 3)
    with pytest.raises(reader.UsageError, match="bucket_by_length=False"):
        load(many, resume=state)


# Padding, and invalid combinations.


@pytest.mark.parametrize("shuffle_bytes", [SHUFFLE_BYTES, 1 << 22])
@pytest.mark.parametrize("num", [1, 4])
def test_filled_up_places_stay_at_the_end(many, words, shuffle_bytes, num):
    seen = []
    for host in range(num):
        batches = load(
            many,
            remainder="pad",
            shuffle_bytes=shuffle_bytes,
            host_index=host,
            host_count=num,
            outputs=("key", "valid", "tokens"),
        )
        loaded = list(batches.as_numpy_iterator())
        assert len(loaded) == len(batches) == STEPS + 1
        assert all(valid.all() for _, valid, _ in loaded[:-1])
        key, valid, tokens = loaded[-1]
        assert valid.tolist() == [True] * (4 // num) + [False] * (20 // num)
        assert set(key[~valid].tolist()) == {b""}
        assert (tokens[~valid] == PAD).all()
        seen += [key for keys, valid, _ in loaded for key in keys[valid].tolist()]
    assert sorted(seen) == sorted(words)


def test_a_host_of_blanks_alone_still_has_a_batch(many):
    batches = load(
        many,
        remainder="pad",
        batch_size=768,
        host_index=191,
        host_count=192,
        outputs=("tokens", "mask", "valid"),
    )
    ((tokens, mask, valid),) = batches.as_numpy_iterator()
    # Stream 191 has only three records, so position 767 is blank.
    assert valid.tolist() == [True, True, True, False]
    assert not mask[~valid].any()
    assert (tokens[~valid] == PAD).all()
    assert tokens.shape == mask.shape


def test_no_shuffling_and_buckets_are_refused(many):
    with pytest.raises(reader.UsageError, match=r"bucket_by_length.*shuffle=False"):
        load(many, shuffle=False)

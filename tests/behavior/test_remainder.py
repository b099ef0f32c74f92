from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import reader
from reader.contract.record import parse_example
from reader.storage.tfrecord_file import read_shard

N = 48  # Of the fixture `dataset`, in its split train.
PAD, START = 0, 2
NAMES = ("key", "image", "tokens", "mask", "length", "caption", "height", "width")


def load(
    folder: Path, glob: str = "train-*", host: int = 0, num: int = 1, **more
) -> tf.data.Dataset:
    usual = {"batch_size": 8, "image_size": 8, "outputs": ("key",)}
    hosts = {"host_index": host, "host_count": num}
    return reader.load(f"{folder}/{glob}", **{**usual, **hosts, **more})


def padded(folder: Path, glob: str = "train-*", **more) -> tf.data.Dataset:
    usual = {"remainder": "pad", "outputs": ("key", "valid")}
    return load(folder, glob, **{**usual, **more})


def written(folder: Path, glob: str = "train-*") -> dict[bytes, dict[str, list]]:
    """Parsed records by key, in the order written."""
    examples = [
        parse_example(record.data)
        for shard in sorted(folder.glob(f"{glob}.tfrecord"))
        for record in read_shard(str(shard))
    ]
    return {example["image/source_id"][0]: example for example in examples}


def epoch_keys(batches: tf.data.Dataset) -> list[bytes]:
    return [key for (batch,) in batches.as_numpy_iterator() for key in batch.tolist()]


def steps_of(batches: tf.data.Dataset) -> list[list[tuple]]:
    """Examples of each batch, as tuples of the outputs."""
    return [
        list(zip(*(value.tolist() for value in batch), strict=True))
        for batch in batches.as_numpy_iterator()
    ]


# drop.


@pytest.mark.parametrize("batch_size", [7, 25, 48])
@pytest.mark.parametrize("shuffle", [True, False])
def test_dropping_leaves_out_less_than_a_batch(dataset, batch_size, shuffle):
    everything = set(written(dataset))
    loaded = epoch_keys(load(dataset, batch_size=batch_size, shuffle=shuffle))
    assert len(loaded) == len(set(loaded)) == N // batch_size * batch_size
    assert len(everything - set(loaded)) == N % batch_size < batch_size


def test_other_examples_are_dropped_in_each_epoch(dataset):
    everything = set(written(dataset))
    batches = load(dataset, batch_size=25)
    dropped = [frozenset(everything - set(epoch_keys(batches))) for _ in range(4)]
    assert [len(keys) for keys in dropped] == [23] * 4
    assert len(set(dropped)) == 4
    # A fixed set would stay away for ever; chance leaves (23/48)⁴ · 48 = 2.5.
    assert len(frozenset.intersection(*dropped)) <= 6


def test_without_shuffling_the_last_written_are_dropped(dataset):
    batches = load(dataset, batch_size=7, shuffle=False)
    assert epoch_keys(batches) == list(written(dataset))[:42]
    assert epoch_keys(batches) == list(written(dataset))[:42]


@pytest.mark.parametrize("shuffle", [True, False])
def test_hosts_together_drop_what_one_host_drops(dataset, shuffle):
    more = {"batch_size": 10, "shuffle": shuffle}
    hosts = [epoch_keys(load(dataset, host=host, num=2, **more)) for host in (0, 1)]
    assert [len(keys) for keys in hosts] == [20, 20]
    assert set(hosts[0]) | set(hosts[1]) == set(epoch_keys(load(dataset, **more)))


def test_batches_that_drop_have_no_valid_of_their_own(dataset):
    assert set(load(dataset, outputs=None).element_spec) == {"image", "tokens", "mask"}
    with pytest.raises(reader.UsageError, match='remainder="pad"'):
        load(dataset, outputs=("key", "valid"))


def test_a_batch_larger_than_the_dataset_needs_padding(dataset):
    with pytest.raises(reader.UsageError, match=r'49 and 48.*remainder="pad"'):
        load(dataset, batch_size=49)


# pad: each example once.


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(
    ("batch_size", "num"),
    [(7, 1), (48, 1), (32, 8), (52, 4), (192, 64)],
)
def test_padding_gives_each_example_once_over_all_hosts(
    dataset, batch_size, num, shuffle
):
    more = {"batch_size": batch_size, "shuffle": shuffle}
    # Of many hosts the first, the last and some between; all where there are few.
    hosts = range(num) if num <= 8 else [0, 1, 31, 62, 63]
    counts, blanks = Counter(), 0
    steps = -(-N // batch_size)
    for host in hosts:
        batches = padded(dataset, host=host, num=num, **more)
        loaded = steps_of(batches)
        assert len(batches) == len(loaded) == steps
        for batch in loaded:
            assert len(batch) == batch_size // num
            counts.update(key for key, valid in batch if valid)
            blanks += sum(not valid for _, valid in batch)
            assert all((key == b"") is (not valid) for key, valid in batch)
    assert set(counts.values()) == {1}
    assert set(counts) <= set(written(dataset))
    if len(hosts) == num:
        assert set(counts) == set(written(dataset))
        assert blanks == steps * batch_size - N


@pytest.mark.parametrize("shuffle", [True, False])
def test_only_the_end_of_an_epoch_is_filled_up(dataset, shuffle):
    loaded = steps_of(padded(dataset, batch_size=20, shuffle=shuffle))
    valid = [[valid for _, valid in batch] for batch in loaded]
    assert valid == [[True] * 20, [True] * 20, [True] * 8 + [False] * 12]


def test_filled_up_places_are_shared_out_as_positions_are(dataset):
    # Positions 48 to 59 are blank: host h has those of p mod 4 = h.
    for host in range(4):
        loaded = steps_of(padded(dataset, batch_size=20, host=host, num=4))
        valid = [[valid for _, valid in batch] for batch in loaded]
        last = [position < N for position in range(40 + host, 60, 4)]
        assert valid == [[True] * 5, [True] * 5, last]


def test_without_shuffling_the_last_hosts_are_filled_up(dataset):
    # The last batch holds 8 examples: host 0 has 5 of them, and host 1 has 3.
    in_order = list(written(dataset))
    wanted = [in_order[40:45], in_order[45:48] + [b""] * 2, [b""] * 5, [b""] * 5]
    for host in range(4):
        loaded = steps_of(
            padded(dataset, batch_size=20, host=host, num=4, shuffle=False)
        )
        assert [key for key, _ in loaded[-1]] == wanted[host]


@pytest.mark.parametrize("shuffle", [True, False])
def test_fewer_examples_than_hosts_leave_some_hosts_with_blanks(dataset, shuffle):
    keys = set(written(dataset, "validation-*"))
    loaded = {}
    for host in range(16):
        batches = padded(
            dataset,
            "validation-*",
            batch_size=16,
            host=host,
            num=16,
            shuffle=shuffle,
        )
        ((loaded[host],),) = steps_of(batches)
    assert [valid for _, valid in loaded.values()] == [True] * 12 + [False] * 4
    assert {key for key, valid in loaded.values() if valid} == keys
    assert [loaded[host][0] for host in range(12, 16)] == [b""] * 4


def test_a_host_may_have_nothing_but_blanks_of_every_kind(dataset):
    names = (*NAMES, "valid")
    batches = padded(
        dataset, "validation-*", batch_size=64, host=63, num=64, outputs=names
    )
    ((batch),) = batches.as_numpy_iterator()
    assert_blank(dict(zip(names, batch, strict=True)), slice(None))


def test_padding_where_nothing_is_left_over_changes_nothing(dataset):
    plain, pad = load(dataset), padded(dataset)
    assert len(plain) == len(pad) == 6
    assert epoch_keys(plain) == [key for batch in steps_of(pad) for key, _ in batch]


def test_each_padded_epoch_has_each_example_once_in_a_new_order(dataset):
    batches = padded(dataset, batch_size=20, epochs=2)
    loaded = steps_of(batches) + steps_of(batches)
    assert len(batches) == 6
    assert len(loaded) == 12
    epochs = [
        [key for batch in loaded[at : at + 3] for key, valid in batch if valid]
        for at in range(0, 12, 3)
    ]
    assert [sorted(epoch) for epoch in epochs] == [sorted(written(dataset))] * 4
    assert len(set(map(tuple, epochs))) == 4


def test_a_padded_run_begun_within_an_epoch_has_what_is_left_of_it(dataset):
    (order,) = steps_of(padded(dataset, batch_size=N))
    batches = padded(dataset, batch_size=20, start_example=33)
    loaded = [example for batch in steps_of(batches) for example in batch]
    assert len(batches) == 1
    assert loaded == order[33:] + [(b"", False)] * 5


def test_small_windows_are_filled_up_once_too(dataset):
    loaded = steps_of(padded(dataset, batch_size=20, shuffle_bytes=1))
    keys = [key for batch in loaded for key, valid in batch if valid]
    assert sorted(keys) == sorted(written(dataset))


def test_endless_padded_epochs_begin_with_a_batch_of_their_own(dataset):
    batches = padded(dataset, batch_size=20, epochs=None).take(5)
    sizes = [sum(valid for _, valid in batch) for batch in steps_of(batches)]
    assert sizes == [20, 20, 8, 20, 20]


# pad: what places hold.


def assert_blank(batch: dict[str, np.ndarray], where: slice | np.ndarray) -> None:
    assert not batch["valid"][where].any()
    assert not batch["image"][where].any()
    assert (batch["tokens"][where] == PAD).all()
    assert not batch["mask"][where].any()
    for name in ("length", "height", "width"):
        assert not batch[name][where].any()
    for name in ("key", "caption"):
        assert set(batch[name][where].tolist()) == {b""}


@pytest.mark.parametrize("shuffle", [True, False])
def test_places_filled_up_are_blank_and_others_are_as_they_were(dataset, shuffle):
    names = (*NAMES, "valid")
    more = {"batch_size": 20, "shuffle": shuffle}
    batches = padded(dataset, outputs=names, **more).as_numpy_iterator()
    *_, last = (dict(zip(names, batch, strict=True)) for batch in batches)
    assert last["valid"].tolist() == [True] * 8 + [False] * 12
    assert_blank(last, slice(8, None))
    plain = load(dataset, outputs=NAMES, shuffle=shuffle).as_numpy_iterator()
    *_, tail = (dict(zip(NAMES, batch, strict=True)) for batch in plain)
    for name in NAMES:
        assert last[name][:8].tolist() == tail[name].tolist()
        assert last[name].dtype == tail[name].dtype


def test_valid_is_in_the_usual_batch_where_there_is_padding(dataset):
    batches = load(dataset, batch_size=20, remainder="pad", outputs=None)
    assert batches.element_spec == {
        "image": tf.TensorSpec((20, 8, 8, 3), tf.float32),
        "tokens": tf.TensorSpec((20, 64), tf.int32),
        "mask": tf.TensorSpec((20, 64), tf.bool),
        "valid": tf.TensorSpec((20,), tf.bool),
    }
    *_, last = batches.as_numpy_iterator()
    assert last["valid"].sum() == last["mask"].any(axis=1).sum() == 8


def test_valid_need_not_be_asked_for(dataset):
    batches = load(dataset, batch_size=20, remainder="pad", outputs=("length",))
    *_, (last,) = batches.as_numpy_iterator()
    assert (last > 0).tolist() == [True] * 8 + [False] * 12


def test_tokens_are_the_pad_of_a_tokenizer_whose_pad_is_not_zero(build, tmp_path):
    source, file = tmp_path / "source", tmp_path / "tokenizer.json"
    source.mkdir()
    tokenizers = pytest.importorskip("tokenizers")
    words = {"?": 0, "picture": 1, "[PAD]": 2}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["[PAD]"])
    tokenizer.save(str(file))
    rng = np.random.default_rng(0)
    for number in range(5):
        noise = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(noise).save(source / f"{number}.png")
        (source / f"{number}.txt").write_text("picture picture")
    folder = build(source, source, tmp_path / "out", tokenizer=str(file), resize="none")
    names = ("tokens", "mask", "length")
    batches = reader.load(
        str(folder), batch_size=4, remainder="pad", outputs=names, max_tokens=4
    )
    *_, (tokens, mask, length) = batches.as_numpy_iterator()
    assert tokens.tolist() == [[1, 1, 2, 2]] + [[2, 2, 2, 2]] * 3
    assert mask.tolist() == [[True, True, False, False]] + [[False] * 4] * 3
    assert length.tolist() == [2, 0, 0, 0]


@pytest.mark.parametrize("wrong", ["keep", "", None, True, 5])
def test_another_remainder_is_refused(dataset, wrong):
    with pytest.raises(reader.UsageError, match="remainder"):
        load(dataset, remainder=wrong)

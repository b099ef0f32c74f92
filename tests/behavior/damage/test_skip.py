"""Damage with on_corrupt "skip" is replaced, listed and logged."""

import random
import shutil
from collections import Counter

import numpy as np
import pytest
from damaged_shards import (
    BATCH,
    KEYS,
    NUM,
    SHARDS,
    flip,
    load,
    message,
    read,
    repaired,
    replacements,
    spoil,
    warnings_of,
)

import reader

# on_corrupt="skip"


def test_several_hundred_flips_each_lose_one_record_and_nothing_else(
    own, whole, records
):
    rng = random.Random(0)
    batches = load(own, on_corrupt="skip")
    undamaged = load(whole, on_corrupt="skip")
    blocks = [
        [place for place in records if place.block == block]
        for block in dict.fromkeys(place.block for place in records)
    ]
    hit: set[bytes] = set()
    for _ in range(17):
        lost = [place for block in blocks for place in rng.sample(block, 3)]
        for place in lost:
            framing = [*range(12), *range(-4, 0)]
            inside = rng.randrange(place.end - place.begin)
            offset = rng.choice([rng.choice(framing), inside])
            base = place.begin if offset >= 0 else place.end
            flip(own, place.shard, base + offset, mask=rng.randrange(1, 256))
        instead = replacements(records, [place.key for place in lost])
        loaded = read(batches)
        assert loaded == repaired(read(undamaged), instead)
        assert [valid for _, valid in loaded].count(False) == len(lost) == 18
        hit |= instead.keys()
        for shard in SHARDS:
            shutil.copy(whole / shard, own)
    assert [loss.key.encode() for loss in batches.losses] == [
        place.key for place in records if place.key in hit
    ]
    assert all(valid for _, valid in read(batches))


OUTPUTS = ("key", "valid", "image", "tokens", "mask", "caption", "height", "width")


@pytest.mark.parametrize("shuffle", [True, False])
def test_all_that_belongs_to_a_record_is_replaced_and_the_rest_is_bit_identical(
    own, whole, records, shuffle
):
    settings = {
        "outputs": OUTPUTS,
        "on_corrupt": "skip",
        "image_size": 8,
        "max_tokens": 12,
        "shuffle": shuffle,
    }
    before = read(load(whole, **settings))
    lost = [records[place] for place in (5, 80, 200)]
    spoil(own, lost)
    instead = replacements(records, [place.key for place in lost])
    after = read(load(own, **settings))
    assert len(after) == len(before) == NUM
    by_key = {example[0]: example for example in before}
    for old, new in zip(before, after, strict=True):
        key = old[0]
        expected = by_key[instead.get(key, key)]
        assert bool(new[1]) == (key not in instead)
        for mine, theirs in zip(new[2:], expected[2:], strict=True):
            assert np.array_equal(mine, theirs)
        assert new[0] == expected[0]


@pytest.mark.parametrize(
    "lost",
    [
        [63, 108],
        [0, 1, 2, 62, 63, 64],
        [*range(63), *range(65, 109), *range(272, 299)],
        [*range(0, 300, 2)],
    ],
    ids=lambda lost: f"{len(lost)} from {lost[0]}",
)
def test_lost_records_of_a_block_are_replaced_by_its_next_that_is_not(
    own, whole, records, lost
):
    shutil.rmtree(own / "samples")  # So many keys are found sooner in what is left.
    spoil(own, [records[place] for place in lost])
    instead = replacements(records, [records[place].key for place in lost])
    batches = load(own, on_corrupt="skip")
    assert len(batches) == NUM // BATCH
    expected = repaired(read(load(whole, on_corrupt="skip")), instead)
    assert read(batches) == expected
    assert [loss.key.encode() for loss in batches.losses] == [
        records[place].key for place in lost
    ]


def test_several_epochs_are_repaired_alike(own, whole, records):
    spoil(own, [records[5], records[250]])
    instead = replacements(records, [records[5].key, records[250].key])
    settings = {"on_corrupt": "skip", "epochs": 3}
    assert len(load(own, **settings)) == 3 * NUM // BATCH
    expected = repaired(read(load(whole, **settings)), instead)
    assert read(load(own, **settings)) == expected


def test_a_run_resumed_among_lost_records_goes_on_as_it_would_have(own, records):
    spoil(own, [records[5], records[6], records[250]])
    settings = {"on_corrupt": "skip", "epochs": 2}
    batches = load(own, **settings)
    all_of_it = read(batches)
    resumed = load(own, resume=reader.state(load(own, **settings), 37), **settings)
    assert read(resumed) == all_of_it[37 * BATCH :]


def test_each_host_replaces_what_it_would_have_read(own, whole, records):
    lost = [records[place] for place in (5, 6, 80, 200, 250)]
    spoil(own, lost)
    instead = replacements(records, [place.key for place in lost])
    missed = []
    for host in (0, 1):
        settings = {"on_corrupt": "skip", "host_count": 2, "host_index": host}
        batches, undamaged = load(own, **settings), read(load(whole, **settings))
        assert read(batches) == repaired(undamaged, instead)
        mine = [loss.key.encode() for loss in batches.losses]
        assert sorted(mine) == sorted(key for key, _ in undamaged if key in instead)
        missed += mine
    assert sorted(missed) == sorted(instead)


def test_padding_and_lost_records_are_not_valid_and_others_are(own, whole, records):
    spoil(own, [records[5]])
    settings = {"on_corrupt": "skip", "remainder": "pad", "batch_size": 64}
    before, after = read(load(whole, **settings)), read(load(own, **settings))
    assert before[NUM:] == after[NUM:] == [(b"", False)] * 20
    instead = replacements(records, [records[5].key])
    assert after[:NUM] == repaired(before[:NUM], instead)


def test_captions_sorted_by_length_come_in_the_same_number_of_steps(own, records):
    spoil(own, [records[5], records[80]])
    settings = {"outputs": ("key", "length", "valid"), "image_size": 8}
    batches = load(own, on_corrupt="skip", bucket_by_length=True, **settings)
    instead = replacements(records, [records[5].key, records[80].key])
    loaded = read(batches)
    expected = Counter(instead.get(place.key, place.key) for place in records)
    assert Counter(key for key, _, _ in loaded) == expected
    replaced = [key for key, _, valid in loaded if not valid]
    assert sorted(replaced) == sorted(instead.values())


def test_a_union_names_the_shard_of_the_dataset_that_is_damaged(own, whole, records):
    spoil(own, [records[5]])
    patterns = [f"{whole}/train-*", f"{own}/train-*"]
    settings = {"batch_size": BATCH, "outputs": KEYS, "shuffle": False}
    batches = reader.load(patterns, on_corrupt="skip", **settings)
    loaded = read(batches)
    assert [place for place, (_, valid) in enumerate(loaded) if not valid] == [305]
    assert records[5].named(own) in str(batches.losses[0])
    settings["outputs"] = ("key",)
    assert records[5].named(own) in message(reader.load(patterns, **settings))


def test_a_mixture_skips_what_is_lost_of_one_of_its_parts(own, whole, records):
    lost = {place.key for place in records[:12]}
    weights = {f"{whole}/train-*": 1, f"{own}/train-*": 1}
    settings = {"batch_size": BATCH, "outputs": KEYS, "epochs": None}
    settings["shuffle_bytes"] = 100_000

    def first() -> list[tuple[bytes, bool]]:
        batches = reader.load(weights, on_corrupt="skip", **settings)
        return read(batches.take(60))

    before = first()
    spoil(own, records[:12])
    changed = []
    for old, new in zip(before, first(), strict=True):
        if new != old:
            assert (old[0] in lost, new) == (True, (records[12].key, False))
            changed.append(old[0])
    twice = [key for key, _ in before if key in lost]
    assert 0 < len(changed) < len(twice)


def test_without_shuffling_or_damage_all_is_valid_and_nothing_is_logged(
    whole, records, caplog
):
    batches = load(whole, on_corrupt="skip", shuffle=False)
    assert read(batches) == [(place.key, True) for place in records]
    assert batches.losses == []
    assert not [record for record in caplog.records if record.name == "reader"]


# Losses and warnings.


def test_losses_are_listed_with_file_offset_key_and_what_is_wrong(own, records):
    flip(own, records[200].shard, records[200].begin)
    flip(own, records[5].shard, records[5].end - 1)
    batches = load(own, on_corrupt="skip")
    assert batches.losses == []
    read(batches)
    read(batches)
    first, second = batches.losses
    for loss, place in ((first, records[5]), (second, records[200])):
        path = str(own / place.shard)
        assert (loss.path, loss.offset) == (path, place.begin)
        assert loss.key == place.key.decode()
    assert "data" in first.what
    assert "length" in second.what


def test_each_epoch_ends_with_a_warning_that_names_what_was_lost(own, records, caplog):
    lost = [records[5], records[200]]
    spoil(own, lost)
    read(load(own, on_corrupt="skip", epochs=3))
    told = warnings_of(caplog)
    assert [text.partition(":")[0] for text in told] == [
        "epoch 0",
        "epoch 1",
        "epoch 2",
    ]
    for text in told:
        assert f"2 of {NUM} records" in text
        assert all(place.named(own) in text for place in lost)
        assert "diptych verify" in text


def test_each_iterator_ends_with_the_warning_of_its_epoch(own, records, caplog):
    spoil(own, [records[5]])
    batches = load(own, on_corrupt="skip")
    for epoch in range(3):
        read(batches)
        (told,) = warnings_of(caplog)
        assert told.startswith(f"epoch {epoch}: 1 of {NUM} records")
        caplog.clear()


def test_many_losses_are_counted_in_one_warning(own, records, caplog):
    spoil(own, records[:40])
    read(load(own, on_corrupt="skip"))
    (told,) = warnings_of(caplog)
    assert f"40 of {NUM} records" in told
    assert len(told) < 2000

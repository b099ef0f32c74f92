"""The random numbers of a record, and the crops and flips that follow from them.

Each pixel of the images of `coded` encodes its position and its image. So a crop that
is not resampled shows its corner, and whether it is flipped.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import reader
from reader.contract.record import parse_example
from reader.shuffle.randomness import Draws
from reader.storage.tfrecord_file import read_shard

NUM, HEIGHT, WIDTH, SIDE = 576, 40, 56, 20
# Half of the largest square has the requested size, so regions are not resampled.
RANDOM = {"image_size": SIDE, "crop": "random", "crop_fraction": 0.5, "flip": True}
USES = {"crop": 2, "flip": 1, "caption": 1}
WORD = 1 << 64


def number_by_hand(use: str, seed: int, epoch: int, place: int) -> float:
    """Output `place` of SplitMix64, seeded with BLAKE2b: docs/order.md."""
    digest = hashlib.blake2b(
        f"{seed}:{epoch}".encode(), digest_size=8, person=use.encode()
    )
    state = int.from_bytes(digest.digest(), "little")
    bits = (state + (place + 1) * 0x9E3779B97F4A7C15) % WORD
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB % WORD
    return ((bits ^ (bits >> 31)) >> 11) / (1 << 53)


def drawn(numbers: Any, epochs: Any, seed: int = 0, uses: dict = USES) -> np.ndarray:
    numbers = np.asarray(numbers, np.int64)
    return Draws(seed, uses).of(numbers, np.zeros_like(numbers) + epochs)


def chi_square(counts: np.ndarray) -> float:
    """Chi-square statistic, in standard deviations above its expectation."""
    expected, free = counts.sum() / counts.size, counts.size - 1
    statistic = ((counts - expected) ** 2 / expected).sum()
    return float((statistic - free) / math.sqrt(2 * free))


# Numbers.


@given(
    seed=st.integers(0, 1 << 70),
    epoch=st.integers(0, 1 << 40),
    number=st.integers(0, 1 << 50),
)
def test_draws_are_splitmix_of_use_seed_epoch_and_record(seed, epoch, number):
    row = drawn([number], epoch, seed)[0].tolist()
    assert row == [
        number_by_hand(use, seed, epoch, number * count + place)
        for use, count in USES.items()
        for place in range(count)
    ]


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 1 << 45), st.integers(0, 4)), min_size=1, max_size=40
    ),
    data=st.data(),
)
def test_any_records_in_any_order_and_company_have_their_own_draws(pairs, data):
    draws = Draws(3, USES)
    numbers, epochs = np.array(pairs, np.int64).T
    together = draws.of(numbers, epochs)
    some = data.draw(st.lists(st.integers(0, len(pairs) - 1), max_size=40))
    some = np.array(some, np.int64)
    assert np.array_equal(draws.of(numbers[some], epochs[some]), together[some])
    assert np.array_equal(draws.of(numbers, epochs), together)


@given(
    numbers=st.lists(st.integers(-1, (1 << 62) - 1), max_size=30),
    epoch=st.integers(0, 1 << 40),
    seed=st.integers(0, 1 << 64),
)
def test_draws_lie_in_the_half_open_unit_interval(numbers, epoch, seed):
    rows = drawn(numbers, epoch, seed)
    assert rows.dtype == np.float64
    assert rows.shape == (len(numbers), 4)
    assert ((rows >= 0) & (rows < 1)).all()


@given(
    first=st.sets(st.sampled_from(["crop", "flip", "caption"])),
    crop=st.integers(1, 25),
)
def test_a_use_does_not_change_the_draws_of_another(first, crop):
    counts = {"crop": crop, "flip": 1, "caption": 1}
    every = Draws(7, counts)
    some = Draws(7, {use: count for use, count in counts.items() if use in first})
    numbers, epochs = np.arange(50), np.arange(50) % 3
    all_rows, rows = every.of(numbers, epochs), some.of(numbers, epochs)
    assert set(some.columns) == first
    for use in first:
        assert np.array_equal(
            rows[:, some.columns[use]], all_rows[:, every.columns[use]]
        )


def test_a_use_that_needs_no_numbers_has_no_columns():
    draws = Draws(0, {"crop": 0, "flip": 1})
    assert list(draws.columns) == ["flip"]
    assert Draws(0, {"crop": 0}).of(np.arange(5), np.zeros(5, int)).shape == (5, 0)


@pytest.mark.parametrize("seed", [0, 1, 2**40])
@pytest.mark.parametrize("epoch", [0, 9])
def test_draws_are_uniform_in_each_column(seed, epoch):
    rows = drawn(np.arange(50_000), epoch, seed, {**USES, "crop": 22})
    place = np.arange(1, 50_001) / 50_000
    for column in rows.T:
        # Kolmogorov-Smirnov statistic; it exceeds 2.2 with probability 1 in 8,000.
        gap = np.abs(np.sort(column) - place).max() + 1 / 50_000
        assert gap * math.sqrt(50_000) < 2.2


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Absolute correlation, in standard deviations for independent values."""
    return abs(float(np.corrcoef(one, other)[0, 1])) * math.sqrt(len(one))


def test_columns_of_a_record_are_independent():
    rows = drawn(np.arange(50_000), 0, 0, {**USES, "crop": 22})
    together = np.corrcoef(rows.T) - np.eye(rows.shape[1])
    assert np.abs(together).max() * math.sqrt(50_000) < 4.5
    counts, _, _ = np.histogram2d(rows[:, 0], rows[:, 1], 20, [[0, 1], [0, 1]])
    assert chi_square(counts) < 4


def test_neighbors_epochs_and_seeds_are_independent():
    numbers = np.arange(50_000)
    rows = drawn(numbers, 0)
    for column in range(rows.shape[1]):
        mine = rows[:, column]
        assert correlation(mine[1:], mine[:-1]) < 4
        assert correlation(mine, drawn(numbers, 1)[:, column]) < 4
        assert correlation(mine, drawn(numbers, 0, seed=1)[:, column]) < 4


# Pictures.


class Seen(NamedTuple):
    """Position and orientation of a crop, decoded from its pixels."""

    top: int
    left: int
    mirrored: bool


@pytest.fixture(scope="module")
def coded(build, tmp_path_factory) -> Path:
    """576 images whose red is the row, green the column, and blue the number."""
    source = tmp_path_factory.mktemp("coded")
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for number in range(NUM):
        blue = np.full_like(x, number % 256)
        pixels = np.stack([y, x, blue], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(source / f"{number:03}.bmp")
        (source / f"{number:03}.txt").write_text(f"number {number}")
    return build(
        source,
        source,
        source / "out",
        resize="none",
        image_format="raw",
        num_shards=3,
    )


@pytest.fixture(scope="module")
def numbers(coded) -> dict[bytes, int]:
    """Record number of each key: its position in the order written."""
    shards = sorted(coded.glob("train-*.tfrecord"))
    records = [record.data for shard in shards for record in read_shard(str(shard))]
    keys = [parse_example(record)["image/source_id"][0] for record in records]
    return {key: number for number, key in enumerate(keys)}


def load(folder: Path, **settings: Any) -> Any:
    settings = {"batch_size": 48, "dtype": "uint8", **RANDOM, **settings}
    outputs = ("image", "key")
    return reader.load(f"{folder}/train-*", outputs=outputs, **settings)


def read_crop(image: np.ndarray, key: bytes) -> Seen:
    """Decodes a crop's position from its pixels, which must all agree."""
    mirrored = bool(image[0, 0, 1] > image[0, -1, 1])
    upright = image[:, ::-1] if mirrored else image
    top, left, _ = map(int, upright[0, 0])
    y, x = np.mgrid[top : top + SIDE, left : left + SIDE]
    expected = np.stack([y, x, np.full_like(x, int(key) % 256)], axis=-1)
    assert np.array_equal(upright, expected), key
    return Seen(top, left, mirrored)


def crops(batches: Any) -> Iterator[tuple[bytes, Seen]]:
    for images, keys in batches.as_numpy_iterator():
        for image, key in zip(images, keys.tolist(), strict=True):
            yield key, read_crop(image, key)


@pytest.fixture(scope="module")
def two_epochs(coded) -> list[dict[bytes, Seen]]:
    """Epochs 0 and 1 of an uninterrupted run with seed 0."""
    batches = load(coded)
    return [dict(crops(batches)) for _ in range(2)]


def test_each_crop_is_at_the_place_that_its_draws_say(two_epochs, numbers):
    for epoch, seen in enumerate(two_epochs):
        assert len(seen) == NUM
        for key, crop in seen.items():
            row, column, flip = (
                number_by_hand(use, 0, epoch, numbers[key] * USES[use] + place)
                for use, place in (("crop", 0), ("crop", 1), ("flip", 0))
            )
            top = math.floor(row * (HEIGHT - SIDE + 1))
            left = math.floor(column * (WIDTH - SIDE + 1))
            assert crop == (top, left, flip < 0.5), key


def test_every_place_within_the_image_is_equally_likely(two_epochs):
    seen = [crop for epoch in two_epochs for crop in epoch.values()]
    for places, room in (
        ([crop.top for crop in seen], HEIGHT - SIDE),
        ([crop.left for crop in seen], WIDTH - SIDE),
    ):
        counts = np.bincount(places, minlength=room + 1)
        assert counts.size == room + 1
        assert counts.min() > 0
        assert chi_square(counts) < 4


def test_about_half_of_the_images_are_mirrored(two_epochs):
    for epoch in two_epochs:
        mirrored = sum(crop.mirrored for crop in epoch.values())
        assert abs(mirrored - NUM / 2) < 4 * math.sqrt(NUM) / 2


def test_the_next_epoch_has_other_crops_and_flips(two_epochs):
    first, second = two_epochs
    same = Counter(
        field
        for key in first
        for field in Seen._fields
        if getattr(first[key], field) == getattr(second[key], field)
    )
    assert same["top"] < NUM * 3 / 21
    assert same["left"] < NUM * 3 / 37
    assert NUM * 0.4 < same["mirrored"] < NUM * 0.6


def test_another_seed_has_other_crops_and_flips(coded, two_epochs):
    other, first = dict(crops(load(coded, seed=1))), two_epochs[0]
    assert sum(other[key][:2] == first[key][:2] for key in first) < 10
    same = sum(other[key].mirrored == first[key].mirrored for key in first)
    assert NUM * 0.4 < same < NUM * 0.6


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 9},
        {"batch_size": 192},
        {"shuffle_bytes": 1},
        {"shuffle_bytes": 1 << 40},
        {"shuffle": False},
        {"bucket_by_length": True},
        {"on_corrupt": "skip"},
        {"num_threads": 1},
        {"caption": "random"},
    ],
    ids=repr,
)
def test_crops_and_flips_do_not_depend_on(coded, two_epochs, settings):
    assert dict(crops(load(coded, **settings))) == two_epochs[0]


@pytest.mark.parametrize("host_count", [2, 3, 16])
def test_hosts_see_the_crops_and_flips_that_one_host_sees(
    coded, two_epochs, host_count
):
    # With many hosts, only the last one is tested; the others are alike.
    indices = range(host_count) if host_count < 4 else [host_count - 1]
    share: dict[bytes, Seen] = {}
    for index in indices:
        share |= crops(load(coded, host_index=index, host_count=host_count))
    assert len(share) == NUM * len(indices) // host_count
    assert share == {key: two_epochs[0][key] for key in share}


def test_a_run_that_begins_at_a_step_has_the_crops_of_that_epoch(coded, two_epochs):
    steps = NUM // 48
    batches = load(coded, epochs=2, start_step=steps - 1)
    seen = list(crops(batches))
    assert len(seen) == 48 + NUM
    for key, crop in seen[:48]:
        assert crop == two_epochs[0][key]
    assert dict(seen[48:]) == two_epochs[1]


def test_a_run_that_is_resumed_otherwise_goes_on_with_the_same_crops(coded, two_epochs):
    batches = load(coded, epochs=2)
    iterator = iter(batches)
    for _ in range(5):
        next(iterator)
    state = reader.state(batches, 5)
    seen: list[tuple[bytes, Seen]] = []
    for index in range(2):
        share = load(
            coded,
            epochs=2,
            resume=state,
            batch_size=96,
            host_count=2,
            host_index=index,
        )
        seen += crops(share)
    rest = Counter((epoch, key) for epoch in range(2) for key in two_epochs[epoch])
    assert len(seen) > NUM
    for key, crop in seen:
        (epoch, *_) = [e for e in range(2) if two_epochs[e][key] == crop] or [None]
        assert epoch is not None, key
        rest[epoch, key] -= 1
    # Each example at most once; only those read before and the remainder are missing.
    assert set(rest.values()) <= {0, 1}
    assert sum(rest.values()) == 5 * 48 + (NUM - 5 * 48) % 96


def test_crops_are_the_same_without_flips(coded, two_epochs):
    upright = dict(crops(load(coded, flip=False)))
    assert not any(crop.mirrored for crop in upright.values())
    assert {key: crop[:2] for key, crop in upright.items()} == {
        key: crop[:2] for key, crop in two_epochs[0].items()
    }


def test_flips_are_the_same_with_another_crop(coded, two_epochs):
    for crop in ("center", "random_resized"):
        batches = load(coded, crop=crop, batch_size=NUM, shuffle=False)
        ((images, keys),) = batches.as_numpy_iterator()
        green = images[:, :, :, 1].astype(int).mean(axis=1)
        mirrored = dict(zip(keys.tolist(), green[:, 0] > green[:, -1], strict=True))
        assert mirrored == {key: c.mirrored for key, c in two_epochs[0].items()}


@pytest.mark.parametrize("crop", ["center", "none", "random", "random_resized"])
def test_nothing_is_mirrored_unless_asked_for(coded, crop):
    settings = {**RANDOM, "crop": crop, "batch_size": NUM, "dtype": "uint8"}
    del settings["flip"]
    batches = reader.load(f"{coded}/train-*", outputs=("image",), **settings)
    ((images,),) = batches.as_numpy_iterator()
    green = images[:, :, :, 1].astype(int)
    assert (np.diff(green, axis=2) >= 0).all()


def test_images_as_stored_are_mirrored_as_others_are(coded, two_epochs):
    batches = load(coded, image_size=None, crop="center", batch_size=NUM, shuffle=False)
    ((images, keys),) = batches.as_numpy_iterator()
    assert images.shape == (NUM, HEIGHT, WIDTH, 3)
    forward = np.arange(WIDTH)
    for image, key in zip(images, keys.tolist(), strict=True):
        columns = forward[::-1] if two_epochs[0][key].mirrored else forward
        assert (image[:, :, 1] == columns).all()
        assert (image[:, :, 0] == np.arange(HEIGHT)[:, np.newaxis]).all()


def test_an_iterator_of_an_endless_run_goes_through_the_epochs(coded, two_epochs):
    batches = load(coded, epochs=None, batch_size=NUM).take(2)
    seen = list(crops(batches))
    assert dict(seen[:NUM]) == two_epochs[0]
    assert dict(seen[NUM:]) == two_epochs[1]


def test_a_batch_over_the_end_of_an_epoch_has_crops_of_both(coded, two_epochs):
    (batch,) = load(coded, epochs=2, batch_size=NUM, start_example=NUM // 2).take(1)
    # The rest of the epoch is less than a batch: it is dropped, not mixed.
    images, keys = (part.numpy() for part in batch)
    found = {k: read_crop(i, k) for i, k in zip(images, keys.tolist(), strict=True)}
    assert found == two_epochs[1]


def test_padding_a_batch_does_not_change_its_crops(coded, two_epochs):
    outputs = ("image", "key", "valid")
    settings = {**RANDOM, "batch_size": 500, "dtype": "uint8", "remainder": "pad"}
    batches = reader.load(f"{coded}/train-*", outputs=outputs, **settings)
    seen = {}
    for images, keys, valid in batches.as_numpy_iterator():
        assert not images[~valid].any()
        for image, key in zip(images[valid], keys[valid].tolist(), strict=True):
            seen[key] = read_crop(image, key)
    assert seen == two_epochs[0]

import tracemalloc
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reader.datasets.record_index
from reader.datasets.record_index import LayerFiles, Reads, RecordIndex, ShardFile
from reader.shuffle.order import NUM_STREAMS, ShuffledOrder
from reader.shuffle.shares import Share, Stretch


class Fake(NamedTuple):
    """An index of synthetic shards.

    Attributes:
        index: Index under test.
        tables: Byte offsets of each shard's records, and the end of the last one.
        looked_up: Shards whose offsets the index has requested, in order.
    """

    index: RecordIndex
    tables: list[list[int]]
    looked_up: list[int]

    @property
    def records(self) -> list[tuple[int, int]]:
        """Shard and position of each record, in the order of record numbers."""
        return [
            (shard, place)
            for shard, table in enumerate(self.tables)
            for place in range(len(table) - 1)
        ]


def fake(
    counts: Sequence[int], *, scheme: str = "", seed: int = 0, lengths: str = ""
) -> Fake:
    rng = np.random.default_rng([seed, *counts])
    tables, shards, looked_up = [], [], []
    for shard, count in enumerate(counts):
        table = [0]
        for length in rng.integers(17, 3000, count).tolist():
            table.append(table[-1] + length)
        tables.append(table)

        def offsets(shard: int = shard) -> np.ndarray:
            looked_up.append(shard)
            return np.array(tables[shard], np.int64)

        path = f"{scheme}train-{shard:05}-of-{len(counts):05}.tfrecord"
        stated = np.diff(table).astype(np.uint32) if lengths else None
        if lengths == "damaged" and count:
            stated[rng.integers(count)] += 1
        if lengths == "moved" and count > 1:  # The sum is right.
            stated[:2] = 0, stated[:2].sum()
        shards.append(ShardFile(path, count, table[-1], "", offsets, stated))
    every_64th = [offset for table in tables for offset in table[:-1][::64]]
    index = RecordIndex(shards, np.array(every_64th, np.int64))
    return Fake(index, tables, looked_up)


def interpret(reads: Reads, tables: list[list[int]]) -> list[tuple[int, int]]:
    """Returns shard and position of each record read, skipping as a reader does."""
    records = []
    for shard, offset, skip, count in reads.pieces.tolist():
        place = tables[shard].index(offset)
        for _ in range(skip):
            place += 1
        for _ in range(count):
            assert place < len(tables[shard]) - 1, "reads past the last record"
            records.append((shard, place))
            place += 1
    return records


def check(made: Fake, asked: list[int]) -> None:
    """Checks the reads for some numbers against the requested records."""
    reads = made.index.reads(np.array(asked, np.int64))
    records, read = made.records, interpret(reads, made.tables)
    assert [records[number] for number in reads.numbers.tolist()] == read
    assert len(reads.order) == len(asked)
    for number, place in zip(asked, reads.order.tolist(), strict=True):
        assert 0 <= place < len(read)
        assert number < 0 or read[place] == records[number]
    assert read == sorted(set(read)), "in file order and without duplicates"
    assert len(read) <= max(1, len({number for number in asked if number >= 0}))
    # Neighbors in a file are one read.
    assert len(reads.pieces) == sum(
        at == 0 or read[at - 1] != (shard, place - 1)
        for at, (shard, place) in enumerate(read)
    )


@st.composite
def questions(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    counts = draw(st.lists(st.integers(0, 200), min_size=1, max_size=6).filter(any))
    number = st.integers(-1, sum(counts) - 1)
    close = st.integers(0, min(30, sum(counts) - 1))
    return counts, draw(st.lists(number | close, min_size=1, max_size=60))


@pytest.fixture(params=["exact", "skip", "remote", "mapped", "damaged", "moved"])
def mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns the mode in which the index finds records between block offsets."""
    if request.param == "skip":
        monkeypatch.setattr(reader.datasets.record_index, "_MAX_OFFSETS", 0)
    return request.param


def made_in(mode: str, counts: Sequence[int]) -> Fake:
    scheme = "gs://bucket/" if mode == "remote" else ""
    lengths = mode if mode in {"mapped", "damaged", "moved"} else ""
    return fake(counts, scheme=scheme, lengths=lengths)


def test_reads_give_the_records_asked_for(mode: str) -> None:
    @given(question=questions())
    @settings(max_examples=80)
    def holds(question: tuple[list[int], list[int]]) -> None:
        counts, asked = question
        check(made_in(mode, counts), asked)

    holds()


def test_places_are_those_of_the_records_asked_for() -> None:
    @given(question=questions())
    @settings(max_examples=80)
    def holds(question: tuple[list[int], list[int]]) -> None:
        counts, asked = question
        made = fake(counts)
        places = made.index.places(np.array(asked, np.int64)).tolist()
        assert len(places) == len(asked)
        for number, (found, shard, begin, end) in zip(asked, places, strict=True):
            assert found == number or (number < 0 and found in {0, *asked})
            assert made.records[found] == (shard, made.tables[shard].index(begin))
            assert end == made.tables[shard][made.records[found][1] + 1]

    holds()


def with_layers(base: Fake, layers: Sequence[Fake]) -> RecordIndex:
    """Returns the index of `base` with layers that have as many records."""
    files = [
        LayerFiles(f"l{n}", (), (), each.index.shards, each.index._block_offsets)
        for n, each in enumerate(layers)
    ]
    return RecordIndex(base.index.shards, base.index._block_offsets, files)


def test_layers_are_read_at_the_same_records(mode: str) -> None:
    @given(question=questions())
    @settings(max_examples=30)
    def holds(question: tuple[list[int], list[int]]) -> None:
        counts, asked = question
        base = made_in(mode, counts)
        layers = [fake(counts, seed=1), made_in(mode, counts)]
        index, numbers = with_layers(base, layers), np.array(asked, np.int64)
        reads = index.reads(numbers)
        expected = interpret(reads, base.tables)
        for place, (layer, (pieces, lengths)) in enumerate(
            zip(layers, reads.layers, strict=True), start=1
        ):
            first = place * len(counts)
            assert all(
                shard.path == index.files[first + n].path
                for n, shard in enumerate(layer.index.shards)
            )
            of_layer = reads._replace(pieces=pieces - [first, 0, 0, 0])
            assert interpret(of_layer, layer.tables) == expected
            sizes = [
                layer.tables[shard][n + 1] - layer.tables[shard][n] - 16
                for shard, n in expected
            ]
            assert all(
                stated in (-1, size)
                for stated, size in zip(lengths.tolist(), sizes, strict=True)
            )
        if index.has_lengths:
            placed = index.places(numbers)
            assert np.array_equal(placed[:, :4], base.index.places(numbers))
            for place, layer in enumerate(layers, start=1):
                own = layer.index.places(numbers)[:, 1:] + [place * len(counts), 0, 0]
                assert np.array_equal(placed[:, 1 + 3 * place :][:, :3], own)

    holds()


def test_an_epoch_in_order_is_one_read_of_each_shard(mode: str) -> None:
    made = made_in(mode, [130, 1, 64, 7])
    check(made, list(range(202)))
    reads = made.index.reads(np.arange(202))
    assert reads.pieces.tolist() == [
        [0, 0, 0, 130],
        [1, 0, 0, 1],
        [2, 0, 0, 64],
        [3, 0, 0, 7],
    ]


def test_neighbors_become_one_read(mode: str) -> None:
    made = made_in(mode, [100, 100])
    reads = made.index.reads(np.array([12, 99, 11, 100, 10, 13, 50, 101]))
    assert reads.pieces[:, 3].tolist() == [4, 1, 1, 2]
    assert reads.numbers.tolist() == [10, 11, 12, 13, 50, 99, 100, 101]
    assert reads.order.tolist() == [2, 5, 1, 6, 0, 3, 4, 7]


def test_a_record_asked_for_twice_is_read_once(mode: str) -> None:
    made = made_in(mode, [100])
    reads = made.index.reads(np.array([70, 3, 70, 70]))
    assert reads.numbers.tolist() == [3, 70]
    assert reads.order.tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize("asked", [[-1], [-1, -1, -1], [-1, 150, -1, 3], [5, -1]])
def test_places_of_no_record_cost_no_read_of_their_own(
    mode: str, asked: list[int]
) -> None:
    check(made_in(mode, [100, 100]), asked)
    check(made_in(mode, [0, 200]), asked)


def test_shards_may_be_empty(mode: str) -> None:
    check(made_in(mode, [0, 3, 0, 0, 65, 0]), [-1, *range(68), 67, 0])


def test_few_records_are_read_from_where_they_begin() -> None:
    made = fake([100, 100])
    pieces = made.index.reads(np.array([70, 130])).pieces.tolist()
    assert pieces == [
        [0, made.tables[0][70], 0, 1],
        [1, made.tables[1][30], 0, 1],
    ]


def test_of_very_many_records_those_before_in_a_block_are_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader.datasets.record_index, "_MAX_OFFSETS", 199)
    made = fake([100, 100])
    pieces = made.index.reads(np.array([70, 130])).pieces.tolist()
    assert pieces == [[0, made.tables[0][64], 6, 1], [1, 0, 30, 1]]
    assert made.looked_up == []


def test_in_a_bucket_no_byte_is_skipped_however_many_records(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader.datasets.record_index, "_MAX_OFFSETS", 0)
    made = fake([100, 100], scheme="gs://bucket/")
    pieces = made.index.reads(np.array([70, 130])).pieces
    assert pieces[:, 1].tolist() == [made.tables[0][70], made.tables[1][30]]
    assert pieces[:, 2].tolist() == [0, 0]


def test_offsets_are_looked_up_once_while_there_is_room() -> None:
    made = fake([100, 100, 100])
    for numbers in ([70], [170], [71, 171, 271], [0, 299]):
        made.index.reads(np.array(numbers))
    assert made.looked_up == [0, 1, 2]


def test_offsets_least_recently_used_are_dropped_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader.datasets.record_index, "_MAX_OFFSETS", 250)
    made = fake([100, 100, 100], scheme="gs://bucket/")
    for number in (0, 100, 1, 200, 2, 101):  # Two tables of 101 offsets fit.
        check(made, [number])
    assert made.looked_up == [0, 1, 2, 1]


def test_a_table_larger_than_all_room_is_used_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reader.datasets.record_index, "_MAX_OFFSETS", 10)
    made = fake([100, 100], scheme="gs://bucket/")
    for number in (50, 51, 150):
        check(made, [number])
    assert made.looked_up == [0, 1]


@pytest.mark.parametrize("counts", [[1], [64, 65, 1], [0, 3, 0, 200, 0], [700, 128]])
def test_blocks_are_of_64_neighbors_in_one_shard(counts: list[int]) -> None:
    firsts, begin = [], 0
    for count in counts:
        firsts += range(begin, begin + count, 64)
        begin += count
    blocks = fake(counts).index.blocks
    assert blocks.first.tolist() == [*firsts, sum(counts)]
    assert blocks.num_records == sum(counts)


@pytest.mark.parametrize("counts", [[1], [64, 65, 1], [0, 3, 0, 200, 0]])
def test_records_are_located_by_number(counts: list[int]) -> None:
    made = fake(counts)
    located = [made.index.locate(number) for number in range(sum(counts))]
    assert located == made.records
    assert made.index.num_records == len(made.records)
    assert made.index.num_bytes == sum(table[-1] for table in made.tables)


@pytest.mark.slow
def test_an_index_of_a_hundred_million_records_fits_in_little_memory() -> None:
    num_shards, each = 10_000, 10_000
    shards = [
        ShardFile(f"train-{at:05}", each, each * 1000, "", lambda: np.arange(each + 1))
        for at in range(num_shards)
    ]
    tracemalloc.start()
    try:
        offsets = np.tile(np.arange(-(-each // 64)) * 64_000, num_shards)
        index = RecordIndex(shards, offsets)
        order = ShuffledOrder(index.blocks, 0, 20)
        window = next(order.windows(Stretch(0, 0, num_shards * each), Share()))
        reads = index.reads(window.cut().numbers)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert index.num_records == 10**8
    assert len(set(window.numbers.tolist())) == 20 * NUM_STREAMS == len(reads.order)
    assert peak < 200e6

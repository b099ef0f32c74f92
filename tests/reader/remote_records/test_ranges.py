"""Byte ranges cover each wanted record once, with few bytes between them."""

import numpy as np
import pytest

from reader.remote_records.ranges import Records, pieces_of, ranges_of


def records_of(rng, num_files, num_records, kept):
    """Returns some records of files of blocks of 64, and their lengths."""
    blocks, files, begins, ends = [], [], [], []
    for file in range(num_files):
        lengths = rng.integers(16, 200_000, num_records)
        after = np.cumsum(lengths)
        for n in np.flatnonzero(rng.random(num_records) < kept):
            blocks.append(file * 100 + n // 64)
            files.append(file)
            begins.append(after[n] - lengths[n])
            ends.append(after[n])
    lengths = np.array(ends) - begins
    columns = blocks, files, begins, ends, np.cumsum(lengths) - lengths
    return Records(*map(np.array, columns))


@pytest.mark.parametrize("kept", [1.0, 0.5, 0.1, 0.01])
@pytest.mark.parametrize("sparse", [False, True])
def test_ranges_hold_each_record_and_few_bytes_more(kept, sparse):
    records = records_of(np.random.default_rng(7), 3, 500, kept)
    pieces, piece_of = pieces_of(records)
    own = int((records.ends - records.begins).sum())
    for block, file, begin, end, target, which in zip(
        *(column.tolist() for column in records), piece_of.tolist(), strict=True
    ):
        piece = pieces[which]
        assert (piece.file, piece.block) == (file, block)
        assert piece.begin <= begin and end in piece.ends
        assert piece.target + begin - piece.begin == target
    ranges = ranges_of(pieces, sparse=sparse)
    assert [piece for some in ranges for piece in some] == pieces
    fetched = sum(some[-1].end - some[0].begin for some in ranges)
    assert own <= fetched <= (1.5 if sparse else 1.04) * own
    assert all(len({piece.file for piece in some}) == 1 for some in ranges)
    # A request is never much longer than 2 MiB.
    assert max(some[-1].end - some[0].begin for some in ranges) <= (2 << 20) + 200_000
    if kept == 1:
        assert fetched == own and len(ranges) < 2 * own / (2 << 20) + 4


def test_no_records_have_no_ranges():
    none = np.zeros(0, np.int64)
    pieces, piece_of = pieces_of(Records(none, none, none, none, none))
    assert pieces == [] and len(piece_of) == 0
    assert ranges_of(pieces, sparse=False) == []

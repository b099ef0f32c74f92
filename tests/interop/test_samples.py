"""`samples/` in pandas, pyarrow and DuckDB."""

import math

import duckdb
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet
import pytest


def with_pandas(folder, split):
    shards = sorted(folder.glob(f"samples/{split}-*.parquet"))
    return pd.concat(map(pd.read_parquet, shards)).to_dict("records")


def with_pyarrow(folder, split):
    shards = sorted(map(str, folder.glob(f"samples/{split}-*.parquet")))
    return pyarrow.dataset.dataset(shards).to_table().to_pylist()


def with_duckdb(folder, split):
    rows = duckdb.sql(f"from read_parquet('{folder}/samples/{split}-*.parquet')")
    names = [column[0] for column in rows.description]
    return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def plain(value):
    if isinstance(value, float) and math.isnan(value):
        return None
    return (
        [plain(item) for item in value]
        if hasattr(value, "__len__") and (not isinstance(value, str))
        else value
    )


@pytest.mark.parametrize("name", ["published", "scattered"])
@pytest.mark.parametrize("read", [with_pandas, with_pyarrow, with_duckdb])
def test_rows_say_what_records_hold(request, expected, read, name):
    folder = request.getfixturevalue(name)
    rows, records = read(folder, "train"), expected(folder, "train")
    assert [row["key"] for row in rows] == list(records)
    for row in rows:
        record = {
            name: [plain(v.decode() if isinstance(v, bytes) else v) for v in values]
            for name, values in records[row["key"]].items()
            if name != "image/encoded"
        }
        row = {name: plain(value) for name, value in row.items()}
        assert [row["width"]] == record["image/width"]
        assert [row["sha256"]] == record["image/key/sha256"]
        assert row["captions"] == record["image/caption"]
        assert row["num_tokens"] == record["caption/lengths"]
        extras = [name for name in row if name.startswith("extra/")]
        assert len(extras) == 7
        for extra in extras:
            value = row[extra]
            assert (value if isinstance(value, list) else [value]) == record[extra]


def test_the_folder_is_a_table_as_it_stands(published, expected):
    everything = {**expected(published, "train"), **expected(published, "validation_2")}
    folder = str(published / "samples")
    assert set(pd.read_parquet(folder)["key"]) == everything.keys()
    assert set(pyarrow.parquet.read_table(folder)["key"].to_pylist()) == (
        everything.keys()
    )


def test_rows_lead_to_their_records(published, expected):
    rows = duckdb.sql(
        f"""select key, "offset", length, parse_filename(filename, true)
        from read_parquet('{published}/samples/*.parquet', filename = true)
        where len(captions) > 1"""
    ).fetchall()
    assert rows
    for key, offset, length, stem in rows:
        framed = (published / f"{stem}.tfrecord").read_bytes()[offset : offset + length]
        assert int.from_bytes(framed[:8], "little") == length - 16
        assert key.encode() in framed

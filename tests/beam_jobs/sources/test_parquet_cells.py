"""Lists and pairs tables with pictures in their cells, without a pipeline."""

import io
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_tables import PICTURE, write_table
from paired_sources import paired

from beam_jobs.config.columns import parse_columns
from beam_jobs.config.job_config import JobConfig
from beam_jobs.sources.registry import list_tasks
from beam_jobs.sources.source_files import SourceFiles
from reader.contract.errors import BuildError, UsageError

JPEG = b"\xff\xd8 "


@pytest.fixture
def listed(tmp_path: Path):
    """`listed(columns)` pairs a table of these: (pictures by key, rejects by key)."""

    def listed(columns: dict[str, Any], settings: dict[str, Any] | None = None, **more):
        pq.write_table(pa.table(columns), tmp_path / "t.parquet", **more)
        return pictures_of(
            JobConfig(
                table=f"{tmp_path}/*.parquet",
                output=str(tmp_path / "out"),
                **settings or {},
            )
        )

    return listed


def pictures_of(config: JobConfig):
    pairs, rejects = paired(config)
    files = SourceFiles(config)
    pictures = {key: files.image(pair) for key, pair in pairs.items()}
    return pictures, {key: (r.reason, r.detail) for key, r in rejects.items()}


def cell(name: str | None, data: bytes | None = None) -> dict[str, Any]:
    return {"bytes": JPEG + str(name).encode() if data is None else data, "path": name}


def dictionary(array: pa.Array) -> pa.Array:
    return array.dictionary_encode()


BINARY = pa.array([JPEG + b"0", JPEG + b"1", JPEG + b"0"])
CELLS = pa.array([cell("a/0.jpg"), cell("b.c.png"), cell("a/2")], PICTURE)


@pytest.mark.parametrize(
    "column",
    [
        BINARY,
        BINARY.cast(pa.large_binary()),
        BINARY.cast(pa.binary_view()),
        dictionary(BINARY),
    ],
    ids=lambda column: str(column.type)[:12],
)
def test_bytes_have_the_numbers_of_their_rows_for_keys(listed, column):
    pictures, rejects = listed({"image": column, "text": ["x", "y", "z"]})
    assert not rejects
    assert pictures == {f"t/{n}": BINARY[n - 1].as_py() for n in (1, 2, 3)}


@pytest.mark.parametrize(
    "type_",
    [
        PICTURE,
        pa.struct([("path", pa.large_string()), ("bytes", pa.large_binary())]),
        pa.struct([("bytes", pa.binary()), ("path", pa.string()), ("n", pa.int8())]),
    ],
    ids=str,
)
@pytest.mark.parametrize("group", [1, 2, 3])
def test_structs_have_their_paths_for_keys(listed, type_, group):
    rows = CELLS.to_pylist()
    columns = {"image": pa.array(rows, type_), "caption": [["x", "y"], ["z"], ["w"]]}
    pictures, rejects = listed(columns, row_group_size=group)
    assert not rejects
    keys = ["a/0", "b.c", "a/2"]
    assert pictures == {key: row["bytes"] for key, row in zip(keys, rows, strict=True)}


def test_a_struct_of_bytes_alone(listed):
    column = pa.array([{"bytes": JPEG}, {"bytes": b"2"}])
    pictures, _ = listed({"image": column, "text": ["x", "y"]})
    assert pictures == {"t/1": JPEG, "t/2": b"2"}


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("group", [1, 3, 10])
def test_cells_without_bytes_are_counted(listed, statistics, group):
    cells = [
        cell("whole.jpg"),
        None,
        {"bytes": None, "path": "/data/beside.jpg"},
        {"bytes": None, "path": None},
        cell("empty.jpg", b""),
        cell(None),
    ]
    columns = {"image": pa.array(cells, PICTURE), "text": list("abcdef")}
    more = {"write_statistics": statistics, "row_group_size": group}
    pictures, rejects = listed(columns, **more)
    assert pictures == {
        "whole": JPEG + b"whole.jpg",
        "empty": b"",
        "t/6": b"\xff\xd8 None",
    }
    assert rejects == {
        "t.parquet:2": ("unpaired_caption", "its image is null"),
        "t.parquet:3": (
            "missing_image",
            "no bytes, only the path '/data/beside.jpg'",
        ),
        "t.parquet:4": ("unpaired_caption", "its image is null"),
    }


def test_keys_of_odd_paths(listed):
    names = ["/abs/1.jpg", "./2.jpg", "cafe\u0301.jpg", "../up.jpg", "same.jpg"]
    cells = [*map(cell, names), cell("same.jpg", b"another")]
    columns = {"image": pa.array(cells, PICTURE), "text": list("abcdef")}
    pictures, rejects = listed(columns)
    assert set(pictures) == {"abs/1", "2", "caf\u00e9"}
    assert {key: reason for key, (reason, _) in rejects.items()} == {
        "t.parquet:4": "outside_root",
        "same": "ambiguous_key",
    }


def test_keys_of_a_column_and_columns_beside(listed):
    columns = {
        "image": CELLS,
        "text": ["x", "y", None],
        "id": [7, 8, 9],
        "score": [0.5, 1.5, 2.5],
    }
    settings = {"key_column": "id", "columns": parse_columns("score:float")}
    pictures, rejects = listed(columns, settings)
    assert pictures == {"7": JPEG + b"a/0.jpg", "8": JPEG + b"b.c.png"}
    assert rejects == {"9": ("unpaired_image", "its caption is null")}


def test_tables_of_several_files(listed, tmp_path):
    write_table(tmp_path / "more.parquet", [cell("x.jpg"), cell(None)], "ab")
    pictures, rejects = listed({"image": BINARY, "text": list("abc")})
    assert not rejects
    assert set(pictures) == {"t/1", "t/2", "t/3", "x", "more/2"}


def test_pictures_beside_tables_that_name_files(listed, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"of a file")
    named = pa.table({"image": ["a.jpg"], "text": ["x"]})
    pq.write_table(named, tmp_path / "named.parquet")
    pictures, _ = listed({"image": CELLS, "text": list("abc")})
    assert pictures["a"] == b"of a file"
    assert pictures["a/0"] == JPEG + b"a/0.jpg"


# Wrong usage.


@pytest.mark.parametrize(
    "column",
    [
        pa.array([7]),
        pa.array([[cell("a.jpg")]]),
        pa.array([{"path": "a.jpg"}]),
        pa.array([{"bytes": "text", "path": "a.jpg"}]),
        pa.array([b"0123456789abcdef"], pa.binary(16)),
    ],
    ids=lambda column: str(column.type)[:30],
)
def test_other_types_are_wrong_usage(listed, column):
    with pytest.raises(UsageError, match="not image paths or images"):
        listed({"image": column, "text": ["a"]})


def test_a_folder_of_images_is_wrong_usage(listed, tmp_path):
    settings = {"images": str(tmp_path)}
    with pytest.raises(UsageError, match=r"image holds images, .* leave out --images"):
        listed({"image": CELLS, "text": list("abc")}, settings)
    (tmp_path / "t.parquet").rename(tmp_path / "metadata.parquet")
    config = JobConfig(images=str(tmp_path), output=str(tmp_path / "out"))
    with pytest.raises(UsageError, match=r"pass --table=.*metadata\.parquet"):
        list_tasks(config)


def test_a_damaged_table_is_named(listed, tmp_path):
    file = io.BytesIO()
    cells = [cell(f"{n}.jpg", os.urandom(1000)) for n in range(100)]
    table = pa.table({"image": pa.array(cells, PICTURE), "text": ["x"] * 100})
    pq.write_table(table, file, compression="gzip")
    data = bytearray(file.getvalue())
    data[5000:9000] = bytes(4000)
    (tmp_path / "bad.parquet").write_bytes(data)
    with pytest.raises(BuildError, match=r"bad\.parquet is damaged"):
        listed({"image": CELLS, "text": list("abc")})

"""The columns of `samples/`, against the tables of frozen datasets."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from reader.contract.manifest import parse_manifest
from reader.contract.samples import COLUMNS, ColumnType, columns_of
from reader.contract.schema import Feature

GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("v1*"))


@pytest.mark.parametrize("version", GOLDEN, ids=lambda path: path.name)
def test_they_are_those_of_frozen_datasets(version):
    folder = version / "dataset"
    manifest = parse_manifest((folder / "manifest.json").read_bytes(), str(folder))
    columns = columns_of(manifest.features)
    for path in (folder / "samples").iterdir():
        schema = pq.read_schema(path)
        assert schema.names == list(columns)
        for name, column in columns.items():
            assert str(schema.field(name).type) == arrow_name(column)


def arrow_name(column: ColumnType) -> str:
    if not column.is_list:
        return column.value
    if column.size is None:
        return f"list<element: {column.value}>"
    return f"fixed_size_list<element: {column.value}>[{column.size}]"


def test_columns_carried_through_follow_in_their_order():
    features = (
        Feature("image/encoded", "bytes", (), "image"),
        Feature("extra/b", "float32", (3,), "extra"),
        Feature("extra/a", "int64", (), "extra"),
        Feature("extra/c", "bytes", (2,), "extra"),
    )
    columns = columns_of(features)
    assert [*columns][: len(COLUMNS)] == [*COLUMNS]
    assert [*columns.items()][len(COLUMNS) :] == [
        ("extra/b", ColumnType("float", is_list=True, size=3)),
        ("extra/a", ColumnType("int64")),
        ("extra/c", ColumnType("string", is_list=True, size=2)),
    ]

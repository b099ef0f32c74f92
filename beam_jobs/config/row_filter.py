"""The condition of `--where`, which decides which pairs are written."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from beam_jobs.config.columns import Column
from reader.contract import samples
from reader.contract.conditions.where import SPLIT, Where, parse_where
from reader.contract.samples import columns_of

# Columns that are known before an image is read; the columns of the source are, too.
_BEFORE_IMAGES = (samples.KEY, samples.SOURCE, samples.CAPTION_SOURCE)
# Columns that are only known once a record is written.
_OF_RECORDS = (samples.OFFSET, samples.LENGTH)


def arrow_types() -> dict[str, Any]:
    """Returns the Arrow types of single values, `{ColumnType.value: type}`."""
    import pyarrow as pa  # Not before it is needed: it takes a tenth of a second.

    return {
        "string": pa.string(),
        "int32": pa.int32(),
        "int64": pa.int64(),
        "float": pa.float32(),
    }


class RowFilter:
    """Evaluates a condition on rows, as `diptych select` does on a finished dataset.

    Attributes:
        needs_images: Whether the condition needs columns that are unknown before the
            image is read.
    """

    def __init__(
        self, text: str, columns: Sequence[Column], *, splits_by_content: bool
    ) -> None:
        """Parses and checks the condition.

        Args:
            text: The condition.
            columns: Columns of the source that are read.
            splits_by_content: Whether the image file decides the split.

        Raises:
            UsageError: The text is not a condition on existing columns.
        """
        self._names = [column.feature.key for column in columns]
        known = columns_of(column.feature for column in columns)
        types = {name: known[name] for name in known if name not in _OF_RECORDS}
        self._where = parse_where(text)
        self._where.check(types)
        early = {*_BEFORE_IMAGES, *self._names}
        early |= set() if splits_by_content else {SPLIT}
        self.needs_images = not {*self._where.columns} <= early
        self._early = self._where.only_with(early)
        values = {
            name: types[name].value for name in self._where.columns if name in types
        }
        self._values = {SPLIT: "string", **values}

    def may_keep(self, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
        """Returns for which rows the condition may be true, before images are read.

        Args:
            rows: `{column: value}`, with the columns that are known then.
        """
        if self._early is None:
            return [True] * len(rows)
        return self._keeps(self._early, rows)

    def keeps(self, row: Mapping[str, Any]) -> bool:
        """Returns whether the condition is true for a row with all columns."""
        (kept,) = self._keeps(self._where, [row])
        return kept

    def row_of(self, values: Sequence[Any], facts: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a row of a pair.

        Args:
            values: Values of the columns of the source.
            facts: Other columns.
        """
        return dict(zip(self._names, values, strict=True)) | {**facts}

    def _keeps(self, where: Where, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
        import pyarrow as pa

        types = arrow_types()
        fields = [(name, types[value]) for name, value in self._values.items()]
        table = pa.Table.from_pylist(list(rows), schema=pa.schema(fields))
        kept: list[bool] = where.keeps(table).tolist()
        return kept


@functools.lru_cache(16)
def row_filter(
    text: str, columns: tuple[Column, ...], *, splits_by_content: bool
) -> RowFilter:
    """Returns the filter of a condition, which is parsed once in each process."""
    return RowFilter(text, columns, splits_by_content=splits_by_content)

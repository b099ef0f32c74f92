"""The condition of `--where`, which decides which pairs are written."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from beam_jobs.config.columns import Column
from reader.contract import samples
from reader.contract.conditions.where import SPLIT, parse_where
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
        text: The condition.
        columns: Columns that it needs.
        needs_images: Whether it needs columns that are unknown before the image is
            read.
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
            UsageError: The text is no condition on columns that there are.
        """
        features = [column.feature for column in columns]
        known = columns_of(features)
        types = {name: known[name] for name in known if name not in _OF_RECORDS}
        self._where = parse_where(text)
        self._where.check(types)
        self.text, self.columns = text, self._where.columns
        early = {*_BEFORE_IMAGES, *(feature.key for feature in features)}
        early |= set() if splits_by_content else {SPLIT}
        self.needs_images = not {*self.columns} <= early
        self._values = {
            name: types[name].value for name in self.columns if name in types
        }

    def keeps(self, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
        """Returns for which rows the condition is true.

        Args:
            rows: `{column: value}`, with the columns of `columns`.
        """
        import pyarrow as pa

        of_value = arrow_types()
        values = {SPLIT: "string", **self._values}
        schema = pa.schema([(name, of_value[value]) for name, value in values.items()])
        table = pa.Table.from_pylist(list(rows), schema=schema)
        kept: list[bool] = self._where.keeps(table).tolist()
        return kept


@functools.lru_cache(16)
def row_filter(
    text: str, columns: tuple[Column, ...], *, splits_by_content: bool
) -> RowFilter:
    """Returns the filter of a condition, which is parsed once in each process."""
    return RowFilter(text, columns, splits_by_content=splits_by_content)

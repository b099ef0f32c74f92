"""Chooses records of a dataset, and makes a selection of them."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reader.contract import samples
from reader.contract.additions.base_shard import base_of
from reader.contract.additions.selection import (
    BITS,
    MOST_WEIGHT,
    WEIGHT_ONE,
    WEIGHTS,
    SelectionManifest,
    dump_weights,
    dump_words,
)
from reader.contract.conditions.where import SPLIT, Where, column_hint
from reader.contract.errors import UsageError
from reader.contract.record import crc32c_hex
from reader.contract.samples import ColumnType, columns_of
from reader.datasets.layers import NamedLayers
from reader.datasets.manifest_dataset import ManifestDataset
from reader.datasets.open_sources import open_record_source
from reader.datasets.record_index import ShardFile
from reader.datasets.samples_table import with_layers
from reader.selections.columns import map_shards, read_columns, types_of
from reader.selections.selection import Selection
from reader.shuffle.subset import pack, unpack
from reader.storage.files import is_remote
from reader.tools.select.key_list import KeyList, KeysFound

Bools = NDArray[np.bool_]
Float64s = NDArray[np.float64]

# A shard of the dataset, and those of its layers for the same records.
_Shards = tuple[ShardFile, Sequence[ShardFile]]

_NUMBERS = ("int32", "int64", "float", "double")
# Records whose keys are looked up at once: to look up any takes a pass over the list.
_KEYS_AT_ONCE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to choose of a dataset. A record has to meet all of it.

    Attributes:
        where: Condition on columns of `samples/` and of the list of keys.
        keys: List of keys.
        match: Column of `samples/` that the list holds values of: `key` or `source`.
        within: Selections that have to hold a record.
        without: Selections that must not hold it.
        top: Share, or number if it is at least 1, of the records with the largest
            values of `by`, of those that meet the rest and have one.
        by: Column of numbers.
        weight: Column of weights.
        layers: Names or paths of layers whose columns may be used too.
    """

    where: Where | None = None
    keys: KeyList | None = None
    match: str = samples.KEY
    within: Sequence[Selection] = ()
    without: Sequence[Selection] = ()
    top: Fraction | None = None
    by: str | None = None
    weight: str | None = None
    layers: Sequence[str] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns that it needs."""
        names = [*(self.where.columns if self.where else ()), self.by, self.weight]
        return tuple(dict.fromkeys(filter(None, names)))

    @property
    def made_by(self) -> dict[str, Any]:
        """The choice as a selection states it: equal for equal choices."""
        return {
            "where": self.where and self.where.text,
            "keys": self.keys
            and crc32c_hex("\n".join(sorted(self.keys.keys.to_pylist())).encode()),
            "match": self.match if self.keys else None,
            "and": [_digest(selection) for selection in self.within],
            "not": [_digest(selection) for selection in self.without],
            "top": self.top and str(self.top),
            "by": self.by,
            "weight": self.weight,
            **(
                {"layers": list(map(os.path.basename, self.layers))}
                if self.layers
                else {}
            ),
        }


def _digest(selection: Selection) -> str:
    return crc32c_hex(dump_words(selection.words))


class Made(NamedTuple):
    """A selection that was made.

    Attributes:
        manifest: Fields of `selection.json`.
        files: Its other files, `{name: data}`.
        keep: bool[num_examples], whether each record is selected.
        weights: Sum of all weights; None without weights.
        unknown: The first keys of the list that no record has.
        known: A key of the dataset, or a path of an image file; None if the list has
            one of them.
    """

    manifest: SelectionManifest
    files: dict[str, bytes]
    keep: Bools
    weights: float | None
    unknown: Sequence[str]
    known: str | None


class _Kept:
    """Records that are kept, and how many each requirement left out.

    Attributes:
        keep: bool[n], whether each record is kept.
        accounting: Counts by what became of the records.
    """

    def __init__(self, num: int) -> None:
        self.keep: Bools = np.ones(num, np.bool_)
        self.accounting = {"examples": num}

    def narrow(self, name: str, met: Bools) -> None:
        """Leaves out the records that do not meet a requirement."""
        reason, before = f"left_out_by_{name}", int(self.keep.sum())
        self.keep &= met
        left_out = before - int(self.keep.sum())
        self.accounting[reason] = self.accounting.get(reason, 0) + left_out


class _Rows(NamedTuple):
    """Some records: what they meet, and their values.

    Attributes:
        listed: Whether each one is in the list of keys.
        meets: Whether it meets the condition.
        by: Its value of `by`; NaN if it has none.
        weight: Its weight; 0 if it has none.
    """

    listed: Bools
    meets: Bools
    by: Float64s
    weight: Float64s


class Chooser:
    """Chooses records of a dataset."""

    def __init__(self, dataset: ManifestDataset, choice: Choice) -> None:
        """Opens the shards, and checks all columns.

        Args:
            dataset: The dataset.
            choice: What to choose.

        Raises:
            UsageError: A column does not exist, or has values of another kind.
        """
        self._dataset, self._choice = dataset, choice
        layers = NamedLayers(choice.layers or None)
        sources = [
            open_record_source([dataset.folder], split.name, None, layers=layers)
            for split in dataset.manifest.splits
        ]
        layers.check_used()
        self._shards = [shards for source in sources for shards in with_layers(source)]
        self._counts = [shard.num_examples for shard, _ in self._shards]
        self._listed = {} if choice.keys is None else choice.keys.types
        own = columns_of(dataset.manifest.features)
        self._check_columns(types_of(*self._shards[0]) if self._shards else own)

    def _check_columns(self, own: Mapping[str, ColumnType]) -> None:
        choice, types = self._choice, {**self._listed, **own}
        for name in choice.columns:
            if name in self._listed and (name in own or name == SPLIT):
                raise UsageError(
                    f"{name} is a column of the dataset and of the list of keys: "
                    "rename the latter"
                )
        if choice.where is not None:
            choice.where.check(types)
        for flag in ("by", "weight"):
            name = getattr(choice, flag)
            if name is not None:
                _check_number(flag, name, types)

    def make(self, on_shards: Callable[[int], object] = lambda num: None) -> Made:
        """Chooses the records.

        Args:
            on_shards: Function called with the number of records that were checked.

        Raises:
            DatasetError: A table of `samples/` is missing or damaged.
            UsageError: A weight is negative or too large.
        """
        choice = self._choice
        found = None if choice.keys is None else KeysFound(choice.keys)
        parts = []
        chunks = list(_chunks(self._shards, _KEYS_AT_ONCE if found else 1))
        remote = is_remote(self._dataset.folder)
        for part in map_shards(
            lambda chunk: self._rows(chunk, found), chunks, remote=remote
        ):
            parts.append(part)
            on_shards(len(part.listed))
        rows = _Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        kept = self._narrowed(rows)
        keep, accounting = kept.keep, kept.accounting
        accounting["selected"] = int(keep.sum())
        if choice.keys is not None and found is not None:
            accounting |= {
                "keys": len(choice.keys.keys),
                "keys_repeated": choice.keys.num_repeated,
                "keys_unknown": len(found.unknown),
            }
        return self._made(rows, keep, accounting, found)

    def _rows(self, chunk: Sequence[_Shards], found: KeysFound | None) -> _Rows:
        import pyarrow

        choice = self._choice
        listed_columns = [name for name in choice.columns if name in self._listed]
        own = [name for name in choice.columns if name not in self._listed]
        own += [] if choice.keys is None else [choice.match]
        tables = [
            read_columns(shard, dict.fromkeys(own), layers) for shard, layers in chunk
        ]
        table = pyarrow.concat_tables(tables, promote_options="default")
        listed = np.ones(len(table), np.bool_)
        if choice.keys is not None and found is not None:
            places = choice.keys.places(table[choice.match])
            listed = places.is_valid().to_numpy()
            found.note(places.drop_null().to_numpy())
            for name in listed_columns:
                column = choice.keys.columns[name].take(places)
                table = table.append_column(name, column)
        every = np.ones(len(table), np.bool_)
        meets = every if choice.where is None else choice.where.keeps(table)
        return _Rows(
            listed,
            meets,
            _numbers(table, choice.by, np.nan),
            _numbers(table, choice.weight, 0.0),
        )

    def _narrowed(self, rows: _Rows) -> "_Kept":
        """Returns what is kept by each requirement in turn."""
        choice, counts = self._choice, self._counts
        kept = _Kept(sum(counts))
        if choice.keys is not None:
            kept.narrow("keys", rows.listed)
        if choice.where is not None:
            kept.narrow("where", rows.meets)
        for selection in choice.within:
            kept.narrow("and", unpack(selection.words, counts))
        for selection in choice.without:
            kept.narrow("not", ~unpack(selection.words, counts))
        if choice.top is not None:
            kept.narrow("missing", ~np.isnan(rows.by))
            kept.narrow("top", _largest(rows.by, kept.keep, choice.top))
        if choice.weight is not None:
            kept.narrow("weight", _fixed(rows.weight, kept.keep) > 0)
        return kept

    def _made(
        self,
        rows: _Rows,
        keep: Bools,
        accounting: Mapping[str, int],
        found: KeysFound | None,
    ) -> Made:
        counts = self._counts
        words = pack(keep, counts)
        files = {BITS: dump_words(words)}
        weights = None
        if self._choice.weight is not None:
            fixed = _fixed(rows.weight, keep)
            files[WEIGHTS] = dump_weights(fixed)
            weights = float(fixed.sum(dtype=np.int64)) / WEIGHT_ONE
        ends = np.cumsum(counts)[:-1]
        manifest = SelectionManifest(
            base=tuple(map(base_of, self._dataset.manifest.shards)),
            num_examples=tuple(int(part.sum()) for part in np.split(keep, ends)),
            made_by=self._choice.made_by,
            accounting=accounting,
            files={name: crc32c_hex(data) for name, data in files.items()},
        )
        unknown = [] if found is None else found.unknown.slice(0, 3).to_pylist()
        known = None if found is None or found.any else self._first_key()
        return Made(manifest, files, keep, weights, unknown, known)

    def _first_key(self) -> str | None:
        """Returns what a list could have held."""
        match = self._choice.match
        shards = (shard for shard, _ in self._shards if shard.num_examples)
        shard = next(shards, None)
        return None if shard is None else read_columns(shard, [match])[match][0].as_py()


def _chunks(shards: Sequence[_Shards], num: int) -> Iterator[list[_Shards]]:
    """Yields neighbors with at least `num` records together."""
    chunk: list[_Shards] = []
    for shard in shards:
        chunk.append(shard)
        if sum(each.num_examples for each, _ in chunk) >= num:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _check_number(flag: str, name: str, types: dict[str, ColumnType]) -> None:
    if name not in types:
        raise UsageError(f"--{flag}: no column {name}: {column_hint(name, types)}")
    if types[name].is_list or types[name].value not in _NUMBERS:
        held = "lists" if types[name].is_list else f"values of type {types[name].value}"
        raise UsageError(
            f"--{flag} must be a column of numbers, and {name} holds {held}"
        )


def _numbers(table: Any, name: str | None, empty: float) -> Float64s:
    """Returns a column, with a value for what is missing; nothing without a name."""
    if name is None:
        return np.zeros(0)
    import pyarrow

    values = table[name].cast(pyarrow.float64(), safe=False).to_numpy()
    filled: Float64s = np.where(np.isnan(values), empty, values)
    return filled


def _fixed(weights: Float64s, keep: Bools) -> NDArray[np.uint16]:
    """Returns weights in fixed point; 0 of records that are not kept.

    Raises:
        UsageError: A weight is negative or too large.
    """
    weights = np.where(keep, weights, 0.0)
    wrong = np.flatnonzero(~((weights >= 0) & (weights <= MOST_WEIGHT)))
    if len(wrong):
        raise UsageError(
            f"weights must be from 0 to {MOST_WEIGHT}, got {weights[wrong[0]]:g} "
            f"(and {len(wrong) - 1:,} others): scale them"
        )
    return np.round(weights * WEIGHT_ONE).astype(np.uint16)


def _largest(values: Float64s, keep: Bools, top: Fraction) -> Bools:
    """Returns which records have the largest values; of equal ones the first."""
    candidates = np.flatnonzero(keep)
    num = top if top >= 1 else round(top * len(candidates))
    order = np.argsort(-values[candidates], kind="stable")
    best = np.zeros(len(values), np.bool_)
    best[candidates[order[: int(num)]]] = True
    return best

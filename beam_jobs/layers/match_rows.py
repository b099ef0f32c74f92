"""MatchRows: rows of a key range → the rows of the dataset's keys, sorted, on disk.

Every key becomes a pair without an image, or a reject. What a key gets does not depend
on the order of rows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam

from beam_jobs.config.layer_config import LayerConfig
from beam_jobs.elements import BadInput, Entry, KeyRange, Pair, Reject, SourceFile
from beam_jobs.inputs.captions import clean_captions
from beam_jobs.layers.base_records import BaseRecords
from beam_jobs.layers.row_packs import PackPlace, read_packs
from beam_jobs.planning.pair_entries import agreed_values, sources_of
from beam_jobs.planning.pair_lists import write_lists
from beam_jobs.sources.listing_digest import hash_of_entry, sum_hashes
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace

_NO_IMAGE = SourceFile(b"")


class MatchRows(beam.PTransform):
    """Matches rows with the dataset: (key range, places of packs) → `KeyRange`."""

    def __init__(self, config: LayerConfig, lease: str) -> None:
        """Initializes the transform.

        Args:
            config: Configuration of the layer.
            lease: Token of the output's lease, held by the running job.
        """
        super().__init__()
        self._fn = _MatchRowsFn(config, lease)

    def expand(
        self, packs: beam.PCollection[tuple[int, Iterable[PackPlace]]]
    ) -> beam.PCollection[KeyRange]:
        """Writes the rows and rejects of each key range to `_build/plan/`."""
        return packs | "Match" >> beam.ParDo(self._fn)


class _MatchRowsFn(beam.DoFn):
    def __init__(self, config: LayerConfig, lease: str) -> None:
        self._config = config
        self._lease = lease

    def process(self, packed: tuple[int, Iterable[PackPlace]]) -> Iterator[KeyRange]:
        number, places = packed
        workspace = Workspace(self._config.output)
        with noted(workspace, f"matching-{number:03d}"):
            yield self._match(workspace, number, read_packs(workspace, places))

    def _match(
        self, workspace: Workspace, number: int, entries: list[Entry]
    ) -> KeyRange:
        base = BaseRecords(self._config.dataset, self._config.base)
        pairs, rejects = match_entries(entries, base.splits_of(number), self._config)
        lists = write_lists(self._config, self._lease, number, pairs, rejects)
        return KeyRange(
            number=number,
            found=len(pairs) + len(rejects),
            ignored={},
            loops=(),
            listing=sum_hashes(map(hash_of_entry, entries)),
            **lists._asdict(),
        )


def match_entries(
    entries: Iterable[Entry], splits: Mapping[bytes, str], config: LayerConfig
) -> tuple[list[Pair], list[Reject]]:
    """Returns a pair for each key that gets something, and a reject for each other.

    Args:
        entries: Rows of the tables.
        splits: All keys of the dataset that the rows may have, as `{key: split}`.
        config: Configuration of the layer.
    """
    by_key: dict[bytes, list[Entry]] = {}
    for entry in entries:
        by_key.setdefault(entry.key, []).append(entry)
    pairs: list[Pair] = []
    rejects: list[Reject] = []
    for key, rows in by_key.items():
        rows.sort(key=_sort_key)
        flawed = [row for row in rows if row.flaw is not None]
        stage = "list" if flawed else "pair" if key not in splits else "caption"
        try:
            pairs.append(_pair_of(key, rows, splits.get(key), config))
        except BadInput as error:
            sources = sources_of(flawed or rows)
            rejects.append(Reject(key, sources, stage, error.reason, error.detail))
    return pairs, rejects


def _sort_key(row: Entry) -> tuple[Any, ...]:
    """Returns a sort key by content: tables may list their rows in any order."""
    return row.texts or (), row.flaw or (), row.lacks or "", row.origin


def _pair_of(
    key: bytes, rows: Sequence[Entry], split: str | None, config: LayerConfig
) -> Pair:
    """Returns what the rows of a key add to its record.

    Raises:
        BadInput: A row has a flaw, the dataset does not have the key, the rows have
            different values, or no caption is usable.
    """
    for row in rows:
        if row.flaw is not None:
            raise BadInput(*row.flaw)
    if split is None:
        raise BadInput("unknown_key", "the dataset has no record with this key")
    values = agreed_values(rows)
    return Pair(
        key=key,
        split=split,
        image=_NO_IMAGE,
        caption=SourceFile(rows[0].origin),
        texts=_captions_of(rows) if config.has_captions else (),
        values=values,
    )


def _captions_of(rows: Sequence[Entry]) -> tuple[str, ...]:
    # Equal rows count once.
    each = dict.fromkeys(row.texts for row in rows if row.texts)
    texts = [text for texts in each for text in texts or ()]
    if not texts:
        raise BadInput("empty_caption", str(rows[0].lacks))
    return clean_captions(texts).texts

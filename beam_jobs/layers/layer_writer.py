"""Writes a shard of a layer: the records of the dataset's shard, with what is added."""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from beam_jobs.config.columns import Value, feature_values
from beam_jobs.config.layer_config import LayerConfig
from beam_jobs.elements import Pair, Reject, ShardPlan
from beam_jobs.layers.base_records import BaseRecords
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.pair_lists import pairs_of_shard
from beam_jobs.storage.files import read_file
from beam_jobs.workspace.array_file import fetch
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.samples_table import dump_samples
from beam_jobs.writing.shard_files import Account, Writer
from reader.contract import samples
from reader.contract.additions.layer import (
    caption_features,
    nothing_of,
    samples_columns,
)
from reader.contract.errors import BuildError
from reader.contract.json_values import dump_json
from reader.contract.layout import ShardName
from reader.contract.record import serialize_example
from reader.contract.schema import Dtype, Values, display_path
from reader.contract.statistics import Statistics, statistics_of
from reader.contract.tokenizers.registry import load_tokenizer


class AddedRecord(NamedTuple):
    """What a layer adds to a record of the dataset.

    Attributes:
        record: Serialized Example of the added features. Empty if nothing is added.
        key: Key of the record.
        captions: Captions that are added.
        num_tokens: Number of tokens of each caption.
        num_unknown: Number of out-of-vocabulary tokens in all captions.
        values: Values of the columns, in their order. Empty without a row.
    """

    record: bytes
    key: bytes
    captions: tuple[str, ...] = ()
    num_tokens: tuple[int, ...] = ()
    num_unknown: int = 0
    values: tuple[Value, ...] = ()


class LayerWriter(Writer[AddedRecord]):
    """Writes shards of a layer, one at a time."""

    def __init__(
        self, config: LayerConfig, plan: JobPlan, lease: str, workspace: Workspace
    ) -> None:
        """Loads the tokenizer.

        Args:
            config: Configuration of the layer.
            plan: Plan of the job.
            lease: Token of the output's lease, held by the running job.
            workspace: Workspace that shards are written to.
        """
        super().__init__(workspace, lease)
        self._config = config
        self._plan = plan
        self._base = BaseRecords(config.dataset, config.base)
        data = read_file(workspace.tokenizer)
        self._tokenizer = load_tokenizer(plan.tokenizer, data)

    @contextlib.contextmanager
    def making(self, shard: ShardPlan) -> Iterator[Iterator[AddedRecord | Reject]]:
        """Makes what is added to the records of a shard while the block runs."""
        yield self._records(shard.name)

    def account(self) -> "_Account":
        """Returns an empty account of a shard."""
        return _Account(self._config)

    def _records(self, name: ShardName) -> Iterator[AddedRecord]:
        pairs = pairs_of_shard(self.workspace, name, self._plan, self._config)
        rows = {pair.key: pair for pair in pairs}
        base = self._base.shard(name)
        captions: Iterable[Sequence[str]] = [()] * len(base)
        if self._config.takes_base_captions:
            captions = base.captions()
        for index, texts in enumerate(captions):
            key = base.key(index)
            yield self._made(key, rows.pop(key, None), texts)
        if rows:
            lost = display_path(min(rows))
            raise BuildError(
                f"{self._config.dataset} has changed since the keys were matched "
                f'("{lost}" is not in {name.file}): run the command again'
            )

    def _made(
        self, key: bytes, pair: Pair | None, base_captions: Sequence[str]
    ) -> AddedRecord:
        texts: Sequence[str] = base_captions
        values: tuple[Value, ...] = ()
        if pair is not None:
            texts = pair.texts or ()
            values = tuple(fetch(v, self.workspace.arrays) for v in pair.values)
        elif not texts:
            return AddedRecord(b"", key)
        ids = [self._tokenizer.encode(text) for text in texts]
        unknown = self._plan.tokenizer.unknown_id
        return AddedRecord(
            record=serialize_example(self._features(texts, ids, values)),
            key=key,
            captions=tuple(texts),
            num_tokens=tuple(map(len, ids)),
            num_unknown=sum(id_ == unknown for row in ids for id_ in row),
            values=values,
        )

    def _features(
        self, texts: Sequence[str], ids: list[list[int]], values: Sequence[Value]
    ) -> dict[str, tuple[Dtype, Values]]:
        columns = self._config.column_features
        stored = map(feature_values, self._config.columns, values)
        # Captions of the dataset have no row, and readers want values of each column.
        added = [*stored] if values else [*map(nothing_of, columns)]
        features: dict[str, tuple[Dtype, Values]] = {
            feature.key: (feature.dtype, its)
            for feature, its in zip(columns, added, strict=True)
        }
        if self._config.has_captions:
            of_texts: list[Values] = [
                [text.encode() for text in texts],
                [id_ for row in ids for id_ in row],
                [len(row) for row in ids],
            ]
            of_captions = caption_features(self._config.name)
            for feature, of_feature in zip(of_captions, of_texts, strict=True):
                features[feature.key] = (feature.dtype, of_feature)
        return features


class _Account(Account[AddedRecord]):
    """Rows and statistics of a shard, collected while it is written."""

    def __init__(self, config: LayerConfig) -> None:
        super().__init__()
        self._config = config
        self._num_tokens: list[tuple[int, ...]] = []
        self._num_unknown = 0

    def add(self, made: AddedRecord, offset: int, length: int) -> None:
        """Adds a record with its byte offset and its length in bytes."""
        row: dict[str, Any] = {
            samples.KEY: display_path(made.key),
            samples.OFFSET: offset,
            samples.LENGTH: length,
        }
        if made.record:
            keys = [feature.key for feature in self._config.column_features]
            # Without a row there are no values; the table has null there.
            row |= dict(zip(keys, made.values, strict=bool(made.values)))
            sha256 = hashlib.sha256(dump_json(made.captions)).hexdigest()
            self.add_input(made.key, sha256, made.values)
        if made.captions:
            row[samples.CAPTIONS] = made.captions
            row[samples.NUM_TOKENS] = made.num_tokens
            self._num_tokens.append(made.num_tokens)
            self._num_unknown += made.num_unknown
        self.rows.append(row)

    def samples(self) -> bytes:
        """Returns the bytes of the samples table."""
        return dump_samples(self.rows, samples_columns(self._config.features))

    def statistics(self) -> Statistics:
        """Returns the statistics of the captions."""
        return statistics_of(
            widths=[],
            heights=[],
            image_bytes=[],
            num_tokens=self._num_tokens,
            num_unknown=self._num_unknown,
        )

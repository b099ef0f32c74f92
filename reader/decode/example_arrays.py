"""Records → arrays of the outputs of `load` but images, without TensorFlow.

`examples` and `captions` do the same with TensorFlow, bit for bit.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reader.config.read_config import CaptionWeights, ReadConfig
from reader.contract.record import parse_features, parse_halves
from reader.contract.schema import BASE_CAPTIONS, Feature
from reader.datasets.record_schema import RecordSchema
from reader.decode.named_captions import (
    CAPTION_ROLES,
    CODES,
    MISSING,
    NAMES,
    codes_of,
    draw_captions,
    drawn_groups,
    names_of,
)
from reader.decode.outputs import length_roles, pad_id, roles_of, special_tokens
from reader.shuffle.arrays import Float64s

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]

_DTYPES = {
    "bytes": object,
    "int64": np.int64,
    "float32": np.float32,
    "float16": np.float16,
}


class Ragged(NamedTuple):
    """Rows of different lengths.

    Attributes:
        values: [sum of lengths], the rows end to end.
        lengths: int64[n], length of each row.
    """

    values: NDArray[Any]
    lengths: Int64s

    @property
    def begins(self) -> Int64s:
        """int64[n], index of the first value of each row."""
        return np.cumsum(self.lengths) - self.lengths

    @staticmethod
    def joined(parts: "Sequence[Ragged]") -> "Ragged":
        """Returns rows that are the rows of all parts, one after another."""
        if len(parts) == 1:
            return parts[0]
        numbers = [np.repeat(np.arange(len(p.lengths)), p.lengths) for p in parts]
        order = np.argsort(np.concatenate(numbers), kind="stable")
        values = np.concatenate([part.values for part in parts])[order]
        return Ragged(values, np.sum([part.lengths for part in parts], axis=0))

    def padded(self) -> NDArray[Any]:
        """Returns [n, longest + 1], filled up with zeros or empty strings."""
        width = int(self.lengths.max(initial=0)) + 1
        empty: Any = b"" if self.values.dtype == object else 0
        table = np.full((len(self.lengths), width), empty, self.values.dtype)
        table[np.arange(width) < self.lengths[:, np.newaxis]] = self.values
        return table


class _Choice(NamedTuple):
    """The selected captions of n examples.

    Attributes:
        which: int64[n, captions], index of each selected caption in its example.
        valid: bool[n, captions], False where the example has no such caption.
    """

    which: Int64s
    valid: NDArray[np.bool_]

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Returns [n, captions]: values, or the last of a row for missing captions."""
        places = np.where(self.valid, self.which, values.shape[1] - 1)
        return np.take_along_axis(values, places, axis=1)


@dataclass(frozen=True)
class ExampleArrays:
    """Makes the outputs of records; picklable, and threads may share one.

    Attributes:
        record_schema: Schema of the records.
        config: Read configuration, fitted to it.
    """

    record_schema: RecordSchema
    config: ReadConfig

    def __call__(self, records: Sequence[bytes], draws: Float64s) -> Arrays:
        """Returns the outputs of records, by name.

        Args:
            records: Serialized records, which may lack their images unless these are
                an output.
            draws: float64[n, draws]: All random numbers of each record.

        Returns:
            Arrays of n rows: the configured outputs but `image`, `mask` and `valid`;
            `length` also if only `mask` is asked for, and `MISSING` if captions are
            drawn by name.

        Raises:
            ValueError: A record cannot be used.
        """
        values = self._parsed(records, self._roles)
        encoded = values.pop("image", None)
        names = [name for name in self.config.names if name in values]
        outputs = {name: values[name] for name in names}
        if "encoded" in self.config.names:
            outputs["encoded"] = encoded
        for side in {"height", "width"} & {*outputs}:
            outputs[side] = outputs[side].astype(np.int32)
        if self.config.caption_weights is not None:
            values |= self._named(values, self.config.caption_weights)
        if {*CAPTION_ROLES} & {*values}:
            outputs |= self._captions(values, draws)
        return outputs

    def chosen_captions(
        self, parsed: Sequence[Mapping[str, list[Any]]], draws: Float64s
    ) -> Arrays:
        """Returns the outputs of captions, as a call does.

        Args:
            parsed: Values of all features of each record, by key.
            draws: float64[n, draws]: All random numbers of each record.
        """
        roles = roles_of(self.record_schema, self.config)
        features = {role: self.record_schema.features[role] for role in roles}
        keys = [feature.key for feature in features.values()]
        whole = [{key: values.get(key, []) for key in keys} for values in parsed]
        values = {role: _column(whole, each) for role, each in features.items()}
        if self.config.caption_weights is not None:
            values |= self._named(values, self.config.caption_weights)
        return self._captions(values, draws)

    def caption_lengths(self, records: Sequence[bytes], draws: Float64s) -> Int32s:
        """Returns int32[n]: the most tokens that a selected caption has in the record.

        They do not count start and end tokens. The arguments are those of a call.
        """
        values = self._parsed(records, length_roles(self.record_schema, self.config))
        if self.config.caption_weights is not None:
            values |= self._named(values, self.config.caption_weights)
        lengths = _lengths_of(values)
        choice, _ = self._choose(values, lengths.lengths, draws)
        longest: Int32s = choice.of(lengths.padded()).max(axis=1).astype(np.int32)
        return longest

    @functools.cached_property
    def _roles(self) -> list[str]:
        """Roles to parse for all outputs except images."""
        names = self.config.names
        done = set() if "encoded" in names else {"image"}
        if self.record_schema.image_format is not None:
            # The image engine checks the sizes.
            done |= {"height", "width"} - {*names}
        roles = roles_of(self.record_schema, self.config)
        return [role for role in roles if role not in done]

    def _parsed(self, records: Sequence[bytes], roles: Sequence[str]) -> dict[str, Any]:
        """Returns the values of roles: arrays, or `Ragged` of a varying length."""
        features = [self.record_schema.features[role] for role in roles]
        stored = [_as_stored(feature) for feature in features]
        parsed = [parse_features(record, stored) for record in records]
        return {
            role: _column(parsed, feature)
            for role, feature in zip(roles, features, strict=True)
        }

    def _named(
        self, values: Mapping[str, Any], weights: CaptionWeights
    ) -> dict[str, Ragged]:
        """Returns the captions of all groups as one, with the codes of their names."""
        names = names_of(weights).names
        groups = drawn_groups(self.record_schema, weights)
        roles = [role for role in CAPTION_ROLES if groups[0].roles.get(role) in values]
        parts: dict[str, list[Ragged]] = {role: [] for role in (*roles, CODES)}
        for group in groups:
            own = {role: values[group.roles[role]] for role in roles}
            for role, value in own.items():
                parts[role].append(value)
            if group.names is None:
                counts = _counts(own)
                (code,) = codes_of([group.name.encode()], names)
                codes = Ragged(np.full(counts.sum(), code), counts)
            else:
                found = values[group.names]
                codes = Ragged(codes_of(found.values.tolist(), names), found.lengths)
            parts[CODES].append(codes)
        return {role: Ragged.joined(part) for role, part in parts.items()}

    def _choose(
        self, values: Mapping[str, Any], counts: Int64s, draws: Float64s
    ) -> tuple[_Choice, NDArray[np.bool_] | None]:
        """Selects the first caption, a random one, all, or one by weights of names.

        Also returns which names each record lacks, or None.
        """
        config, zeros = self.config, np.zeros((len(counts), 1), np.int64)
        columns, counts = config.draws.columns, counts[:, np.newaxis]
        if config.caption_weights is not None:
            weights = names_of(config.caption_weights).weights
            by_name, by_caption = columns["caption_name"], columns["caption"]
            drawn = draw_captions(
                values[CODES].padded(), weights, draws[:, by_name], draws[:, by_caption]
            )
            valid = drawn.valid & (drawn.which < counts)
            return _Choice(drawn.which, valid), drawn.missing
        if config.caption == "all":
            which = zeros + np.arange(config.max_captions or 0)
        elif config.caption == "random":
            which = np.floor(draws[:, columns["caption"]] * counts).astype(np.int64)
        else:
            which = zeros
        return _Choice(which, which < counts), None

    def _captions(self, values: Mapping[str, Any], draws: Float64s) -> Arrays:
        choice, missing = self._choose(values, _counts(values), draws)
        outputs: Arrays = {}
        if "token_ids" in values:
            lengths = _lengths_of(values)
            outputs["tokens"], outputs["length"] = self._tokens(
                values["token_ids"], lengths, choice
            )
        if "caption" in self.config.names:
            outputs["caption"] = choice.of(values["captions"].padded())
        if "caption_valid" in self.config.names:
            outputs["caption_valid"] = choice.valid
        if "caption_name" in self.config.names:
            outputs["caption_name"] = self._names(values, choice)
        if self.config.caption != "all":
            outputs = {name: value[:, 0] for name, value in outputs.items()}
        return outputs if missing is None else {**outputs, MISSING: missing}

    def _names(self, values: Mapping[str, Any], choice: _Choice) -> NDArray[Any]:
        """Returns the names of the chosen captions, empty for captions without one."""
        weights = self.config.caption_weights
        if weights is None:
            found = values[NAMES]
            shown = np.where(found.values == b"", BASE_CAPTIONS.encode(), found.values)
            return choice.of(Ragged(shown, found.lengths).padded())
        names = np.array([b"", *names_of(weights).names], object)
        chosen: NDArray[Any] = names[choice.of(values[CODES].padded())]
        return chosen

    def _tokens(
        self, ids: Ragged, lengths: Ragged, choice: _Choice
    ) -> tuple[Int32s, Int32s]:
        """Returns padded rows of token ids and their lengths, as `take_tokens` does."""
        spec, most = self.record_schema.tokenizer, self.config.max_tokens
        start, end = special_tokens(spec, self.config)
        dense = lengths.padded()
        within = choice.of(np.cumsum(dense, axis=1) - dense)
        stored = choice.of(dense)
        if spec is None:  # In foreign TFRecords, lengths may exceed the number of ids.
            left = ids.lengths[:, np.newaxis] - within
            stored = np.clip(stored, 0, np.maximum(left, 0))
        kept = np.minimum(stored, most - len(start) - len(end))[:, :, np.newaxis]
        first = (ids.begins[:, np.newaxis] + within)[:, :, np.newaxis]
        place = np.arange(most) - len(start)
        inside = (place >= 0) & (place < kept)
        # One extra element, so that there is something to take from.
        values = np.append(ids.values.astype(np.int32), np.int32(0))
        pad = np.int32(pad_id(spec))
        rows = np.where(inside, values[np.where(inside, first + place, 0)], pad)
        valid = choice.valid[:, :, np.newaxis]
        for token in start:
            rows = np.where((place < 0) & valid, np.int32(token), rows)
        for token in end:
            rows = np.where((place == kept) & valid, np.int32(token), rows)
        length = np.where(choice.valid, kept[:, :, 0] + len(start) + len(end), 0)
        return rows, length.astype(np.int32)


def _counts(values: Mapping[str, Any]) -> Int64s:
    """Returns int64[n]: the number of captions of each record."""
    if "captions" in values and "token_ids" not in values:
        values = {"token_lengths": values["captions"]}
    return _lengths_of(values).lengths


def _lengths_of(values: Mapping[str, Ragged]) -> Ragged:
    """Returns the number of token ids of each caption; one caption without lengths."""
    if "token_lengths" in values:
        return values["token_lengths"]
    lengths = values["token_ids"].lengths
    return Ragged(lengths, np.ones_like(lengths))


def _as_stored(feature: Feature) -> Feature:
    """Returns how a feature is parsed: halves as bytes, not as Python numbers."""
    if feature.dtype != "float16":
        return feature
    return feature._replace(dtype="bytes", shape=())


def _halves(stored: Sequence[bytes], feature: Feature) -> NDArray[np.float16]:
    """Returns float16[n, …], the numbers of n records of a feature of halves."""
    shape = [length for length in feature.shape if length is not None]
    num = math.prod(shape)
    for data in stored:
        if len(data) != 2 * num:
            raise ValueError(
                f"it holds {len(data) / 2:g} values of {feature.key}, not {num}"
            )
    return parse_halves(b"".join(stored)).reshape(len(stored), *shape)


def _column(parsed: Sequence[Mapping[str, list[Any]]], feature: Feature) -> Any:
    """Returns an array of a feature's values, or a `Ragged` if their number varies.

    Raises:
        ValueError: A record holds another number of halves.
    """
    rows = [record[feature.key] for record in parsed]
    if feature.dtype == "float16":
        return _halves([row[0] for row in rows], feature)
    lengths = np.array([len(row) for row in rows], np.int64)
    values = np.empty(int(lengths.sum()), _DTYPES[feature.dtype])
    values[:] = [value for row in rows for value in row]
    if None in feature.shape:
        return Ragged(values, lengths)
    return values.reshape(len(rows), *feature.shape)

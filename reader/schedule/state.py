"""Saves the position of a run as small JSON and checks states to resume from."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reader.config.read_config import ReadConfig
from reader.contract.errors import UsageError
from reader.datasets.record_index import ShardFile
from reader.datasets.record_source import RecordSource
from reader.shuffle.order import NUM_STREAMS, PLAN_VERSION

# Settings that a state names only if they differ from these.
_ABSENT = {"streams": NUM_STREAMS}


def fingerprint(shards: Sequence[ShardFile], parts: Sequence[int]) -> str:
    """Returns a digest of the records of a run, independent of their folders.

    Args:
        shards: Shards of the run, in order.
        parts: Number of shards in each part of a mixture; empty without a mixture.
    """
    files = [
        (shard.path.rpartition("/")[2], shard.num_examples, shard.checksum)
        for shard in shards
    ]
    # The number is that of the streams before there was a choice.
    data = json.dumps([192, files, list(parts)]).encode()
    return hashlib.sha256(data).hexdigest()[:32]


def digest(sources: Sequence[RecordSource]) -> str | None:
    """Returns a digest of the chosen records of a run; None if all are read.

    Args:
        sources: Records of the run; several of a mixture.
    """
    if all(source.chosen is None for source in sources):
        return None
    hashed = hashlib.sha256()
    for source in sources:
        hashed.update(fingerprint(source.shards, ()).encode())
        for part in source.chosen or ():
            hashed.update(b"-" if part is None else np.ascontiguousarray(part).data)
    return hashed.hexdigest()[:32]


def sorted_by(sources: Sequence[RecordSource]) -> str | None:
    """Returns a digest of the layers whose captions replace those of the records.

    Args:
        sources: Records of the run; several of a mixture.

    Returns:
        None if no layer does. The order depends on them with `bucket_by_length`.
    """
    replacing = [
        fingerprint(layer.shards, ())
        for source in sources
        for layer in source.layers
        if layer.replaces
    ]
    if not replacing:
        return None
    return hashlib.sha256(json.dumps(replacing).encode()).hexdigest()[:32]


def identity_of(
    config: ReadConfig, records: str, selection: str | None, layers: str | None = None
) -> dict[str, Any]:
    """Returns the settings that determine the order of a run.

    The keys are argument names of `load`, and `plan_version` and `fingerprint`.

    Args:
        config: Configuration of the run.
        records: Fingerprint of the records.
        selection: Digest of the chosen records; None if all are read.
        layers: Digest of the layers that replace captions; None if none does.
    """
    order: dict[str, Any] = {"shuffle": config.shuffle}
    changed = {}
    if config.shuffle:
        names = ("seed", "shuffle_bytes", "bucket_by_length")
        order |= {name: getattr(config, name) for name in names}
        changed = {
            name: getattr(config, name)
            for name, usual in _ABSENT.items()
            if getattr(config, name) != usual
        }
    if config.bucket_by_length and config.caption != "first":
        # Records are sorted by the length of these captions.
        order |= {"caption": config.caption, "max_captions": config.max_captions}
    return {
        "plan_version": PLAN_VERSION,
        **changed,
        **({} if selection is None else {"select": selection}),
        **({"layers": layers} if config.bucket_by_length and layers else {}),
        "fingerprint": records,
        **order,
    }


def check_state(state: object, identity: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the example and the step to resume from.

    Args:
        state: State returned by `reader.state`, or its JSON.
        identity: Identity of the run to resume, from `identity_of`.

    Raises:
        UsageError: `state` is not a state, or it belongs to a run with another order.
            The message names the first setting that differs, with both values.
    """
    fields = _parse(state)
    for name in {**identity, **fields}:
        if name in ("step", "examples"):
            continue
        mine, theirs = (
            values.get(name, _ABSENT.get(name)) for values in (identity, fields)
        )
        if mine != theirs:
            raise UsageError(f"resume: {_difference(name, mine, theirs)}")
    return fields["examples"], fields["step"]


def _parse(state: object) -> Mapping[str, Any]:
    fields: Any = state
    if isinstance(state, (str, bytes)):
        try:
            fields = json.loads(state)
        except ValueError:
            fields = None
    if isinstance(fields, Mapping):
        counts = [fields.get("examples"), fields.get("step")]
        if all(type(count) is int and count >= 0 for count in counts):
            return fields
    raise UsageError(f"resume must be a state returned by reader.state, got {state!r}")


def _difference(name: str, mine: Any, theirs: Any) -> str:
    if name == "fingerprint":
        return (
            "the state was saved while reading other records (fingerprint "
            f"{theirs}, not {mine}): read the same shards, or start without resume"
        )
    if name == "select":
        of_state, of_run = (
            "all records" if value is None else f"a selection (digest {value})"
            for value in (theirs, mine)
        )
        return (
            f"the state was saved while reading {of_state}, and this run reads "
            f"{of_run}: pass the same select and where, or start without resume"
        )
    if name == "layers":
        of_state, of_run = (
            "the dataset's" if value is None else f"those of a layer (digest {value})"
            for value in (theirs, mine)
        )
        return (
            f"bucket_by_length sorted by other captions when the state was saved, "
            f"{of_state}, and this run has {of_run}: pass the same layers, or start "
            "without resume"
        )
    if name == "plan_version":
        return (
            f"the state has plan version {theirs}, and this reader's is {mine}: "
            "install the version of diptych that saved it"
        )
    return (
        f"the state was saved with {name}={theirs!r}, and this run has {name}={mine!r}"
        ": pass the same value"
    )

"""Where a run stands, as a small JSON, and whether another run may go on from there."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from reader.config.read_config import ReadConfig
from reader.contract.errors import UsageError
from reader.datasets.record_index import ShardFile
from reader.shuffle.order import NUM_STREAMS, PLAN_VERSION


def fingerprint(shards: Sequence[ShardFile], parts: Sequence[int]) -> str:
    """Returns a digest of the records that are read; paths of folders do not count.

    Args:
        shards: Where they lie, in order.
        parts: How many shards each part of a mixture has.
    """
    files = [
        (shard.path.rpartition("/")[2], shard.num_examples, shard.checksum)
        for shard in shards
    ]
    data = json.dumps([NUM_STREAMS, files, list(parts)]).encode()
    return hashlib.sha256(data).hexdigest()[:32]


def identity_of(config: ReadConfig, records: str) -> dict[str, Any]:
    """Returns all that decides the order of a run, by the names that `load` has.

    Args:
        config: How to read.
        records: Fingerprint of the records.
    """
    order: dict[str, Any] = {"shuffle": config.shuffle}
    if config.shuffle:
        names = ("seed", "shuffle_bytes", "bucket_by_length")
        order |= {name: getattr(config, name) for name in names}
    if config.bucket_by_length and config.caption != "first":
        # What is sorted by.
        order |= {"caption": config.caption, "max_captions": config.max_captions}
    return {"plan_version": PLAN_VERSION, "fingerprint": records, **order}


def check_state(state: object, identity: Mapping[str, Any]) -> tuple[int, int]:
    """Returns the example and the step that a state stands for.

    Args:
        state: What `reader.state` gave, or its JSON.
        identity: Of the run that is to go on from there.

    Raises:
        UsageError: It is no state, or one of a run with another order; says which of
            the names differ, and how.
    """
    fields = _parse(state)
    for name in {**identity, **fields}:
        if name in ("step", "examples"):
            continue
        mine, theirs = identity.get(name), fields.get(name)
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
    raise UsageError(f"resume must be what reader.state returned, got {state!r}")


def _difference(name: str, mine: Any, theirs: Any) -> str:
    if name == "fingerprint":
        return (
            "the state was taken while reading other records (fingerprint "
            f"{theirs}, not {mine}): point at the same shards, or start anew"
        )
    if name == "plan_version":
        return (
            f"the state is of plan version {theirs}, and this reader's is {mine}: "
            "install the version of diptych that took it"
        )
    return (
        f"the state was taken with {name}={theirs!r}, and this run has {name}={mine!r}"
        ": pass the same"
    )

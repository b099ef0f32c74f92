"""The plan of a job, as a value and as `_build/plan/plan.json`."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from beam_jobs.elements import ShardPlan
from reader.contract.json_values import dump_json
from reader.contract.layout import ShardName
from reader.contract.manifest import TokenizerSpec


@dataclass(frozen=True, kw_only=True)
class PlannedSplit:
    """A split: how many pairs it has, and how many shards they go to."""

    name: str
    num_pairs: int
    num_shards: int


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """What is to be written.

    Attributes:
        splits: In the order they were asked for.
        found: Keys among the sources.
        rejects: `{reason: keys}` that pairing turned down.
        ignored: `{suffix: files}` that are neither image nor caption.
        loops: Links that lead back to a folder that holds them, and were not followed.
        record_bytes: Mean size of the first records in order.
        tokenizer: How captions are tokenized.
        listing: Digest of names and sizes of the sources' files.
        sources: Digest of the pairs, times of change included, of the configuration
            and of the libraries' versions.
        versions: Of the libraries that shape a record.
        key_ranges: Numbers of the key ranges that have pairs.
    """

    splits: tuple[PlannedSplit, ...]
    found: int
    rejects: dict[str, int]
    ignored: dict[str, int]
    loops: tuple[str, ...]
    record_bytes: int
    tokenizer: TokenizerSpec
    listing: str
    sources: str
    versions: dict[str, str]
    key_ranges: tuple[int, ...]

    @property
    def num_pairs(self) -> int:
        """Pairs in all splits."""
        return sum(split.num_pairs for split in self.splits)

    @property
    def num_shards(self) -> int:
        """Shards of all splits."""
        return sum(split.num_shards for split in self.splits)

    @property
    def fingerprint(self) -> str:
        """Digest of all that shapes a shard; a commit record has it too."""
        shards = [(split.name, split.num_shards) for split in self.splits]
        shaping = [shards, self.tokenizer.sha256, self.sources]
        return hashlib.sha256(dump_json(shaping)).hexdigest()

    def shards(self) -> list[ShardPlan]:
        """Returns every shard to be written, in the manifest's order."""
        fingerprint = self.fingerprint
        return [
            ShardPlan(ShardName(split.name, index, split.num_shards), fingerprint)
            for split in self.splits
            for index in range(split.num_shards)
        ]


def dump_plan(plan: JobPlan) -> bytes:
    """Returns the bytes of `plan.json`."""
    fields = dataclasses.asdict(plan)
    # The key of earlier versions: a job that they began can be resumed.
    return dump_json(fields | {"buckets": fields.pop("key_ranges")})


def parse_plan(data: bytes) -> JobPlan:
    """Returns the plan that `plan.json` holds."""
    fields = json.loads(data)
    splits = tuple(PlannedSplit(**split) for split in fields.pop("splits"))
    tokenizer = TokenizerSpec(**fields.pop("tokenizer"))
    loops, key_ranges = tuple(fields.pop("loops")), tuple(fields.pop("buckets"))
    return JobPlan(
        splits=splits, tokenizer=tokenizer, loops=loops, key_ranges=key_ranges, **fields
    )

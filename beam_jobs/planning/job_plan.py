"""The plan of a job, as a dataclass and as `_build/plan/plan.json`."""

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
    """The plan of one split.

    Attributes:
        name: Name of the split.
        num_pairs: Number of pairs in the split.
        num_shards: Number of shards that the pairs are written to.
    """

    name: str
    num_pairs: int
    num_shards: int


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """The plan of a job: the splits and shards to write, and the counts of planning.

    Attributes:
        splits: Planned splits, in the configured order.
        found: Number of keys found in the sources.
        rejects: Number of keys rejected during planning, as `{reason: keys}`.
        ignored: Number of files that are neither image nor caption, as
            `{suffix: files}`.
        loops: Paths of links that point to one of their parent folders. These links
            are not followed.
        record_bytes: Estimated mean record size in bytes, framing included.
        tokenizer: Specification of the tokenizer.
        listing: Digest of the names and sizes of the source files.
        sources: Digest of the pairs with their modification times, the configuration
            and the library versions.
        versions: Versions of the libraries that affect the bytes of a record.
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
        """Number of pairs in all splits."""
        return sum(split.num_pairs for split in self.splits)

    @property
    def num_shards(self) -> int:
        """Number of shards in all splits."""
        return sum(split.num_shards for split in self.splits)

    @property
    def fingerprint(self) -> str:
        """Digest of everything that affects a shard. Commit records store it."""
        shards = [(split.name, split.num_shards) for split in self.splits]
        shaping = [shards, self.tokenizer.sha256, self.sources]
        return hashlib.sha256(dump_json(shaping)).hexdigest()

    def shards(self) -> list[ShardPlan]:
        """Returns the plans of all shards, in the order of the manifest."""
        fingerprint = self.fingerprint
        return [
            ShardPlan(ShardName(split.name, index, split.num_shards), fingerprint)
            for split in self.splits
            for index in range(split.num_shards)
        ]


def dump_plan(plan: JobPlan) -> bytes:
    """Serializes a plan to the bytes of `plan.json`."""
    fields = dataclasses.asdict(plan)
    # "buckets" is the JSON key of earlier versions, whose jobs can still be resumed.
    fields["buckets"] = fields.pop("key_ranges")
    return dump_json(fields)


def parse_plan(data: bytes) -> JobPlan:
    """Parses the bytes of `plan.json`."""
    fields = json.loads(data)
    splits = tuple(PlannedSplit(**split) for split in fields.pop("splits"))
    tokenizer = TokenizerSpec(**fields.pop("tokenizer"))
    loops, key_ranges = tuple(fields.pop("loops")), tuple(fields.pop("buckets"))
    return JobPlan(
        splits=splits, tokenizer=tokenizer, loops=loops, key_ranges=key_ranges, **fields
    )

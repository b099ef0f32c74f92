"""ClosePlan: a draft → the tokenizer, the number of shards, and `plan.json`."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

import apache_beam as beam

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Bucket, Pair, Reject
from beam_jobs.encoding.codecs import configure_codecs
from beam_jobs.encoding.example import Budget, make_example
from beam_jobs.planning.count_words import Draft, training_split
from beam_jobs.planning.job_plan import JobPlan, PlannedSplit, dump_plan
from beam_jobs.planning.key_order import shards_by_size, share_out
from beam_jobs.planning.library_versions import shaping_versions
from beam_jobs.planning.pair_lists import pairs_of_bucket
from beam_jobs.sources.listing_digest import sum_hashes
from beam_jobs.sources.source_files import SourceFiles
from beam_jobs.storage.files import read_file
from beam_jobs.workspace.lease import check_lease
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace
from reader.contract.errors import BuildError
from reader.contract.json_values import dump_json
from reader.contract.manifest import TokenizerSpec
from reader.contract.record import FRAMING_BYTES
from reader.contract.tokenizers.basic import dump_vocabulary, make_vocabulary
from reader.contract.tokenizers.protocol import Tokenizer
from reader.contract.tokenizers.registry import load_tokenizer, make_spec

# Records that are made to learn how large a record is. Photographs differ by half of
# their mean, so that 32 give shards within a fifth of the size asked for.
SAMPLE_RECORDS = 32
# Pairs that are tried for it: there may be many rejects among them.
MAX_SAMPLED_PAIRS = 32 * SAMPLE_RECORDS

# A column with more names for splits than these holds something else.
_MOST_NAMED_SPLITS = 100


class ClosePlan(beam.PTransform):
    """Closes the plan: one `Draft` → the plan's fingerprint, with the plan on disk."""

    def __init__(self, config: JobConfig, lease: str) -> None:
        """Takes the configuration, and the lease of the job at work."""
        super().__init__()
        self._config = config
        self._lease = lease

    def expand(self, draft: beam.PCollection[Draft]) -> beam.PCollection[str]:
        """Writes a counted vocabulary and, last, `plan.json`."""
        return draft | "Close" >> beam.ParDo(_ClosePlanFn(self._config, self._lease))


class _ClosePlanFn(beam.DoFn):
    def __init__(self, config: JobConfig, lease: str) -> None:
        self._config = config
        self._lease = lease

    def setup(self) -> None:
        configure_codecs()

    def process(self, draft: Draft) -> Iterator[str]:
        workspace = Workspace(self._config.output)
        with noted(workspace, "closing the plan"):
            check_lease(workspace, self._lease)
            yield self._close(workspace, draft).fingerprint

    def _close(self, workspace: Workspace, draft: Draft) -> JobPlan:
        config, counts = self._config, draft.counts
        if config.counts_words:
            vocabulary = make_vocabulary(
                counts[training_split(sorted(counts))] if counts else {},
                vocab_size=config.vocab_size,
                min_count=config.min_count,
            )
            workspace.publish(workspace.tokenizer, dump_vocabulary(vocabulary))
        tokenizer = read_file(workspace.tokenizer)
        plan = make_plan(draft.buckets, tokenizer, config)
        workspace.publish(workspace.plan, dump_plan(plan))
        return plan


def make_plan(
    buckets: Iterable[Bucket], tokenizer: bytes, config: JobConfig
) -> JobPlan:
    """Returns the plan: how many shards each split gets, and all that was counted.

    `tokenizer` is the content of its file.
    """
    buckets = sorted(buckets)
    spec = make_spec(config.tokenizer_kind, tokenizer)
    pairs = {
        name: sum(bucket.pairs.get(name, 0) for bucket in buckets)
        for name in _split_names(buckets, config)
    }
    record_bytes = _mean_record_bytes(
        buckets, spec, load_tokenizer(spec, tokenizer), config
    )
    if config.num_shards is not None:
        if config.num_shards < len(pairs):
            raise BuildError(
                f"num_shards must be at least {len(pairs)} (one for each split), got "
                f"{config.num_shards}"
            )
        num_shards = share_out(config.num_shards, list(pairs.values()))
    else:
        num_shards = [
            shards_by_size(count * record_bytes, config.shard_size)
            for count in pairs.values()
        ]
    versions = shaping_versions(spec.kind)
    return JobPlan(
        splits=tuple(
            PlannedSplit(name=name, num_pairs=count, num_shards=shards)
            for (name, count), shards in zip(pairs.items(), num_shards, strict=True)
        ),
        found=sum(bucket.found for bucket in buckets),
        rejects=_total(bucket.rejects for bucket in buckets),
        ignored=_total(bucket.ignored for bucket in buckets),
        loops=tuple(
            loop.decode("utf-8", errors="replace")
            for bucket in buckets
            for loop in bucket.loops
        ),
        record_bytes=record_bytes,
        tokenizer=spec,
        listing=sum_hashes(int(bucket.listing, 16) for bucket in buckets),
        sources=_digest_of(
            [bucket.digest for bucket in buckets if bucket.pairs],
            [config.fingerprint, str(versions)],
        ),
        versions=versions,
        buckets=tuple(bucket.number for bucket in buckets if bucket.pairs),
    )


def _split_names(buckets: list[Bucket], config: JobConfig) -> list[str]:
    """Returns the splits: those asked for, or those that the column names."""
    if config.split_column is None:
        return list(config.splits)
    named = {name for bucket in buckets for name in bucket.pairs}
    names = sorted(named, key=lambda name: (name != "train", name))
    if len(names) > _MOST_NAMED_SPLITS:
        raise BuildError(
            f"column {config.split_column} names {len(names)} splits ({names[0]}, "
            f"{names[1]}, …): more than {_MOST_NAMED_SPLITS} are hardly meant"
        )
    return names


def _mean_record_bytes(
    buckets: list[Bucket],
    spec: TokenizerSpec,
    tokenizer: Tokenizer,
    config: JobConfig,
) -> int:
    """Makes the first records in order, and returns their mean size with framing."""
    files, budget = SourceFiles(config), Budget()
    sizes = []
    for pair in itertools.islice(_pairs(buckets, config), MAX_SAMPLED_PAIRS):
        example = make_example(pair, files, config, tokenizer, spec.unknown_id, budget)
        if not isinstance(example, Reject):
            sizes.append(len(example.record) + FRAMING_BYTES)
        if len(sizes) == SAMPLE_RECORDS:
            break
    return sum(sizes) // len(sizes) if sizes else 0


def _digest_of(*parts: list[str]) -> str:
    return hashlib.sha256(dump_json(parts)).hexdigest()


def _pairs(buckets: list[Bucket], config: JobConfig) -> Iterator[Pair]:
    workspace = Workspace(config.output)
    for bucket in buckets:
        yield from pairs_of_bucket(workspace, bucket)


def _total(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(sorted(total.items()))

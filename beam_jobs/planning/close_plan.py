"""ClosePlan: draft → tokenizer, number of shards, and `plan.json`."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

import apache_beam as beam

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import KeyRange, Pair, Reject
from beam_jobs.encoding.codecs import configure_codecs
from beam_jobs.encoding.example import Budget, make_example
from beam_jobs.planning.count_words import Draft, training_split
from beam_jobs.planning.job_plan import JobPlan, PlannedSplit, dump_plan
from beam_jobs.planning.key_order import shards_by_size, share_out
from beam_jobs.planning.library_versions import shaping_versions
from beam_jobs.planning.pair_lists import pairs_of_key_range
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

# Number of records encoded to estimate the mean record size. The standard deviation of
# photograph sizes is about half the mean, so 32 records give shards within a fifth of
# the requested size.
SAMPLE_RECORDS = 32
# Maximum number of pairs tried to get these records, because many may be rejected.
MAX_SAMPLED_PAIRS = 32 * SAMPLE_RECORDS

# A split column with more distinct values than this is probably the wrong column.
_MAX_NAMED_SPLITS = 100


class ClosePlan(beam.PTransform):
    """Writes the plan to disk: one `Draft` → fingerprint of the plan."""

    def __init__(self, config: JobConfig, lease: str) -> None:
        """Initializes the transform.

        Args:
            config: Configuration of the job.
            lease: Token of the output's lease, held by the running job.
        """
        super().__init__()
        self._config = config
        self._lease = lease

    def expand(self, draft: beam.PCollection[Draft]) -> beam.PCollection[str]:
        """Writes the vocabulary, if it was counted, and then `plan.json`."""
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
        plan = make_plan(draft.key_ranges, tokenizer, config)
        workspace.publish(workspace.plan, dump_plan(plan))
        return plan


def make_plan(
    key_ranges: Iterable[KeyRange], tokenizer: bytes, config: JobConfig
) -> JobPlan:
    """Returns the plan, with the number of shards of each split and all counts.

    Args:
        key_ranges: All key ranges, in any order.
        tokenizer: Content of the tokenizer's file.
        config: Configuration of the job.

    Raises:
        BuildError: There are fewer shards than splits, or too many splits.
    """
    key_ranges = sorted(key_ranges)
    spec = make_spec(config.tokenizer_kind, tokenizer)
    pairs = {
        name: sum(key_range.pairs.get(name, 0) for key_range in key_ranges)
        for name in _split_names(key_ranges, config)
    }
    record_bytes = _mean_record_bytes(
        key_ranges, spec, load_tokenizer(spec, tokenizer), config
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
        found=sum(key_range.found for key_range in key_ranges),
        rejects=total_of(key_range.rejects for key_range in key_ranges),
        ignored=total_of(key_range.ignored for key_range in key_ranges),
        loops=tuple(
            loop.decode("utf-8", errors="replace")
            for key_range in key_ranges
            for loop in key_range.loops
        ),
        record_bytes=record_bytes,
        tokenizer=spec,
        listing=sum_hashes(int(key_range.listing, 16) for key_range in key_ranges),
        sources=digest_of(
            [key_range.digest for key_range in key_ranges if key_range.pairs],
            [config.fingerprint, str(versions)],
        ),
        versions=versions,
        key_ranges=tuple(
            key_range.number for key_range in key_ranges if key_range.pairs
        ),
    )


def _split_names(key_ranges: list[KeyRange], config: JobConfig) -> list[str]:
    """Returns the configured splits, or the splits that the source names."""
    if not config.leaves_splits_open:
        return list(config.splits)
    named = {name for key_range in key_ranges for name in key_range.pairs}
    names = sorted(named, key=lambda name: (name != "train", name))
    if len(names) > _MAX_NAMED_SPLITS:
        raise BuildError(
            f"column {config.split_column or 'split'} names {len(names)} splits "
            f"({names[0]}, {names[1]}, …), more than the limit of "
            f"{_MAX_NAMED_SPLITS}: choose another --split_column"
        )
    return names or list(config.splits)


def _mean_record_bytes(
    key_ranges: list[KeyRange],
    spec: TokenizerSpec,
    tokenizer: Tokenizer,
    config: JobConfig,
) -> int:
    """Encodes the first records and returns their mean size in bytes, with framing."""
    files, budget = SourceFiles(config), Budget()
    sizes = []
    for pair in itertools.islice(_pairs(key_ranges, config), MAX_SAMPLED_PAIRS):
        example = make_example(pair, files, config, tokenizer, spec.unknown_id, budget)
        if not isinstance(example, Reject):
            sizes.append(len(example.record) + FRAMING_BYTES)
        if len(sizes) == SAMPLE_RECORDS:
            break
    return sum(sizes) // len(sizes) if sizes else 0


def digest_of(*parts: list[str]) -> str:
    """Returns the SHA-256 of lists of texts, in hex."""
    return hashlib.sha256(dump_json(parts)).hexdigest()


def _pairs(key_ranges: list[KeyRange], config: JobConfig) -> Iterator[Pair]:
    workspace = Workspace(config.output)
    for key_range in key_ranges:
        yield from pairs_of_key_range(workspace, key_range)


def total_of(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    """Returns the sum of counts, `{name: count}`, sorted by name."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(sorted(total.items()))

"""CountTokens: buckets → all buckets, and how often each word occurs in training."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import apache_beam as beam

from beam_jobs.captions import read_captions
from beam_jobs.elements import BadInput, Bucket
from beam_jobs.failures import noted
from beam_jobs.options import JobConfig
from beam_jobs.pair_lists import read_pairs
from beam_jobs.plan import split_of
from beam_jobs.sources.files import FolderFiles
from beam_jobs.workspace import Workspace
from reader.contract.tokenizers.basic import split_words


class Draft(NamedTuple):
    """What is known once every bucket is paired and counted."""

    buckets: tuple[Bucket, ...]
    counts: dict[str, int]


class CountTokens(beam.PTransform):
    """Counts words over captions of the training split: `Bucket` → one `Draft`.

    Only the `basic` tokenizer wants them.
    """

    def __init__(self, config: JobConfig) -> None:
        """Takes the job's configuration."""
        super().__init__()
        self._config = config

    def expand(self, buckets: beam.PCollection[Bucket]) -> beam.PCollection[Draft]:
        """Reads the captions of each bucket, then merges the counts."""
        return (
            buckets
            | "Count" >> beam.ParDo(_CountTokensFn(self._config))
            | "Merge" >> beam.CombineGlobally(_MergeDrafts())
        )


class _CountTokensFn(beam.DoFn):
    def __init__(self, config: JobConfig) -> None:
        self._config = config
        # The split to learn from is the first: `train`, unless they are named else.
        self._training = (
            "train" if "train" in config.splits else next(iter(config.shares))
        )

    def process(self, bucket: Bucket) -> Iterator[Draft]:
        with noted(Workspace(self._config.output), f"counting-{bucket.number:03d}"):
            # A tokenizer that was given has its vocabulary: captions are left unread.
            counts = self._count(bucket) if self._config.counts_words else {}
            yield Draft((bucket,), dict(counts))

    def _count(self, bucket: Bucket) -> Counter[str]:
        config, files = self._config, FolderFiles(self._config)
        shares = config.shares
        counts: Counter[str] = Counter()
        for pair in read_pairs(Workspace(config.output), bucket.number):
            if split_of(pair.key, config.seed, shares) != self._training:
                continue
            try:
                data = files.caption(pair)
                captions = read_captions(data, per_file=config.captions_per_file)
            except BadInput:
                continue  # Rejected when its shard is written, by the same rule.
            for caption in captions:
                counts.update(split_words(caption))
        return counts


_Merged = tuple[list[Bucket], Counter[str]]


class _MergeDrafts(beam.CombineFn):
    """Adds counts in place: a vocabulary of millions is not copied for each bucket."""

    def create_accumulator(self) -> _Merged:
        return [], Counter()

    def add_input(self, merged: _Merged, draft: Draft) -> _Merged:
        merged[0].extend(draft.buckets)
        merged[1].update(draft.counts)
        return merged

    def merge_accumulators(self, accumulators: Iterable[_Merged]) -> _Merged:
        buckets, counts = self.create_accumulator()
        for more_buckets, more_counts in accumulators:
            buckets.extend(more_buckets)
            counts.update(more_counts)
        return buckets, counts

    def extract_output(self, merged: _Merged) -> Draft:
        return Draft(tuple(sorted(merged[0])), dict(merged[1]))

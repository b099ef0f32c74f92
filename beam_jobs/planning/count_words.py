"""CountWords: key ranges → all of them, and how often each word occurs in training."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import apache_beam as beam

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import BadInput, KeyRange, Pair
from beam_jobs.planning.pair_lists import pairs_of_key_range
from beam_jobs.sources.registry import source_of
from beam_jobs.sources.source_files import SourceFiles
from beam_jobs.storage.parallel import map_in_order
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace
from reader.contract.tokenizers.basic import split_words

# Files of captions read at a time, and how many one thread takes: handing one over
# takes as long as reading it.
_READING_THREADS = 4
_CHUNK_FILES = 64


class Draft(NamedTuple):
    """What is known once every key range is paired and counted.

    Attributes:
        key_ranges: In order.
        counts: `{split: {word: count}}` of splits that may be learnt from.
    """

    key_ranges: tuple[KeyRange, ...]
    counts: dict[str, dict[str, int]]


class CountWords(beam.PTransform):
    """Counts words over captions of the training split: `KeyRange` → one `Draft`.

    Only the `basic` tokenizer wants them.
    """

    def __init__(self, config: JobConfig) -> None:
        """Takes the job's configuration."""
        super().__init__()
        self._config = config

    def expand(self, key_ranges: beam.PCollection[KeyRange]) -> beam.PCollection[Draft]:
        """Reads the captions of each key range, then merges the counts."""
        return (
            key_ranges
            | "Count" >> beam.ParDo(_CountWordsFn(self._config))
            | "Merge" >> beam.CombineGlobally(_MergeDrafts())
        )


class _CountWordsFn(beam.DoFn):
    def __init__(self, config: JobConfig) -> None:
        self._config = config
        # Where a column names the splits, which there are is known at the end alone.
        self._learnt_from = (
            None if config.split_column else training_split(config.splits)
        )

    def setup(self) -> None:
        self._files = SourceFiles(self._config)
        self._threads = ThreadPoolExecutor(_READING_THREADS)

    def teardown(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def process(self, key_range: KeyRange) -> Iterator[Draft]:
        with noted(Workspace(self._config.output), f"counting-{key_range.number:03d}"):
            # A tokenizer that was given has its vocabulary: captions are left unread.
            counts = self._count(key_range) if self._config.counts_words else {}
            yield Draft((key_range,), counts)

    def _count(self, key_range: KeyRange) -> dict[str, dict[str, int]]:
        pairs = pairs_of_key_range(Workspace(self._config.output), key_range)
        wanted = (pair for pair in pairs if self._learnt_from in (None, pair.split))
        counts: dict[str, Counter[str]] = {}
        for split, texts in self._read(wanted):
            of_split = counts.setdefault(split, Counter())
            for text in texts:
                of_split.update(split_words(text))
        return {split: dict(words) for split, words in counts.items()}

    def _read(self, pairs: Iterable[Pair]) -> Iterable[tuple[str, tuple[str, ...]]]:
        """Yields the split and the captions of each pair."""
        if not source_of(self._config).CAPTIONS_IN_FILES:
            return map(self._captions, pairs)
        # Files of a few words each: most of the time goes to waiting for the disk.
        chunks = map_in_order(
            self._captions_of, _chunks(pairs), self._threads, 2 * _READING_THREADS
        )
        return itertools.chain.from_iterable(chunks)

    def _captions_of(self, pairs: list[Pair]) -> list[tuple[str, tuple[str, ...]]]:
        return [self._captions(pair) for pair in pairs]

    def _captions(self, pair: Pair) -> tuple[str, tuple[str, ...]]:
        try:
            return pair.split, self._files.captions(pair).texts
        except BadInput:
            return pair.split, ()  # Rejected when its shard is written.


def _chunks(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    pairs = iter(pairs)
    while chunk := list(itertools.islice(pairs, _CHUNK_FILES)):
        yield chunk


def training_split(splits: Iterable[str]) -> str:
    """Returns the split to learn from: `train`, or the first if there is none."""
    splits = list(splits)
    return "train" if "train" in splits else splits[0]


_Merged = tuple[list[KeyRange], dict[str, Counter[str]]]


class _MergeDrafts(beam.CombineFn):
    """Adds counts in place: a vocabulary of millions is not copied each time."""

    def create_accumulator(self) -> _Merged:
        return [], {}

    def add_input(self, merged: _Merged, draft: Draft) -> _Merged:
        merged[0].extend(draft.key_ranges)
        for split, counts in draft.counts.items():
            merged[1].setdefault(split, Counter()).update(counts)
        return merged

    def merge_accumulators(self, accumulators: Iterable[_Merged]) -> _Merged:
        merged = self.create_accumulator()
        for key_ranges, counts in accumulators:
            merged = self.add_input(merged, Draft(tuple(key_ranges), dict(counts)))
        return merged

    def extract_output(self, merged: _Merged) -> Draft:
        counts = {split: dict(words) for split, words in merged[1].items()}
        return Draft(tuple(sorted(merged[0])), counts)

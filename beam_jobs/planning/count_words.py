"""CountWords: key ranges → one draft with all key ranges and word counts."""

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

# Number of caption files read concurrently, and number of files in one thread's task.
# Submitting a task takes about as long as reading one file, so tasks read many files.
_READING_THREADS = 4
_CHUNK_FILES = 64


class Draft(NamedTuple):
    """A draft of the plan, after every key range is paired and counted.

    Attributes:
        key_ranges: Key ranges, in order.
        counts: Word counts of possible training splits, as `{split: {word: count}}`.
    """

    key_ranges: tuple[KeyRange, ...]
    counts: dict[str, dict[str, int]]


class CountWords(beam.PTransform):
    """Counts words in captions of the training split: `KeyRange` → one `Draft`.

    Only `--tokenizer=basic` needs the counts. A vocabulary that exists needs none.
    """

    def __init__(self, config: JobConfig) -> None:
        """Initializes the transform.

        Args:
            config: Configuration of the job.
        """
        super().__init__()
        self._config = config

    def expand(self, key_ranges: beam.PCollection[KeyRange]) -> beam.PCollection[Draft]:
        """Counts the words of each key range, then merges the counts."""
        return (
            key_ranges
            | "Count" >> beam.ParDo(_CountWordsFn(self._config))
            | "Merge" >> beam.CombineGlobally(_MergeDrafts())
        )


class _CountWordsFn(beam.DoFn):
    def __init__(self, config: JobConfig) -> None:
        self._config = config
        # If the source decides the splits, they are known only after all key ranges are
        # read.
        self._training_split = (
            None if config.leaves_splits_open else training_split(config.splits)
        )

    def setup(self) -> None:
        self._files = SourceFiles(self._config)
        self._threads = ThreadPoolExecutor(_READING_THREADS)

    def teardown(self) -> None:
        self._threads.shutdown(cancel_futures=True)

    def process(self, key_range: KeyRange) -> Iterator[Draft]:
        with noted(Workspace(self._config.output), f"counting-{key_range.number:03d}"):
            # If the vocabulary exists, captions are not read.
            counts = self._count(key_range) if self._config.counts_words else {}
            yield Draft((key_range,), counts)

    def _count(self, key_range: KeyRange) -> dict[str, dict[str, int]]:
        pairs = pairs_of_key_range(Workspace(self._config.output), key_range)
        training_pairs = (
            pair for pair in pairs if self._training_split in (None, pair.split)
        )
        counts: dict[str, Counter[str]] = {}
        for split, texts in self._read(training_pairs):
            split_counts = counts.setdefault(split, Counter())
            for text in texts:
                split_counts.update(split_words(text))
        return {split: dict(words) for split, words in counts.items()}

    def _read(self, pairs: Iterable[Pair]) -> Iterable[tuple[str, tuple[str, ...]]]:
        """Yields the split and the captions of each pair."""
        if not source_of(self._config).CAPTIONS_IN_FILES:
            return map(self._captions, pairs)
        # Caption files are tiny, so most of the time is spent waiting for the disk.
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
            return pair.split, ()  # Rejected later, when its shard is written.


def _chunks(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    pairs = iter(pairs)
    while chunk := list(itertools.islice(pairs, _CHUNK_FILES)):
        yield chunk


def training_split(splits: Iterable[str]) -> str:
    """Returns the training split: `train`, or else the first split."""
    splits = list(splits)
    return "train" if "train" in splits else splits[0]


_Merged = tuple[list[KeyRange], dict[str, Counter[str]]]


class _MergeDrafts(beam.CombineFn):
    """Merges counts in place, to avoid copying a vocabulary of millions of words."""

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

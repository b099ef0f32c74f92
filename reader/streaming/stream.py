"""Implements `reader.stream`: START HERE."""

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from reader.config import defaults
from reader.config.arguments import config_of
from reader.config.read_config import CaptionWeights, ReadConfig
from reader.contract.errors import UsageError
from reader.datasets.layers import Layers
from reader.datasets.open_sources import Patterns, open_record_sources
from reader.datasets.record_schema import RecordSchema, merge_record_schemas
from reader.datasets.shard_cache import keep_copies
from reader.decode.example_arrays import ExampleArrays
from reader.decode.outputs import fit
from reader.records.damaged_records import DamagedRecords, Loss
from reader.remote_records.access import WholeRecords
from reader.schedule.resumable import Resumable
from reader.schedule.run import Run, plan_mixed_run, plan_run
from reader.schedule.stream_advice import advise_streams
from reader.selections.choose import Selected, choose_all
from reader.streaming.batches import batch_reader
from reader.streaming.budget import concurrency_of
from reader.streaming.window_order import by_length

# Batches that a consumer may hold without a copy.
_IN_USE = 4


def stream(
    pattern: Patterns,
    *,
    batch_size: int,
    image_size: int | tuple[int, int] | None = None,
    split: str | None = None,
    select: Selected = None,
    where: str | None = None,
    layers: Layers = None,
    crop: str = defaults.CROP,
    crop_fraction: float = defaults.CROP_FRACTION,
    crop_scale: tuple[float, float] = defaults.CROP_SCALE,
    crop_ratio: tuple[float, float] = defaults.CROP_RATIO,
    flip: bool = defaults.FLIP,
    dtype: str = defaults.DTYPE,
    normalize: str | Sequence[object] | None = None,
    data_format: str = defaults.DATA_FORMAT,
    max_tokens: int = defaults.MAX_TOKENS,
    add_special_tokens: bool = defaults.ADD_SPECIAL_TOKENS,
    caption: str | CaptionWeights = defaults.CAPTION,
    max_captions: int | None = defaults.MAX_CAPTIONS,
    bucket_by_length: bool = defaults.BUCKET_BY_LENGTH,
    shuffle: bool = defaults.SHUFFLE,
    seed: int = defaults.SEED,
    shuffle_bytes: int = defaults.SHUFFLE_BYTES,
    streams: int = defaults.STREAMS,
    epochs: int | None = defaults.EPOCHS,
    start_step: int = defaults.START_STEP,
    start_example: int | None = defaults.START_EXAMPLE,
    resume: object = None,
    host_index: int = defaults.HOST_INDEX,
    host_count: int = defaults.HOST_COUNT,
    remainder: str = defaults.REMAINDER,
    on_corrupt: str = defaults.ON_CORRUPT,
    outputs: Sequence[str] | None = None,
    features: Mapping[str, str] | None = None,
    workers: int | None = defaults.WORKERS,
    ram_budget: int | None = defaults.RAM_BUDGET,
    prefetch: int = defaults.PREFETCH,
    cache: str | os.PathLike[str] | None = None,
    cache_bytes: int | None = defaults.CACHE_BYTES,
) -> "Stream":
    """Streams a dataset as batches of NumPy arrays, without TensorFlow.

        batches = reader.stream("out/train-*", batch_size=256, image_size=224)
        for batch in batches:
            train_step(batch["image"], batch["tokens"], batch["mask"])

    The arguments are those of `load`, and so are the batches, bit for bit, and the
    order: a state of one can be resumed by the other. Records are read, checked, parsed
    and decoded by worker processes. `num_threads` does not exist here.

    Args:
        pattern: As in `load`.
        batch_size: As in `load`.
        image_size: As in `load`.
        split: As in `load`.
        select: As in `load`.
        where: As in `load`.
        layers: As in `load`.
        crop: As in `load`.
        crop_fraction: As in `load`.
        crop_scale: As in `load`.
        crop_ratio: As in `load`.
        flip: As in `load`.
        dtype: As in `load`. `"bfloat16"` needs `ml_dtypes`.
        normalize: As in `load`.
        data_format: As in `load`.
        max_tokens: As in `load`.
        add_special_tokens: As in `load`.
        caption: As in `load`.
        max_captions: As in `load`.
        bucket_by_length: As in `load`.
        shuffle: As in `load`.
        seed: As in `load`.
        shuffle_bytes: As in `load`.
        streams: As in `load`.
        epochs: As in `load`.
        start_step: As in `load`.
        start_example: As in `load`.
        resume: As in `load`.
        host_index: As in `load`.
        host_count: As in `load`.
        remainder: As in `load`.
        on_corrupt: As in `load`.
        outputs: As in `load`, but without columns whose rows differ in length.
        features: As in `load`.
        workers: Number of worker processes. The default None starts one per core at the
            first batch, on Linux and macOS. 0 starts none: this process reads.
        ram_budget: As in `load`.
        prefetch: Number of batches to prepare in advance, at most 12 at a time.
        cache: As in `load`.
        cache_bytes: As in `load`.

    Returns:
        A `Stream` of batches. Strings are object arrays of `bytes`. The memory of an
        image array is used again when the last view of it is gone.

    Raises:
        UsageError: An argument is invalid, the records do not provide a requested
            output, or they are compressed.
        DatasetError: A dataset is unfinished, a shard is missing or has the wrong size,
            or an index is damaged.
    """
    config = config_of(locals())
    sources, weights = open_record_sources(
        pattern, split, features, layers, tolerant=on_corrupt == "skip"
    )
    if any(source.compression for source in sources):
        raise UsageError(
            "compressed TFRecords have no places to read at: read them with "
            "reader.load, or decompress them"
        )
    schema = merge_record_schemas({s.name: s.record_schema for s in sources})
    sources = choose_all(sources, select, where)
    config = fit(config, schema)
    _check_columns(config, schema)

    def plan(state: object) -> Run:
        if weights is None:
            return plan_run(sources[0], config, state)
        return plan_mixed_run(sources, weights, config, state)

    run = plan(resume)
    if resume is None:
        advise_streams(run.index.shards, config)
    files = run.index.files
    if config.resources.shard_folder is not None:
        files = tuple(keep_copies(files, config.resources.shard_folder))
    return Stream(
        lambda state: plan(state).moved(files), run.moved(files), schema, config
    )


def _check_columns(config: ReadConfig, record_schema: RecordSchema) -> None:
    for name in config.names:
        feature = record_schema.features.get(name)
        if feature is not None and None in feature.shape:
            raise UsageError(
                f"rows of {name} differ in length, which arrays of NumPy cannot: leave "
                "it out, or read it with reader.load or reader.open"
            )


class Stream(Resumable):
    """Iterable of batches of NumPy arrays. Each new iterator is the next epoch.

    Attributes:
        config: Read configuration.
    """

    def __init__(
        self,
        plan: Callable[[object], Run],
        run: Run,
        record_schema: RecordSchema,
        config: ReadConfig,
    ) -> None:
        """Creates the stream; use `reader.stream` instead.

        Args:
            plan: Function from a state to the run that resumes there.
            run: The run.
            record_schema: Schema of the records.
            config: Read configuration.
        """
        self.config, self._record_schema, self._plan = config, record_schema, plan
        self._transforms: tuple[Callable[[Any], Any], ...] = ()
        self._begin(run)

    def _begin(self, run: Run) -> None:
        record_schema, config = self._record_schema, self.config
        features, has_images = record_schema.features, "image" in config.names
        key = features["key"].key if "key" in features else None
        self._damaged = DamagedRecords(run.index, config.on_corrupt, key)
        windows = run.windows(config, at_end=self._damaged.report)
        self._set_run(run.steps, run.identity, windows)
        # Texts are parsed by workers too, for which `load` has threads.
        most = concurrency_of(config)
        num_workers = most.workers if has_images else config.resources.pixel_workers
        self._ahead = config.resources.prefetch + most.batches - 1
        self._reader = batch_reader(
            windows,
            record_schema,
            config,
            self._damaged,
            num_workers=num_workers,
            held=_IN_USE,
        )
        self._arrange = None
        if config.bucket_by_length:
            read = WholeRecords(windows, self._reader.access, self._damaged)
            self._arrange = by_length(read, ExampleArrays(record_schema, config))

    def then(self, function: Callable[[Any], Any]) -> "Stream":
        """Returns these batches, transformed by a function.

        Both are one run: an iterator over one is the next epoch of the other.

        Args:
            function: Function from a batch to the transformed batch.
        """
        derived = copy.copy(self)
        derived._transforms = (*self._transforms, function)
        return derived

    def __iter__(self) -> Iterator[Any]:
        """Starts and returns the next iterator."""
        staging = self._reader.access.begin()
        placed = self._windows.placed(staging, self._arrange)
        batches = self._reader.batches(
            placed, staging, self._ahead, self._windows.note_read
        )
        return self._transformed(batches, self.latest)

    def _transformed(self, batches: Iterator[Any], iterator: int) -> Iterator[Any]:
        for batch in batches:
            self.note_taken(iterator, 1)
            for transform in self._transforms:
                batch = transform(batch)
            yield batch

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of the outputs if a batch is a dictionary; None otherwise."""
        if self._transforms or self.config.outputs is not None:
            return None
        return self.config.names

    @property
    def missing_captions(self) -> dict[str, int]:
        """Number of examples so far that lack each name in `caption`, as in `load`."""
        return self._reader.missing.counts

    @property
    def losses(self) -> list[Loss]:
        """Damaged records that were replaced so far, ordered by record number."""
        return [loss for _, loss in sorted(self._damaged.losses.items())]

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resumes after a state: the next iterator begins there.

        Args:
            state_dict: What `state_dict` or `reader.state` returned.

        Raises:
            UsageError: The state is one of a run with another order.
        """
        self._begin(self._plan(state_dict))

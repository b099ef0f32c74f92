"""The settings of `load` as frozen dataclasses, validated without TensorFlow."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reader.config import defaults
from reader.config.image_config import ImageConfig
from reader.contract.checks import (
    check_at_least,
    check_at_most,
    check_flag,
    check_word,
    is_positive,
)
from reader.contract.errors import UsageError
from reader.contract.host import num_cores
from reader.contract.schema import is_column
from reader.shuffle.randomness import Draws
from reader.storage.files import is_remote, local_path

# Captions of an example by their names, and the weight of each name.
CaptionWeights = Mapping[str, float]

OUTPUTS = (
    "image",
    "encoded",
    "tokens",
    "mask",
    "length",
    "key",
    "caption",
    "caption_valid",
    "caption_name",
    "height",
    "width",
    "dataset",
    "valid",
)
DEFAULT_OUTPUTS = ("image", "tokens", "mask")

_AT_LEAST = {
    "batch_size": 1,
    "max_tokens": 1,
    "max_captions": 1,
    "shuffle_bytes": 1,
    "seed": 0,
    "epochs": 1,
    "start_step": 0,
    "start_example": 0,
    "host_index": 0,
    "host_count": 1,
    "streams": 1,
}
_AT_MOST = {"host_count": 4096, "streams": 8192}
_RESOURCES_AT_LEAST = {
    "num_threads": 1,
    "workers": 0,
    "ram_budget": 1,
    "prefetch": 0,
    # The ledger of a cache and its folders take up to 3 MB.
    "cache_bytes": 8 << 20,
}
# Where processes can share memory and sockets as the pixel workers do.
_WORKER_PLATFORMS = ("linux", "darwin")
_MAY_BE_NONE = ("epochs", "start_example", "max_captions")
_WORDS = {
    "caption": ("first", "random", "all"),
    "remainder": ("drop", "pad"),
    "on_corrupt": ("raise", "skip"),
}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Limits on the resources that reading uses.

    Attributes:
        num_threads: Number of threads for parsing; None for one per core.
        workers: Number of processes that make images; 0 makes them in this process,
            None starts `threads` processes.
        ram_budget: Memory budget, in bytes; None for as much as keeps all threads busy.
        prefetch: Number of batches to prefetch.
        cache: Path of a local folder for copies of remote shards; None for no cache.
        cache_bytes: Most space of the cache, which then keeps ranges of shards, in
            bytes; None to copy whole shards.

    Raises:
        UsageError: A value is out of range. The message names the argument and shows
            its value.
    """

    num_threads: int | None = defaults.NUM_THREADS
    workers: int | None = defaults.WORKERS
    ram_budget: int | None = defaults.RAM_BUDGET
    prefetch: int = defaults.PREFETCH
    cache: str | None = None
    cache_bytes: int | None = defaults.CACHE_BYTES

    def __post_init__(self) -> None:
        """Checks every value."""
        for name, at_least in _RESOURCES_AT_LEAST.items():
            value = getattr(self, name)
            if value is not None or name == "prefetch":
                # Stores a Python int, since TensorFlow rejects NumPy integers.
                number = check_at_least(name, value, at_least)
                object.__setattr__(self, name, number)
        if self.cache is not None and is_remote(self.cache):
            raise UsageError(f"cache must be a local folder, got {self.cache}")
        if self.cache_bytes is not None and sys.platform not in _WORKER_PLATFORMS:
            raise UsageError("cache_bytes needs Linux or macOS: leave it out")
        if self.cache_bytes is not None and self.cache is None:
            raise UsageError(
                f"cache_bytes limits a cache, got {self.cache_bytes} without cache: "
                "pass cache=FOLDER, or leave out cache_bytes"
            )

    @property
    def shard_folder(self) -> str | None:
        """Folder for copies of whole shards; None if there are to be none."""
        return None if self.cache_bytes is not None else self.cache

    @property
    def threads(self) -> int:
        """Number of threads for parsing."""
        return self.num_threads or num_cores()

    @property
    def pixel_workers(self) -> int:
        """Number of processes that make images; 0 for this process."""
        if self.workers is None:
            return self.threads if sys.platform in _WORKER_PLATFORMS else 0
        return self.workers


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """The settings of `load`.

    Attributes:
        batch_size: Examples per step, over all hosts.
        images: Settings for cropping, resizing, flipping and converting images.
        max_tokens: Maximum number of tokens per caption, including start and end.
        add_special_tokens: Whether captions get a start and an end token.
        caption: Captions to read of each example: `first`, `random` or `all`; or
            weights of names, `{name: weight}`, by which one caption is drawn.
        max_captions: Maximum number of captions per example with `all`; None for no
            limit.
        shuffle: Whether the order is shuffled, differently in each epoch.
        seed: Seed of the order and of all other random choices.
        shuffle_bytes: Size of the shuffle window over all hosts, in bytes of encoded
            records.
        streams: Number of streams that the order takes records from in turn.
        bucket_by_length: Whether the examples of a window are sorted by caption length.
        epochs: Number of epochs per iterator; None for endless iterators.
        start_step: Number of the first step.
        start_example: Position at which to begin, in examples, instead of `start_step`.
        host_index: Index of this host, from 0.
        host_count: Number of hosts.
        remainder: Treatment of an epoch's incomplete last batch: `drop` or `pad`.
        on_corrupt: Treatment of damaged records: `raise` an error, or `skip` and
            replace the record.
        outputs: Names of a batch's components, in order; None for a dictionary of the
            default outputs.
        absent: Default outputs that the records do not have.
        resources: Limits on threads, memory, prefetching and caching.

    Raises:
        UsageError: A value is out of range. The message names the argument and shows
            its value.
    """

    batch_size: int
    images: ImageConfig = field(default_factory=ImageConfig)
    max_tokens: int = defaults.MAX_TOKENS
    add_special_tokens: bool = defaults.ADD_SPECIAL_TOKENS
    caption: str | CaptionWeights = defaults.CAPTION
    max_captions: int | None = defaults.MAX_CAPTIONS
    shuffle: bool = defaults.SHUFFLE
    seed: int = defaults.SEED
    shuffle_bytes: int = defaults.SHUFFLE_BYTES
    streams: int = defaults.STREAMS
    bucket_by_length: bool = defaults.BUCKET_BY_LENGTH
    epochs: int | None = defaults.EPOCHS
    start_step: int = defaults.START_STEP
    start_example: int | None = defaults.START_EXAMPLE
    host_index: int = defaults.HOST_INDEX
    host_count: int = defaults.HOST_COUNT
    remainder: str = defaults.REMAINDER
    on_corrupt: str = defaults.ON_CORRUPT
    outputs: tuple[str, ...] | None = None
    absent: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)

    def __post_init__(self) -> None:
        """Checks every value."""
        for name, at_least in _AT_LEAST.items():
            value = getattr(self, name)
            if value is not None or name not in _MAY_BE_NONE:
                # Stores a Python int, since JSON and TensorFlow reject NumPy integers.
                number = check_at_least(name, value, at_least)
                object.__setattr__(self, name, number)
        for name, at_most in _AT_MOST.items():
            check_at_most(name, getattr(self, name), at_most)
        for name in ("shuffle", "bucket_by_length", "add_special_tokens"):
            check_flag(name, getattr(self, name))
        for name, words in _WORDS.items():
            if name != "caption" or not isinstance(self.caption, Mapping):
                check_word(name, getattr(self, name), words)
        if isinstance(self.caption, Mapping):
            # Sorted, so that the draws do not depend on the order of the names.
            weights = dict(sorted(_checked_weights(self.caption).items()))
            object.__setattr__(self, "caption", weights)
        if self.max_captions is not None and self.caption != "all":
            raise UsageError(
                f'max_captions needs caption="all", got {self.max_captions} and '
                f"caption={_shown(self.caption)}: omit max_captions"
            )
        self._check_start()
        self._check_hosts()
        self._check_outputs()

    def _check_start(self) -> None:
        if self.start_example is not None and self.start_step:
            raise UsageError(
                "start_step and start_example both set the start: pass only one, "
                f"got {self.start_step} and {self.start_example}"
            )
        if self.bucket_by_length and not self.shuffle:
            raise UsageError(
                "bucket_by_length reorders examples, but shuffle=False keeps their "
                "order: omit one of them"
            )

    def _check_hosts(self) -> None:
        index, num = self.host_index, self.host_count
        if index >= num:
            raise UsageError(f"host_index must be below host_count, got {index}, {num}")
        if self.batch_size % num:
            below = self.batch_size // num * num
            sizes = [str(size) for size in (below, below + num) if size]
            raise UsageError(
                "batch_size must be divisible by host_count, got "
                f"{self.batch_size} and {num}: pass batch_size={' or '.join(sizes)}"
            )
        if self.bucket_by_length and num > self.streams:
            raise UsageError(
                "bucket_by_length sorts whole streams, of which each host needs one: "
                f"host_count must be at most streams, got {num} and {self.streams}"
            )

    def _check_outputs(self) -> None:
        check_names(self.outputs, OUTPUTS)
        if "valid" in self.names and not self.may_be_invalid:
            raise UsageError(
                "outputs names valid, but every example is valid: pass "
                'remainder="pad" or on_corrupt="skip", or omit valid'
            )
        if "caption_valid" in self.names and self.caption in ("first", "random"):
            raise UsageError(
                'outputs names caption_valid, which needs caption="all" or weights of '
                f"names, got caption={_shown(self.caption)}"
            )

    @property
    def may_be_invalid(self) -> bool:
        """Whether a batch may contain padding or replaced examples."""
        return self.remainder == "pad" or self.on_corrupt == "skip"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of a batch's components, in order."""
        if self.outputs is not None:
            return self.outputs
        usual = [*DEFAULT_OUTPUTS]
        usual += ["caption_valid"] if self.caption == "all" else []
        usual += ["valid"] if self.remainder == "pad" else []
        return tuple(name for name in usual if name not in self.absent)

    @property
    def draws(self) -> Draws:
        """Random numbers of each record, for crops, flips and captions."""
        counts = self.images.num_draws if "image" in self.names else {}
        draws_name = self.caption_weights is not None
        draws_caption = draws_name or self.caption == "random"
        counts = {**counts, "caption": int(draws_caption)}
        return Draws(self.seed, {**counts, "caption_name": int(draws_name)})

    @property
    def caption_weights(self) -> CaptionWeights | None:
        """Weights of the names of captions; None to choose captions in another way."""
        return None if isinstance(self.caption, str) else self.caption

    @property
    def host_batch_size(self) -> int:
        """Examples per step on one host."""
        return self.batch_size // self.host_count


def _checked_weights(weights: Mapping[Any, Any]) -> dict[str, float]:
    example = 'caption={"alt": 0.2, "recap": 0.8}'
    for name, weight in weights.items():
        if not isinstance(name, str) or not name:
            raise UsageError(
                f"caption must map names of captions to weights, such as {example}, "
                f"got the name {name!r}"
            )
        if not is_positive(weight):
            raise UsageError(
                f"the weight of a name in caption must be a positive number, got "
                f"{weight!r} for {name}: leave out a name that is not to be drawn"
            )
    if not weights:
        raise UsageError(f"caption must not be an empty dictionary: write {example}")
    return {name: float(weight) for name, weight in weights.items()}


def _shown(caption: str | CaptionWeights) -> str:
    return f'"{caption}"' if isinstance(caption, str) else repr(caption)


def output_names(outputs: object) -> tuple[str, ...] | None:
    """Returns the caller's `outputs` argument as a tuple of names.

    Raises:
        UsageError: The value is not a sequence of names.
    """
    if outputs is None:
        return None
    if isinstance(outputs, str) or not isinstance(outputs, Sequence):
        raise UsageError(
            f'outputs must be a tuple of names such as ("image",), got {outputs!r}'
        )
    return tuple(outputs)


def check_names(outputs: tuple[str, ...] | None, allowed: Sequence[str]) -> None:
    """Checks the names of outputs.

    Raises:
        UsageError: A name is neither allowed nor that of a column, or there are no
            names.
    """
    for name in outputs or ():
        if name not in allowed and not (isinstance(name, str) and is_column(name)):
            raise UsageError(
                f"outputs may name {', '.join(allowed)} and columns such as "
                f"extra/score, got {name!r}"
            )
    if outputs == ():
        raise UsageError("outputs must not be empty: omit it for the default outputs")


def folder_name(cache: object) -> str | None:
    """Returns the caller's `cache` argument as a path.

    Raises:
        UsageError: The value is not a path, or is empty.
    """
    if cache is None:
        return None
    if isinstance(cache, (str, os.PathLike)) and os.fspath(cache):
        return local_path(cache)
    raise UsageError(f"cache must be the path of a folder, got {cache!r}")

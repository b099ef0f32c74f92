"""How to read: one frozen value, checked when it is made. No TensorFlow in here."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from reader.config import defaults
from reader.config.image_config import ImageConfig
from reader.contract.checks import check_at_least, check_flag, check_word
from reader.contract.errors import UsageError
from reader.contract.host import num_cores
from reader.contract.schema import EXTRA
from reader.shuffle.order import NUM_STREAMS
from reader.shuffle.randomness import Draws
from reader.storage.files import is_remote

OUTPUTS = (
    "image",
    "tokens",
    "mask",
    "length",
    "key",
    "caption",
    "caption_valid",
    "height",
    "width",
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
}
_MAY_BE_NONE = ("epochs", "start_example", "max_captions")
_WORDS = {
    "caption": ("first", "random", "all"),
    "remainder": ("drop", "pad"),
    "on_corrupt": ("raise", "skip"),
}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What reading may use.

    Attributes:
        num_threads: For parsing and decoding; None for one per core.
        ram_budget: In bytes; None for what keeps all threads busy.
        prefetch: Batches made ahead.
        cache: A local folder to keep copies of shards in; None for none.

    Raises:
        UsageError: A value is out of range; it is named and shown.
    """

    num_threads: int | None = defaults.NUM_THREADS
    ram_budget: int | None = defaults.RAM_BUDGET
    prefetch: int = defaults.PREFETCH
    cache: str | None = None

    def __post_init__(self) -> None:
        """Checks every value."""
        for name, at_least in (("num_threads", 1), ("ram_budget", 1), ("prefetch", 0)):
            value = getattr(self, name)
            if value is not None or name == "prefetch":
                # Python's own, which TensorFlow takes.
                number = check_at_least(name, value, at_least)
                object.__setattr__(self, name, number)
        if self.cache is not None and is_remote(self.cache):
            raise UsageError(f"cache must be a local folder, got {self.cache}")

    @property
    def threads(self) -> int:
        """How many threads there are to decode with."""
        return self.num_threads or num_cores()


@dataclass(frozen=True, kw_only=True)
class ReadConfig:
    """How to read.

    Attributes:
        batch_size: Examples per step.
        images: How images are brought into shape.
        max_tokens: Tokens of a caption, start and end among them.
        add_special_tokens: Whether captions begin with start and close with end.
        caption: Which of an example's captions: `first`, `random` or `all`.
        max_captions: Of an example, with `all`; None for as many as there are.
        shuffle: Whether every epoch has an order of its own.
        seed: Of these orders, and of all else that is left to chance.
        shuffle_bytes: How much is held for shuffling, over all hosts, in encoded bytes.
        bucket_by_length: Whether windows are sorted by the length of captions.
        epochs: In an iterator; None for endless ones.
        start_step: Number of the first step.
        start_example: Where to begin instead, in examples.
        host_index, host_count: This host, of how many.
        remainder: `drop` an epoch's last examples, or `pad` their batch.
        on_corrupt: `raise`, or `skip` to replace a damaged record.
        outputs: What a batch holds, in order; None for a dictionary of the usual.
        absent: Of the usual, what the records do not hold.
        resources: What may be used.

    Raises:
        UsageError: A value is out of range; it is named and shown.
    """

    batch_size: int
    images: ImageConfig = field(default_factory=ImageConfig)
    max_tokens: int = defaults.MAX_TOKENS
    add_special_tokens: bool = defaults.ADD_SPECIAL_TOKENS
    caption: str = defaults.CAPTION
    max_captions: int | None = defaults.MAX_CAPTIONS
    shuffle: bool = defaults.SHUFFLE
    seed: int = defaults.SEED
    shuffle_bytes: int = defaults.SHUFFLE_BYTES
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
                # Python's own, which JSON and TensorFlow take.
                number = check_at_least(name, value, at_least)
                object.__setattr__(self, name, number)
        for name in ("shuffle", "bucket_by_length", "add_special_tokens"):
            check_flag(name, getattr(self, name))
        for name, words in _WORDS.items():
            check_word(name, getattr(self, name), words)
        if self.max_captions is not None and self.caption != "all":
            raise UsageError(
                f'max_captions goes with caption="all", got {self.max_captions} and '
                f'caption="{self.caption}": leave it out'
            )
        self._check_start()
        self._check_hosts()
        self._check_outputs()

    def _check_start(self) -> None:
        if self.start_example is not None and self.start_step:
            raise UsageError(
                "start_step and start_example say the same thing: give one of them, "
                f"got {self.start_step} and {self.start_example}"
            )
        if self.bucket_by_length and not self.shuffle:
            raise UsageError(
                "bucket_by_length brings examples in another order and shuffle=False "
                "keeps theirs: leave one of them out"
            )

    def _check_hosts(self) -> None:
        index, num = self.host_index, self.host_count
        if index >= num:
            raise UsageError(f"host_index must be below host_count, got {index}, {num}")
        if self.batch_size % num:
            raise UsageError(
                "batch_size must be divisible by host_count, got "
                f"{self.batch_size} and {num}: {self._permitted_hosts()}"
            )
        if NUM_STREAMS % num:
            raise UsageError(
                f"host_count must divide {NUM_STREAMS}, got {num}: "
                f"{self._permitted_hosts()}"
            )

    def _permitted_hosts(self) -> str:
        both = math.gcd(self.batch_size, NUM_STREAMS)
        counts = [str(num) for num in range(1, both + 1) if both % num == 0]
        return (
            f"with batch_size {self.batch_size}, host_count may be "
            f"{', '.join(counts)} (what divides both that and {NUM_STREAMS})"
        )

    def _check_outputs(self) -> None:
        check_names(self.outputs, OUTPUTS)
        if "valid" in self.names and not self.may_be_invalid:
            raise UsageError(
                'outputs names valid, but every example is: pass remainder="pad" or '
                'on_corrupt="skip", or leave it out'
            )
        if "caption_valid" in self.names and self.caption != "all":
            raise UsageError(
                'outputs names caption_valid, which goes with caption="all", got '
                f'caption="{self.caption}"'
            )

    @property
    def may_be_invalid(self) -> bool:
        """Whether a place of a batch may hold no example of its own."""
        return self.remainder == "pad" or self.on_corrupt == "skip"

    @property
    def names(self) -> tuple[str, ...]:
        """What a batch holds."""
        if self.outputs is not None:
            return self.outputs
        usual = [*DEFAULT_OUTPUTS]
        usual += ["caption_valid"] if self.caption == "all" else []
        usual += ["valid"] if self.remainder == "pad" else []
        return tuple(name for name in usual if name not in self.absent)

    @property
    def draws(self) -> Draws:
        """What is left to chance about each record."""
        counts = self.images.num_draws if "image" in self.names else {}
        return Draws(self.seed, {**counts, "caption": int(self.caption == "random")})

    @property
    def host_batch_size(self) -> int:
        """Examples per step of one host."""
        return self.batch_size // self.host_count


def is_extra(name: object) -> bool:
    """Tells whether an output is a column that was carried through."""
    return isinstance(name, str) and name.startswith(EXTRA)


def output_names(outputs: object) -> tuple[str, ...] | None:
    """Returns the names of what a caller gave as `outputs`.

    Raises:
        UsageError: It is no sequence of names.
    """
    if outputs is None:
        return None
    if isinstance(outputs, str) or not isinstance(outputs, Sequence):
        raise UsageError(
            f'outputs must be a tuple of names such as ("image",), got {outputs!r}'
        )
    return tuple(outputs)


def check_names(outputs: tuple[str, ...] | None, allowed: Sequence[str]) -> None:
    """Refuses names of outputs that nobody can have, and no names at all."""
    for name in outputs or ():
        if name not in allowed and not is_extra(name):
            raise UsageError(
                f"outputs may name {', '.join(allowed)} and columns such as "
                f"extra/score, got {name!r}"
            )
    if outputs == ():
        raise UsageError("outputs must not be empty: leave it out for the usual")


def folder_name(cache: object) -> str | None:
    """Returns the path of what a caller gave as `cache`.

    Raises:
        UsageError: It is no path.
    """
    if cache is None:
        return None
    if isinstance(cache, (str, os.PathLike)) and os.fspath(cache):
        return str(os.fspath(cache))
    raise UsageError(f"cache must be the path of a folder, got {cache!r}")

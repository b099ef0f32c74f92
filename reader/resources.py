"""What reading may use: threads, memory, batches ahead. One frozen value, checked."""

import os
from dataclasses import dataclass

from reader.contract.checks import check_at_least
from reader.contract.errors import UsageError
from reader.contract.host import num_cores
from reader.files import is_remote


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

    num_threads: int | None = None
    ram_budget: int | None = None
    prefetch: int = 2
    cache: str | None = None

    def __post_init__(self) -> None:
        """Checks every value."""
        for field, at_least in (("num_threads", 1), ("ram_budget", 1), ("prefetch", 0)):
            value = getattr(self, field)
            if value is not None or field == "prefetch":
                # Python's own, which TensorFlow takes.
                number = check_at_least(field, value, at_least)
                object.__setattr__(self, field, number)
        if self.cache is not None and is_remote(self.cache):
            raise UsageError(f"cache must be a local folder, got {self.cache}")

    @property
    def threads(self) -> int:
        """How many threads there are to decode with."""
        return self.num_threads or num_cores()


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

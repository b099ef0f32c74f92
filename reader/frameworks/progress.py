"""Shows a progress bar with throughput and the share of time spent waiting for data."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tqdm import tqdm

from reader.range_cache import hits
from reader.range_cache.hits import Hits
from reader.remote_records.waits import waits
from reader.schedule.resumable import Resumable

# Length of the sliding window over which rates are averaged, in seconds.
_SECONDS = 10.0


class _Mark(NamedTuple):
    """Totals at the arrival of a batch.

    Attributes:
        time: Time of arrival, in seconds.
        waited: Total time spent waiting for batches, in seconds.
        store: Total time that batches waited for object stores, in seconds.
        images: Total number of images.
        hits: All bytes that were requested from a bounded cache.
    """

    time: float
    waited: float
    store: float
    images: int
    hits: Hits


class Progress:
    """Iterable of batches with a progress bar.

    Attributes:
        images_per_second: Throughput over the last ten seconds, in images per second.
        waiting: Share of the last ten seconds spent waiting for data, from 0 to 1.
        waiting_for_store: Part of `waiting` in which the data had not come from an
            object store yet.
        from_cache: Share of the bytes fetched last that a bounded cache had
            (`cache_bytes`), from 0 to 1; None without such a cache.
    """

    def __init__(self, batches: Iterable[Any], **options: Any) -> None:
        """Wraps batches; `options` are arguments of `tqdm`."""
        self._batches, self._options = batches, options
        self.images_per_second = self.waiting = self.waiting_for_store = 0.0
        self.from_cache: float | None = None

    def __len__(self) -> int:
        """Returns the number of batches."""
        return len(self._batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        """Yields the batches and updates the bar."""
        options = {"unit": "batch", "total": _length(self._batches), **self._options}
        waited, images = 0.0, 0
        marks: deque[_Mark] = deque()
        with tqdm(**options) as bar:
            # What was fetched for the first batch counts too; its time does not.
            fetched, begin = hits.snapshot(), time.perf_counter()
            for batch in self._batches:
                now = time.perf_counter()
                waited += now - begin
                images += num_examples(batch)
                fetched = hits.snapshot() if marks else fetched
                self._note(marks, _Mark(now, waited, waits.seconds, images, fetched))
                bar.set_postfix_str(str(self), refresh=False)
                yield batch
                bar.update()
                begin = time.perf_counter()

    def __str__(self) -> str:
        """Returns the text that the bar shows."""
        text = f"{self.images_per_second:,.0f} images/s, waiting {self.waiting:.0%}"
        if round(self.waiting_for_store, 2):
            text += f" ({self.waiting_for_store:.0%} for the store)"
        if self.from_cache is not None:
            text += f", cache: {self.from_cache:.0%} of bytes"
        return text

    def _note(self, marks: deque[_Mark], mark: _Mark) -> None:
        marks.append(mark)
        while len(marks) > 2 and mark.time - marks[0].time > _SECONDS:
            marks.popleft()
        from_cache = mark.hits.share_since(marks[0].hits)
        if from_cache is not None:  # Windows are fetched in advance, and rarely.
            self.from_cache = from_cache
        seconds = mark.time - marks[0].time
        if seconds > 0:
            self.images_per_second = (mark.images - marks[0].images) / seconds
            self.waiting = (mark.waited - marks[0].waited) / seconds
            # Batches that are made in advance may wait while training does not.
            store = (mark.store - marks[0].store) / seconds
            self.waiting_for_store = min(store, self.waiting)


def progress(batches: Iterable[Any], **options: Any) -> Progress:
    """Iterates over batches with a progress bar.

        for batch in reader.progress(batches):
            train_step(batch)

    The bar shows images per second and the share of time that the loop waits for data,
    both averaged over the last ten seconds. Near 0 % waiting, reading keeps up with
    training. Near 100 %, the accelerator is idle. If an object store is slower than
    training, the bar also shows the share of time that the loop waits for the store.
    With `cache_bytes`, it shows the share of bytes that came from the cache.

    Args:
        batches: Batches from `reader.load`, `as_numpy`, `as_jax` or `as_torch`.
        **options: Arguments of `tqdm`, such as `desc`, `disable` and `file`.

    Returns:
        An iterable of the same batches, with the attributes `images_per_second`,
        `waiting`, `waiting_for_store` and `from_cache`.
    """
    return Progress(batches, **options)


def num_examples(batch: Any) -> int:
    """Returns the number of examples of a batch: the length of its first tensor."""
    while isinstance(batch, (dict, tuple, list)) and batch:
        first = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
        if isinstance(first, (bytes, str)):
            break  # A list of strings, one per example.
        batch = first
    replicas = getattr(batch, "values", None)
    if isinstance(replicas, tuple):  # A batch of tf.distribute.
        return sum(map(num_examples, replicas))
    return len(batch) if hasattr(batch, "__len__") else 0


def _length(batches: Iterable[Any]) -> int | None:
    """Returns the number of batches of the next iterator; None if it is unknown."""
    run: Any = batches
    while run is not None and not isinstance(run, Resumable):
        run = getattr(run, "_batches", None)  # Of the adapters of this room.
    if run is not None:
        return run.next_length
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:  # Endless batches have no length.
        return None

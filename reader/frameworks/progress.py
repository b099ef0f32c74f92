"""A progress bar that says how fast it goes, and who waits for whom."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tqdm import tqdm

# Over how long the rate is taken, so that it shows what is so now.
_SECONDS = 10.0


class _Mark(NamedTuple):
    """Where things stood at a batch."""

    time: float
    waited: float
    images: int


class Progress:
    """Batches with a progress bar.

    Attributes:
        images_per_second: Lately.
        waiting: Share of the time, lately, that was spent waiting for data: 0 to 1.
    """

    def __init__(self, batches: Iterable[Any], **options: Any) -> None:
        """Takes batches, and options of `tqdm`."""
        self._batches, self._options = batches, options
        self.images_per_second = self.waiting = 0.0

    def __len__(self) -> int:
        """Returns how many batches there are."""
        return len(self._batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        """Yields the batches."""
        options = {"unit": "batch", "total": _length(self._batches), **self._options}
        waited, images = 0.0, 0
        marks: deque[_Mark] = deque()
        with tqdm(**options) as bar:
            begin = time.perf_counter()
            for batch in self._batches:
                now = time.perf_counter()
                waited += now - begin
                images += num_examples(batch)
                self._note(marks, _Mark(now, waited, images))
                bar.set_postfix_str(str(self), refresh=False)
                yield batch
                bar.update()
                begin = time.perf_counter()

    def __str__(self) -> str:
        """Returns what the bar shows."""
        return f"{self.images_per_second:,.0f} images/s, waiting {self.waiting:.0%}"

    def _note(self, marks: deque[_Mark], mark: _Mark) -> None:
        marks.append(mark)
        while len(marks) > 2 and mark.time - marks[0].time > _SECONDS:
            marks.popleft()
        seconds = mark.time - marks[0].time
        if seconds > 0:
            self.images_per_second = (mark.images - marks[0].images) / seconds
            self.waiting = (mark.waited - marks[0].waited) / seconds


def progress(batches: Iterable[Any], **options: Any) -> Progress:
    """Returns the same batches, with a progress bar.

        for batch in reader.progress(batches):
            train_step(batch)

    It shows images per second and the share of the time that the loop waits for data,
    both over the last ten seconds. Near 0 % reading is fast enough; near 100 % the
    accelerator idles.

    Args:
        batches: What `reader.load`, `as_numpy`, `as_jax` or `as_torch` returned.
        **options: Of `tqdm`, such as `desc`, `disable` and `file`.
    """
    return Progress(batches, **options)


def num_examples(batch: Any) -> int:
    """Returns how many examples a batch holds: of the first part that has a length."""
    while isinstance(batch, (dict, tuple, list)) and batch:
        first = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
        if isinstance(first, (bytes, str)):
            break  # A list of texts, one of each example.
        batch = first
    replicas = getattr(batch, "values", None)
    if isinstance(replicas, tuple):  # As tf.distribute hands them out.
        return sum(map(num_examples, replicas))
    return len(batch) if hasattr(batch, "__len__") else 0


def _length(batches: Iterable[Any]) -> int | None:
    try:
        return len(batches)  # type: ignore[arg-type]
    except TypeError:  # They have no end.
        return None

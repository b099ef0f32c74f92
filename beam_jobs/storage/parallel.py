"""Maps a function over items on a thread pool, with ordered results."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, wait
from itertools import islice
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def map_in_order(
    function: Callable[[_In], _Out],
    items: Iterable[_In],
    pool: Executor,
    ahead: int,
    together: int = 1,
) -> Generator[_Out]:
    """Yields `function(item)` for each item, in order, with bounded prefetch.

    Unlike `Executor.map`, it consumes the items lazily. Closing the generator cancels
    calls that have not begun and waits for running ones.

    Args:
        function: Function to call on the pool.
        items: Arguments of the calls.
        pool: Executor that runs the calls.
        ahead: Largest number of items submitted whose results are not yet consumed.
        together: Number of items in each task. Submitting a task takes as long as
            processing a small image, so larger tasks save time.
    """
    begun: deque[Future[list[_Out]]] = deque()

    def do(some: list[_In]) -> list[_Out]:
        return [function(item) for item in some]

    try:
        rest = iter(items)
        while some := list(islice(rest, together)):
            begun.append(pool.submit(do, some))
            if len(begun) * together >= ahead:
                yield from begun.popleft().result()
        while begun:
            yield from begun.popleft().result()
    finally:
        running = [future for future in begun if not future.cancel()]
        wait(running)

"""Work on a pool of threads, with the results in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future, wait
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def map_in_order(
    function: Callable[[_In], _Out], items: Iterable[_In], pool: Executor, ahead: int
) -> Generator[_Out]:
    """Yields `function(item)` for each item, in order, up to `ahead` begun before.

    Unlike `Executor.map` it takes items as it goes. Closed early, it drops what has not
    begun and waits for what has.
    """
    begun: deque[Future[_Out]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(function, item))
            if len(begun) >= ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        running = [future for future in begun if not future.cancel()]
        wait(running)

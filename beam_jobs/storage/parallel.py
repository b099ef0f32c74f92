"""Work on a pool of threads, with the results in order."""

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
    """Yields `function(item)` for each item, in order, up to `ahead` begun before.

    Unlike `Executor.map` it takes items as it goes. Closed early, it drops what has not
    begun and waits for what has.

    Args:
        function: What to do.
        items: With what.
        pool: Where.
        ahead: How many items may be begun and not taken.
        together: Of these, how many one thread takes at a time: handing over takes as
            long as a small picture.
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

"""Threads: ordered results, bounded prefetch and bounded memory.

No test sleeps. Where the order of steps matters, `threading.Event` enforces it.
"""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE_SECONDS

from beam_jobs.encoding.example import Budget
from beam_jobs.storage.parallel import map_in_order

# Long enough for any machine. Only a failing test waits this long.


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@settings(max_examples=50)
@given(st.integers(0, 40), st.integers(1, 10), st.integers(1, 5), st.integers(1, 7))
def test_results_come_in_order_and_none_is_lost(num, ahead, threads, together):
    with ThreadPoolExecutor(threads) as executor:
        squares = map_in_order(lambda n: n * n, range(num), executor, ahead, together)
        assert list(squares) == [n * n for n in range(num)]


@pytest.mark.parametrize("seed", range(10))
def test_results_come_in_order_in_whatever_order_tasks_end(pool, seed):
    # Four tasks run at a time, and end in a random order.
    rng = random.Random(seed)
    fours = [rng.sample(range(first, first + 4), 4) for first in range(0, 40, 4)]
    follows = dict(pair for four in fours for pair in pairwise(four))
    may_end = [threading.Event() for _ in range(40)]
    for four in fours:
        may_end[four[0]].set()
    ended: list[int] = []

    def work(task: int) -> int:
        assert may_end[task].wait(PATIENCE_SECONDS)
        ended.append(task)
        if task in follows:
            may_end[follows[task]].set()
        return task

    assert list(map_in_order(work, range(40), pool, 4)) == list(range(40))
    assert sorted(ended) == list(range(40))
    assert ended != sorted(ended)


@pytest.mark.parametrize("ahead", [1, 2, 3, 8])
def test_no_more_than_ahead_are_begun_and_not_taken(pool, ahead):
    begun = 0
    lock = threading.Lock()

    def work(item: int) -> int:
        nonlocal begun
        with lock:
            begun += 1
        return item

    for taken, item in enumerate(map_in_order(work, range(50), pool, ahead), start=1):
        assert item == taken - 1
        # One result was consumed; the others are ready or running.
        assert begun <= taken - 1 + ahead


def test_as_many_as_ahead_do_run_at_the_same_time(pool):
    # Each task waits for three others, so the tasks end only if four run together.
    together = threading.Barrier(4, timeout=PATIENCE_SECONDS)
    results = map_in_order(lambda item: together.wait() * 0 + item, range(8), pool, 4)
    assert list(results) == list(range(8))


def test_items_are_taken_as_it_goes(pool):
    taken: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            taken.append(len(taken))
            yield taken[-1]

    results = map_in_order(lambda item: item, endless(), pool, 3)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(taken) == 7
    results.close()
    assert len(taken) == 7


def test_nothing_is_begun_before_the_first_is_asked_for(pool):
    begun: list[int] = []
    map_in_order(begun.append, range(5), pool, 2)
    assert begun == []


def test_an_exception_comes_at_its_place(pool):
    def work(item: int) -> int:
        if item == 3:
            raise KeyError("three")
        return item

    results = map_in_order(work, range(10), pool, 4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_an_exception_of_the_items_comes_through(pool):
    def items() -> Iterator[int]:
        yield 0
        raise OSError("the list is gone")

    with pytest.raises(OSError, match="the list is gone"):
        list(map_in_order(lambda item: item, items(), pool, 4))


def test_after_an_exception_the_pool_is_free_again(pool):
    def work(item: int) -> int:
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        list(map_in_order(work, range(10), pool, 8))
    assert list(map_in_order(str, range(10), pool, 8)) == [str(n) for n in range(10)]


def test_closing_waits_for_what_has_begun(pool):
    running, go_on = threading.Event(), threading.Event()
    ended: list[int] = []

    def work(item: int) -> int:
        if item:
            running.set()
            assert go_on.wait(PATIENCE_SECONDS)
        ended.append(item)
        return item

    results = map_in_order(work, range(2), pool, 2)
    assert next(results) == 0
    assert running.wait(PATIENCE_SECONDS)
    closer = threading.Thread(target=results.close)
    closer.start()
    assert ended == [0]
    go_on.set()
    closer.join(PATIENCE_SECONDS)
    assert ended == [0, 1]


def begun_after_closing() -> list[int]:
    """Returns the items begun by one thread, closed at item 1 while 2 and 3 wait."""
    running, go_on = threading.Event(), threading.Event()
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 1:
            running.set()
            assert go_on.wait(PATIENCE_SECONDS)
        return item

    with ThreadPoolExecutor(1) as executor:
        results = map_in_order(work, range(100), executor, 4)
        assert next(results) == 0
        assert running.wait(PATIENCE_SECONDS)
        closer = threading.Thread(target=results.close)
        closer.start()
        # Makes it likely that closing already waits for item 1.
        closer.join(0.02)
        go_on.set()
        closer.join(PATIENCE_SECONDS)
    return begun


def test_closing_drops_what_has_not_begun():
    for _ in range(5):
        assert begun_after_closing() == [0, 1]


# Budget.


def test_what_is_held_never_exceeds_the_bound():
    budget, lock = Budget(100), threading.Lock()
    held = most = 0

    def work(size: int) -> None:
        nonlocal held, most
        with budget.hold(size):
            with lock:
                held += size
                most = max(most, held)
            with lock:
                held -= size

    rng = random.Random(0)
    sizes = [rng.randint(1, 100) for _ in range(2000)]
    with ThreadPoolExecutor(8) as executor:
        list(executor.map(work, sizes))
    assert held == 0
    assert most <= 100


def hold_in_thread(
    budget: Budget, size: int
) -> tuple[threading.Event, threading.Event]:
    """Returns an event set once `size` is held, and an event that releases it."""
    holds, let_go = threading.Event(), threading.Event()

    def work() -> None:
        with budget.hold(size):
            holds.set()
            assert let_go.wait(PATIENCE_SECONDS)

    threading.Thread(target=work, daemon=True).start()
    return holds, let_go


def test_what_fits_is_held_at_the_same_time():
    budget = Budget(100)
    events = [hold_in_thread(budget, size) for size in (50, 30, 20)]
    for holds, _ in events:
        assert holds.wait(PATIENCE_SECONDS)
    for _, let_go in events:
        let_go.set()


def test_what_does_not_fit_waits_until_enough_is_free():
    budget = Budget(100)
    first, let_first_go = hold_in_thread(budget, 60)
    assert first.wait(PATIENCE_SECONDS)
    second, let_second_go = hold_in_thread(budget, 60)
    assert not second.wait(0.02)
    let_first_go.set()
    assert second.wait(PATIENCE_SECONDS)
    let_second_go.set()


def test_more_than_the_bound_is_let_through_alone():
    budget = Budget(100)
    small, let_small_go = hold_in_thread(budget, 1)
    assert small.wait(PATIENCE_SECONDS)
    large, let_large_go = hold_in_thread(budget, 5000)
    assert not large.wait(0.02)
    let_small_go.set()
    assert large.wait(PATIENCE_SECONDS)
    other, let_other_go = hold_in_thread(budget, 1)
    assert not other.wait(0.02)
    let_large_go.set()
    assert other.wait(PATIENCE_SECONDS)
    let_other_go.set()


def test_an_exception_gives_back_what_was_held():
    budget = Budget(10)
    for _ in range(3):
        with pytest.raises(ValueError, match="bad image"), budget.hold(10):
            raise ValueError("bad image")
    holds, let_go = hold_in_thread(budget, 10)
    assert holds.wait(PATIENCE_SECONDS)
    let_go.set()

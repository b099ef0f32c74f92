"""Threads that wait for object stores do not hold up iterators that are in use."""

import threading
from dataclasses import dataclass, field

from patience import PATIENCE_SECONDS

from reader.remote_records.threads import Threads

# More than there are threads, and more bytes than may be requested at a time.
NUM, EACH, AT_ONCE = 100, 1 << 20, 64


@dataclass
class Request:
    """A request to a store that does not answer before `answered`."""

    answered: threading.Event
    num_bytes: int = EACH
    is_wanted: bool = True
    begun: threading.Event = field(default_factory=threading.Event)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        self.begun.set()
        self.answered.wait()
        self.done.set()


def test_requests_that_nobody_wants_take_no_room_from_others():
    threads, never, at_once = Threads(), threading.Event(), threading.Event()
    at_once.set()
    stalled = [Request(never) for _ in range(NUM)]
    others = [Request(at_once) for _ in range(NUM)]
    threads.run(stalled)
    assert stalled[AT_ONCE - 1].begun.wait(PATIENCE_SECONDS)
    threads.run(others)
    assert not any(each.begun.is_set() for each in others)
    for each in stalled:
        each.is_wanted = False
    threads.run()
    assert all(each.done.wait(PATIENCE_SECONDS) for each in others)
    assert not any(each.done.is_set() for each in stalled)
    never.set()
    begun = [each for each in stalled if each.begun.is_set()]
    assert len(begun) == AT_ONCE
    assert all(each.done.wait(PATIENCE_SECONDS) for each in begun)

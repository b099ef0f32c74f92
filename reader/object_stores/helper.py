"""The program of a process that makes the requests of a forked one: see `helped`.

It ends when the other process does, since no other process has the other end of the
connection.
"""

import itertools
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any

from reader.object_stores import counts
from reader.object_stores.client import Client
from reader.object_stores.protocol import Listed
from reader.object_stores.request_threads import submit
from reader.object_stores.vendors.vendors import connector

_NAMES_IN_A_MESSAGE = 1000


def main(descriptor: int) -> None:
    """Answers requests until the connection is closed."""
    connection = Connection(descriptor)
    scheme, options = connection.recv()
    answers = _Answers(connection)
    requests: _Requests | None = None
    while True:
        number, method, args = connection.recv()
        try:
            requests = requests or _Requests(Client(connector(scheme, options)))
        except Exception as error:
            answers.send(number, error=error)
        else:
            submit(_answer, answers, requests, number, method, args)


class _Answers:
    """Sends answers, from any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._counted = counts.snapshot()

    def send(
        self, number: int, result: Any = None, error: Exception | None = None
    ) -> None:
        with self._lock:
            now = counts.snapshot()
            made, self._counted = now.since(self._counted), now
            self._connection.send((number, result, error, made))


class _Requests:
    """What may be asked, besides methods of the client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._scans: dict[int, Iterator[Listed]] = {}
        self._numbers = itertools.count()

    def result(self, method: str, *args: Any) -> Any:
        owner = self if hasattr(self, method) else self._client
        return getattr(owner, method)(*args)

    def begin_scan(
        self, folder: str, deep: bool, after: str, ended: Sequence[int]
    ) -> int:
        for number in ended:
            del self._scans[number]
        number = next(self._numbers)
        self._scans[number] = self._client.scan(folder, deep=deep, after=after)
        return number

    def next_page(self, number: int) -> list[Listed]:
        return list(islice(self._scans[number], _NAMES_IN_A_MESSAGE))

    def put(self, path: str, name: str) -> None:
        with open(name, "rb") as file:
            self._client.put(path, file)

    def read_ranges(
        self, path: str, begins: Sequence[int], ends: Sequence[int]
    ) -> list[bytes]:
        return list(map(bytes, self._client.read_ranges(path, begins, ends)))


def _answer(
    answers: _Answers, requests: _Requests, number: int, method: str, args: Any
) -> None:
    try:
        answers.send(number, requests.result(method, *args))
    except Exception as error:
        answers.send(number, error=error)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except (EOFError, ConnectionError):  # The other process has ended.
        os._exit(0)

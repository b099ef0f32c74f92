"""The program of a process that makes the requests of a forked one: see `helped`.

It ends when the other process does, since no one else has the other end of the
connection.
"""

import os
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from multiprocessing.connection import Connection
from typing import Any

from reader.object_stores import counts
from reader.object_stores.client import Client
from reader.object_stores.request_threads import submit
from reader.object_stores.vendors.vendors import connector

_NAMES_IN_A_MESSAGE = 1000


def main(descriptor: int) -> None:
    """Answers requests until the connection is closed."""
    connection = Connection(descriptor)
    scheme, options = connection.recv()
    answers = _Answers(connection)
    client: Client | None = None
    while True:
        number, method, args = connection.recv()
        try:
            client = client or Client(connector(scheme, options))
        except Exception as error:
            answers.send(number, error=error)
        else:
            submit(_answer, answers, client, number, method, args)


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


def _answer(
    answers: _Answers, client: Client, number: int, method: str, args: Any
) -> None:
    try:
        for result in _results(client, method, *args):
            answers.send(number, result)
    except Exception as error:
        answers.send(number, error=error)


def _results(client: Client, method: str, *args: Any) -> Iterator[Any]:
    if method == "scan":
        folder, deep, after = args
        found = client.scan(folder, deep=deep, after=after)
        while page := list(islice(found, _NAMES_IN_A_MESSAGE)):
            yield page
        yield None
    elif method == "put":
        path, name = args
        with open(name, "rb") as file:
            client.put(path, file)
        yield None
    elif method == "read_ranges":
        yield list(map(bytes, client.read_ranges(*args)))
    else:
        yield getattr(client, method)(*args)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except (EOFError, ConnectionError):  # The other process has ended.
        os._exit(0)

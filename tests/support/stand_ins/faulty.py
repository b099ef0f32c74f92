"""A proxy in front of a store on loopback that counts, delays and injects faults.

with faulty(s3_store) as proxy:
    proxy.latency = 0.02
    proxy.fail("reset", every=3)
    …                      # a client with proxy.environment or proxy.flags
    assert proxy.counts().bytes < 10**6
"""

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import pytest

from stand_ins.server import Server

_NOT_PASSED_ON = {
    *("connection", "keep-alive", "transfer-encoding", "expect", "content-length"),
}
_RANGES = ("x-ms-range", "range")  # Azure's clients have one of their own.
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\S+)")
_PIECE = 1 << 16

# Statuses, with the codes by which S3 and the others name them.
_STATUSES = {
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "429": (429, "TooManyRequests"),
    "403": (403, "AccessDenied"),
}
FAULTS = (
    *_STATUSES,
    "reset",  # The connection is reset, and the request is not carried out.
    "lost",  # The request is carried out, and then the connection is reset.
    "cut",  # The connection is reset in the middle of the body.
    "short",  # The body ends in the middle, and the connection with it.
    "slow",  # The body trickles, `slow_rate` bytes a second.
    "stalled",  # Half of the body comes, and then nothing for `stall` seconds.
    "shifted",  # The answer is another range than the one that was asked for.
    "whole",  # The answer claims to be the whole object instead of a range.
    "damaged",  # A byte in the middle of the body is another.
)
"""What can happen to a request."""

_Note = Callable[[int, int], None]


class Store(Protocol):
    """What the proxy needs to know of a store that it stands before."""

    endpoint: str
    roots: tuple[str, ...]

    def environment_at(self, endpoint: str) -> dict[str, str]: ...

    def flags_at(self, endpoint: str) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class Seen:
    """A request and its answer.

    Attributes:
        method: Of HTTP.
        path: Path and query, as they came.
        name: Name of the object in the bucket. Empty for lists.
        range: Offsets of the first byte and after the last one, or None.
        status: Status of the answer, or 0 if there was none.
        sent: Bytes of the answer's body that the client was sent.
        received: Bytes of the request's body.
        fault: What was injected, or None.
        begun: Time of the request, by `time.monotonic`.
    """

    method: str
    path: str
    name: str
    range: tuple[int, int] | None
    status: int
    sent: int
    received: int
    fault: str | None
    begun: float

    @property
    def lists(self) -> bool:
        """Tells whether names were asked for."""
        return self.method == "GET" and not self.name


@dataclass
class Counts:
    """A number of requests, and bytes of the bodies of their answers."""

    requests: int = 0
    bytes: int = 0

    def add(self, seen: Seen) -> None:
        """Counts a request."""
        self.requests += 1
        self.bytes += seen.sent


@dataclass
class _Rule:
    """A fault, and the requests that it is for."""

    how: str
    matches: Callable[[str], Any]
    every: int
    at: Collection[int]
    times: int | None
    met: int = field(default=0)

    def applies(self, request: str) -> bool:
        """Tells whether the fault is for a request, `GET /bucket/name range`."""
        if self.times == 0 or not self.matches(request):
            return False
        self.met += 1
        hit = self.met in self.at if self.at else self.met % self.every == 0
        if hit and self.times is not None:
            self.times -= 1
        return hit


class FaultyStore:
    """A store as it is reached through the proxy.

    What is not here is the store's own, and passes the proxy by: `put`, `upload`,
    `names`, `download`, `delete`.

    Attributes:
        upstream: The store's own address.
        endpoint: The proxy's address.
        latency: Seconds before each answer.
        rate: Bytes a second of each body, or None for no limit.
        slow_rate: The same for the bodies that are "slow".
        stall: Seconds for which a "stalled" answer stands still.
        retry_after: Value of the header that comes with 429 and 503, or None.
        environment: Variables with which a process reads and writes through the proxy.
        flags: Of the command line, with which it does.
    """

    def __init__(self, store: Store) -> None:
        """Takes the store."""
        self._store, self.upstream = store, store.endpoint
        self.latency = 0.0
        self.rate: float | None = None
        self.slow_rate = 2000.0
        self.stall = 5.0
        self.retry_after: str | None = "0"
        self.endpoint = ""
        self.environment: dict[str, str] = {}
        self.flags: tuple[str, ...] = ()
        self._rules: list[_Rule] = []
        self._seen: list[Seen] = []
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        """Returns what is the store's own."""
        return getattr(self._store, name)

    def fail(
        self,
        how: str,
        *,
        every: int = 1,
        at: Collection[int] = (),
        times: int | None = None,
        match: str = "",
    ) -> None:
        """Injects a fault from now on, beside those that were asked for before.

        Args:
            how: One of `FAULTS`.
            every: Every how many matching requests: the third, the sixth and so on.
            at: Numbers of matching requests, from 1, instead of `every`.
            times: Largest number of faults.
            match: Regular expression, searched for in `GET /bucket/name?query`.
        """
        assert how in FAULTS, how
        rule = _Rule(how, re.compile(match).search, every, at, times)
        with self._lock:
            self._rules.append(rule)

    def heal(self) -> None:
        """Injects no more faults."""
        with self._lock:
            self._rules.clear()

    def reset(self) -> None:
        """Forgets the requests."""
        with self._lock:
            self._seen.clear()

    def requests(self, match: str = "") -> list[Seen]:
        """Returns the requests that were answered, in order.

        Args:
            match: Regular expression, searched for in `GET /bucket/name?query`.
        """
        with self._lock:
            seen = list(self._seen)
        return [one for one in seen if re.search(match, f"{one.method} {one.path}")]

    def counts(self, match: str = "") -> Counts:
        """Counts requests and bytes; `match` as in `requests`."""
        counts = Counts()
        for seen in self.requests(match):
            counts.add(seen)
        return counts

    def by_object(self, match: str = "") -> dict[str, Counts]:
        """Counts by the name of the object; `match` as in `requests`."""
        found: dict[str, Counts] = {}
        for seen in self.requests(match):
            found.setdefault(seen.name, Counts()).add(seen)
        return found

    def faults(self) -> int:
        """Returns the number of faults that were injected."""
        return sum(seen.fault is not None for seen in self.requests())

    def fault_of(self, method: str, path: str) -> str | None:
        """Returns the fault that a request is to meet. For the server."""
        request = f"{method} {path}"
        with self._lock:
            # Each rule counts its requests, whichever other one applies.
            hits = [rule.how for rule in self._rules if rule.applies(request)]
        return hits[0] if hits else None

    def note(self, seen: Seen) -> None:
        """Notes a request. For the server."""
        with self._lock:
            self._seen.append(seen)

    def name_in(self, path: str) -> str:
        """Returns the name of the object that a path is of."""
        path = urlsplit(path).path
        for root in self._store.roots:
            if path.startswith(root):
                return unquote(path.removeprefix(root))
        return ""


class _Handler(BaseHTTPRequestHandler):
    """A connection of a client, with one to the store."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(self, proxy: FaultyStore, *args: Any) -> None:
        self._proxy = proxy
        self._upstream: HTTPConnection | None = None
        super().__init__(*args)

    def do_GET(self) -> None:
        begun, body = time.monotonic(), self._body()
        fault = self._proxy.fault_of(self.command, self.path)
        time.sleep(self._proxy.latency)

        def note(status: int, sent: int) -> None:
            """Notes the request before the client can know of the answer."""
            seen = Seen(
                self.command,
                self.path,
                self._proxy.name_in(self.path),
                self._range(),
                status,
                sent,
                len(body),
                fault,
                begun,
            )
            self._proxy.note(seen)

        self._answer(fault, body, note)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = do_GET

    def finish(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
        super().finish()

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        pieces = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def _range(self) -> tuple[int, int] | None:
        asked = [self.headers[name] for name in _RANGES if name in self.headers]
        match = _RANGE.fullmatch("".join(asked))
        return (int(match[1]), int(match[2]) + 1) if match else None

    def _answer(self, fault: str | None, body: bytes, note: _Note) -> None:
        if fault in _STATUSES:
            status, headers, data = self._refusal(*_STATUSES[fault])
        elif fault == "reset":
            note(0, 0)
            self._hang_up()
            return
        else:
            status, headers, data = self._forward(body)
        if fault == "lost":
            note(0, 0)
            self._hang_up()
            return
        if data and fault in ("damaged", "shifted"):
            middle = len(data) // 2
            changed = bytes([data[middle] ^ 1])
            data = data[:middle] + changed + data[middle + 1 :]
        if fault == "shifted" and (
            match := _CONTENT_RANGE.match(headers.get("Content-Range", ""))
        ):
            begin, end = int(match[1]) + 1, int(match[2]) + 1
            headers.replace_header("Content-Range", f"bytes {begin}-{end}/{match[3]}")
        if fault == "whole" and status == 206:
            status = 200
            del headers["Content-Range"]
        self._send_all(fault, status, headers, data, note)

    def _send_all(
        self,
        fault: str | None,
        status: int,
        headers: Message,
        data: bytes,
        note: _Note,
    ) -> None:
        half = len(data) // 2
        cut = fault in ("cut", "short")
        empty = self.command == "HEAD"
        note(status, 0 if empty else half if cut else len(data))
        self._head(status, headers, len(data))
        if fault == "stalled":
            self._send(data[:half], None)
            time.sleep(self._proxy.stall)
            self._send(data[half:], None)
        else:
            rate = self._proxy.slow_rate if fault == "slow" else self._proxy.rate
            self._send(data[:half] if cut else data, rate)
        self.close_connection = self.close_connection or cut
        if fault == "cut":
            self._hang_up()

    def _refusal(self, status: int, code: str) -> tuple[int, Message, bytes]:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code></Error>".encode()
        headers = Message()
        headers["Content-Type"] = "application/xml"
        headers["x-ms-error-code"] = code
        if status in (429, 503) and self._proxy.retry_after is not None:
            headers["Retry-After"] = self._proxy.retry_after
        return status, headers, text

    def _hang_up(self) -> None:
        """Resets the connection instead of closing it."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True

    def _forward(self, body: bytes) -> tuple[int, Message, bytes]:
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in _NOT_PASSED_ON
        }
        if body or self.command in ("PUT", "POST"):
            headers["Content-Length"] = str(len(body))
        try:
            return self._ask(body, headers)
        except (HTTPException, OSError):
            # The store closes connections that have been idle for a while.
            self._upstream = None
            return self._ask(body, headers)

    def _ask(self, body: bytes, headers: dict[str, str]) -> tuple[int, Message, bytes]:
        if self._upstream is None:
            address = urlsplit(self._proxy.upstream)
            self._upstream = HTTPConnection(str(address.hostname), address.port)
        self._upstream.putrequest(
            self.command, self.path, skip_host=True, skip_accept_encoding=True
        )
        for name, value in headers.items():
            self._upstream.putheader(name, value)
        self._upstream.endheaders(body or None)
        answer = self._upstream.getresponse()
        data = answer.read()
        return answer.status, answer.headers, data

    def _head(self, status: int, headers: Message, length: int) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in _NOT_PASSED_ON:
                self.send_header(name, value)
        if self.command == "HEAD":
            self.send_header("Content-Length", headers.get("Content-Length", "0"))
        elif status not in (204, 304):
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, data: bytes, rate: float | None) -> None:
        if self.command == "HEAD":
            return
        if rate is None:
            self.wfile.write(data)
            return
        piece = max(1, min(_PIECE, int(rate / 20)))
        for begin in range(0, len(data), piece):
            self.wfile.write(data[begin : begin + piece])
            time.sleep(piece / rate)

    def handle(self) -> None:
        # The client, or a fault, may have closed the connection.
        with suppress(OSError, ValueError):
            super().handle()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def faulty(
    store: Store, patch: pytest.MonkeyPatch | None = None
) -> Iterator[FaultyStore]:
    """Starts a proxy in front of a store, and ends it.

    Args:
        store: The store.
        patch: What gives this process its environment, so that it uses the proxy.
    """
    proxy = FaultyStore(store)
    with Server(partial(_Handler, proxy)) as server:
        proxy.endpoint = server.url
        proxy.environment = store.environment_at(server.url)
        proxy.flags = store.flags_at(server.url)
        if patch is not None:
            for name, value in proxy.environment.items():
                patch.setenv(name, value)
        yield proxy

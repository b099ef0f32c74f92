"""Google Cloud Storage: a bucket in memory, by its JSON API and its XML API.

By JSON, gcp-storage-emulator answers, but for what it gets wrong: names, conditions,
ranges beyond the end, lists in pages, and several requests at once.
"""

import json
import logging
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from gcp_storage_emulator.handlers.buckets import create_bucket
from gcp_storage_emulator.handlers.objects import _checksums, _make_object_resource
from gcp_storage_emulator.server import RequestHandler

from stand_ins.gcs_objects import Answer, Objects
from stand_ins.gcs_xml import Asked, XmlApi, is_xml
from stand_ins.server import Server

_BUCKET = "bucket"
_OBJECTS = re.compile(r"/storage/v1/b/(?P<bucket>[^/]+)/o")
_OBJECT = re.compile(r"(?:/download)?/storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)")
_RANGE = re.compile(r"bytes=(?P<first>\d+)-\d*")
# What a list may be asked for. Another parameter would be ignored, without a word.
_LISTS_BY = {
    *("prefix", "delimiter", "matchGlob", "startOffset", "maxResults", "pageToken"),
    *("fields", "projection", "prettyPrint", "alt"),
}


class Request(NamedTuple):
    """A request that was answered."""

    method: str
    path: str
    status: int


class BucketStore:
    """`gs://bucket`, for Google's clients and Beam, in this process and in others.

    Attributes:
        endpoint: The server's address.
        roots: What precedes an object's name in a request.
        environment: Variables with which a process reads and writes here.
        flags: Of the command line, with which it reads and writes here: none.
    """

    endpoint: str
    roots = (
        f"/{_BUCKET}/",
        f"/storage/v1/b/{_BUCKET}/o/",
        f"/download/storage/v1/b/{_BUCKET}/o/",
    )
    environment: dict[str, str]
    flags: tuple[str, ...] = ()

    def __init__(self) -> None:
        """Makes an empty bucket, which keeps nothing that is deleted."""
        self.objects = Objects(use_memory_fs=True)
        create_bucket(_BUCKET, self.objects)
        no_soft_delete = {"retentionDurationSeconds": "0"}
        self.objects.buckets[_BUCKET]["softDeletePolicy"] = no_soft_delete
        # It calls an error what is an answer: that there is no such object.
        logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
        self.lock = threading.Lock()
        self.xml = XmlApi(self.objects)
        self._requests: list[Request] = []

    def environment_at(self, endpoint: str) -> dict[str, str]:
        """Returns the variables for a server at another address."""
        return {"STORAGE_EMULATOR_HOST": endpoint}

    def flags_at(self, endpoint: str) -> tuple[str, ...]:
        """Returns the flags for a server at another address."""
        return ()

    def put(self, name: str, content: bytes) -> str:
        """Stores an object; returns its address."""
        resource = partial(_make_object_resource, "", _BUCKET, name)
        about = _checksums(content, resource("text/plain", str(len(content))))
        with self.lock:
            self.objects.must_match = None
            self.objects.create_file(_BUCKET, name, content, about)
        return f"gs://{_BUCKET}/{name}"

    def get(self, address: str) -> bytes:
        """Returns an object's content, by its address."""
        with self.lock:
            content: bytes = self.objects.get_file(_BUCKET, _name_of(address))
            return content

    def delete(self, address: str) -> None:
        """Deletes an object."""
        with self.lock:
            self.objects.delete_file(_BUCKET, _name_of(address))

    def upload(self, folder: Path, prefix: str) -> str:
        """Uploads all files below a folder; returns `gs://bucket/prefix`."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            self.put(f"{prefix}/{name}", path.read_bytes())
        return f"gs://{_BUCKET}/{prefix}"

    def names(self, folder: str) -> list[str]:
        """Returns the relative names of all objects below an address."""
        prefix = _name_of(folder).rstrip("/") + "/"
        with self.lock:
            names = sorted(self.objects.objects.get(_BUCKET, {}))
        return [name.removeprefix(prefix) for name in names if name.startswith(prefix)]

    def download(self, folder: str) -> dict[str, bytes]:
        """Returns the content of all objects below an address, by relative name."""
        folder = folder.rstrip("/")
        return {name: self.get(f"{folder}/{name}") for name in self.names(folder)}

    def requests(self) -> list[Request]:
        """Returns what was asked, in order."""
        return list(self._requests)

    def reset(self) -> None:
        """Forgets what was asked."""
        self._requests.clear()

    def add(self, request: Request) -> None:
        """Notes a request; for the server, from any of its threads."""
        self._requests.append(request)


def _name_of(address: str) -> str:
    return address.removeprefix(f"gs://{_BUCKET}/")


class _BucketHandler(RequestHandler):
    """A connection. The emulator answers, but for what it gets wrong."""

    protocol_version = "HTTP/1.1"  # Connections are kept.
    disable_nagle_algorithm = True  # Header and body are two writes: 40 ms otherwise.

    def __init__(self, store: BucketStore, *args: Any) -> None:
        self._store, self._status = store, 0
        super().__init__(store.objects, *args)

    def send_response(self, code: int, message: str | None = None) -> None:
        self._status = code
        super().send_response(code, message)

    def do_GET(self) -> None:
        self._do(super().do_GET)

    def do_POST(self) -> None:
        self._do(super().do_POST)

    def do_PUT(self) -> None:
        self._do(super().do_PUT)

    def do_PATCH(self) -> None:
        self._do(super().do_PATCH)

    def do_DELETE(self) -> None:
        self._do(super().do_DELETE)

    def do_HEAD(self) -> None:
        self._do(partial(self.send_error, 501))  # The JSON API has none.

    def _do(self, emulate: Callable[[], None]) -> None:
        """Answers one request, alone, and from memory to memory.

        A body that the emulator leaves unread would be taken for the next request, and
        a client that is slow to read would hold the others up.
        """
        connection = self.rfile, self.wfile
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.rfile, self.wfile = BytesIO(body), BytesIO()
        try:
            with self._store.lock:
                if is_xml(self.path):
                    self._answer_xml(body)
                else:
                    self._answer(emulate)
            answer = self.wfile.getvalue()
        finally:
            self.rfile, self.wfile = connection
        self._store.add(Request(self.command, self.path, self._status))
        self.wfile.write(answer)

    def _answer_xml(self, body: bytes) -> None:
        asked = Asked(self.command, self.path, self.headers, body)
        self.storage.must_match = None
        said = self._store.xml.answer(asked)
        self.send_response(said.status)
        length = {"Content-Length": str(len(said.body))}
        for name, value in (length | said.headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said.body)

    def _answer(self, emulate: Callable[[], None]) -> None:
        url = urlsplit(self.path)
        query = {key: value[0] for key, value in parse_qs(url.query).items()}
        self.storage.must_match = query.get("ifGenerationMatch")
        try:
            if self.command == "GET" and (match := _OBJECTS.fullmatch(url.path)):
                self._list(match["bucket"], query)
                return
            if match := _OBJECT.fullmatch(url.path):
                self._check(match["bucket"], unquote(match["name"]), query)
            emulate()
        except Answer as answer:
            self._say(answer.status, {"error": {"message": str(answer)}})
        except Exception as error:  # The client would try again, for two minutes.
            self._say(501, {"error": {"message": f"{type(error).__name__}: {error}"}})

    def _check(self, bucket: str, name: str, query: dict[str, str]) -> None:
        """Refuses what the emulator would answer with something else."""
        about = self.storage.objects.get(bucket, {}).get(name)
        if about is None or self.command not in ("GET", "DELETE"):
            return
        wanted = query.get("ifGenerationMatch", query.get("generation"))
        if wanted not in (None, about["generation"]):
            conditional = "ifGenerationMatch" in query
            raise Answer(412 if conditional else 404, "another generation")
        asked = _RANGE.fullmatch(self.headers.get("Range", ""))
        if asked and int(asked["first"]) >= int(about["size"]):
            raise Answer(416, "requestedRangeNotSatisfiable")

    def _list(self, bucket: str, query: dict[str, str]) -> None:
        """Answers a list, page by page; the emulator has one page for all."""
        if strange := set(query) - _LISTS_BY:
            raise Answer(501, f"the stand-in lists without {strange}")
        prefix, delimiter, glob = map(query.get, ("prefix", "delimiter", "matchGlob"))
        page = self.storage.page(
            bucket,
            (prefix, delimiter, glob),
            begin=query.get("startOffset", ""),
            after=query.get("pageToken", ""),
            size=int(query.get("maxResults", 1000)),
        )
        more = {} if page.last is None else {"nextPageToken": page.last}
        self._say(200, {"items": page.items, "prefixes": page.prefixes, **more})

    def _say(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve_gcs() -> Iterator[BucketStore]:
    """Yields `gs://bucket`, empty at first."""
    store = BucketStore()
    with Server(partial(_BucketHandler, store)) as server:
        store.endpoint = server.url
        store.environment = store.environment_at(server.url)
        yield store

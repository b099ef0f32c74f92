"""A stand-in for Google Cloud Storage, from which TensorFlow's own gs:// reads.

TensorFlow's addresses are compiled in, but its libcurl obeys `https_proxy`, and trusts
what `CURL_CA_BUNDLE` names. So one server on 127.0.0.1 is the proxy and the storage in
one: it answers CONNECT by speaking TLS itself, with a throw-away certificate, and hands
requests to gcp-storage-emulator's handlers, in memory. It counts what it sends.
"""

import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import trustme
from gcp_storage_emulator.handlers.buckets import create_bucket
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

_BUCKET = "bucket"
_METADATA_HOST, _CONTENT_HOST = "www.googleapis.com", "storage.googleapis.com"


class _Get(NamedTuple):
    """A GET that was answered: of an object's content, or of something about it."""

    host: str
    path: str
    num_bytes: int


class GcsStandIn:
    """Objects, by names without the bucket (`prefix/file`), and what was read of them.

    Attributes:
        environment: Variables with which a *subprocess* that imports TensorFlow reads
            from here: `env=os.environ | gcs.environment`. It fails at once where
            TensorFlow by itself tries ten times, for minutes.
    """

    environment: dict[str, str]

    def __init__(self) -> None:
        """Holds nothing, and has counted nothing."""
        self.storage = Storage(use_memory_fs=True)
        create_bucket(_BUCKET, self.storage)
        self._gets: list[_Get] = []

    def upload(self, folder: Path, prefix: str) -> str:
        """Uploads all files below a folder; returns `gs://bucket/prefix`."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = f"{prefix}/{path.relative_to(folder).as_posix()}"
            content = path.read_bytes()
            about = {
                "name": name,
                "bucket": _BUCKET,
                "size": str(len(content)),
                "generation": str(time.time_ns()),
                "updated": "2026-01-01T00:00:00.000000Z",
            }
            self.storage.create_file(_BUCKET, name, content, about)
        return f"gs://{_BUCKET}/{prefix}"

    def fetched(self) -> dict[str, int]:
        """Returns bytes of content that were sent of each object."""
        num_bytes: Counter[str] = Counter()
        for get in self._content():
            num_bytes[get.path.removeprefix(f"/{_BUCKET}/")] += get.num_bytes
        return dict(num_bytes)

    def requests(self) -> dict[str, int]:
        """Returns how often content of each object was asked for, found or not."""
        paths = (get.path.removeprefix(f"/{_BUCKET}/") for get in self._content())
        return dict(Counter(paths))

    def metadata(self) -> dict[str, int]:
        """Returns how many other requests were answered, by path: sizes, lists."""
        gets = list(self._gets)
        return dict(Counter(get.path for get in gets if get.host == _METADATA_HOST))

    def reset(self) -> None:
        """Counts from zero."""
        self._gets.clear()

    def add(self, host: str, path: str, num_bytes: int) -> None:
        """Counts a GET; for the server, from any of its threads."""
        self._gets.append(_Get(host, unquote(path), num_bytes))

    def _content(self) -> list[_Get]:
        return [get for get in list(self._gets) if get.host == _CONTENT_HOST]


class _Handler(RequestHandler):
    """A connection: CONNECT in the clear, then requests within TLS."""

    protocol_version = "HTTP/1.1"  # What follows CONNECT, on the same connection.
    disable_nagle_algorithm = True  # Header and body are two writes: 40 ms otherwise.

    def __init__(self, gcs: GcsStandIn, tls: ssl.SSLContext, *args: Any) -> None:
        self._gcs, self._tls = gcs, tls
        self._status, self._num_bytes = 0, 0
        super().__init__(gcs.storage, *args)

    def handle(self) -> None:
        with suppress(ConnectionError, ssl.SSLError):  # A reader may be killed.
            super().handle()

    def do_CONNECT(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.request = self._tls.wrap_socket(self.request, server_side=True)
        self.setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()  # The server knows only what was wrapped.

    def send_response(self, code: int, message: str | None = None) -> None:
        self._status = code
        super().send_response(code, message)

    def send_header(self, keyword: str, value: str) -> None:
        if keyword == "Content-Length":
            self._num_bytes = int(value)
        super().send_header(keyword, value)

    def end_headers(self) -> None:
        # Before the body: who has read it all finds it counted.
        if self.command == "GET":
            path = self.path.partition("?")[0]
            num_bytes = self._num_bytes if self._status < 300 else 0
            self._gcs.add(self.headers["Host"], path, num_bytes)
        super().end_headers()


@contextmanager
def serve(folder: Path) -> Iterator[GcsStandIn]:
    """Runs an empty storage; its certificate is written into a folder."""
    authority = trustme.CA()
    bundle = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(_METADATA_HOST, _CONTENT_HOST).configure_cert(tls)
    stand_in = GcsStandIn()
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(_Handler, stand_in, tls)
    ) as server:
        stand_in.environment = {
            "https_proxy": f"http://127.0.0.1:{server.server_port}",
            "no_proxy": "",
            "CURL_CA_BUNDLE": str(bundle),
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "fake",
            "NO_GCE_CHECK": "true",
            "GCS_RETRY_CONFIG_MAX_RETRIES": "0",
        }
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield stand_in
        server.shutdown()
        thread.join()

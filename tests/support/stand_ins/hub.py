"""The Hugging Face hub: the few routes that huggingface_hub calls, on loopback."""

import functools
import hashlib
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from stand_ins.server import Server

_PAGE = 50
_TOKEN = "hf_of_a_test"
_API = re.compile(
    r"/api/datasets/([^/]+/[^/]+)/(revision|tree|paths-info)/([^/]+)/?(.*)"
)
_REPO = re.compile(r"/api/datasets/([^/]+/[^/]+)")
_FILE = re.compile(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class Request(NamedTuple):
    """A request that was answered.

    Attributes:
        route: `revision`, `tree`, `paths-info`, `resolve` or `stored`.
        path: Path in the repository.
        span: The range that was asked for, or None.
        status: Status of the answer.
    """

    route: str
    path: str
    span: str | None
    status: int


class Hub:
    """Repositories of datasets: `repos[user/name][revision]` is `{path: bytes}`.

    Attributes:
        repos: Files by repository and branch.
        private: Repositories that need the token.
        requests: What was answered so far.
        failures: Statuses of the next answers to requests for files.
    """

    def __init__(self) -> None:
        """Begins without repositories."""
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.requests: list[Request] = []
        self.failures: list[int] = []
        self.url = ""

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a process has an account here."""
        return {"HF_ENDPOINT": self.url, "HF_TOKEN": _TOKEN}

    def upload(self, folder: Path, repo: str, branch: str = "main") -> str:
        """Puts the files below a folder; returns the address of the repository."""
        files = self.repos.setdefault(repo, {}).setdefault(branch, {})
        for path in folder.rglob("*"):
            if path.is_file():
                files[path.relative_to(folder).as_posix()] = path.read_bytes()
        return f"hf://datasets/{repo}"


def _commit_of(files: dict[str, bytes]) -> str:
    stated = [(path, _oid(data)) for path, data in sorted(files.items())]
    return hashlib.sha1(repr(stated).encode()).hexdigest()


@functools.cache  # Of large files, for each request.
def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def serve_hub() -> Iterator[Hub]:
    """Yields a hub while it is served."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    with Server(Handler) as server:
        hub.url = server.url
        yield hub


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._serve(b"")

    def do_HEAD(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        self._serve(self.rfile.read(int(self.headers["Content-Length"])))

    def _serve(self, body: bytes) -> None:
        url = urlsplit(self.path)
        if found := _API.fullmatch(url.path):
            repo, route, revision, path = found.groups()
            self._answer_api(repo, route, unquote(revision), unquote(path), body)
        elif found := _REPO.fullmatch(url.path):
            self._answer_api(found[1], "revision", "main", "", body)
        elif found := _FILE.fullmatch(url.path):
            repo, revision, path = found.groups()
            self._answer_file(repo, unquote(revision), unquote(path))
        elif url.path.startswith("/stored/"):
            self._answer_stored(unquote(url.path.removeprefix("/stored/")))
        else:
            self._send("unknown", self.path, 404, {})

    def _files(self, repo: str, revision: str) -> dict[str, bytes] | None:
        branches = self.hub.repos.get(repo)
        signed = self.headers.get("Authorization") == f"Bearer {_TOKEN}"
        if branches is None or (repo in self.hub.private and not signed):
            return None
        return next(
            (
                files
                for branch, files in branches.items()
                if revision in (branch, _commit_of(files))
            ),
            None,
        )

    def _answer_api(
        self, repo: str, route: str, revision: str, path: str, body: bytes
    ) -> None:
        files = self._files(repo, revision)
        if files is None:
            self._send(route, path, 401, {"X-Error-Code": "RepoNotFound"})
        elif route == "revision":
            info = {"id": repo, "sha": _commit_of(files), "private": False}
            self._send_json(route, path, {**info, "tags": [], "siblings": []})
        elif route == "paths-info":
            asked = parse_qs(body.decode())["paths"]
            entries = [_entry(one, files[one]) for one in asked if one in files]
            self._send_json(route, asked[0], entries)
        else:
            self._answer_tree(path, files)

    def _answer_tree(self, folder: str, files: dict[str, bytes]) -> None:
        query = parse_qs(urlsplit(self.path).query)
        begin = f"{folder}/" if folder else ""
        below = sorted(path for path in files if path.startswith(begin))
        if folder and not below:
            self._send("tree", folder, 404, {"X-Error-Code": "EntryNotFound"})
            return
        deep = query.get("recursive", ["false"])[0].lower() == "true"
        entries: dict[str, dict[str, Any]] = {}
        for path in below:
            inside = path.removeprefix(begin).split("/")
            for depth in range(1, len(inside) if deep else min(2, len(inside))):
                name = begin + "/".join(inside[:depth])
                entries[name] = {"type": "directory", "oid": "0" * 40, "size": 0}
                entries[name]["path"] = name
            if deep or len(inside) == 1:
                entries[path] = _entry(path, files[path])
        page = int(query.get("cursor", ["0"])[0])
        some = list(entries.values())[page : page + _PAGE]
        headers = {}
        if page + _PAGE < len(entries):
            url = self.path.partition("?")[0]
            recursive = str(deep).lower()
            following = (
                f"{self.hub.url}{url}?recursive={recursive}&cursor={page + _PAGE}"
            )
            headers["Link"] = f'<{following}>; rel="next"'
        self._send_json("tree", folder, some, headers)

    def _answer_file(self, repo: str, revision: str, path: str) -> None:
        files = self._files(repo, revision)
        if files is None or path not in files:
            self._send("resolve", path, 404, {"X-Error-Code": "EntryNotFound"})
        elif self.hub.failures:
            self._send("resolve", path, self.hub.failures.pop(0), {})
        else:
            # Large files are elsewhere, and need no token there.
            place = f"{self.hub.url}/stored/{repo}/{_commit_of(files)}/{path}"
            self._send("resolve", path, 302, {"Location": place})

    def _answer_stored(self, path: str) -> None:
        user, name, commit, inside = path.split("/", 3)
        branches = self.hub.repos[f"{user}/{name}"].values()
        files = next(files for files in branches if _commit_of(files) == commit)
        data = files[inside]
        begin, end = 0, len(data)
        if span := self.headers.get("Range"):
            first, last = span.removeprefix("bytes=").split("-")
            begin, end = int(first), min(end, int(last) + 1)
        headers = {"Content-Range": f"bytes {begin}-{end - 1}/{len(data)}"}
        self._send("stored", inside, 206 if span else 200, headers, data[begin:end])

    def _send_json(
        self, route: str, path: str, value: Any, headers: dict[str, str] | None = None
    ) -> None:
        kind = {"Content-Type": "application/json", **(headers or {})}
        self._send(route, path, 200, kind, json.dumps(value).encode())

    def _send(
        self,
        route: str,
        path: str,
        status: int,
        headers: dict[str, str],
        body: bytes = b"",
    ) -> None:
        span = self.headers.get("Range")
        self.hub.requests.append(Request(route, path, span, status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(path: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "oid": _oid(data), "size": len(data), "path": path}

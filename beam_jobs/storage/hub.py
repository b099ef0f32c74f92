"""`hf://`: repositories of the Hugging Face hub, as a read-only object store.

Addresses are those of huggingface_hub: `hf://datasets/USER/NAME[@REVISION]/PATH`. The
token, the endpoint and the timeouts are those of its environment, such as `HF_TOKEN`.
"""

import errno
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any, NamedTuple, NoReturn, TypeVar

from huggingface_hub import HfApi, HfFileSystem, RepoFile, constants, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # Documented there.
    build_hf_headers,
    hf_raise_for_status,
    http_backoff,
)

from reader.object_stores.failures import Failure, ShortAnswerError
from reader.object_stores.protocol import CHANGED, Listed, Status, version_of
from reader.object_stores.retries import Retries

_T = TypeVar("_T")

# The hub's limits last five minutes, and its answers say how long to wait.
_TOO_MANY = 429
_TRANSIENT = (408, 500, 502, 503, 504)
# What the HTTP library of huggingface_hub raises for connections that fail.
_HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]

_MISSING = "No such file on the hub"
_TOKEN = "set HF_TOKEN, or run hf auth login, if you have access"

_MOST_STATUSES = 100_000


class _Place(NamedTuple):
    """A file or folder of a repository.

    Attributes:
        repo: Arguments of the API that name the repository and the commit.
        path: Path in the repository.
    """

    repo: "_Repo"
    path: str


class _Repo(NamedTuple):
    repo_id: str
    repo_type: str
    revision: str


class HubStore:
    """An `ObjectStore` of the hub. Threads may share it, and forked processes too.

    A revision is that of the first request: a branch that moves later does not mix
    files of two commits.
    """

    def __init__(self) -> None:
        """Takes the endpoint from the environment; makes no request."""
        self._endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
        self._api = HfApi(self._endpoint)
        self._files = HfFileSystem(endpoint=self._endpoint)
        self._retries = Retries(_failure_of)
        self._pinned = functools.cache(self._at_commit)
        self._status = functools.lru_cache(_MOST_STATUSES)(self._status_of)

    def stat(self, path: str) -> Status:
        """Returns the size and version of a file, whose version is its git object."""
        return self._status(path)

    def read(
        self, path: str, offset: int = 0, size: int = -1, version: int | None = None
    ) -> bytes:
        """Returns a byte range of a file."""
        status = self.stat(path)
        if version not in (None, status.version):
            raise OSError(errno.ESTALE, CHANGED, path)
        end = status.size if size < 0 else min(offset + size, status.size)
        return self._range(path, offset, end) if offset < end else b""

    def read_ranges(
        self, path: str, begins: Sequence[int], ends: Sequence[int]
    ) -> list[memoryview]:
        """Returns byte ranges of a file, one after the other."""
        ranges = zip(begins, ends, strict=True)
        return [memoryview(self._range(path, begin, end)) for begin, end in ranges]

    def scan(self, folder: str, *, deep: bool, after: str = "") -> Iterator[Listed]:
        """Yields the files of a folder, at any depth; or its entries."""
        place = self._place(folder)
        begin = f"{place.path}/" if place.path else ""

        def listed() -> list[Listed]:
            found = self._api.list_repo_tree(
                path_in_repo=place.path, recursive=deep, **place.repo._asdict()
            )
            entries = ((one.path.removeprefix(begin), one) for one in found)
            return [
                Listed(name, _status_in(one) if isinstance(one, RepoFile) else None)
                for name, one in entries
                if name > after and (isinstance(one, RepoFile) or not deep)
            ]

        yield from self._ask(listed, folder)

    def put(self, path: str, file: IO[bytes]) -> None:
        """Raises an error: a job only reads from the hub."""
        self._refuse(path)

    def put_new(self, path: str, data: bytes) -> bool:
        """Raises an error: a job only reads from the hub."""
        self._refuse(path)

    def delete(self, path: str) -> None:
        """Raises an error: a job only reads from the hub."""
        self._refuse(path)

    def _refuse(self, path: str) -> NoReturn:
        raise OSError(errno.EROFS, "The hub is read, not written", path)

    def _status_of(self, path: str) -> Status:
        place = self._place(path)
        repo = place.repo._asdict()
        found = self._ask(
            lambda: self._api.get_paths_info(paths=place.path, **repo), path
        )
        if not found or not isinstance(found[0], RepoFile):
            raise FileNotFoundError(errno.ENOENT, _MISSING, path)
        return _status_in(found[0])

    def _range(self, path: str, begin: int, end: int) -> bytes:
        place = self._place(path)
        url = hf_hub_url(
            filename=place.path, endpoint=self._endpoint, **place.repo._asdict()
        )

        def get() -> bytes:
            answer = http_backoff(
                "GET",
                url,
                headers={**build_hf_headers(), "range": f"bytes={begin}-{end - 1}"},
                timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
                retry_on_exceptions=(),
                retry_on_status_codes=_TOO_MANY,
            )
            hf_raise_for_status(answer)
            data: bytes = answer.content
            if answer.status_code == 200:  # The whole file.
                data = data[begin:end]
            if len(data) != end - begin:
                short = f"{len(data)} of {end - begin} bytes were received"
                raise ShortAnswerError(short)
            return data

        return self._ask(get, path, len, f"bytes {begin} to {end}")

    def _place(self, path: str) -> _Place:
        found: Any = self._ask(lambda: self._files.resolve_path(path), path)
        named = _Repo(found.repo_id, found.repo_type, found.revision)
        return _Place(self._pinned(named), found.path_in_repo.strip("/"))

    def _at_commit(self, named: _Repo) -> _Repo:
        """Returns a repository at the commit that its revision names now."""
        info = self._ask(
            lambda: self._api.repo_info(**named._asdict()),
            f"hf://datasets/{named.repo_id}@{named.revision}",
        )
        return named._replace(revision=info.sha or named.revision)

    def _ask(
        self,
        request: Callable[[], _T],
        path: str,
        size: Callable[[_T], int] = lambda _: 0,
        part: str = "",
    ) -> _T:
        return self._retries.run(request, path, size, part)


def _status_in(file: RepoFile) -> Status:
    return Status(file.size, version_of(file.blob_id))


def _failure_of(error: Exception, address: str) -> Failure:
    """Returns what a failed request to the hub means."""
    if isinstance(error, ShortAnswerError):
        return Failure(OSError(errno.EIO, str(error), address), transient=True)
    if isinstance(error, EntryNotFoundError):
        return Failure(FileNotFoundError(errno.ENOENT, _MISSING, address))
    if isinstance(error, FileNotFoundError):  # There is no repository of that name.
        return Failure(PermissionError(errno.EACCES, str(error), address))
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403, 404):
            denied = f"{_brief(error)} ({_TOKEN})"
            return Failure(PermissionError(errno.EACCES, denied, address))
        failed = OSError(errno.EIO, _brief(error), address)
        return Failure(failed, transient=status in _TRANSIENT)
    if isinstance(error, _HTTP_ERROR):
        kind = type(error).__name__
        failed = OSError(errno.EIO, f"{kind}: {error}", address)
        return Failure(failed, transient=True, connected="Connect" not in kind)
    raise error


def _brief(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__

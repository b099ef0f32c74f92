"""`gs://`: Google Cloud Storage, through Google's client as configured by Beam."""

import contextlib
import errno
import os
import threading
from collections.abc import Iterator
from typing import IO, Any

import requests
from apache_beam.io.gcp.gcsio import create_storage_client
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from beam_jobs.storage.beam_internals import beam_options
from beam_jobs.storage.object_store import (
    CHANGED,
    Listed,
    Status,
    plain_name,
    split_path,
)

# The only fields requested in lists of objects.
_FIELDS = "items(name,size,generation),prefixes,nextPageToken"


# The default, two minutes, is too long to report a mistyped address or no network.
_RETRY = DEFAULT_RETRY.with_timeout(60)


class GcsStore:
    """Object store on Google Cloud Storage. The generation is an object's version."""

    def __init__(self) -> None:
        """Defers connecting to the first request of each thread."""
        self._of_thread = threading.local()

    def stat(self, path: str) -> Status:
        """Returns the size and generation of an object."""
        with _explained(path):
            blob = self._blob(path)
            blob.reload(retry=_RETRY)
            return Status(blob.size, blob.generation)

    def read(self, path: str, offset: int, size: int, version: int | None) -> bytes:
        """Reads a byte range in one request."""
        if size == 0:
            return b""
        with _explained(path):
            try:
                blob = self._blob(path)
                data: bytes = blob.download_as_bytes(
                    start=offset or None,
                    end=offset + size - 1 if size > 0 else None,
                    # The stored bytes, even if the object is marked as compressed.
                    raw_download=True,
                    if_generation_match=version,
                    retry=_RETRY,
                )
            except exceptions.RequestRangeNotSatisfiable:
                return b""
            if version is not None and blob.generation not in (None, version):
                raise OSError(errno.ESTALE, CHANGED, path)
            return data

    def scan(self, folder: str, *, deep: bool) -> Iterator[Listed]:
        """Lists objects by prefix, 1,000 names per request."""
        bucket, prefix = split_path(folder.rstrip("/") + "/")
        with _explained(folder):
            found = self._client().list_blobs(
                bucket,
                prefix=prefix,
                delimiter=None if deep else "/",
                fields=_FIELDS,
                retry=_RETRY,
            )
            for blob in found:
                name = blob.name.removeprefix(prefix)
                # Some tools create an empty object to represent a folder.
                if name and not name.endswith("/"):
                    status = Status(blob.size or 0, blob.generation or 0)
                    yield Listed(plain_name(name, folder), status)
            for below in sorted(found.prefixes):
                name = below.removeprefix(prefix)[:-1]
                yield Listed(plain_name(name, folder), None)

    def put(self, path: str, file: IO[bytes]) -> None:
        """Uploads a file and checks its CRC."""
        with _explained(path):
            # Uploading is idempotent, so a retry is always safe.
            # With a known size, a small file takes one request.
            size = file.seek(0, os.SEEK_END)
            self._blob(path).upload_from_file(
                file, rewind=True, size=size, checksum="crc32c", retry=_RETRY
            )

    def put_new(self, path: str, data: bytes) -> bool:
        """Uploads an object unless one of that name exists."""
        with _explained(path):
            try:
                self._blob(path).upload_from_string(data, if_generation_match=0)
            except exceptions.PreconditionFailed:
                return False
            return True

    def delete(self, path: str) -> None:
        """Deletes an object if it exists."""
        with _explained(path), contextlib.suppress(exceptions.NotFound):
            self._blob(path).delete(retry=_RETRY)

    def _blob(self, path: str) -> Any:
        bucket, name = split_path(path)
        return self._client().bucket(bucket).blob(name)

    def _client(self) -> Any:
        # Google does not document its client as thread-safe.
        if not hasattr(self._of_thread, "client"):
            self._of_thread.client = _new_client()
        return self._of_thread.client


def _new_client() -> Any:
    # Without this, the client requests metadata of the bucket first, which the
    # account may have no permission for.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    if "STORAGE_EMULATOR_HOST" in os.environ and not _has_key_file():
        # Looking for credentials on a machine that has none takes half a minute.
        return storage.Client.create_anonymous_client()
    return create_storage_client(beam_options())


def _has_key_file() -> bool:
    return bool(os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"))


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Converts exceptions of the client to `OSError`."""
    try:
        yield
    except exceptions.NotFound as error:
        raise FileNotFoundError(errno.ENOENT, "No such object or bucket", path) from (
            error
        )
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise PermissionError(errno.EACCES, f"No permission: {error}", path) from error
    except exceptions.PreconditionFailed as error:
        raise OSError(errno.ESTALE, CHANGED, path) from error
    except (
        exceptions.GoogleAPIError,
        DataCorruption,
        GoogleAuthError,
        requests.RequestException,
    ) as error:
        raise OSError(errno.EIO, str(error), path) from error

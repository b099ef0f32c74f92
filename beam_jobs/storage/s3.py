"""`s3://`: Amazon S3 and compatible stores, through boto3 with Beam's options."""

import contextlib
import errno
import threading
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any

import boto3
from apache_beam.options.pipeline_options import S3Options
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from beam_jobs.storage.beam_internals import beam_options
from beam_jobs.storage.object_store import (
    CHANGED,
    Listed,
    Status,
    plain_name,
    split_path,
)

_NOT_FOUND = ("404", "NoSuchKey", "NoSuchBucket", "NotFound")
_FORBIDDEN = ("401", "403", "AccessDenied", "InvalidAccessKeyId")
_ALREADY_EXISTS = ("412", "PreconditionFailed")
_CUT_OFF = (
    ConnectionClosedError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)
_MORE_ATTEMPTS = 3
_CONNECTIONS = 256
_OUT_OF_RANGE = ("416", "InvalidRange")


class S3Store:
    """Object store on S3. The time of the last change is an object's version."""

    def __init__(self) -> None:
        """Defers connecting to the first request."""
        self._lock = threading.Lock()
        self._connected: Any = None

    def stat(self, path: str) -> Status:
        """Returns the size of an object and the time of its last change."""
        with _explained(path):
            head = self._client().head_object(**_address(path))
            return Status(head["ContentLength"], _version_of(head["LastModified"]))

    def read(self, path: str, offset: int, size: int, version: int | None) -> bytes:
        """Reads a byte range in one request."""
        if size == 0:
            return b""
        end = offset + size - 1 if size > 0 else ""
        wanted = {"Range": f"bytes={offset}-{end}"} if offset or size > 0 else {}
        with _explained(path):
            for _ in range(_MORE_ATTEMPTS):
                # boto3 retries a failed request, but not an interrupted response.
                with contextlib.suppress(*_CUT_OFF):
                    return self._read(path, wanted, version)
            return self._read(path, wanted, version)

    def _read(self, path: str, wanted: dict[str, str], version: int | None) -> bytes:
        try:
            found = self._client().get_object(**_address(path), **wanted)
        except ClientError as error:
            if _code_of(error) in _OUT_OF_RANGE:
                return b""
            raise
        if version not in (None, _version_of(found["LastModified"])):
            raise OSError(errno.ESTALE, CHANGED, path)
        data: bytes = found["Body"].read()
        return data

    def scan(self, folder: str, *, deep: bool) -> Iterator[Listed]:
        """Lists objects by prefix, 1,000 names per request."""
        bucket, prefix = split_path(folder.rstrip("/") + "/")
        request = {"Bucket": bucket, "Prefix": prefix} | (
            {} if deep else {"Delimiter": "/"}
        )
        with _explained(folder):
            pages = self._client().get_paginator("list_objects_v2").paginate(**request)
            for page in pages:
                for item in page.get("Contents", ()):
                    name = item["Key"].removeprefix(prefix)
                    status = Status(item["Size"], _version_of(item["LastModified"]))
                    # Some tools create an empty object to represent a folder.
                    if name and not name.endswith("/"):
                        yield Listed(plain_name(name, folder), status)
                for below in page.get("CommonPrefixes", ()):
                    name = below["Prefix"].removeprefix(prefix)[:-1]
                    yield Listed(plain_name(name, folder), None)

    def put(self, path: str, file: IO[bytes]) -> None:
        """Uploads a file; a large file is uploaded in parts."""
        file.seek(0)
        bucket, name = split_path(path)
        with _explained(path):
            self._client().upload_fileobj(file, bucket, name)

    def put_new(self, path: str, data: bytes) -> bool:
        """Uploads an object unless one of that name exists."""
        with _explained(path):
            try:
                self._client().put_object(**_address(path), Body=data, IfNoneMatch="*")
            except ClientError as error:
                if _code_of(error) in _ALREADY_EXISTS:
                    return False
                raise
            return True

    def delete(self, path: str) -> None:
        """Deletes an object if it exists."""
        with _explained(path):
            self._client().delete_object(**_address(path))

    def _client(self) -> Any:
        # All threads share a client: it is thread-safe and takes 0.1 s to make.
        with self._lock:
            if self._connected is None:
                self._connected = _new_client()
            return self._connected


def _new_client() -> Any:
    """Returns a client configured by Beam's options, with enough connections."""
    options = beam_options().view_as(S3Options)
    return boto3.session.Session().client(
        "s3",
        region_name=options.s3_region_name,
        api_version=options.s3_api_version,
        use_ssl=not options.s3_disable_ssl,
        verify=options.s3_verify,
        endpoint_url=options.s3_endpoint_url,
        aws_access_key_id=options.s3_access_key_id,
        aws_secret_access_key=options.s3_secret_access_key,
        aws_session_token=options.s3_session_token,
        config=Config(max_pool_connections=_CONNECTIONS),
    )


def _address(path: str) -> dict[str, str]:
    bucket, name = split_path(path)
    return {"Bucket": bucket, "Key": name}


def _version_of(changed: datetime) -> int:
    # Whole seconds: some stores return fractions in lists but not in object headers.
    return int(changed.timestamp()) * 10**9


def _code_of(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Converts exceptions of boto3 to `OSError`."""
    try:
        yield
    except ClientError as error:
        code = _code_of(error)
        if code in _NOT_FOUND:
            raise FileNotFoundError(
                errno.ENOENT, "No such object or bucket", path
            ) from error
        if code in _FORBIDDEN:
            raise PermissionError(
                errno.EACCES, f"No permission: {error}", path
            ) from error
        raise OSError(errno.EIO, str(error), path) from error
    except BotoCoreError as error:
        raise OSError(errno.EIO, str(error), path) from error

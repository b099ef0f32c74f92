"""Access to `s3://` through boto3, since TensorFlow does not read S3.

Reads small files and downloads shards. boto3 takes its credentials and endpoint from
the usual places, such as AWS_PROFILE and AWS_ENDPOINT_URL.
"""

import contextlib
import fnmatch
import functools
from collections.abc import Iterator
from typing import Any

from reader.contract.host import import_library

_MORE_ATTEMPTS = 3


def read_bytes(path: str, offset: int, length: int) -> bytes:
    """Returns a part of an object; a negative `length` reads to the end."""
    if length == 0:
        return b""
    end = offset + length - 1 if length > 0 else ""
    wanted = {"Range": f"bytes={offset}-{end}"} if offset or length > 0 else {}
    with _errors_of_python(path):
        for _ in range(_MORE_ATTEMPTS):
            # boto3 retries a failed request, but not an interrupted response.
            with contextlib.suppress(*_cut_off()):
                return _read(path, wanted)
        return _read(path, wanted)


def _read(path: str, wanted: dict[str, str]) -> bytes:
    data: bytes = _client().get_object(**_address(path), **wanted)["Body"].read()
    return data


def _cut_off() -> tuple[type[Exception], ...]:
    from botocore import exceptions

    return (
        exceptions.ConnectionClosedError,
        exceptions.IncompleteReadError,
        exceptions.ReadTimeoutError,
        exceptions.ResponseStreamingError,
    )


def size_of(path: str) -> int:
    """Returns the size of an object, in bytes."""
    with _errors_of_python(path):
        return int(_client().head_object(**_address(path))["ContentLength"])


def is_folder(path: str) -> bool:
    """Returns whether any object exists below a path."""
    return next(_scan(path, 1), None) is not None


def list_folder(path: str) -> list[str]:
    """Returns the names of the entries of a folder."""
    return list(_scan(path, 1000))


def match(pattern: str) -> list[str]:
    """Returns the objects in one folder that match a glob."""
    folder, _, names = pattern.rpartition("/")
    return [f"{folder}/{name}" for name in fnmatch.filter(_scan(folder, 1000), names)]


def _scan(folder: str, at_a_time: int) -> Iterator[str]:
    bucket, prefix = _address(folder.rstrip("/") + "/").values()
    asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "Delimiter": "/"}
    asked["PaginationConfig"] = {"PageSize": at_a_time}
    with contextlib.suppress(FileNotFoundError), _errors_of_python(folder):
        for page in _client().get_paginator("list_objects_v2").paginate(**asked):
            for item in page.get("Contents", ()):
                yield item["Key"].removeprefix(prefix)
            for below in page.get("CommonPrefixes", ()):
                yield below["Prefix"].removeprefix(prefix).rstrip("/")


def _address(path: str) -> dict[str, str]:
    bucket, _, key = path.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


@functools.cache
def _client() -> Any:
    return import_library("boto3", "s3://", "'diptych[aws]'").client("s3")


@contextlib.contextmanager
def _errors_of_python(path: str) -> Iterator[None]:
    """Converts boto3's errors about an object to Python's errors about files."""
    _client()  # Raises if boto3 is not installed, with the command to install it.
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("404", "NoSuchKey", "NoSuchBucket"):
            raise FileNotFoundError(f"{path}: no such object or bucket") from None
        raise OSError(f"{path} cannot be read: {error}") from error
    except BotoCoreError as error:
        raise OSError(f"{path} cannot be read: {error}") from error

"""`s3://`, which TensorFlow does not read: small files, and shards to copy.

boto3 takes account and address from its usual places: AWS_PROFILE, AWS_ENDPOINT_URL, ….
"""

import contextlib
import fnmatch
import functools
from collections.abc import Iterator
from typing import Any

from reader.contract.host import import_library

_MORE_ATTEMPTS = 3


def read_bytes(path: str, offset: int, length: int) -> bytes:
    """Returns a part of an object; all behind `offset` if `length` is negative."""
    if length == 0:
        return b""
    end = offset + length - 1 if length > 0 else ""
    wanted = {"Range": f"bytes={offset}-{end}"} if offset or length > 0 else {}
    with _errors_of_python(path):
        for _ in range(_MORE_ATTEMPTS):
            # boto3 tries again to ask, but not to hear the answer out.
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
    """Returns how many bytes an object has."""
    with _errors_of_python(path):
        return int(_client().head_object(**_address(path))["ContentLength"])


def is_folder(path: str) -> bool:
    """Tells whether anything lies below a name."""
    return next(_scan(path, 1), None) is not None


def list_folder(path: str) -> list[str]:
    """Returns the names in a folder."""
    return list(_scan(path, 1000))


def match(pattern: str) -> list[str]:
    """Returns the objects of one folder that a glob matches."""
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
    """Turns boto3's errors about an object into those that Python has for files."""
    _client()  # Says what to install.
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

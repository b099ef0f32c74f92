"""Amazon S3, by moto's server: a bucket on loopback."""

from collections.abc import Iterator
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

_BUCKET = "bucket"
_ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class S3Store:
    """`s3://bucket`, for boto3 and Beam, in this process and in others.

    Attributes:
        endpoint: The server's address.
        roots: What precedes an object's name in a request.
        environment: Variables with which a process has an account.
        flags: Of the command line, with which it reads and writes here.
    """

    roots = (f"/{_BUCKET}/",)

    def __init__(self, endpoint: str) -> None:
        """Takes the server's address, and makes the bucket."""
        self.endpoint = endpoint
        self.environment = _ACCOUNT
        self.flags = self.flags_at(endpoint)
        self._client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=_ACCOUNT["AWS_DEFAULT_REGION"],
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        self._client.create_bucket(Bucket=_BUCKET)

    def environment_at(self, endpoint: str) -> dict[str, str]:
        """Returns the variables for a server at another address."""
        return _ACCOUNT | {"AWS_ENDPOINT_URL": endpoint}

    def flags_at(self, endpoint: str) -> tuple[str, ...]:
        """Returns the flags for a server at another address."""
        return (f"--s3_endpoint_url={endpoint}",)

    def put(self, name: str, content: bytes) -> str:
        """Stores an object; returns its address."""
        self._client.put_object(Bucket=_BUCKET, Key=name, Body=content)
        return f"s3://{_BUCKET}/{name}"

    def upload(self, folder: Path, prefix: str) -> str:
        """Uploads all files below a folder; returns `s3://bucket/prefix`."""
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            self.put(f"{prefix}/{name}", path.read_bytes())
        return f"s3://{_BUCKET}/{prefix}"

    def delete(self, address: str) -> None:
        """Deletes an object."""
        key = address.removeprefix(f"s3://{_BUCKET}/")
        self._client.delete_object(Bucket=_BUCKET, Key=key)

    def names(self, folder: str) -> list[str]:
        """Returns the relative names of all objects below an address."""
        prefix = _prefix(folder)
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=_BUCKET, Prefix=prefix
        )
        return [
            item["Key"].removeprefix(prefix)
            for page in pages
            for item in page.get("Contents", ())
        ]

    def download(self, folder: str) -> dict[str, bytes]:
        """Returns the content of all objects below an address, by relative name."""
        prefix = _prefix(folder)

        def content(name: str) -> bytes:
            found = self._client.get_object(Bucket=_BUCKET, Key=prefix + name)
            data: bytes = found["Body"].read()
            return data

        return {name: content(name) for name in self.names(folder)}


def _prefix(folder: str) -> str:
    return folder.removeprefix(f"s3://{_BUCKET}/").rstrip("/") + "/"


def serve_s3() -> Iterator[S3Store]:
    """Serves until it is resumed."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield S3Store(f"http://{host}:{port}")
    finally:
        server.stop()

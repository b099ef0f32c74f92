"""Google Cloud Storage's XML API, as obstore speaks it.

https://cloud.google.com/storage/docs/xml-api/overview: a bucket is `/bucket`, and an
object `/bucket/name`.
"""

import re
import xml.etree.ElementTree as ET
from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from hashlib import md5
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4
from xml.sax.saxutils import escape

from gcp_storage_emulator.handlers.objects import _checksums, _make_object_resource

from stand_ins.gcs_objects import Answer, Objects

# The first part of paths of the JSON API, which no bucket of a test has for a name.
_OTHERS = {"storage", "upload", "download", "batch", "b", "resumable"}
_RANGE = re.compile(r"bytes=(?P<first>\d*)-(?P<last>\d*)")
# What a list may be asked for. Another parameter would be ignored, without a word.
_LISTS_BY = {
    *("list-type", "prefix", "delimiter", "continuation-token", "start-after"),
    *("max-keys",),
}


class Asked(NamedTuple):
    """A request.

    Attributes:
        method: Of HTTP.
        path: Path and query, as they came.
        headers: Whose names are found in any case.
        body: All of it.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Said(NamedTuple):
    """An answer: its status, headers and body."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


def is_xml(path: str) -> bool:
    """Tells whether a request's path is of this API."""
    return urlsplit(path).path.split("/")[1] not in _OTHERS | {""}


class XmlApi:
    """Answers requests; the caller sees to it that there is one at a time."""

    def __init__(self, objects: Objects) -> None:
        """Takes the objects."""
        self._objects = objects
        self._uploads: dict[str, dict[int, bytes]] = {}

    def answer(self, asked: Asked) -> Said:
        """Answers a request; errors too are answers."""
        url = urlsplit(asked.path)
        _, bucket, *rest = unquote(url.path).split("/", 2)
        pairs = parse_qs(url.query, keep_blank_values=True)
        query = {key: values[0] for key, values in pairs.items()}
        try:
            if bucket not in self._objects.buckets:
                raise Answer(404, "NoSuchBucket")
            if rest and rest[0]:
                return self._of_object(asked, bucket, rest[0], query)
            if asked.method == "GET" and query.get("list-type") == "2":
                return self._list(bucket, query)
            raise Answer(501, "NotImplemented")
        except Answer as answer:
            code = escape(str(answer))
            return _xml(f"<Error><Code>{code}</Code></Error>", answer.status)

    def _of_object(
        self, asked: Asked, bucket: str, name: str, query: dict[str, str]
    ) -> Said:
        match asked.method, sorted(query):
            case (("GET" | "HEAD"), ([] | ["generation"])):
                return self._read(asked, bucket, name, query.get("generation"))
            case "PUT", []:
                return self._write(asked, bucket, name, asked.body)
            case "DELETE", []:
                self._about(bucket, name)
                self._objects.delete_file(bucket, name)
                return Said(204, {})
            case "POST", ["uploads"]:
                self._uploads[upload := uuid4().hex] = {}
                return _xml(
                    "<InitiateMultipartUploadResult>"
                    f"<Bucket>{bucket}</Bucket><Key>{escape(name)}</Key>"
                    f"<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
                )
            case "PUT", ["partNumber", "uploadId"]:
                self._parts(query)[int(query["partNumber"])] = asked.body
                return Said(200, {"ETag": _etag(asked.body)})
            case "POST", ["uploadId"]:
                return self._complete(asked, bucket, name, query)
            case "DELETE", ["uploadId"]:
                self._parts(query)
                del self._uploads[query["uploadId"]]
                return Said(204, {})
        raise Answer(501, f"the stand-in knows no {asked.method} with {sorted(query)}")

    def _about(self, bucket: str, name: str) -> dict[str, Any]:
        try:
            about: dict[str, Any] = self._objects.objects[bucket][name]
        except KeyError:
            raise Answer(404, "NoSuchKey") from None
        return about

    def _parts(self, query: dict[str, str]) -> dict[int, bytes]:
        try:
            return self._uploads[query["uploadId"]]
        except KeyError:
            raise Answer(404, "NoSuchUpload") from None

    def _read(
        self, asked: Asked, bucket: str, name: str, generation: str | None
    ) -> Said:
        about = self._about(bucket, name)
        if generation not in (None, about["generation"]):
            raise Answer(404, "NoSuchKey")
        content: bytes = self._objects.get_file(bucket, name)
        headers = _headers_of(about)
        if asked.headers.get("If-Match", headers["ETag"]) != headers["ETag"]:
            raise Answer(412, "PreconditionFailed")
        status, body = 200, content
        if wanted := _RANGE.fullmatch(asked.headers.get("Range", "")):
            begin, end = _range(wanted, len(content))
            status, body = 206, content[begin:end]
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(content)}"
        headers["Content-Length"] = str(len(body))
        return Said(status, headers, body)

    def _write(self, asked: Asked, bucket: str, name: str, content: bytes) -> Said:
        if "x-goog-copy-source" in asked.headers:
            raise Answer(501, "the stand-in copies nothing")
        self._objects.must_match = asked.headers.get("x-goog-if-generation-match")
        kind = asked.headers.get("Content-Type", "application/octet-stream")
        about = _make_object_resource("", bucket, name, kind, str(len(content)))
        about = _checksums(content, about)
        self._objects.create_file(bucket, name, content, about)
        return Said(200, _headers_of(about))

    def _complete(
        self, asked: Asked, bucket: str, name: str, query: dict[str, str]
    ) -> Said:
        parts = self._parts(query)
        listed = [
            (int(part.findtext("PartNumber", "")), part.findtext("ETag", ""))
            for part in ET.fromstring(asked.body).iter("Part")
        ]
        if listed != [(number, _etag(parts[number])) for number in sorted(parts)]:
            raise Answer(400, "InvalidPart")
        content = b"".join(parts[number] for number in sorted(parts))
        said = self._write(asked, bucket, name, content)
        del self._uploads[query["uploadId"]]
        done = _xml(
            "<CompleteMultipartUploadResult>"
            f"<Bucket>{bucket}</Bucket><Key>{escape(name)}</Key>"
            f"<ETag>{escape(said.headers['ETag'])}</ETag>"
            "</CompleteMultipartUploadResult>"
        )
        generation = {"x-goog-generation": said.headers["x-goog-generation"]}
        return done._replace(headers=done.headers | generation)

    def _list(self, bucket: str, query: dict[str, str]) -> Said:
        if strange := set(query) - _LISTS_BY:
            raise Answer(501, f"the stand-in lists without {strange}")
        after = query.get("continuation-token", query.get("start-after", ""))
        page = self._objects.page(
            bucket,
            (query.get("prefix"), query.get("delimiter") or None, None),
            begin="",
            after=after,
            size=int(query.get("max-keys", 1000)),
        )
        found = [
            f"<Contents><Key>{escape(item['name'])}</Key>"
            f"<Generation>{item['generation']}</Generation>"
            f"<LastModified>{item['updated']}</LastModified>"
            f"<ETag>{escape(_quoted(item))}</ETag><Size>{item['size']}</Size></Contents>"
            for item in page.items
        ] + [
            f"<CommonPrefixes><Prefix>{escape(prefix)}</Prefix></CommonPrefixes>"
            for prefix in page.prefixes
        ]
        more = "" if page.last is None else escape(page.last)
        token = f"<NextContinuationToken>{more}</NextContinuationToken>" if more else ""
        return _xml(
            f"<ListBucketResult><Name>{bucket}</Name>"
            f"<KeyCount>{len(found)}</KeyCount>"
            f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{token}"
            f"{''.join(found)}</ListBucketResult>"
        )


def _xml(text: str, status: int = 200) -> Said:
    body = f"<?xml version='1.0' encoding='UTF-8'?>{text}".encode()
    return Said(status, {"Content-Type": "application/xml"}, body)


def _etag(content: bytes) -> str:
    return f'"{md5(content).hexdigest()}"'


def _quoted(about: dict[str, Any]) -> str:
    """Returns the ETag of an object: Google's is of its content in this API."""
    return f'"{b64decode(about["md5Hash"]).hex()}"'


def _headers_of(about: dict[str, Any]) -> dict[str, str]:
    changed = datetime.fromisoformat(about["updated"])
    return {
        "ETag": _quoted(about),
        "Last-Modified": format_datetime(changed, usegmt=True),
        "x-goog-generation": about["generation"],
        "x-goog-hash": f"crc32c={about['crc32c']},md5={about['md5Hash']}",
        "Content-Type": about["contentType"] or "application/octet-stream",
    }


def _range(wanted: re.Match[str], size: int) -> tuple[int, int]:
    """Returns where a range begins and ends within an object of this size."""
    first, last = wanted["first"], wanted["last"]
    if not first:
        begin, end = max(size - int(last), 0), size
    else:
        begin, end = int(first), min(int(last) + 1, size) if last else size
    if begin >= end:
        raise Answer(416, "InvalidRange")
    return begin, end

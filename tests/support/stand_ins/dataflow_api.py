"""Dataflow's REST API, v1b3, as Google's client speaks it."""

import json
import re
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from stand_ins.dataflow_job import Job, Refused

_JOBS = re.compile(r"/v1b3/projects/([^/]+)/locations/([^/]+)/jobs")
_CANCELLED = 5  # Google's client writes names as numbers.


class Service(Protocol):
    """What the API is of."""

    def create(self, project: str, region: str, body: bytes) -> Job:
        """Starts a job."""

    def job(self, job_id: str) -> Job:
        """Returns a job."""

    def cancel(self, job: Job) -> None:
        """Ends a job."""


def _shown(job: Job) -> dict[str, Any]:
    return {**job.proto, "id": job.id, "currentState": job.state}


def _metrics(job: Job) -> dict[str, Any]:
    """Returns each counter twice, as attempted and as committed."""
    updates = []
    for counter in job.counters:
        context = {"step": counter["step"], "namespace": counter["namespace"]}
        for tentative in ({"tentative": "true"}, {}):
            name = {"origin": "user", "name": counter["name"]}
            name["context"] = {**context, **tentative}
            updates.append({"name": name, "scalar": counter["value"]})
    return {"metrics": updates}


class Handler(BaseHTTPRequestHandler):
    """A connection to the service, and to what gives tokens."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __init__(
        self, service: Service, trusted: Callable[[str], bool], *args: Any
    ) -> None:
        """Takes the service, and what checks an `Authorization`."""
        self._service, self._trusted = service, trusted
        super().__init__(*args)

    def do_POST(self) -> None:
        """Takes a job."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = zlib.decompress(body, wbits=31)
        self._answer(lambda path, query: self._create(path, body))

    def do_PUT(self) -> None:
        """Takes a wish of what is to become of a job."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(lambda path, query: self._update(path, json.loads(body)))

    def do_GET(self) -> None:
        """Tells of a job."""
        self._answer(self._tell)

    def _create(self, path: str, body: bytes) -> dict[str, Any]:
        if not (match := _JOBS.fullmatch(path)):
            raise Refused(404, f"no POST {path}")
        return _shown(self._service.create(match[1], match[2], body))

    def _update(self, path: str, wish: dict[str, Any]) -> dict[str, Any]:
        job = self._service.job(path.rpartition("/")[2])
        if wish.get("requestedState") not in ("JOB_STATE_CANCELLED", _CANCELLED):
            raise Refused(400, f"the stand-in only cancels: {wish}")
        self._service.cancel(job)
        return _shown(job)

    def _tell(self, path: str, query: dict[str, list[str]]) -> dict[str, Any]:
        match = _JOBS.match(path)
        parts = path[match.end() :].split("/") if match else []
        if len(parts) not in (2, 3):
            raise Refused(404, f"no GET {path}")
        job = self._service.job(parts[1])
        match parts[2:]:
            case []:
                return _shown(job)
            case ["messages"]:
                since = query.get("startTime", [""])[0]
                # Times are of one length but for their digits: as text is near enough.
                found = [m for m in job.messages if m["time"][:19] >= since[:19]]
                return {"jobMessages": found}
            case ["metrics"]:
                return _metrics(job)
        raise Refused(404, f"no GET {path}")

    def _answer(
        self, make: Callable[[str, dict[str, list[str]]], dict[str, Any]]
    ) -> None:
        url = urlsplit(self.path)
        try:
            if not self._trusted(self.headers.get("Authorization", "")):
                raise Refused(401, "no credentials of ours")
            status, answer = 200, make(url.path, parse_qs(url.query))
        except Refused as error:
            status = error.status
            answer = {"error": {"code": status, "message": str(error)}}
        except Exception as error:  # Of ours; the client would try 500 again.
            status, answer = 501, {"error": {"code": 501, "message": repr(error)}}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Says nothing: requests are counted, not printed."""

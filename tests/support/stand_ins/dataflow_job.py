"""A job of Dataflow: what was submitted, checked as the service checks it."""

import re
from datetime import UTC, datetime
from typing import Any

from apache_beam.portability.api import beam_runner_api_pb2
from google.cloud import dataflow
from google.protobuf import json_format

PENDING, RUNNING = "JOB_STATE_PENDING", "JOB_STATE_RUNNING"
DONE, FAILED, CANCELLED = (
    f"JOB_STATE_{name}" for name in ("DONE", "FAILED", "CANCELLED")
)

_JOB_NAME = re.compile(r"[a-z]([-a-z0-9]{0,1022}[a-z0-9])?")
_PROJECT = re.compile(r"[a-z][-a-z0-9]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+-[a-z]+\d")
_IMAGE = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9_.-]+)+(:[\w.-]+|@sha256:\w{64})")
_MAX_REQUEST_BYTES = 10 << 20  # Dataflow's "maximum size for a job creation request".


class Refused(Exception):
    """An error that the service answers with."""

    def __init__(self, status: int, message: str) -> None:
        """Takes an HTTP status and what to say."""
        super().__init__(message)
        self.status = status


class Job:
    """A submitted job, and what becomes of it.

    Attributes:
        proto: The job as it was submitted, as JSON.
        pipeline: Its pipeline, as it was staged.
        state: As the service names it.
        counters: Of the user, after the end.
        imports: Where workers would import some modules from.
        log: What the engine and the workers printed.
    """

    def __init__(self, number: int, proto: dict[str, Any], pipeline_pb: bytes) -> None:
        """Takes what was checked."""
        self.id = f"2026-01-01_00_00_00-{number}"
        self.proto = proto
        self.pipeline = beam_runner_api_pb2.Pipeline.FromString(pipeline_pb)
        self.pipeline_pb = pipeline_pb
        self.state = PENDING
        self.counters: list[dict[str, Any]] = []
        self.messages: list[dict[str, str]] = []
        self.imports: dict[str, str | None] = {}
        self.log = ""

    def staged(self, suffix: str = "") -> list[str]:
        """Returns addresses of what is staged for the workers."""
        pool = self.proto["environment"]["workerPools"][0]
        places = [package["location"] for package in pool.get("packages", [])]
        return sorted(
            "gs:/" + place.removeprefix("storage.googleapis.com")
            for place in places
            if place.endswith(suffix)
        )

    @property
    def images(self) -> list[str]:
        """Container images of the workers."""
        pool = self.proto["environment"]["workerPools"][0]
        images = pool["sdkHarnessContainerImages"]
        return [image["containerImage"] for image in images]

    @property
    def options(self) -> dict[str, Any]:
        """The pipeline's options, as the workers get them."""
        found: dict[str, Any] = self.proto["environment"]["sdkPipelineOptions"]
        return found["options"]

    def say(self, importance: str, text: str) -> None:
        """Adds a message for whoever waits for the job."""
        message = {
            "id": str(len(self.messages)),
            "time": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "messageText": text,
            "messageImportance": f"JOB_MESSAGE_{importance}",
        }
        self.messages.append(message)


def parsed(body: bytes) -> dict[str, Any]:
    """Returns a job as JSON with all names as the API has them, and none besides."""
    if len(body) > _MAX_REQUEST_BYTES:
        raise Refused(413, f"a request of {len(body)} bytes")
    job = dataflow.Job.pb(dataflow.Job())
    try:
        json_format.Parse(body, job, ignore_unknown_fields=False)
    except json_format.ParseError as error:
        raise Refused(400, str(error)) from error
    parsed: dict[str, Any] = json_format.MessageToDict(job)
    return parsed


def check(project: str, region: str, job: dict[str, Any]) -> None:
    """Refuses what the service refuses."""
    environment = job.get("environment", {})
    pools = environment.get("workerPools", [])
    images = [
        image.get("containerImage", "")
        for pool in pools
        for image in pool.get("sdkHarnessContainerImages", [])
    ]
    options = environment.get("sdkPipelineOptions", {}).get("options", {})
    version = environment.get("version", {})
    checks = {
        "project": _PROJECT.fullmatch(project),
        "region": _REGION.fullmatch(region),
        "name": _JOB_NAME.fullmatch(job.get("name", "")),
        "type": job.get("type") == "JOB_TYPE_BATCH",
        "clientRequestId": job.get("clientRequestId"),
        "tempStoragePrefix": environment.get("tempStoragePrefix", "").startswith(
            "storage.googleapis.com/"
        ),
        "version": version == {"major": "8", "job_type": "FNAPI_BATCH"},
        "workerPools": len(pools) == 1,
        "containerImage": images and all(map(_IMAGE.fullmatch, images)),
        "experiments": "use_runner_v2" in environment.get("experiments", []),
        "pipelineUrl": str(options.get("pipelineUrl", "")).startswith("gs://"),
        "project of options": options.get("project") == project,
        "region of options": options.get("region") == region,
    }
    if wrong := [name for name, good in checks.items() if not good]:
        raise Refused(400, f"The workflow could not be created. Invalid: {wrong}")

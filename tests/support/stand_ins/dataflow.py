"""A stand-in of Dataflow: checks a job as the service does, and then really runs it.

submitted → checked → PENDING → image, staged packages → RUNNING → DONE | FAILED
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from stand_ins.account import Account
from stand_ins.dataflow_api import Handler
from stand_ins.dataflow_job import (
    CANCELLED,
    DONE,
    FAILED,
    PENDING,
    RUNNING,
    Job,
    Refused,
    check,
    parsed,
)
from stand_ins.dataflow_workers import Fetch, Workers
from stand_ins.gcs import BucketStore
from stand_ins.server import Server


class Dataflow:
    """The service.

    Attributes:
        jobs: All that were submitted and not refused, in order.
        refused: What was said of those that were.
        before_done: Is called when a job is done, before anyone hears of it.
    """

    def __init__(self, fetch: Fetch, environment: dict[str, str], work: Path) -> None:
        """Takes the storage, a worker's variables, and a folder for workers."""
        self._fetch, self._environment, self._work = fetch, environment, work
        self._workers: dict[str, Workers] = {}
        self.jobs: list[Job] = []
        self.refused: list[str] = []
        self.before_done: Callable[[], None] | None = None

    def create(self, project: str, region: str, body: bytes) -> Job:
        """Checks a job and starts it; returns it."""
        try:
            proto = parsed(body)
            check(project, region, proto)
            pipeline_pb = self._check_staged(proto)
            self._check_name(proto["name"])
        except Refused as error:
            self.refused.append(str(error))
            raise
        job = Job(len(self.jobs), proto, pipeline_pb)
        folder = self._work / job.id
        self._workers[job.id] = Workers(self._fetch, self._environment, folder)
        self.jobs.append(job)
        threading.Thread(target=self._run, args=(job,), daemon=True).start()
        return job

    def job(self, job_id: str) -> Job:
        """Returns a job."""
        for job in self.jobs:
            if job.id == job_id:
                return job
        raise Refused(404, f"no job {job_id}")

    def _check_name(self, name: str) -> None:
        for job in self.jobs:
            if job.proto["name"] == name and job.state in (PENDING, RUNNING):
                raise Refused(409, f"There is already an active job named {name}.")

    def _check_staged(self, proto: dict[str, Any]) -> bytes:
        """Looks for all that the job names; returns its pipeline."""
        environment = proto["environment"]
        for package in environment["workerPools"][0].get("packages", []):
            host, _, path = package["location"].partition("/")
            if host != "storage.googleapis.com":
                raise Refused(400, f"package at {package['location']}")
            self._staged(f"gs://{path}")
        options = environment["sdkPipelineOptions"]["options"]
        pipeline_pb = self._staged(options["pipelineUrl"])
        if hashlib.sha256(pipeline_pb).hexdigest() != options["pipelineProtoHash"]:
            raise Refused(400, "pipelineProtoHash is not that of the pipeline")
        return pipeline_pb

    def _staged(self, address: str) -> bytes:
        try:
            return self._fetch(address)
        except Exception as error:
            raise Refused(400, f"not staged: {address}") from error

    def _run(self, job: Job) -> None:
        try:
            self._workers[job.id].run(job)
            if self.before_done is not None:
                self.before_done()
        except Exception as error:
            # Messages first: who sees the state asks for them, once.
            job.say("ERROR", f"Error message from worker: {error}")
            job.say("ERROR", "Workflow failed. Causes: A work item has failed 4 times.")
            self._end(job, FAILED)
        else:
            self._end(job, DONE)

    def cancel(self, job: Job) -> None:
        """Ends a job that runs."""
        self._end(job, CANCELLED)
        self._workers[job.id].stop()

    def _end(self, job: Job, state: str) -> None:
        if job.state in (PENDING, RUNNING):
            job.state = state

    def stop(self) -> None:
        """Ends what still runs."""
        for workers in self._workers.values():
            workers.stop()


class DataflowStandIn(NamedTuple):
    """Dataflow, as a process of a user's sees it.

    Attributes:
        flags: With which `diptych build` runs there.
        environment: Variables with which it finds storage, account and service.
        service: What was submitted, and what became of it.
    """

    flags: list[str]
    environment: dict[str, str]
    service: Dataflow


def serve_dataflow(
    store: BucketStore, account: Account, folder: Path
) -> Iterator[DataflowStandIn]:
    """Yields the service. A folder is for its workers."""
    found = store.environment | account.environment
    worker = {"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONSAFEPATH": "1", **found}
    service = Dataflow(store.get, worker, folder)
    hurried = {"PYTHONPATH": str(Path(__file__).with_name("hurried"))}
    with Server(partial(Handler, service, account.trusts)) as server:
        flags = {
            "runner": "DataflowRunner",
            "project": "a-project",
            "region": "europe-west4",
            "temp_location": "gs://bucket/temporary",
            # By this name Beam tells that it is to speak plain HTTP.
            "dataflow_endpoint": f"http://localhost:{server.server_port}",
        }
        named = [f"--{name}={value}" for name, value in flags.items()]
        try:
            yield DataflowStandIn(named, found | hurried, service)
        finally:
            service.stop()

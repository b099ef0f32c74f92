"""The workers of a job: made of Beam's image and what was staged, and really run."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from patience import PATIENCE_SECONDS

from stand_ins.dataflow_job import PENDING, RUNNING, Job
from stand_ins.images import Image

# `gs://…` to content; an error if there is no such object.
Fetch = Callable[[str], bytes]


class Workers:
    """What runs one job."""

    def __init__(self, fetch: Fetch, environment: dict[str, str], folder: Path) -> None:
        """Takes the storage, the variables of a worker, and a new folder."""
        self._fetch, self._environment, self._folder = fetch, environment, folder
        self._process: subprocess.Popen[str] | None = None

    def run(self, job: Job) -> None:
        """Runs the job to its end.

        Raises:
            RuntimeError: With what was printed last.
        """
        python = self._boot(job)
        if job.state != PENDING:
            return
        job.state = RUNNING
        job.say("BASIC", "Worker pool running.")
        job.counters = self._execute(job, python)

    def stop(self) -> None:
        """Ends what still runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _boot(self, job: Job) -> Path:
        """Makes a worker, as `boot` in Beam's image does: download, then install."""
        staged = self._folder / "staged"
        staged.mkdir(parents=True)
        for environment in job.pipeline.components.environments.values():
            for artifact in environment.dependencies:
                name, content = self._artifact(artifact)
                (staged / name).write_bytes(content)
        image = Image(self._folder / "image")
        listed = staged / "extra_packages.txt"
        for name in listed.read_text().split() if listed.exists() else []:
            image.install(staged / name)
        job.imports = image.imports("tensorflow", "beam_jobs", "reader")
        return image.python

    def _artifact(
        self, artifact: beam_runner_api_pb2.ArtifactInformation
    ) -> tuple[str, bytes]:
        if artifact.type_urn != common_urns.artifact_types.URL.urn:
            raise ValueError(f"a worker has no {artifact.type_urn}")
        where = beam_runner_api_pb2.ArtifactUrlPayload.FromString(artifact.type_payload)
        role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(
            artifact.role_payload
        )
        content = self._fetch(where.url)
        if hashlib.sha256(content).hexdigest() != where.sha256:
            raise ValueError(f"{where.url} is not what was to be staged")
        return role.staged_name, content

    def _execute(self, job: Job, python: Path) -> list[dict[str, Any]]:
        """Runs the pipeline in processes of its own; returns its counters."""
        files = {
            name: self._folder / name for name in ("pipeline.pb", "options", "result")
        }
        files["pipeline.pb"].write_bytes(job.pipeline_pb)
        options = job.proto["environment"]["sdkPipelineOptions"]
        files["options"].write_text(json.dumps(options))
        engine = Image(self._folder / "engine").python
        script = Path(__file__).with_name("run_staged.py")
        self._execute_logged(
            job,
            *(engine, "-I", script, files["pipeline.pb"], files["options"]),
            *(python, files["result"]),
        )
        counters: list[dict[str, Any]] = json.loads(files["result"].read_text())
        return counters

    def _execute_logged(self, job: Job, *command: Any) -> None:
        """Runs a command, and keeps what it and all that it starts print.

        Raises:
            RuntimeError: It failed.
            TimeoutExpired: It did not end.
        """
        with subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            self._process = process
            try:
                job.log, _ = process.communicate(timeout=PATIENCE_SECONDS)
            finally:
                self.stop()
                self._process = None
        if process.returncode:
            raise RuntimeError(_last_traceback(job.log))


def _last_traceback(log: str) -> str:
    """Returns what a log ends in, from its last traceback on."""
    mark = "Traceback (most recent call last)"
    return mark + log.rpartition(mark)[2] if mark in log else log[-4000:]

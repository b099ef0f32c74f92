"""Dataflow: what it asks of a job, and what it says of one."""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2

from beam_jobs.config.job_config import JobConfig
from beam_jobs.storage.files import is_remote
from reader.contract.errors import BuildError, UsageError

DATAFLOW = "DataflowRunner"


def check_dataflow(options: PipelineOptions) -> None:
    """Asks for what Beam asks for late, or puts something in the place of.

    Without a bucket Beam makes one, in the user's name; with a folder of this machine
    it tries to write there as the job begins, for minutes.

    Raises:
        UsageError: An option is missing, or no folder in a bucket.
    """
    google = options.view_as(GoogleCloudOptions)
    google.temp_location = google.temp_location or google.staging_location
    google.region = google.region or os.environ.get("CLOUDSDK_COMPUTE_REGION")
    for name in ("project", "region", "temp_location"):
        if not getattr(google, name):
            raise UsageError(f"--runner={DATAFLOW} needs --{name}")
    for name in ("temp_location", "staging_location"):
        place = getattr(google, name)
        if place and not re.match("gs://[^/]+/", place):
            raise UsageError(
                f"--{name}={place}: Dataflow takes what is staged from a folder in a "
                "bucket, gs://BUCKET/FOLDER"
            )


def check_paths(config: JobConfig) -> None:
    """Refuses what Dataflow's workers cannot see.

    Raises:
        UsageError: A path is of this machine.
    """
    for path in (*config.sources, config.output, *config.allow_roots):
        if not is_remote(path):
            raise UsageError(
                f"{path} is on this machine, where Dataflow's workers do not see it: "
                "copy it to a bucket and name it gs://BUCKET/…"
            )


def described(job: Any) -> str:
    """Returns what would be submitted, as text.

    Args:
        job: Beam's, of a dry run.
    """
    google = job.google_cloud_options
    lines = [
        f"job {job.proto.name} in {google.project}, {google.region}",
        f"{len(job.proto_pipeline.components.transforms)} steps",
        f"staged in {google.staging_location}",
    ]
    for environment in job.proto_pipeline.components.environments.values():
        payload = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
        lines.append(f"workers of {payload.container_image}")
        for artifact in environment.dependencies:
            role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(
                artifact.role_payload
            )
            lines.append(f"  with {role.staged_name}")
    return "\n".join([*lines, "nothing was submitted: this was a dry run"])


@contextlib.contextmanager
def dataflow_explained() -> Iterator[None]:
    """Says in a line what Dataflow and its client say in a page.

    Raises:
        BuildError: The service is not there or does not take the job, or that failed.
    """
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRuntimeException
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from requests.exceptions import RequestException

    try:
        yield
    except DataflowRuntimeException as error:
        lines = str(error).strip().splitlines()
        raise BuildError(f"Dataflow: the job failed: {lines[-1]}") from error
    except (GoogleAPIError, GoogleAuthError, RequestException) as error:
        raise BuildError(f"Dataflow does not take the job: {error}") from error

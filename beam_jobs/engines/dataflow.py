"""Checks a job for Dataflow, describes a dry run and shortens Dataflow's errors."""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2

from beam_jobs.config.common_config import CommonConfig
from beam_jobs.storage.files import is_remote
from reader.contract.errors import BuildError, UsageError

DATAFLOW = "DataflowRunner"


def check_dataflow(options: PipelineOptions) -> None:
    """Checks required options early and fills in defaults for two of them.

    Beam detects these errors late. Without a bucket, Beam creates one in the user's
    project. With a local folder, the job tries for minutes to write to it.

    Raises:
        UsageError: An option is missing, or a location is not a folder in a bucket.
    """
    google = options.view_as(GoogleCloudOptions)
    google.temp_location = google.temp_location or google.staging_location
    google.region = google.region or os.environ.get("CLOUDSDK_COMPUTE_REGION")
    for name in ("project", "region", "temp_location"):
        if not getattr(google, name):
            raise UsageError(f"--runner={DATAFLOW} needs --{name}")
    for name in ("temp_location", "staging_location"):
        location = getattr(google, name)
        if location and not re.match("gs://[^/]+/", location):
            raise UsageError(
                f"--{name}={location}: Dataflow needs a folder in a bucket for staged "
                "files, gs://BUCKET/FOLDER"
            )


def check_paths(config: CommonConfig) -> None:
    """Rejects local paths, which Dataflow's workers cannot read.

    Raises:
        UsageError: A path is local.
    """
    for path in config.places:
        if not is_remote(path):
            raise UsageError(
                f"{path} is on this machine, where Dataflow's workers cannot read it: "
                "copy it to a bucket and pass gs://BUCKET/…"
            )


def described(job: Any) -> str:
    """Returns a summary of the job that a dry run would submit.

    Args:
        job: Beam's Dataflow job of a dry run.
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
    """Converts long errors of Dataflow and its client to a short `BuildError`.

    Raises:
        BuildError: Dataflow cannot be reached or rejects the job, or the job failed.
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
        raise BuildError(
            f"Dataflow cannot be reached or rejects the job: {error}"
        ) from error

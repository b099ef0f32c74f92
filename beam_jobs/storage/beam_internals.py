"""Wraps the private names of Apache Beam around its options, as of `BEAM_VERSION`.

The module is in `storage` because the stores, its lowest-level users, need the options.
Those of the local engine are in `engines/beam_workers.py`. After an upgrade of Beam,
the tests of both modules show which private names have changed.
"""

import argparse
import functools

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    AzureOptions,
    GoogleCloudOptions,
    PipelineOptions,
    S3Options,
)

from reader.object_stores.vendors.options import StoreOptions

BEAM_VERSION = "2.77"


def use_beam_options(options: PipelineOptions) -> None:
    """Sets the options of Beam's file systems before a pipeline exists.

    A pipeline would set them itself, but only when it runs.
    """
    FileSystems.set_options(options)


def beam_options() -> PipelineOptions:
    """Returns the options of the pipeline that this process runs.

    In a worker process, Beam passes the options only to its own file systems.
    """
    return FileSystems._pipeline_options or PipelineOptions([])


def store_options() -> StoreOptions:
    """Returns what the flags of this process's pipeline state of object stores."""
    return _store_options(FileSystems._pipeline_options)


@functools.lru_cache(1)  # Options are read for every request, and parsed to be viewed.
def _store_options(options: PipelineOptions | None) -> StoreOptions:
    options = options or PipelineOptions([])
    s3 = options.view_as(S3Options)
    google = options.view_as(GoogleCloudOptions)
    azure = options.view_as(AzureOptions)
    return StoreOptions(
        s3_endpoint_url=s3.s3_endpoint_url,
        s3_region_name=s3.s3_region_name,
        s3_access_key_id=s3.s3_access_key_id,
        s3_secret_access_key=s3.s3_secret_access_key,
        s3_session_token=s3.s3_session_token,
        s3_verify=s3.s3_verify,
        s3_disable_ssl=s3.s3_disable_ssl,
        gcs_anonymous=google.no_auth,
        gcs_scopes=tuple(google.gcp_oauth_scopes or ()),
        gcs_impersonate=google.impersonate_service_account,
        azure_connection_string=azure.azure_connection_string,
        azure_endpoint=azure.blob_service_endpoint,
        azure_client_id=azure.azure_managed_identity_client_id,
    )


def add_beam_flags(parser: argparse.ArgumentParser) -> None:
    """Adds all of Beam's flags to a parser that resolves conflicts.

    Beam's own parser only warns about unknown flags.
    """
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)

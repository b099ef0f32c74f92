"""`s3://`: Amazon S3 and compatible stores, with the settings that boto3 finds."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session
from obstore.store import S3Store

from reader.object_stores.vendors.bucket import (
    Bucket,
    bucket_of,
    checked_settings,
    http_options,
)
from reader.object_stores.vendors.options import StoreOptions

# obstore asks for keys again five minutes before they end. botocore returns keys that
# are valid for ten minutes at least.
_VALID = timedelta(minutes=9)

# botocore only looks up the region of a bucket. By default it waits for a minute, five
# times, where there is no network.
_LOOKUP = Config(connect_timeout=5, read_timeout=5, retries={"total_max_attempts": 2})


def connector(options: StoreOptions) -> Callable[[str], Bucket]:
    """Returns a function from the name of a bucket to its clients.

    Raises (and so does the function):
        UsageError: A setting cannot be used, such as a profile that does not exist.
    """
    # botocore finds profiles, keys, regions and endpoints as Amazon's tools do.
    session = Session()
    if options.s3_access_key_id and options.s3_secret_access_key:
        session.set_credentials(
            options.s3_access_key_id,
            options.s3_secret_access_key,
            options.s3_session_token,
        )
    trusted = options.s3_verify
    if trusted is None:
        with checked_settings("s3", BotoCoreError):
            trusted = session.get_config_variable("ca_bundle")

    @checked_settings("s3", BotoCoreError)
    def connect(bucket: str) -> Bucket:
        client = _client(session, options, options.s3_region_name)
        if ".amazonaws.com" in client.meta.endpoint_url:
            client = _client(session, options, _region_of(bucket, client))
        endpoint = client.meta.endpoint_url
        http = http_options(endpoint)
        if trusted is False:
            http["allow_invalid_certificates"] = True
        elif trusted and trusted is not True:
            http["root_certificate"] = Path(trusted).read_bytes()
        config = {
            "endpoint": endpoint,
            "region": client.meta.region_name,
            "checksum_algorithm": _checksum(client),
        }
        return bucket_of(S3Store, bucket, config, provider=_keys(session), **http)

    return connect


def _client(session: Session, options: StoreOptions, region: str | None) -> Any:
    return session.create_client(
        "s3",
        region_name=region,
        use_ssl=not options.s3_disable_ssl,
        endpoint_url=options.s3_endpoint_url,
        verify=options.s3_verify,
        config=_LOOKUP,
    )


def _region_of(bucket: str, client: Any) -> str | None:
    """Returns the region of a bucket, or else that of the account."""
    known: str | None = client.meta.region_name
    try:
        answer = client.head_bucket(Bucket=bucket)
    except ClientError as error:
        answer = error.response
    except BotoCoreError:  # No connection or account: the next request reports it.
        return known
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    region: str | None = headers.get("x-amz-bucket-region", known)
    return region


def _checksum(client: Any) -> str | None:
    """Returns the checksum that the store keeps with an object.

    Requests are signed with the SHA-256 of their bodies in any case.
    """
    wanted = client.meta.config.request_checksum_calculation
    return "SHA256" if wanted == "when_supported" else None


def _keys(session: Session) -> Callable[[], Any] | None:
    """Returns a function that returns keys; None to sign no request."""
    if os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true"):
        return None

    def keys() -> dict[str, Any]:
        found = session.get_credentials()
        if found is None:
            raise PermissionError(
                "no credentials were found: set AWS_PROFILE or AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket"
            )
        refreshed = isinstance(found, RefreshableCredentials)
        frozen = found.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + _VALID if refreshed else None,
        }

    return keys

"""`gs://`: Google Cloud Storage, with the credentials that google-auth finds."""

import os
from collections.abc import Callable
from datetime import UTC
from typing import Any

import google.auth
from google.auth import impersonated_credentials
from google.auth.exceptions import DefaultCredentialsError
from google.auth.transport.requests import Request
from obstore.store import GCSStore

from reader.contract.errors import UsageError
from reader.object_stores.vendors.bucket import (
    Bucket,
    bucket_of,
    checked_settings,
    http_options,
)
from reader.object_stores.vendors.options import StoreOptions

_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)


def connector(options: StoreOptions) -> Callable[[str], Bucket]:
    """Returns a function from the name of a bucket to its clients.

    Raises (and so does the function):
        UsageError: A setting cannot be used, such as a file that does not exist.
    """
    emulator = os.environ.get("STORAGE_EMULATOR_HOST") or None
    if emulator and "://" not in emulator:
        emulator = f"http://{emulator}"
    # Looking for credentials on a machine that has none takes long.
    local = emulator and not os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if local:
        token = _any_token
    else:
        token = _no_token if options.gcs_anonymous else _token(options)

    @checked_settings("gs")
    def connect(bucket: str) -> Bucket:
        config = {"base_url": emulator, "skip_signature": token is _no_token}
        http = http_options(emulator)
        return bucket_of(GCSStore, bucket, config, provider=token, **http)

    return connect


def _any_token() -> dict[str, Any]:
    return {"token": "anonymous", "expires_at": None}


def _no_token() -> dict[str, Any]:
    """Raises an error: reading needs no token without an account, but writing does."""
    raise PermissionError(
        "no credentials were found: run gcloud auth application-default login, or set "
        "GOOGLE_APPLICATION_CREDENTIALS"
    )


def _token(options: StoreOptions) -> Callable[[], dict[str, Any]]:
    """Returns a function that returns access tokens."""
    scopes = options.gcs_scopes or _SCOPES
    try:
        credentials, _ = google.auth.default(scopes=scopes)
    except DefaultCredentialsError as error:
        if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):  # It cannot be used.
            raise UsageError(f"GOOGLE_APPLICATION_CREDENTIALS: {error}") from None
        return _no_token  # Public buckets need none.
    if options.gcs_impersonate:
        *delegates, account = options.gcs_impersonate.split(",")
        credentials = impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
            source_credentials=credentials,
            target_principal=account,
            delegates=delegates,
            target_scopes=list(scopes),
        )

    def token() -> dict[str, Any]:
        credentials.refresh(Request())  # type: ignore[no-untyped-call]
        expiry = credentials.expiry
        return {
            "token": credentials.token,
            "expires_at": expiry and expiry.replace(tzinfo=UTC),
        }

    return token

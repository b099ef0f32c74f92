"""Settings of object stores that flags of a job may state."""

from typing import NamedTuple


class StoreOptions(NamedTuple):
    """Accounts and endpoints; what is None is found as the cloud's own tools find it.

    Attributes:
        s3_endpoint_url: URL of an S3-compatible store.
        s3_region_name: Region of the buckets.
        s3_access_key_id: Access key.
        s3_secret_access_key: Secret key.
        s3_session_token: Session token of temporary keys.
        s3_verify: Path of the certificates to trust; False to trust any certificate.
        s3_disable_ssl: Whether to use http:// where no endpoint is given.
        gcs_anonymous: Whether to read public buckets without credentials.
        gcs_scopes: OAuth scopes of Google's credentials.
        gcs_impersonate: Service account to impersonate; the last of a chain of
            delegates, separated by commas.
        azure_connection_string: Connection string of the storage account.
        azure_endpoint: URL of the storage account's blob service.
        azure_client_id: Client ID of a user-assigned managed identity.
    """

    s3_endpoint_url: str | None = None
    s3_region_name: str | None = None
    s3_access_key_id: str | None = None
    s3_secret_access_key: str | None = None
    s3_session_token: str | None = None
    s3_verify: str | bool | None = None
    s3_disable_ssl: bool = False
    gcs_anonymous: bool = False
    gcs_scopes: tuple[str, ...] = ()
    gcs_impersonate: str | None = None
    azure_connection_string: str | None = None
    azure_endpoint: str | None = None
    azure_client_id: str | None = None

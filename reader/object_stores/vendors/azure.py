"""`az://`: Azure Blob Storage, as `az://container/name`."""

import os
from collections.abc import Callable
from typing import Any

from obstore.store import AzureStore

from reader.contract.errors import UsageError
from reader.object_stores.vendors.bucket import (
    Bucket,
    bucket_of,
    checked_settings,
    http_options,
)
from reader.object_stores.vendors.options import StoreOptions

# Variables that obstore reads.
_ACCOUNT = "AZURE_STORAGE_ACCOUNT_NAME"
_EMULATOR = "AZURE_STORAGE_USE_EMULATOR"
_KEYS = (
    *("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY"),
    *("AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_TOKEN"),
    *("AZURE_CREDENTIAL_TYPE", "AZURE_SKIP_SIGNATURE"),
)

# What a connection string states, and what obstore calls it.
_NAMES = {
    "AccountName": "account_name",
    "AccountKey": "account_key",
    "SharedAccessSignature": "sas_key",
    "BlobEndpoint": "endpoint",
    "UseDevelopmentStorage": "use_emulator",
}
_SCOPE = "https://storage.azure.com/.default"


def connector(options: StoreOptions) -> Callable[[str], Bucket]:
    """Returns a function from the name of a container to its clients.

    Raises:
        UsageError: The name of the storage account is not known.
    """
    config = _config(options)
    emulated = config.get("use_emulator") or _is_set(_EMULATOR)
    if not (emulated or "account_name" in config or _is_set(_ACCOUNT)):
        raise UsageError(
            f"az:// needs the name of the storage account: set {_ACCOUNT}, or "
            "AZURE_STORAGE_CONNECTION_STRING"
        )
    has_keys = emulated or {"account_key", "sas_key"} & set(config)
    provider = None if has_keys or any(map(_is_set, _KEYS)) else _token(options)
    endpoint = config.get("endpoint") or os.environ.get("AZURE_STORAGE_ENDPOINT")

    @checked_settings("az")
    def connect(container: str) -> Bucket:
        http = {"allow_http": bool(emulated)} | http_options(endpoint or None)
        return bucket_of(AzureStore, container, config, provider=provider, **http)

    return connect


def _config(options: StoreOptions) -> dict[str, Any]:
    endpoint = options.azure_endpoint
    if endpoint:
        account = endpoint.partition("://")[2].partition(".")[0]
        return {"endpoint": endpoint, "account_name": account}
    stated = options.azure_connection_string or os.environ.get(
        "AZURE_STORAGE_CONNECTION_STRING", ""
    )
    parts = (part.partition("=") for part in stated.split(";"))
    return {_NAMES[name]: value for name, _, value in parts if name in _NAMES}


def _token(options: StoreOptions) -> Callable[[], Any] | None:
    """Returns a provider of tokens; None to use obstore's, without azure-identity."""
    try:
        from azure.identity import DefaultAzureCredential
        from obstore.auth.azure import AzureCredentialProvider
    except ModuleNotFoundError:
        return None

    credential = DefaultAzureCredential(
        managed_identity_client_id=options.azure_client_id
    )
    return AzureCredentialProvider(credential)


def _is_set(name: str) -> bool:
    return os.environ.get(name, "") not in ("", "0", "false")

"""The vendors of object stores, by the scheme of their addresses. START HERE."""

import os
from collections.abc import Callable
from typing import NamedTuple

from reader.contract.errors import UsageError
from reader.contract.host import import_library
from reader.object_stores.vendors.bucket import Bucket
from reader.object_stores.vendors.options import StoreOptions


class _Vendor(NamedTuple):
    """A vendor.

    Attributes:
        module: Module of this room that connects to it.
        libraries: Modules that must be installed.
        extra: Extra of the package that installs them.
        variables: Beginnings of the names of the variables that configure it.
    """

    module: str
    libraries: tuple[str, ...]
    extra: str
    variables: tuple[str, ...]


_VENDORS = {
    "gs": _Vendor("gcs", ("obstore", "google.auth"), "gcp", ("STORAGE_EM", "GOOGLE_")),
    "s3": _Vendor("s3", ("obstore", "botocore"), "aws", ("AWS_",)),
    "az": _Vendor("azure", ("obstore",), "azure", ("AZURE_", "AZURITE_")),
}


def connector(scheme: str, options: StoreOptions) -> Callable[[str], Bucket]:
    """Returns a function from the name of a bucket to its clients.

    Raises:
        UsageError: A library is not installed, or a setting is missing.
    """
    vendor = _vendor(scheme)
    for library in vendor.libraries:
        import_library(library, f"{scheme}://", f"'diptych[{vendor.extra}]'")
    module = import_library(f"{__package__}.{vendor.module}", f"{scheme}://")
    connect: Callable[[str], Bucket] = module.connector(options)
    return connect


def settings_of(scheme: str) -> tuple[tuple[str, str], ...]:
    """Returns the variables of the environment that configure a vendor.

    Raises:
        UsageError: The scheme is not supported.
    """
    begins = _vendor(scheme).variables
    found = ((name, os.environ[name]) for name in os.environ if name.startswith(begins))
    return tuple(found)


def _vendor(scheme: str) -> _Vendor:
    if scheme not in _VENDORS:
        raise UsageError(f"{scheme}:// is not supported: use gs://, s3:// or az://")
    return _VENDORS[scheme]

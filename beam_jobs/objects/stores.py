"""The stores, by the schemes of addresses; one is kept for each."""

import functools

from beam_jobs.objects.store import Store
from reader.contract.errors import UsageError

_EXTRAS = {"gs": "gcp", "s3": "aws"}


@functools.cache
def store_of(scheme: str) -> Store:
    """Returns the store that a scheme names.

    Raises:
        UsageError: There is none of that name, or its library is not installed.
    """
    try:
        if scheme == "gs":
            from beam_jobs.objects.gcs import GcsStore

            return GcsStore()
        if scheme == "s3":
            from beam_jobs.objects.s3 import S3Store

            return S3Store()
    except ImportError as error:
        raise UsageError(
            f"{scheme}:// needs {error.name}, which is not installed: "
            f"pip install 'diptych[{_EXTRAS[scheme]}]'"
        ) from error
    raise UsageError(f"{scheme}:// is not read here: only gs:// and s3:// are")

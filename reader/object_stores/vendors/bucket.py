"""Makes the clients of a bucket, with the timeouts that all vendors' have."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from reader.contract.errors import UsageError


class Bucket(NamedTuple):
    """The clients of one bucket.

    Attributes:
        store: Client of obstore that repeats no request.
        uploads: Client of obstore that repeats the parts of an upload.
    """

    store: Any
    uploads: Any


# An answer that stalls is given up sooner than one that arrives slowly, since many
# requests may share a line.
_TIMEOUTS = {
    "connect_timeout": timedelta(seconds=5),
    "read_timeout": timedelta(seconds=20),
    "timeout": timedelta(minutes=1),
    "pool_idle_timeout": timedelta(seconds=30),
}
_UPLOAD_TIMEOUTS = _TIMEOUTS | {"timeout": timedelta(minutes=5)}
_NO_RETRIES = {"max_retries": 0}
_RETRIES = {"max_retries": 10, "retry_timeout": timedelta(seconds=60)}


@contextlib.contextmanager
def checked_settings(scheme: str, *errors: type[Exception]) -> Iterator[None]:
    """Raises errors of the settings as wrong usage, such as of a file that is missing.

    Args:
        scheme: Scheme of the addresses.
        *errors: Errors of the vendor's library, besides those of files, values and
            obstore.

    Raises:
        UsageError: The block raises one of these errors.
    """
    # Hosts without buckets have no obstore.
    from obstore.exceptions import BaseError

    all_errors: tuple[type[Exception], ...] = (OSError, ValueError, BaseError, *errors)
    try:
        yield
    except UsageError:
        raise
    except all_errors as error:
        what = str(error).splitlines()[0]
        raise UsageError(f"the settings of {scheme}:// are unusable: {what}") from None


def bucket_of(
    store_type: Callable[..., Any],
    name: str,
    config: dict[str, Any],
    *,
    provider: Callable[[], Any] | None = None,
    **client_options: Any,
) -> Bucket:
    """Returns the clients of a bucket.

    Args:
        store_type: Class of obstore.
        name: Name of the bucket.
        config: Settings of the vendor; None stands for the default.
        provider: Function that returns credentials, or None.
        **client_options: Settings of the HTTP client.
    """
    config = {key: value for key, value in config.items() if value is not None}
    credentials = {} if provider is None else {"credential_provider": provider}

    def make(timeouts: dict[str, timedelta], retries: dict[str, Any]) -> Any:
        return store_type(
            name,
            config=config,
            client_options=timeouts | client_options,
            retry_config=retries,
            **credentials,
        )

    return Bucket(make(_TIMEOUTS, _NO_RETRIES), make(_UPLOAD_TIMEOUTS, _RETRIES))


def http_options(endpoint: str | None) -> dict[str, Any]:
    """Returns the settings of the HTTP client for the URL of a store.

    Encryption may be missing, as emulators have none.

    Args:
        endpoint: The URL, or None for that of the vendor.

    Raises:
        ValueError: It is not a URL. obstore would panic at the first request.
    """
    if endpoint is None:
        return {}
    parts = urlsplit(endpoint)
    try:
        _ = parts.port
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_url = False
    if not is_url or endpoint.split() != [endpoint]:
        raise ValueError(f'"{endpoint}" is not a URL: pass http[s]://HOST[:PORT]')
    return {"allow_http": parts.scheme == "http"}

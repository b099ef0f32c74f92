"""Returns the store of an address: `store_of`."""

import functools

from reader.object_stores.forked import ForkSafeStore
from reader.object_stores.protocol import ObjectStore, scheme_of
from reader.object_stores.vendors.options import StoreOptions
from reader.object_stores.vendors.vendors import settings_of

_NO_OPTIONS = StoreOptions()


def store_of(path: str, options: StoreOptions = _NO_OPTIONS) -> ObjectStore:
    """Returns the store of an address; calls with the same settings share one.

    Args:
        path: Address of an object or a folder, such as `gs://bucket/x`.
        options: Settings that flags of a job state.

    Raises:
        UsageError: The scheme is not supported, its library is not installed, or a
            setting is missing.
    """
    scheme = scheme_of(path) or ""
    return _store(scheme, options, settings_of(scheme))


@functools.cache
def _store(
    scheme: str, options: StoreOptions, settings: tuple[tuple[str, str], ...]
) -> ForkSafeStore:
    """Returns a store; `settings` are those of the environment, which it reads."""
    return ForkSafeStore(scheme, options)

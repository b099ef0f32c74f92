"""Lists many objects concurrently, by ranges of their names or by folders."""

import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice

from beam_jobs.storage.files import request_pool, scan
from beam_jobs.storage.name_ranges import (
    PAGE_NAMES,
    NameRange,
    ranges_between,
    split_names,
)
from reader.object_stores.protocol import Listed, scheme_of

# Ranges or folders that one thread of a job lists at the same time. It handles the
# names more slowly than eight connections bring them.
AT_A_TIME = 8

# Stores that list names in order, and from any name on. Azure's emulator does not.
_SORTED = ("gs", "s3")


def can_list_ranges(folder: str) -> bool:
    """Returns whether a folder is in a store that lists ranges of names."""
    return scheme_of(folder) in _SORTED


def bounds_in(folder: str) -> list[str]:
    """Returns bounds of ranges of names in a folder of a bucket.

    Names are relative to the folder, at any depth. A small folder has no bounds.
    """
    return split_names(functools.partial(_page_of, folder), request_pool())


def _page_of(folder: str, after: str) -> list[str]:
    found = scan(folder, deep=True, after=after)
    return [listed.name for listed in islice(found, PAGE_NAMES)]


def scan_all(folder: str) -> Iterator[Listed]:
    """Yields the files at any depth of a folder in a bucket, in any order."""
    bounds = bounds_in(folder) if can_list_ranges(folder) else []
    return scan_ranges(folder, ranges_between(bounds))


def scan_ranges(folder: str, ranges: Sequence[NameRange]) -> Iterator[Listed]:
    """Yields the files in ranges of names, in any order.

    Args:
        folder: Address of the folder.
        ranges: Ranges, some of which are listed at the same time.
    """
    yield from _merged([_scan_range(folder, names) for names in ranges])


def scan_subfolders(folder: str, names: Sequence[str]) -> Iterator[Listed]:
    """Yields the files at any depth of subfolders, in any order.

    Args:
        folder: Address of the folder, which their names are relative to.
        names: Names of the subfolders, some of which are listed at the same time.
    """
    yield from _merged([_scan_subfolder(folder, name) for name in names])


def _merged(scans: Sequence[Iterator[Listed]]) -> Iterator[Listed]:
    """Yields what scans find, a page of one after a page of another."""
    waiting = [*reversed(scans)]
    running: dict[Future[list[Listed]], Iterator[Listed]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < AT_A_TIME:
                found = waiting.pop()
                running[request_pool().submit(_take, found)] = found
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                found = running.pop(future)
                page = future.result()
                if page:
                    waiting.append(found)
                yield from page
    finally:
        wait([future for future in running if not future.cancel()])


def _take(found: Iterator[Listed]) -> list[Listed]:
    return list(islice(found, PAGE_NAMES))


def _scan_subfolder(folder: str, name: str) -> Iterator[Listed]:
    for listed in scan(f"{folder}/{name}", deep=True):
        yield Listed(f"{name}/{listed.name}", listed.status)


def _scan_range(folder: str, names: NameRange) -> Iterator[Listed]:
    for listed in scan(folder, deep=True, after=names.after):
        if names.until and listed.name > names.until:
            return
        yield listed

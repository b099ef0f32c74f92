"""Checks every file of a dataset against the manifest, for `diptych verify`."""

import contextlib
import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, resource_tracker
from typing import NamedTuple

import google_crc32c

from reader.contract import schema
from reader.contract.checks import check_at_least
from reader.contract.errors import BuildError, DatasetError
from reader.contract.host import num_cores
from reader.contract.layout import (
    BLOCKS,
    INDEX_DIR,
    MANIFEST,
    REJECTS,
    SAMPLES_DIR,
    SHARD_SUFFIX,
    TOKENIZER_DIR,
    parse_shard_name,
    shard_of_file,
)
from reader.contract.manifest import Manifest, Shard, Split
from reader.contract.statistics import Statistics
from reader.datasets.manifest_dataset import ManifestDataset, open_dataset
from reader.pixels.codecs import decoder
from reader.selections.selection import list_selections
from reader.storage.files import is_folder, list_folder, open_file
from reader.tools.verify.problems import Problem, unreadable
from reader.tools.verify.shard_check import (
    ShardReport,
    ShardTask,
    check_shard,
    repeated_keys,
    shard_tasks,
)

_CHUNK_BYTES = 1 << 20


class Report(NamedTuple):
    """The result of verifying a dataset.

    Attributes:
        folder: Folder of the dataset.
        num_shards: Number of shards checked.
        num_examples: Number of valid examples read.
        num_bytes: Total size of the shards in bytes, from the manifest.
        problems: All problems, first of the shards, then of the other files; `str` of a
            problem is one line of text.
    """

    folder: str
    num_shards: int
    num_examples: int
    num_bytes: int
    problems: list[Problem]


def verify(
    folder: str | os.PathLike[str],
    *,
    decode: bool = False,
    workers: int = 1,
    on_shard: Callable[[Shard], object] | None = None,
) -> Report:
    """Checks every checksum, count and key of a dataset, and its side files.

    Args:
        folder: Folder of the dataset, local or in a bucket.
        decode: Whether to decode every image as well, with one thread per core.
        workers: Number of processes that share the shards. With more than one,
            processes are spawned, so a script needs `if __name__ == "__main__":`.
        on_shard: Callback, called with each shard after its check.

    Returns:
        Counts of what was checked, and all problems.

    Raises:
        BuildError: A process died, so that the check is not complete.
        DatasetError: The folder holds no finished dataset.
        UsageError: `workers` is less than 1, or the library that decodes the images is
            not installed.
    """
    check_at_least("workers", workers, 1)
    dataset = open_dataset(folder)
    manifest = dataset.manifest
    if decode:
        decoder(manifest.image.format)  # Raises if the library is not installed.
    threads = -(-num_cores() // workers) if decode else 0
    tasks = shard_tasks(dataset.folder, manifest, threads)
    reports = []
    with _checked(tasks, workers) as checked:
        for report, task in zip(checked, tasks, strict=True):
            reports.append(report)
            if on_shard is not None:
                on_shard(task.shard)
    problems = [problem for report in reports for problem in report.problems]
    problems += repeated_keys(reports)
    problems += _check_statistics(dataset, reports)
    problems += _check_files(dataset)
    problems += _check_accounting(dataset)
    problems += _check_selections(dataset)
    return Report(
        folder=dataset.folder,
        num_shards=len(tasks),
        num_examples=sum(len(report.keys) for report in reports),
        num_bytes=sum(shard.num_bytes for shard in manifest.shards),
        problems=problems,
    )


@contextlib.contextmanager
def _checked(
    tasks: Sequence[ShardTask], workers: int
) -> Iterator[Iterator[ShardReport]]:
    """Yields an iterator over the reports of the shards, in order."""
    workers = min(workers, len(tasks))
    if workers < 2:
        yield map(check_shard, tasks)
        return
    # Python starts this process with the first worker, and then unblocks Ctrl-C.
    with _safe_path():
        resource_tracker.ensure_running()
    # Spawn, do not fork: TensorFlow may be loaded in this process and have threads.
    with _death_explained(), contextlib.ExitStack() as stack:
        with _defer_ctrl_c(), _safe_path():
            pool = ProcessPoolExecutor(workers, get_context("spawn"), _exit_quietly)
            stack.callback(pool.shutdown, cancel_futures=True)
            reports = pool.map(check_shard, tasks)
        yield reports


@contextlib.contextmanager
def _death_explained() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise BuildError(
            "a process that checked shards died, possibly out of memory: check with "
            "fewer workers. A script that calls verify with several workers does so "
            'below `if __name__ == "__main__":`'
        ) from error


@contextlib.contextmanager
def _defer_ctrl_c() -> Iterator[None]:
    """Defers Ctrl-C, also in processes that are started inside the block.

    Child processes inherit the blocked signal. Blocking is not enough in this process:
    the kernel may deliver the signal to another thread, such as numpy's, and Python
    then runs the handler in the main thread. So the handler is replaced as well.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
        if received:
            signal.raise_signal(signal.SIGINT)


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Lets processes that are started inside the block ignore the working folder.

    A file there may have the name of a module that a process imports at its start. The
    process then gets the module path of this one.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTHONSAFEPATH"]
        if before is not None:
            os.environ["PYTHONSAFEPATH"] = before


def _exit_quietly() -> None:
    """Makes Ctrl-C end a worker without a traceback: the parent prints one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _check_statistics(
    dataset: ManifestDataset, reports: Sequence[ShardReport]
) -> Iterator[Problem]:
    """Yields splits whose statistics in the manifest differ from their records."""
    by_path = {report.path: report for report in reports}
    for split in dataset.manifest.splits:
        of_split = [by_path[dataset.path(shard.file)] for shard in split.shards]
        if any(report.problems for report in of_split):
            continue  # The statistics of only the readable records would differ.
        statistics = Statistics()
        for report in of_split:
            statistics = statistics.merge(report.statistics)
        if _as_counted(statistics, split) != split.statistics:
            what = f"the statistics of {split.name} do not match its records"
            yield Problem(dataset.path(MANIFEST), what, remedy="overwrite")


def _as_counted(statistics: Statistics, split: Split) -> Statistics:
    """Returns statistics without those that the split's manifest does not hold."""
    stated = split.statistics
    if stated.captions is None:
        statistics = dataclasses.replace(statistics, captions=None)
    if stated.one_token_captions is None:
        statistics = dataclasses.replace(statistics, one_token_captions=None)
    if not stated.no_token_captions:  # Also if they were not counted.
        statistics = dataclasses.replace(statistics, no_token_captions=0)
    return statistics


def _check_files(dataset: ManifestDataset) -> Iterator[Problem]:
    """Yields problems with the files beside the shards."""
    manifest = dataset.manifest
    for file, crc32c in manifest.files.items():
        problem = _flaw_of_file(dataset.path(file), crc32c)
        if problem is not None:
            yield problem
    for file in _files_of(manifest):
        if file not in manifest.files:
            what = f"no checksum for {file}"
            yield Problem(dataset.path(MANIFEST), what, remedy="overwrite")
    known = {*manifest.files, *(shard.file for shard in manifest.shards)}
    for folder in ("", INDEX_DIR, SAMPLES_DIR):
        try:
            files = _named_after_shards(dataset, folder)
        except PermissionError as error:
            yield unreadable(dataset.path(folder).rstrip("/"), error)
            continue
        for file in files:
            if file not in known:
                what = "not part of the dataset"
                yield Problem(dataset.path(file), what, remedy="remove")


def _flaw_of_file(path: str, crc32c: str) -> Problem | None:
    """Returns the problem with a file that should have a checksum, or None.

    An unreadable file is a problem, not an error, so the other files are still checked.
    """
    checksum = google_crc32c.Checksum()
    try:
        with open_file(path) as file:
            while chunk := file.read(_CHUNK_BYTES):
                checksum.update(chunk)
    except OSError as error:
        return unreadable(path, error)
    if checksum.digest().hex() != crc32c:
        return Problem(path, "checksum does not match the manifest")
    return None


def _named_after_shards(dataset: ManifestDataset, folder: str) -> list[str]:
    """Returns the files that a glob of shards or of their side files would match."""
    path = dataset.path(folder).rstrip("/")
    names = list_folder(path) if is_folder(path) else []
    names = [n for n in names if shard_of_file(n) or n.endswith(SHARD_SUFFIX)]
    return [os.path.join(folder, name) for name in names]


def _files_of(manifest: Manifest) -> Iterator[str]:
    """Yields every file of a dataset except its shards and its manifest."""
    yield from (BLOCKS, REJECTS, f"{TOKENIZER_DIR}/{manifest.tokenizer.file}")
    for shard in manifest.shards:
        name = parse_shard_name(shard.file)
        if name is not None:
            yield from (name.index_file, name.samples_file)


def _check_accounting(dataset: ManifestDataset) -> Iterator[Problem]:
    """Yields contradictions of the manifest with itself, the tokenizer or rejects."""
    manifest = dataset.manifest
    for what in _contradictions(dataset):
        yield Problem(dataset.path(MANIFEST), what, remedy="overwrite")
    rejects = dataset.path(REJECTS)
    with contextlib.suppress(OSError), open_file(rejects) as file:
        num_lines = sum(1 for _ in file)
        num_rejects = sum(manifest.accounting.not_written.values())
        if num_lines != num_rejects:
            what = f"{num_lines} lines, but the manifest counts {num_rejects} rejects"
            yield Problem(rejects, what)


def _check_selections(dataset: ManifestDataset) -> Iterator[Problem]:
    """Yields selections that cannot be used."""
    for listed in list_selections(dataset):
        if listed.problem is not None:
            what = listed.problem.removeprefix(listed.path).lstrip(" /")
            yield Problem(listed.path, what, remedy="select")


def _contradictions(dataset: ManifestDataset) -> Iterator[str]:
    manifest = dataset.manifest
    spec, file = manifest.tokenizer, f"{TOKENIZER_DIR}/{manifest.tokenizer.file}"
    if _flaw_of_file(dataset.path(file), manifest.files.get(file, "")) is None:
        try:
            # Not `tokenizer()`: its library may not be installed.
            dataset.tokenizer_data()
        except DatasetError as error:
            yield f"{spec.file} is not the tokenizer of the manifest: {error}"
    described = {feature.key for feature in manifest.features}
    for feature in schema.FEATURES:
        if feature.key not in described:
            yield f"feature {feature.key} is not described"
    if not manifest.accounting.balanced:
        yield "the counts of keys do not add up"
    if manifest.accounting.written != manifest.num_examples:
        yield "the number of written keys differs from the examples of the shards"

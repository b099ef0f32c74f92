"""`diptych verify`: is everything there, and is it what was written?"""

import contextlib
import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import google_crc32c

from reader.contract import schema
from reader.contract.checks import check_at_least
from reader.contract.errors import DatasetError
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
from reader.decode.numpy_images import decoder
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
    """What was checked, and all that is wrong.

    Attributes:
        folder: Of the dataset.
        num_shards: Checked.
        num_examples: Read, and found to be right.
        num_bytes: Of the shards, as the manifest has it.
        problems: With it, shard by shard, then with the other files; as text, a line
            each.
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
        folder: Of the dataset, here or in a bucket.
        decode: Whether to decode every image as well, with a thread per core.
        workers: Processes that share the shards. More than one are spawned, so that a
            script that asks for them needs its `if __name__ == "__main__":`.
        on_shard: Called with each shard that was checked.

    Raises:
        DatasetError: There is no finished dataset.
        UsageError: `workers` is no number of processes, or the library that decodes
            its images is not installed.
    """
    check_at_least("workers", workers, 1)
    dataset = open_dataset(folder)
    manifest = dataset.manifest
    if decode:
        decoder(manifest.image.format)  # Is it installed?
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
    problems += _check_books(dataset)
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
    """Gives the reports of shards, in order."""
    workers = min(workers, len(tasks))
    if workers < 2:
        yield map(check_shard, tasks)
        return
    # Not forked: TensorFlow may be in this process, and have threads.
    with ProcessPoolExecutor(workers, get_context("spawn"), _die_quietly) as pool:
        try:
            with _ctrl_c_later():
                reports = pool.map(check_shard, tasks)
            yield reports
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Holds Ctrl-C back, also from processes that are started here.

    These inherit what is blocked. It does not hold off us: other threads, such as
    those of numpy, may be given the signal, and Python tells the main one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


def _die_quietly() -> None:
    """Lets Ctrl-C end a worker without a traceback: its parent has one to tell."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _check_statistics(
    dataset: ManifestDataset, reports: Sequence[ShardReport]
) -> Iterator[Problem]:
    """Yields where the manifest's statistics are not those of what is whole."""
    by_path = {report.path: report for report in reports}
    for split in dataset.manifest.splits:
        of_split = [by_path[dataset.path(shard.file)] for shard in split.shards]
        if any(report.problems for report in of_split):
            continue  # Of those that can be read alone they cannot be.
        statistics = Statistics()
        for report in of_split:
            statistics = statistics.merge(report.statistics)
        if _as_counted(statistics, split) != split.statistics:
            what = f"its statistics of {split.name} are not those of the records"
            yield Problem(dataset.path(MANIFEST), what, remedy="overwrite")


def _as_counted(statistics: Statistics, split: Split) -> Statistics:
    """Returns statistics without what was not counted when the split was written."""
    told = split.statistics
    if told.captions is None:
        statistics = dataclasses.replace(statistics, captions=None)
    if told.one_token_captions is None:
        statistics = dataclasses.replace(statistics, one_token_captions=None)
    return statistics


def _check_files(dataset: ManifestDataset) -> Iterator[Problem]:
    """Yields what is wrong with the files beside the shards."""
    manifest = dataset.manifest
    for file, crc32c in manifest.files.items():
        problem = _flaw_of_file(dataset.path(file), crc32c)
        if problem is not None:
            yield problem
    for file in _files_of(manifest):
        if file not in manifest.files:
            what = f"it has no checksum of {file}"
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
                what = "it is no part of the dataset"
                yield Problem(dataset.path(file), what, remedy="remove")


def _flaw_of_file(path: str, crc32c: str) -> Problem | None:
    """Returns what is wrong with a file that should have a checksum; None for nothing.

    Whatever stops the reading of one must not keep the others from being checked.
    """
    checksum = google_crc32c.Checksum()
    try:
        with open_file(path) as file:
            while chunk := file.read(_CHUNK_BYTES):
                checksum.update(chunk)
    except OSError as error:
        return unreadable(path, error)
    if checksum.digest().hex() != crc32c:
        return Problem(path, "its checksum is not that of the manifest")
    return None


def _named_after_shards(dataset: ManifestDataset, folder: str) -> list[str]:
    """Returns what a glob of shards, or of what goes with them, would catch."""
    path = dataset.path(folder).rstrip("/")
    names = list_folder(path) if is_folder(path) else []
    names = [n for n in names if shard_of_file(n) or n.endswith(SHARD_SUFFIX)]
    return [os.path.join(folder, name) for name in names]


def _files_of(manifest: Manifest) -> Iterator[str]:
    """Yields every file that a dataset has beside its shards and its manifest."""
    yield from (BLOCKS, REJECTS, f"{TOKENIZER_DIR}/{manifest.tokenizer.file}")
    for shard in manifest.shards:
        name = parse_shard_name(shard.file)
        if name is not None:
            yield from (name.index_file, name.samples_file)


def _check_books(dataset: ManifestDataset) -> Iterator[Problem]:
    """Yields where the manifest contradicts itself, the tokenizer or the rejects."""
    manifest = dataset.manifest
    for what in _contradictions(dataset):
        yield Problem(dataset.path(MANIFEST), what, remedy="overwrite")
    rejects = dataset.path(REJECTS)
    with contextlib.suppress(OSError), open_file(rejects) as file:
        num_lines = sum(1 for _ in file)
        if num_lines != sum(manifest.accounting.not_written.values()):
            what = "not a line for each key that the books say"
            yield Problem(rejects, what)


def _contradictions(dataset: ManifestDataset) -> Iterator[str]:
    manifest = dataset.manifest
    spec, file = manifest.tokenizer, f"{TOKENIZER_DIR}/{manifest.tokenizer.file}"
    if _flaw_of_file(dataset.path(file), manifest.files.get(file, "")) is None:
        try:
            dataset.tokenizer_data()  # Its library may not be installed.
        except DatasetError as error:
            yield f"{spec.file} is not the tokenizer that it names: {error}"
    described = {feature.key for feature in manifest.features}
    for feature in schema.FEATURES:
        if feature.key not in described:
            yield f"it does not describe {feature.key}"
    if not manifest.accounting.balanced:
        yield "its books do not balance"
    if manifest.accounting.written != manifest.num_examples:
        yield "its books and its shards count different examples"

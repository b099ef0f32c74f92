"""PairEntries: packed entries of a key range → its pairs, sorted, on disk.

Every key becomes a pair or a reject. If a key is ambiguous, it is rejected.
"""

import functools
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from beam_jobs.config.columns import Value
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.key_file import key_text, parse_keys
from beam_jobs.config.row_filter import RowFilter
from beam_jobs.elements import (
    EXCLUDED,
    NOT_MET,
    BadInput,
    Entry,
    KeyRange,
    Pair,
    Reject,
    SourceFile,
    StoredArray,
    facts_of,
)
from beam_jobs.planning.entry_packs import Pack, unpack
from beam_jobs.planning.key_order import place_split
from beam_jobs.planning.pair_lists import write_lists
from beam_jobs.sources.listing_digest import hash_of_entry, inspected, sum_hashes
from beam_jobs.sources.registry import Source, source_of
from beam_jobs.sources.source_files import SourceFiles
from beam_jobs.storage.files import inspect_each, is_remote, read_if_exists
from beam_jobs.workspace.array_file import digest_of
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace


class PairEntries(beam.PTransform):
    """Pairs the entries of each key range: (key range, packs) → `KeyRange`."""

    def __init__(self, config: JobConfig, lease: str) -> None:
        """Initializes the transform.

        Args:
            config: Configuration of the job.
            lease: Token of the output's lease, held by the running job.
        """
        super().__init__()
        self._config = config
        self._lease = lease

    def expand(
        self, packs: beam.PCollection[tuple[int, Iterable[bytes]]]
    ) -> beam.PCollection[KeyRange]:
        """Writes the pairs and rejects of each key range to `_build/plan/`."""
        return packs | "Pair" >> beam.ParDo(_PairEntriesFn(self._config, self._lease))


class _PairEntriesFn(beam.DoFn):
    def __init__(self, config: JobConfig, lease: str) -> None:
        self._config = config
        self._lease = lease
        self._found = beam.metrics.Metrics.counter("pairs", "found")

    def setup(self) -> None:
        self._files = SourceFiles(self._config)
        excluded = read_if_exists(Workspace(self._config.output).excluded)
        self._excluded = parse_keys(excluded or b"")

    def process(self, packed: tuple[int, Iterable[bytes]]) -> Iterator[KeyRange]:
        with noted(Workspace(self._config.output), f"pairing-{packed[0]:03d}"):
            yield self._pair(packed[0], unpack(packed[1]))

    def _pair(self, number: int, pack: Pack) -> KeyRange:
        look = functools.partial(inspected, files=self._files)
        remote = any(map(is_remote, self._config.sources))
        entries = list(inspect_each(look, pack.entries, remote=remote))
        pairs, rejects = pair_entries(entries, self._config, self._excluded)
        found = len(pairs) + len(rejects)
        self._found.inc(found)
        lists = write_lists(self._config, self._lease, number, pairs, rejects)
        return KeyRange(
            number=number,
            found=found,
            ignored=dict(pack.ignored),
            loops=tuple(sorted(pack.loops)),
            listing=sum_hashes(map(hash_of_entry, entries)),
            **lists._asdict(),
        )


def pair_entries(
    entries: Iterable[Entry],
    config: JobConfig,
    excluded: Collection[str] = frozenset(),
) -> tuple[list[Pair], list[Reject]]:
    """Returns the pairs, and a reject for each key that has no valid pair.

    Args:
        entries: All entries of some keys.
        config: Configuration of the job.
        excluded: Keys that are not written, as `key_text` has them.
    """
    source = source_of(config)
    by_key: dict[bytes, list[Entry]] = {}
    for entry in entries:
        by_key.setdefault(entry.key, []).append(entry)
    pairs: list[Pair] = []
    rejects: list[Reject] = []
    for key, key_entries in by_key.items():
        key_entries.sort(key=_sort_key)
        if excluded and key_text(key) in excluded:
            source_files = sources_of(key_entries)
            rejects.append(Reject(key, source_files, "pair", *EXCLUDED))
            continue
        try:
            pairs.append(_pair_one(key, key_entries, config, source))
        except BadInput as error:
            flawed = [entry for entry in key_entries if entry.flaw is not None]
            rejects.append(
                Reject(
                    key=key,
                    source=sources_of(flawed or key_entries),
                    stage="list" if flawed else "pair",
                    reason=error.reason,
                    detail=error.detail,
                )
            )
    if config.row_filter is None:
        return pairs, rejects
    return _filtered(pairs, rejects, config.row_filter)


def _filtered(
    pairs: list[Pair], rejects: list[Reject], condition: RowFilter
) -> tuple[list[Pair], list[Reject]]:
    """Moves the pairs that do not meet the condition to the rejects."""
    rows = [condition.row_of(pair.values, facts_of(pair)) for pair in pairs]
    kept = []
    for pair, is_kept in zip(pairs, condition.may_keep(rows), strict=True):
        if is_kept:
            kept.append(pair)
        else:
            source = (pair.image.path, pair.caption.path)
            rejects.append(Reject(pair.key, source, "pair", *NOT_MET))
    return kept, rejects


def _sort_key(entry: Entry) -> tuple[Any, ...]:
    """Returns a sort key that makes the order of entries deterministic."""
    texts, flaw, lacks = entry.texts or (), entry.flaw or (), entry.lacks or ""
    return entry.origin, entry.rank, texts, flaw, lacks, entry.names or ()


def sources_of(entries: Iterable[Entry]) -> tuple[bytes, ...]:
    """Returns the paths of the files that entries are about and come from."""
    paths = (
        path
        for entry in entries
        for path in (entry.image.path if entry.image else None, entry.origin)
        if path is not None
    )
    return tuple(dict.fromkeys(paths))


def _pair_one(
    key: bytes, entries: Sequence[Entry], config: JobConfig, source: Source
) -> Pair:
    """Returns the pair made from the entries of a key.

    Raises:
        BadInput: The entries have a flaw, are ambiguous, contradict each other, or
            lack an image or a caption.
    """
    for entry in entries:
        if entry.flaw is not None:
            raise BadInput(*entry.flaw)
    if config.dedupe == "exact":
        entries = _without_copies(entries)
    images = {e.image.place: e.image for e in entries if e.image is not None}
    captions = _in_order([e for e in entries if e.caption is not None], config)
    texts = [entry for entry in entries if entry.texts]
    if not captions and not texts:
        raise BadInput("unpaired_image", _lack_of(entries, source))
    if not images:
        raise BadInput("unpaired_caption", "no image of that name")
    if (
        len(images) > 1
        or len({entry.names for entry in captions}) < len(captions)
        or (source.ONE_CAPTION_PER_KEY and len(texts) > 1)
    ):
        raise BadInput(
            "ambiguous_key",
            f"{len(images)} images and {max(len(captions), len(texts))} captions have "
            f"this key{_where(images.values(), config)}",
        )
    image = next(iter(images.values()))
    caption, *more = [e.caption for e in captions if e.caption is not None] or [
        SourceFile(texts[0].origin)
    ]
    split = _agreed("splits", {e.split for e in entries if e.split is not None})
    return Pair(
        key=key,
        split=place_split(key, config) if split is None else str(split),
        image=image,
        caption=caption,
        texts=None if captions else tuple(t for e in texts for t in e.texts or ()),
        values=agreed_values(entries),
        names=_names(captions or texts),
        more=tuple(more),
    )


def _without_copies(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Returns one entry of those whose images were made from equal files.

    It is that of the first dataset. Entries of files are returned as they are.
    """
    stored = [entry.image and entry.image.stored for entry in entries]
    if len({image and image.sha256 for image in stored}) > 1 or None in stored:
        return entries
    return [min(entries, key=lambda entry: entry.rank)]


def _in_order(entries: list[Entry], config: JobConfig) -> list[Entry]:
    """Sorts entries of caption files by their names, if they have names."""
    names = config.names_of_captions
    return sorted(entries, key=lambda entry: list(map(names.index, entry.names or ())))


def _names(entries: Sequence[Entry]) -> tuple[str, ...] | None:
    """Returns the names of all captions or caption files, or None without names."""
    if all(entry.names is None for entry in entries):
        return None
    return tuple(name for entry in entries for name in entry.names or ())


def _where(images: Iterable[SourceFile], config: JobConfig) -> str:
    """Returns the folders of images with the same key, for messages."""
    folders = config.paths("images") or config.paths("dataset")
    numbers = sorted({image.root for image in images if image.root < len(folders)})
    if len(numbers) < 2:
        return ""
    return f", in {' and '.join(folders[number] for number in numbers)}"


def _lack_of(entries: Iterable[Entry], source: Source) -> str:
    for entry in reversed([*entries]):
        if entry.lacks is not None:
            return entry.lacks
    return "no caption of that name" if source.CAPTIONS_IN_FILES else "no row names it"


def agreed_values(entries: Sequence[Entry]) -> tuple[Value | StoredArray, ...]:
    """Returns the values of columns that all entries of a key agree on.

    Raises:
        BadInput: The values differ, with reason `conflicting_rows`.
    """
    by_digest = {
        json.dumps(list(map(digest_of, entry.values))): entry.values
        for entry in entries
        if entry.values
    }
    digest = _agreed("values of columns", by_digest)
    return by_digest[digest] or () if digest is not None else ()


def _agreed(name: str, values: Collection[str]) -> str | None:
    """Returns the value that all rows of a key agree on, or None without values.

    Raises:
        BadInput: The values differ, with reason `conflicting_rows`.
    """
    if not values:
        return None
    different = sorted(str(value) for value in values)
    if len(different) > 1:
        shown = " and ".join(value[:60] for value in different[:2])
        raise BadInput(
            "conflicting_rows", f"rows of this key differ in {name}: {shown}"
        )
    return different[0]

"""What the configurations of all jobs have in common: paths, tokenizer, workers."""

import codecs
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable
from typing import Any, Self

from beam_jobs.config.settings import ADDED, SOURCES, settings_of
from beam_jobs.config.tokenizer_file import (
    TokenizerIdentity,
    check_kept,
    check_tokenizer_file,
    read_tokenizer_file,
)
from beam_jobs.config.values import (
    allowed,
    check_choice,
    check_delimiter,
    check_encoding,
    check_not_empty,
    check_paths,
    check_range,
)
from beam_jobs.storage.files import absolute
from reader.contract.errors import UsageError
from reader.contract.host import num_cores
from reader.contract.json_values import dump_json


class CommonConfig:
    """Base class of frozen dataclasses whose fields are declared as settings.

    Attributes:
        output: Folder that the job writes to.
        tokenizer: Kind, file or folder of the tokenizer.
        caption_encoding: Text encoding of sources without a byte order mark.
        table_delimiter: Character between the cells of text tables, or None.
        table_quoting: Whether cells of text tables are quoted.
        max_rejects: Limit on rejected keys, a count or a percentage.
        max_unpaired: Limit on keys that lack their counterpart.
        workers: Number of worker processes, or None.
        plan_only: Whether the job stops after planning.
        overwrite: Whether the job replaces what is in `output`.
        repair: Whether the job checks and rewrites finished files.
        take_over: Whether the job ends another job's lease.
    """

    output: str
    tokenizer: str
    caption_encoding: str
    table_delimiter: str | None
    table_quoting: str
    max_rejects: str | int
    max_unpaired: str | int
    workers: int | None
    plan_only: bool
    overwrite: bool
    repair: bool
    take_over: bool

    def _normalize_paths(self) -> None:
        """Expands `~`, which a shell leaves alone in `--output=~/out`."""
        object.__setattr__(self, "tokenizer", os.path.expanduser(self.tokenizer))
        for field, declared in settings_of(type(self)).items():
            if declared.is_path:
                value = self._each_path(field, os.path.expanduser)
                object.__setattr__(self, field, value)

    def paths(self, field: str) -> tuple[str, ...]:
        """Returns the paths of a field that holds none, one or several."""
        value = getattr(self, field)
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else tuple(value)

    def _each_path(
        self, field: str, change: Callable[[str], str]
    ) -> str | tuple[str, ...] | None:
        """Returns a field's value with each path changed by a function."""
        paths = tuple(map(change, self.paths(field)))
        # A single path stays a text, as most users pass it.
        single = paths[0] if paths else None
        return paths if len(paths) > 1 else single

    def _check_declared(self) -> None:
        """Checks each value against the declaration of its field."""
        for field, declared in settings_of(type(self)).items():
            value = getattr(self, field)
            if declared.choices and value is not None:
                check_choice(field, value, declared.choices)
            if declared.at_least is not None or declared.at_most is not None:
                check_range(field, value, declared.at_least, declared.at_most)
            if declared.is_path:
                check_paths(field, self.paths(field))

    def _check_common(self) -> None:
        """Checks the values that every job has."""
        check_not_empty("output", self.output)
        allowed(self.max_rejects, 0)
        allowed(self.max_unpaired, 0)
        check_encoding(self.caption_encoding)
        check_delimiter("table_delimiter", self.table_delimiter)
        # A process takes 200 MB before it reads its first record.
        check_range("workers", self.workers, at_most=4 * num_cores())
        for other in ("plan_only", "overwrite"):
            if self.repair and getattr(self, other):
                raise UsageError(f"repair and {other} exclude each other")

    @property
    def tokenizer_place(self) -> str:
        """Kind, file or folder of the tokenizer that is used."""
        return self.tokenizer

    @functools.cached_property
    def tokenizer_identity(self) -> TokenizerIdentity:
        """Kind and checksum of the tokenizer, both part of the fingerprint.

        The file is read once, on first access. A job reads it before its work begins.
        Workers receive the cached value with the configuration and do not need the
        file.

        Raises:
            UsageError: The file cannot be read or is not a supported tokenizer.
        """
        return read_tokenizer_file(self.tokenizer_place).identity

    def read_tokenizer(self) -> bytes | None:
        """Reads what `tokenizer` names, before work begins.

        `tokenizer_identity` is known afterwards and travels with the configuration, so
        workers do not read the file.

        Returns:
            Bytes of the tokenizer's file; None for a vocabulary that the job counts.

        Raises:
            UsageError: The file does not exist, is damaged, needs a library that is not
                installed, has changed since its identity was asked for, or would be
                removed by `overwrite`.
        """
        place = self.tokenizer_place
        file = read_tokenizer_file(place)
        # Where functools.cached_property keeps the value: the file is read only once.
        known = self.__dict__.setdefault("tokenizer_identity", file.identity)
        if file.identity != known:
            raise UsageError(f'--tokenizer="{place}": the file has changed: run again')
        check_tokenizer_file(place, file)
        if self.overwrite:
            check_kept(place, self.output)
        return file.data

    @property
    def tokenizer_kind(self) -> str:
        """Kind of the tokenizer, as named in the manifest."""
        return self.tokenizer_identity.kind

    @property
    def tokenizer_sha256(self) -> str:
        """SHA-256 of the tokenizer's file, in hex. Empty if the job counts words."""
        return self.tokenizer_identity.sha256

    def absolute(self) -> Self:
        """Returns a copy with absolute paths."""
        paths = {
            field: self._each_path(field, absolute)
            for field, declared in settings_of(type(self)).items()
            if declared.is_path
        }
        return dataclasses.replace(self, **paths)  # type: ignore[type-var]

    @property
    def sources(self) -> list[str]:
        """Paths of all source files and folders."""
        return [
            path
            for field, declared in settings_of(type(self)).items()
            if declared.is_path and declared.group in (SOURCES, ADDED)
            for path in self.paths(field)
        ]

    @property
    def places(self) -> list[str]:
        """All paths that workers read or write."""
        return [*self.sources, self.output]

    @property
    def num_workers(self) -> int:
        """Number of worker processes on this machine.

        The default is from docs/performance-notes-building.md#workers-and-threads.
        """
        return self.workers or max(1, num_cores() // 8)

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hex, of every value that changes the output."""
        return hashlib.sha256(dump_json(self.fingerprint_fields())).hexdigest()

    def fingerprint_fields(self) -> dict[str, Any]:
        """Returns every value that changes the output, as plain JSON values."""
        fields = {
            field: getattr(self, field)
            for field, setting in settings_of(type(self)).items()
            if setting.changes_output
        }
        fields["caption_encoding"] = codecs.lookup(self.caption_encoding).name
        fields["tokenizer"] = self.tokenizer_kind
        if self.tokenizer_sha256:
            fields["tokenizer_sha256"] = self.tokenizer_sha256
        return fields

"""Checks, prepares and cleans the output folder of a job.

A job makes a dataset or a layer, a `Product`. What differs is what its last file is
called, how it is parsed and what it was made from.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from beam_jobs.config.common_config import CommonConfig
from beam_jobs.interop import INTEROP_FILES
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.library_versions import shaping_versions
from beam_jobs.sources.listing_digest import digest_of_sources
from beam_jobs.storage.files import (
    delete_file,
    delete_folder,
    is_remote,
    make_folder,
    names_in,
    read_if_exists,
    scan,
)
from beam_jobs.workspace.commits import committed_names
from beam_jobs.workspace.lease import leased
from beam_jobs.workspace.workspace import Workspace
from reader.contract import layout
from reader.contract.additions.layer import LayerManifest
from reader.contract.errors import BuildError, DatasetError, UsageError
from reader.contract.json_values import dump_json
from reader.contract.manifest import Manifest, parse_manifest

_T = TypeVar("_T", Manifest, LayerManifest)
_Config = TypeVar("_Config", bound=CommonConfig)


@dataclass(frozen=True)
class Product(Generic[_T, _Config]):
    """What a job makes.

    Attributes:
        noun: What messages call it.
        file: Name of the file that is written last.
        parse: Parser of that file's bytes, given the output for messages.
        digest: Function that returns the digest of the sources.
        versions: Function that returns the versions of the libraries that affect the
            bytes, given the kind of the tokenizer.
    """

    noun: str
    file: str
    parse: Callable[[bytes, str], _T]
    digest: Callable[[_Config], str]
    versions: Callable[[str], dict[str, str]]

    def finished(self, workspace: Workspace) -> _T | None:
        """Returns the last file of a finished output, or None if it does not exist.

        Raises:
            BuildError: The file is damaged or was not written by Diptych.
            DatasetError: The format version is newer than supported.
        """
        data = read_if_exists(workspace.published(self.file))
        if data is None:
            return None
        try:
            return self.parse(data, workspace.output)
        except DatasetError as error:
            if "newer" in str(error):
                raise
            raise BuildError(
                f"{workspace.output} holds a {self.file} that is damaged or not from "
                "Diptych: choose another --output, or empty it"
            ) from error


DATASET = Product(
    "dataset", layout.MANIFEST, parse_manifest, digest_of_sources, shaping_versions
)

_FOLDERS = (layout.INDEX_DIR, layout.SAMPLES_DIR, layout.TOKENIZER_DIR)


@contextlib.contextmanager
def prepared_output(
    workspace: Workspace, config: _Config, product: Product[Any, _Config]
) -> Iterator[str | None]:
    """Prepares the output and holds its lease while the block runs.

    Yields the token of the lease, or None if the output is already complete.

    Args:
        workspace: Workspace of the output.
        config: Configuration of the job.
        product: What the job makes.

    Raises:
        UsageError: The output is not a folder, or a flag does not apply to it.
        BuildError: The output is not writable, is in use, or holds other files or
            another dataset.
    """
    output = config.output
    if not is_remote(output) and os.path.exists(output) and not os.path.isdir(output):
        raise UsageError(f"--output={output}: not a folder")
    if config.take_over and not is_remote(output):
        raise UsageError(
            "--take_over is for outputs in a bucket: a killed job on this machine "
            f"holds no lock, so {output} is free if no job is running"
        )
    _check_ours(workspace, product)
    if config.repair and not workspace.begun() and product.finished(workspace) is None:
        raise UsageError(
            f"--repair: no {product.noun} and no unfinished job in {output}"
        )
    if not workspace.begun() and _need_not_run(workspace, config, product):
        yield None
        return
    try:
        make_folder(workspace.build)
    except OSError as error:
        raise BuildError(f"cannot write to {output}: {error.strerror}") from error
    with leased(workspace, take_over=config.take_over) as lease:
        # Checked again under the lease, because another job may have just finished.
        if _need_not_run(workspace, config, product):
            remove_workspace(workspace)
            yield None
            return
        if config.overwrite:
            workspace.forget_attempts()
        _check_same_job(workspace, config)
        workspace.begin_attempt()
        yield lease


def _check_ours(workspace: Workspace, product: Product[Any, Any]) -> None:
    """Refuses a folder with other files, to avoid mixing them with the output."""
    held = {listed.name for listed in scan(workspace.output)}
    held = {name for name in held if name[0] != "."}
    if held and product.finished(workspace) is None and not workspace.is_ours():
        raise BuildError(
            f"{workspace.output} is not empty and holds no {product.noun} "
            f"({_some(held)}): choose another --output, or empty it"
        )


def _some(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "")


def _need_not_run(
    workspace: Workspace, config: _Config, product: Product[Any, _Config]
) -> bool:
    """Returns whether the output already holds what this job makes.

    Raises:
        BuildError: The output was made with other settings or sources, or a repair
            needs other library versions.
    """
    manifest = product.finished(workspace)
    if manifest is None or config.overwrite:
        return False
    _check_made_of(config, manifest, product)
    if config.repair:
        _check_versions(config, manifest, product)
    return not config.repair


def _check_made_of(
    config: _Config, manifest: _T, product: Product[_T, _Config]
) -> None:
    """Checks that an output was made with the same settings from the same sources.

    Raises:
        BuildError: The settings or the sources differ.
    """
    _refuse_other(config, manifest.config, f"holds a {product.noun} built")
    if product.digest(config) != manifest.fingerprints["listing"]:
        raise BuildError(
            f"{config.output} holds a {product.noun} built from other files: files "
            "were added or removed, or their sizes changed. Choose another --output or "
            "pass --overwrite"
        )


def _check_versions(
    config: _Config, manifest: _T, product: Product[_T, _Config]
) -> None:
    """Refuses a repair with other library versions, which write other bytes."""
    now: dict[str, str] = product.versions(config.tokenizer_kind)
    differing = [
        f"{name} {manifest.versions.get(name)}, not {now.get(name)}"
        for name in sorted({*manifest.versions, *now})
        if manifest.versions.get(name) != now.get(name)
    ]
    if differing:
        raise BuildError(
            f"{config.output} was written with other library versions "
            f"({'; '.join(differing)}) and cannot be repaired with the installed ones: "
            "install the original versions, or pass --overwrite"
        )


def _refuse_other(config: CommonConfig, held: Mapping[str, Any], state: str) -> None:
    """Refuses an output with other settings, and lists the differing settings."""
    asked = json.loads(dump_json(config.fingerprint_fields()))
    differing = [
        # What a layer states of its dataset is a hash, which tells nobody anything.
        "other shards of the dataset"
        if field == "base"
        else f"{field} {held.get(field, 'unset')}, not {asked.get(field, 'unset')}"
        for field in sorted({*held, *asked})
        if held.get(field) != asked.get(field)
    ]
    if differing:
        raise BuildError(
            f"{config.output} {state} with other settings ({'; '.join(differing)}): "
            "choose another --output or pass --overwrite"
        )


def _check_same_job(workspace: Workspace, config: CommonConfig) -> None:
    """Checks the configuration against an earlier attempt's, then writes it."""
    data = read_if_exists(workspace.config)
    # A damaged file is ignored, since the plan's fingerprint covers the configuration.
    with contextlib.suppress(json.JSONDecodeError, UnicodeDecodeError):
        held = json.loads(data or b"null")
        if isinstance(held, dict) and committed_names(workspace):
            _refuse_other(config, held, "holds an unfinished job begun")
    workspace.publish(workspace.config, dump_json(config.fingerprint_fields()))


@contextlib.contextmanager
def temporary_output() -> Iterator[tuple[Workspace, str]]:
    """Holds the lease of a temporary folder, for a job that only plans.

    Yields:
        Workspace of the folder, and the token of the lease.
    """
    with tempfile.TemporaryDirectory(prefix="diptych-") as folder:
        workspace = Workspace(folder)
        make_folder(workspace.build)
        with leased(workspace, take_over=False) as lease:
            yield workspace, lease


def remove_strays(workspace: Workspace, plan: JobPlan) -> None:
    """Removes files that an interrupted attempt wrote for another plan."""
    planned = {file for shard in plan.shards() for file in shard.name.files}
    planned.add(f"{layout.TOKENIZER_DIR}/{plan.tokenizer.file}")
    tokenizers = names_in(workspace.published(layout.TOKENIZER_DIR))
    tokenizer_files = [f"{layout.TOKENIZER_DIR}/{name}" for name in tokenizers]
    for file in (*_shard_files(workspace), *tokenizer_files):
        if file not in planned:
            delete_file(workspace.published(file))


def remove_product(workspace: Workspace, product: Product[Any, Any]) -> None:
    """Removes an earlier output, its last file first, and keeps all other files."""
    # The report is removed too, because it describes the removed dataset.
    others = (layout.REJECTS, *INTEROP_FILES, layout.REPORT)
    files = (*_shard_files(workspace), *others)
    for file in (product.file, *files):
        delete_file(workspace.published(file))
    for folder in _FOLDERS:
        delete_folder(workspace.published(folder))


def _shard_files(workspace: Workspace) -> list[str]:
    """Returns the files with the names of shards, relative to the output."""
    return [
        os.path.join(folder, name)
        for folder in ("", layout.INDEX_DIR, layout.SAMPLES_DIR)
        for name in names_in(workspace.published(folder))
        if layout.shard_of_file(name)
    ]


def remove_workspace(workspace: Workspace) -> None:
    """Removes `_build/`, and the output itself if it is then empty."""
    # Lock and lease are removed last, so no other job starts during the removal.
    for listed in scan(workspace.build):
        path = os.path.join(workspace.build, listed.name)
        if path not in (workspace.lock, workspace.lease):
            (delete_folder if listed.status is None else delete_file)(path)
    delete_folder(workspace.build)
    if not is_remote(workspace.output):
        with contextlib.suppress(OSError):
            os.rmdir(workspace.output)

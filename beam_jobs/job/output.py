"""The output folder: what it may hold when a job begins, and what it is left with."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from beam_jobs.config.job_config import JobConfig
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
from reader.contract.errors import BuildError, DatasetError, UsageError
from reader.contract.json_values import dump_json
from reader.contract.manifest import Manifest, parse_manifest

_FOLDERS = (layout.INDEX_DIR, layout.SAMPLES_DIR, layout.TOKENIZER_DIR)


@contextlib.contextmanager
def prepared_output(workspace: Workspace, config: JobConfig) -> Iterator[str | None]:
    """Makes the output ready and holds it; gives the lease, or None if it is complete.

    Raises:
        UsageError: The output is no folder.
        BuildError: It cannot be written, is in use, or holds something else.
    """
    output = config.output
    if not is_remote(output) and os.path.exists(output) and not os.path.isdir(output):
        raise UsageError(f"--output={output}: not a folder")
    if config.take_over and not is_remote(output):
        raise UsageError(
            "--take_over is for outputs in a bucket: on this machine a job that was "
            f"killed holds nothing, and {output} is free if no job is at work"
        )
    _check_ours(workspace)
    if config.repair and manifest_of(workspace) is None and not workspace.begun():
        raise UsageError(f"--repair: there is neither dataset nor job in {output}")
    if not workspace.begun() and _need_not_run(workspace, config):
        yield None
        return
    try:
        make_folder(workspace.build)
    except OSError as error:
        raise BuildError(f"cannot write to {output}: {error.strerror}") from error
    with leased(workspace, take_over=config.take_over) as lease:
        # Under the lease: another job may have finished just now.
        if _need_not_run(workspace, config):
            remove_workspace(workspace)
            yield None
            return
        if config.overwrite:
            workspace.forget_attempts()
        _check_same_job(workspace, config)
        workspace.begin_attempt()
        yield lease


def _check_ours(workspace: Workspace) -> None:
    """Refuses a folder of other things: we would bury them, or they us."""
    held = {listed.name for listed in scan(workspace.output)}
    held = {name for name in held if name[0] != "."}
    if held and manifest_of(workspace) is None and not workspace.is_ours():
        raise BuildError(
            f"{workspace.output} is not empty and holds no dataset "
            f"({_some(held)}): choose another --output, or empty it"
        )


def _some(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "")


def _need_not_run(workspace: Workspace, config: JobConfig) -> bool:
    """Tells whether the output is just what this job would make of these sources.

    Raises:
        BuildError: It is complete, but something else.
    """
    manifest = manifest_of(workspace)
    if manifest is None or config.overwrite:
        return False
    _check_made_of(config, manifest)
    if config.repair:
        _check_versions(config, manifest)
    return not config.repair


def _check_made_of(config: JobConfig, manifest: Manifest) -> None:
    """Checks that a dataset was made with these settings, of these sources.

    Raises:
        BuildError: It was not.
    """
    _refuse_other(config, manifest.config, "holds a dataset built")
    if digest_of_sources(config) != manifest.fingerprints["listing"]:
        raise BuildError(
            f"{config.output} holds a dataset built from other files: some were added, "
            "removed or changed in size since. Choose another --output or pass "
            "--overwrite"
        )


def _check_versions(config: JobConfig, manifest: Manifest) -> None:
    """Refuses to repair what other libraries wrote: they give other bytes."""
    now = shaping_versions(config.tokenizer_kind)
    differing = [
        f"{name} {manifest.versions.get(name)}, not {now.get(name)}"
        for name in sorted({*manifest.versions, *now})
        if manifest.versions.get(name) != now.get(name)
    ]
    if differing:
        raise BuildError(
            f"{config.output} was written with other versions ({'; '.join(differing)}) "
            "and cannot be repaired with these: install those, or pass --overwrite"
        )


def manifest_of(workspace: Workspace) -> Manifest | None:
    """Returns the manifest of the output, or None where there is none.

    Raises:
        BuildError: It is damaged, or of something else.
        DatasetError: It is of a newer version.
    """
    data = read_if_exists(workspace.published(layout.MANIFEST))
    if data is None:
        return None
    try:
        return parse_manifest(data, workspace.output)
    except DatasetError as error:
        if "newer" in str(error):
            raise
        raise BuildError(
            f"{workspace.output} holds a {layout.MANIFEST} that is damaged or of "
            "something else: choose another --output, or empty it"
        ) from error


def _refuse_other(config: JobConfig, held: Mapping[str, Any], what: str) -> None:
    """Refuses an output that was made with other settings, and says which."""
    asked = json.loads(dump_json(config.fingerprint_fields()))
    differing = [
        f"{field} {held.get(field, 'unset')}, not {asked.get(field, 'unset')}"
        for field in sorted({*held, *asked})
        if held.get(field) != asked.get(field)
    ]
    if differing:
        raise BuildError(
            f"{config.output} {what} with other settings ({'; '.join(differing)}): "
            "choose another --output or pass --overwrite"
        )


def _check_same_job(workspace: Workspace, config: JobConfig) -> None:
    """Notes the job's configuration, or holds an earlier attempt's against it."""
    data = read_if_exists(workspace.config)
    # A damaged one says nothing; the plan's fingerprint has the configuration too.
    with contextlib.suppress(json.JSONDecodeError, UnicodeDecodeError):
        held = json.loads(data or b"null")
        if isinstance(held, dict) and committed_names(workspace):
            _refuse_other(config, held, "holds an unfinished job begun")
    workspace.publish(workspace.config, dump_json(config.fingerprint_fields()))


def remove_strays(workspace: Workspace, plan: JobPlan) -> None:
    """Removes files that a cut-off attempt left under a plan that never came true."""
    planned = {file for shard in plan.shards() for file in shard.name.files}
    planned.add(f"{layout.TOKENIZER_DIR}/{plan.tokenizer.file}")
    tokenizers = names_in(workspace.published(layout.TOKENIZER_DIR))
    of_tokenizers = [f"{layout.TOKENIZER_DIR}/{name}" for name in tokenizers]
    for file in (*_shard_files(workspace), *of_tokenizers):
        if file not in planned:
            delete_file(workspace.published(file))


def remove_dataset(workspace: Workspace) -> None:
    """Removes an earlier dataset, its manifest first, and nothing that is not ours."""
    # The report too: it is of a dataset that will be gone.
    others = (layout.REJECTS, *INTEROP_FILES, layout.REPORT)
    files = (*_shard_files(workspace), *others)
    for file in (layout.MANIFEST, *files):
        delete_file(workspace.published(file))
    for folder in _FOLDERS:
        delete_folder(workspace.published(folder))


def _shard_files(workspace: Workspace) -> list[str]:
    """Returns the files that are called after shards."""
    return [
        os.path.join(folder, name)
        for folder in ("", layout.INDEX_DIR, layout.SAMPLES_DIR)
        for name in names_in(workspace.published(folder))
        if layout.shard_of_file(name)
    ]


def remove_workspace(workspace: Workspace) -> None:
    """Removes `_build/`: the dataset is complete, or there is nothing to keep.

    An output that nothing was written to goes with it.
    """
    # Lock and lease last: another job should not begin while this one deletes.
    for listed in scan(workspace.build):
        path = os.path.join(workspace.build, listed.name)
        if path not in (workspace.lock, workspace.lease):
            (delete_folder if listed.status is None else delete_file)(path)
    delete_folder(workspace.build)
    if not is_remote(workspace.output):
        with contextlib.suppress(OSError):
            os.rmdir(workspace.output)

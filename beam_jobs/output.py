"""The output folder: what it may hold when a job begins, and what it is left with."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from beam_jobs.commits import committed_names, read_commit
from beam_jobs.job_plan import JobPlan
from beam_jobs.options import JobConfig
from beam_jobs.sources.digest import digest_of_sources
from beam_jobs.workspace import Workspace
from reader.contract import layout
from reader.contract.errors import BuildError, DatasetError, UsageError
from reader.contract.manifest import Manifest, dump_json, parse_manifest

_OURS = (layout.REJECTS, layout.INDEX_DIR, layout.SAMPLES_DIR, layout.TOKENIZER_DIR)


@contextlib.contextmanager
def prepared_output(workspace: Workspace, config: JobConfig) -> Iterator[bool]:
    """Makes the output ready and holds it; gives whether it is complete already.

    Raises:
        UsageError: The output is no folder.
        BuildError: It cannot be written, is in use, or holds something else.
    """
    output = config.output
    if os.path.exists(output) and not os.path.isdir(output):
        raise UsageError(f"--output={output}: not a folder")
    _check_ours(workspace)
    if not os.path.isdir(workspace.build) and _need_not_run(workspace, config):
        yield True
        return
    try:
        os.makedirs(workspace.build, exist_ok=True)
    except OSError as error:
        raise BuildError(f"cannot write to {output}: {error.strerror}") from error
    with workspace.locked():
        # Under the lock: another job may have finished just now.
        if _need_not_run(workspace, config):
            remove_workspace(workspace)
            yield True
            return
        if config.overwrite:
            workspace.forget_attempts()
        _check_same_job(workspace, config)
        workspace.begin_attempt()
        yield False


def _check_ours(workspace: Workspace) -> None:
    """Refuses a folder of other things: we would bury them, or they us."""
    with contextlib.suppress(FileNotFoundError):
        held = {name for name in os.listdir(workspace.output) if name[0] != "."}
        if _manifest_of(workspace) is None and held and not workspace.is_ours():
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
    manifest = None if config.overwrite else _manifest_of(workspace)
    if manifest is None:
        return False
    _refuse_other(config, manifest.config, "holds a dataset built")
    if digest_of_sources(config) != manifest.fingerprints["listing"]:
        raise BuildError(
            f"{config.output} holds a dataset built from other files: some were added, "
            "removed or changed in size since. Choose another --output or pass "
            "--overwrite"
        )
    return True


def _manifest_of(workspace: Workspace) -> Manifest | None:
    data = workspace.read_if_exists(workspace.published(layout.MANIFEST))
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
    data = workspace.read_if_exists(workspace.config)
    if data is not None and any(committed_names(workspace)):
        _refuse_other(config, json.loads(data), "holds an unfinished job begun")
    workspace.publish(workspace.config, dump_json(config.fingerprint_fields()))


def check_commits(workspace: Workspace, plan: JobPlan) -> None:
    """Refuses to go on with shards that were written from other sources.

    Raises:
        BuildError: The sources changed since an earlier attempt wrote shards.
    """
    fingerprint = plan.fingerprint
    names = list(committed_names(workspace))
    commits = (read_commit(workspace, name) for name in names)
    stale = [commit for commit in commits if commit and commit.plan != fingerprint]
    if stale:
        raise BuildError(
            f"{workspace.output} holds {len(stale)} shards that an earlier attempt "
            "wrote, and the sources have changed since (files added, removed or "
            "touched): choose another --output or pass --overwrite"
        )


def remove_strays(workspace: Workspace, plan: JobPlan) -> None:
    """Removes shards that a cut-off attempt left under a plan that never came true."""
    planned = {
        file
        for shard in plan.shards()
        for file in (shard.name.file, shard.name.index_file, shard.name.samples_file)
    }
    for folder in ("", layout.INDEX_DIR, layout.SAMPLES_DIR):
        for file in _shard_files(workspace, folder):
            if file not in planned:
                os.unlink(workspace.published(file))


def remove_dataset(workspace: Workspace) -> None:
    """Removes an earlier dataset, its manifest first, and nothing that is not ours."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(workspace.published(layout.MANIFEST))
    for file in _shard_files(workspace, ""):
        os.unlink(workspace.published(file))
    for name in _OURS:
        path = workspace.published(name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.unlink(path)


def _shard_files(workspace: Workspace, folder: str) -> list[str]:
    """Returns the files of a folder that are called after shards."""
    try:
        names = os.listdir(workspace.published(folder))
    except FileNotFoundError:
        return []
    return [os.path.join(folder, name) for name in names if layout.shard_of_file(name)]


def remove_workspace(workspace: Workspace) -> None:
    """Removes `_build/`: the dataset is complete, or there is nothing to keep.

    An output that nothing was written to goes with it.
    """
    shutil.rmtree(workspace.build, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.rmdir(workspace.output)

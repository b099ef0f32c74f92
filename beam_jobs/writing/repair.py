"""Repairs a complete dataset: checks all bytes and rewrites damaged files.

The same sources give the same bytes, so a rewritten file must have the checksum stored
in the manifest. The manifest does not change. Intact files can be read during a repair.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import apache_beam as beam
import numpy as np
from numpy.typing import NDArray

from beam_jobs.config.common_config import CommonConfig
from beam_jobs.elements import ShardPlan
from beam_jobs.interop import interop_files
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.pair_lists import read_all_rejects
from beam_jobs.storage.files import is_file, move_file, read_file
from beam_jobs.workspace.commits import committed_names, damaged_files, read_commits
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.outcome import reject_lines
from beam_jobs.writing.write_shards import MakeWriter, ShardFn
from reader.contract import layout
from reader.contract.additions.layer import LayerManifest
from reader.contract.errors import BuildError
from reader.contract.index import index_files, parse_text_index
from reader.contract.manifest import Manifest
from reader.contract.record import crc32c_hex


class RepairTask(NamedTuple):
    """A shard to check and, if damaged, to repair.

    Attributes:
        shard: Plan of the shard.
        checksums: Checksums of the shard's files in the manifest, as `{file: crc32c}`.
        rewrite: Whether to rewrite the shard even if it is intact.
    """

    shard: ShardPlan
    checksums: dict[str, str]
    rewrite: bool


def check_plan(
    config: CommonConfig, plan: JobPlan, manifest: Manifest | LayerManifest
) -> None:
    """Checks that a plan has the same shards and the same tokenizer as the manifest.

    Raises:
        BuildError: The plan differs, because the content of the sources has changed.
    """
    planned = [shard.name.file for shard in plan.shards()]
    if planned != [shard.file for shard in manifest.shards] or (
        manifest.tokenizer not in (None, plan.tokenizer)
    ):
        raise BuildError(
            f"{config.output} cannot be repaired: its sources have changed, although "
            "their names and sizes are the same. Pass --overwrite"
        )


def repair_tasks(
    workspace: Workspace, plan: JobPlan, manifest: Manifest | LayerManifest
) -> list[RepairTask]:
    """Returns a task for each shard of a dataset."""
    # If rejects.jsonl is damaged, all shards are rewritten: the rejects of a shard are
    # only known from writing it.
    rewrite = bool(damaged_files(workspace, _some(manifest, layout.REJECTS)))
    checksums = {shard.file: shard.crc32c for shard in manifest.shards}
    checksums |= manifest.files
    return [
        RepairTask(shard, {file: checksums[file] for file in shard.name.files}, rewrite)
        for shard in plan.shards()
    ]


def _some(manifest: Manifest | LayerManifest, *files: str) -> dict[str, str]:
    return {file: manifest.files[file] for file in files}


class RepairShards(beam.PTransform):
    """Checks shards and repairs damaged ones: `RepairTask` → label if repaired."""

    def __init__(
        self, config: CommonConfig, plan: JobPlan, lease: str, writer: MakeWriter
    ) -> None:
        """Initializes the transform.

        Args:
            config: Configuration of the job.
            plan: Plan of the job.
            lease: Token of the output's lease, held by the running job.
            writer: Class of the writer.
        """
        super().__init__()
        self._fn = _RepairShardFn(config, plan, lease, writer)

    def expand(self, tasks: beam.PCollection[RepairTask]) -> beam.PCollection[str]:
        """Reads all bytes of all shards and rewrites damaged shards."""
        return tasks | "Repair" >> beam.ParDo(self._fn)


class _RepairShardFn(ShardFn):
    def workspace(self) -> Workspace:
        """Returns a separate workspace, so intact files are not overwritten."""
        return super().workspace().repair_workspace()

    def process(self, task: RepairTask) -> Iterator[str]:
        workspace, aside = super().workspace(), self.workspace()
        with noted(workspace, task.shard.label):
            damaged = damaged_files(workspace, task.checksums)
        if not damaged and not task.rewrite:
            return
        commit = self._writer.write(task.shard, self.count)
        with noted(workspace, task.shard.label):
            if commit.checksums != task.checksums:
                raise BuildError(
                    f"{task.shard.label} was rewritten, but its checksums differ from "
                    "the manifest: its sources have changed, although their names and "
                    "sizes are the same. Pass --overwrite"
                )
            for file in damaged:
                move_file(aside.published(file), workspace.published(file))
        if damaged:
            yield task.shard.label


def repaired_shards(workspace: Workspace, plan: JobPlan) -> Iterator[str]:
    """Yields the labels of shards with at least one replaced file."""
    aside, rewritten = workspace.repair_workspace(), {*committed_names(workspace)}
    for shard in plan.shards():
        files = map(aside.published, shard.name.files)
        if shard.label in rewritten and not all(map(is_file, files)):
            yield shard.label


def repair_others(
    workspace: Workspace,
    plan: JobPlan,
    manifest: Manifest | LayerManifest,
    rejects: Callable[[], bytes],
) -> list[str]:
    """Rewrites damaged files that belong to no shard, except the manifest.

    Args:
        workspace: Workspace of the job.
        plan: Plan of the job.
        manifest: Manifest, with the checksums.
        rejects: Function that makes the bytes of `rejects.jsonl`.

    Returns:
        Names of the rewritten files.

    Raises:
        BuildError: The checksum of a rewritten file differs from the manifest.
    """
    tokenizer = f"{layout.TOKENIZER_DIR}/{plan.tokenizer.file}"
    of_shards = {file for shard in plan.shards() for file in shard.name.files}
    files = {f: crc for f, crc in manifest.files.items() if f not in of_shards}
    damaged = damaged_files(workspace, files)
    made = interop_files(manifest) if isinstance(manifest, Manifest) else {}
    if {layout.BLOCKS, layout.LENGTHS} & {*damaged}:
        made |= index_files(_lengths(workspace, plan))
    if layout.REJECTS in damaged:
        made[layout.REJECTS] = rejects()
    if tokenizer in damaged:
        made[tokenizer] = read_file(workspace.tokenizer)
    for file in damaged:
        data = made[file]
        if crc32c_hex(data) != files[file]:
            raise BuildError(
                f"{workspace.published(file)} is damaged and cannot be repaired: the "
                "sources have changed. Pass --overwrite"
            )
        workspace.publish(workspace.published(file), data)
    return damaged


def _lengths(workspace: Workspace, plan: JobPlan) -> Iterator[NDArray[np.uint32]]:
    """Yields the framed lengths of each shard's records, from text indexes."""
    for shard in plan.shards():
        data = read_file(workspace.published(shard.name.index_file))
        yield np.diff(parse_text_index(data)).astype(np.uint32)


def all_reject_lines(workspace: Workspace) -> bytes:
    """Returns the bytes of `rejects.jsonl` after all shards were written again."""
    rejects = [*read_all_rejects(workspace)]
    for commit in read_commits(workspace, committed_names(workspace)):
        rejects += commit.rejects if commit else ()
    return reject_lines(sorted(rejects))

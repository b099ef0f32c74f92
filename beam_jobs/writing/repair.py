"""Mending: the bytes of a complete dataset are checked, and damaged files made again.

The same sources give the same bytes, so that what is made again must have the checksum
that the manifest has of it. The manifest itself stays as it is: the dataset can be read
all the while, but for what is damaged.
"""

from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Reject, ShardPlan
from beam_jobs.interop import INTEROP_FILES, interop_files
from beam_jobs.planning.job_plan import JobPlan
from beam_jobs.planning.pair_lists import read_all_rejects
from beam_jobs.storage.files import is_file, move_file, read_file
from beam_jobs.workspace.commits import committed_names, damaged_files, read_commits
from beam_jobs.workspace.worker_errors import noted
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.outcome import reject_lines
from beam_jobs.writing.write_shards import ShardFn
from reader.contract import layout
from reader.contract.errors import BuildError
from reader.contract.index import dump_blocks, parse_text_index
from reader.contract.manifest import Manifest
from reader.contract.record import crc32c_hex


class RepairTask(NamedTuple):
    """A shard to be looked at.

    Attributes:
        shard: The shard.
        checksums: `{file: crc32c}` of its files, as the manifest has them.
        anew: Whether it is written again even if nothing is wrong with it.
    """

    shard: ShardPlan
    checksums: dict[str, str]
    anew: bool


def check_plan(config: JobConfig, plan: JobPlan, manifest: Manifest) -> None:
    """Checks that a plan has the shards and the tokenizer that the manifest has.

    Raises:
        BuildError: It has not: the sources have changed, with names and sizes the same.
    """
    planned = [shard.name.file for shard in plan.shards()]
    if planned != [shard.file for shard in manifest.shards] or (
        plan.tokenizer != manifest.tokenizer
    ):
        raise BuildError(
            f"{config.output} cannot be repaired: images or captions have changed, "
            "with their names and sizes the same. Pass --overwrite"
        )


def repair_tasks(
    workspace: Workspace, plan: JobPlan, manifest: Manifest
) -> list[RepairTask]:
    """Returns a task for each shard of a dataset."""
    # The rejects of each shard are known to who writes it, and to nobody else.
    anew = bool(damaged_files(workspace, _some(manifest, layout.REJECTS)))
    checksums = {shard.file: shard.crc32c for shard in manifest.shards}
    checksums |= manifest.files
    return [
        RepairTask(shard, {file: checksums[file] for file in shard.name.files}, anew)
        for shard in plan.shards()
    ]


def _some(manifest: Manifest, *files: str) -> dict[str, str]:
    return {file: manifest.files[file] for file in files}


class RepairShards(beam.PTransform):
    """Checks shards and repairs damaged ones: `RepairTask` → label of one repaired."""

    def __init__(self, config: JobConfig, plan: JobPlan, lease: str) -> None:
        """Takes the configuration, the plan, and the lease of the job at work."""
        super().__init__()
        self._fn = _RepairShardFn(config, plan, lease)

    def expand(self, tasks: beam.PCollection[RepairTask]) -> beam.PCollection[str]:
        """Reads every byte of every shard."""
        return tasks | "Mend" >> beam.ParDo(self._fn)


class _RepairShardFn(ShardFn):
    def workspace(self) -> Workspace:
        """Returns a place aside: what is whole must not pay for what is not."""
        return super().workspace().repair_workspace()

    def process(self, task: RepairTask) -> Iterator[str]:
        workspace, aside = super().workspace(), self.workspace()
        with noted(workspace, task.shard.label):
            damaged = damaged_files(workspace, task.checksums)
        if not damaged and not task.anew:
            return
        commit = self._writer.write(task.shard, self.count)
        with noted(workspace, task.shard.label):
            if commit.checksums != task.checksums:
                raise BuildError(
                    f"{task.shard.label} was written again and is not what the "
                    "manifest says it was: its images or captions have changed, with "
                    "their names and sizes the same. Pass --overwrite"
                )
            for file in damaged:
                move_file(aside.published(file), workspace.published(file))
        if damaged:
            yield task.shard.label


def repaired_shards(workspace: Workspace, plan: JobPlan) -> Iterator[str]:
    """Yields the labels of shards of which a file was made again and taken."""
    aside, again = workspace.repair_workspace(), {*committed_names(workspace)}
    for shard in plan.shards():
        files = map(aside.published, shard.name.files)
        if shard.label in again and not all(map(is_file, files)):
            yield shard.label


def repair_others(workspace: Workspace, plan: JobPlan, manifest: Manifest) -> list[str]:
    """Makes the other files again where they are damaged; returns which.

    Raises:
        BuildError: One is not what it was.
    """
    tokenizer = f"{layout.TOKENIZER_DIR}/{plan.tokenizer.file}"
    # Datasets of earlier versions have none of these.
    interop = [file for file in INTEROP_FILES if file in manifest.files]
    files = _some(manifest, layout.BLOCKS, layout.REJECTS, tokenizer, *interop)
    makers = {
        layout.BLOCKS: lambda: dump_blocks(_block_offsets(workspace, plan)),
        layout.REJECTS: lambda: reject_lines(sorted(_all_rejects(workspace))),
        tokenizer: lambda: read_file(workspace.tokenizer),
    }
    made = interop_files(manifest)
    damaged = damaged_files(workspace, files)
    for file in damaged:
        data = made[file] if file in made else makers[file]()
        if crc32c_hex(data) != files[file]:
            raise BuildError(
                f"{workspace.published(file)} is damaged and cannot be made again as "
                "it was: the sources have changed. Pass --overwrite"
            )
        workspace.publish(workspace.published(file), data)
    return damaged


def _block_offsets(workspace: Workspace, plan: JobPlan) -> list[int]:
    """Returns where every 64th record of each shard begins, from the text indexes."""
    offsets = []
    for shard in plan.shards():
        data = read_file(workspace.published(shard.name.index_file))
        offsets += parse_text_index(data)[: -1 : layout.BLOCK_RECORDS].tolist()
    return offsets


def _all_rejects(workspace: Workspace) -> Iterator[Reject]:
    yield from read_all_rejects(workspace)
    for commit in read_commits(workspace, committed_names(workspace)):
        yield from commit.rejects if commit else ()

"""Work in progress: what lies where below the output while a job runs.

_build/config.json              the configuration the job was begun with
_build/diptych.lock             held by the job at work, on this machine
_build/lease.json               which job is at work
_build/plan/pairs-007.jsonl     pairs of a key range, in order
_build/plan/rejects-007.jsonl   keys of a key range that pairing turned down
_build/plan/tokenizer           the tokenizer's file: a vocabulary, a model, merges
_build/plan/arrays/*            long arrays of columns
_build/plan/plan.json           the plan is complete
_build/plan_before/             a plan that shards were written for, kept to compare
_build/commits/*.json           a finished shard each
_build/progress/*               examples done of a shard at work
_build/failures/*.json          why a worker gave up
_build/outcome.json             what finalising found
_build/rejects.jsonl            keys turned down, where these were too many
_build/tmp/                     files not yet published
_build/repaired/                files written again, not yet checked
"""

import os

from beam_jobs.storage.files import (
    delete_file,
    delete_folder,
    is_remote,
    make_folder,
    move_folder,
    publish_bytes,
    scan,
)
from reader.contract.layout import BUILD_DIR, REJECTS


class Workspace:
    """Paths of an output folder and its `_build/`."""

    def __init__(
        self, output: str, *, plan: str = "plan", dataset: str | None = None
    ) -> None:
        """Takes folders; creates nothing.

        Args:
            output: The output.
            plan: Name of the plan's.
            dataset: Where files of the dataset go; None for the output.
        """
        self.output = output
        self.dataset = dataset or output
        self.build = os.path.join(output, BUILD_DIR)
        self.lock = os.path.join(self.build, "diptych.lock")
        self.lease = os.path.join(self.build, "lease.json")
        self.config = os.path.join(self.build, "config.json")
        self.plan_dir = os.path.join(self.build, plan)
        self.plan = os.path.join(self.plan_dir, "plan.json")
        self.tokenizer = os.path.join(self.plan_dir, "tokenizer")
        self.arrays = os.path.join(self.plan_dir, "arrays")
        self.commits = os.path.join(self.build, "commits")
        self.progress = os.path.join(self.build, "progress")
        self.failures = os.path.join(self.build, "failures")
        self.outcome = os.path.join(self.build, "outcome.json")
        self.too_many_rejects = os.path.join(self.build, REJECTS)
        self.tmp = os.path.join(self.build, "tmp")
        self.repaired = os.path.join(self.build, "repaired")

    def is_ours(self) -> bool:
        """Tells whether `_build/` is there, with nothing in it that is not ours."""
        files = [self.config, self.lock, self.lease, self.outcome]
        files += [self.too_many_rejects]
        folders = [self.plan_dir, self.before().plan_dir, self.commits, self.progress]
        folders += [self.failures, self.tmp, self.repaired]
        ours = {os.path.basename(path) for path in (*files, *folders)}
        held = {listed.name for listed in scan(self.build)}
        return held <= ours and self.begun()

    def begun(self) -> bool:
        """Tells whether a job has begun here, or has just left."""
        if is_remote(self.build):
            return any(True for _ in scan(self.build))
        return os.path.isdir(self.build)

    def pairs(self, key_range: int) -> str:
        """Path of the pairs of a key range."""
        return os.path.join(self.plan_dir, f"pairs-{key_range:03d}.jsonl")

    def rejects(self, key_range: int) -> str:
        """Path of the keys of a key range that pairing turned down."""
        return os.path.join(self.plan_dir, f"rejects-{key_range:03d}.jsonl")

    def commit(self, shard: str) -> str:
        """Path of a shard's commit record."""
        return os.path.join(self.commits, f"{shard}.json")

    def published(self, file: str) -> str:
        """Path of a file of the finished dataset."""
        return os.path.join(self.dataset, file)

    def publish(self, path: str, data: bytes, *, durable: bool = True) -> None:
        """Writes a file that appears at `path` only when it is complete."""
        publish_bytes(path, data, self.tmp, durable=durable)

    def before(self) -> "Workspace":
        """Returns the workspace as the plan that was put aside has it."""
        return Workspace(self.output, plan="plan_before")

    def repair_workspace(self) -> "Workspace":
        """Returns the workspace in which files are made again."""
        return Workspace(self.output, dataset=self.repaired)

    def put_plan_aside(self) -> None:
        """Keeps the plan for comparison, in place of one that was kept before."""
        delete_folder(self.arrays)  # What stands for an array in comparisons is a hash.
        move_folder(self.plan_dir, self.before().plan_dir)

    def clear_plan(self) -> None:
        """Removes an earlier plan: a key range that is empty now has no new list."""
        delete_folder(self.plan_dir)

    def forget_attempts(self) -> None:
        """Removes what earlier attempts have finished, but for the lock on it."""
        delete_folder(self.commits)
        delete_file(self.config)

    def begin_attempt(self) -> None:
        """Clears what an attempt that was cut off left behind."""
        delete_folder(self.repaired)
        for folder in (self.tmp, self.progress, self.failures):
            delete_folder(folder)
            make_folder(folder)
        delete_file(self.outcome)

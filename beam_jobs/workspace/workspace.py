"""Defines the layout of `_build/`, the work folder of a running job.

_build/config.json              configuration that the job was started with
_build/diptych.lock             lock of the running job, local outputs only
_build/lease.json               lease of the running job
_build/plan/pairs-007.jsonl     sorted pairs of a key range
_build/plan/rejects-007.jsonl   keys of a key range that pairing rejected
_build/plan/tokenizer           tokenizer file: a vocabulary, a model or merges
_build/plan/excluded            keys that are not written
_build/plan/arrays/*            long arrays of columns
_build/plan/rows/*              packed rows of a layer's tables, until they are planned
_build/plan/plan.json           job plan, exists when planning is complete
_build/plan_before/             earlier plan of finished shards, kept for comparison
_build/images/*                 images of Parquet tables, and their byte offsets
_build/commits/*.json           commit records, one per finished shard
_build/progress/*               number of finished examples, one file per open shard
_build/failures/*.json          error messages of failed workers
_build/outcome.json             outcome of the job, written when finalizing
_build/rejects.jsonl            rejected keys, if they exceed the limits
_build/tmp/                     files that are not published yet
_build/mended/                  rewritten files that are not checked yet
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
    """Paths and file operations of an output folder and its `_build/` folder."""

    def __init__(
        self, output: str, *, plan: str = "plan", dataset: str | None = None
    ) -> None:
        """Initializes the paths. Creates no folders.

        Args:
            output: Path of the output folder.
            plan: Name of the plan folder in `_build/`.
            dataset: Path of the folder for dataset files. None for the output folder.
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
        self.excluded = os.path.join(self.plan_dir, "excluded")
        self.arrays = os.path.join(self.plan_dir, "arrays")
        self.rows = os.path.join(self.plan_dir, "rows")
        self.images = os.path.join(self.build, "images")
        self.commits = os.path.join(self.build, "commits")
        self.progress = os.path.join(self.build, "progress")
        self.failures = os.path.join(self.build, "failures")
        self.outcome = os.path.join(self.build, "outcome.json")
        self.too_many_rejects = os.path.join(self.build, REJECTS)
        self.tmp = os.path.join(self.build, "tmp")
        self.repaired = os.path.join(self.build, "mended")

    def is_ours(self) -> bool:
        """Returns whether `_build/` exists and contains only files of a job."""
        files = [self.config, self.lock, self.lease, self.outcome]
        files += [self.too_many_rejects]
        folders = [self.plan_dir, self.before().plan_dir, self.commits, self.progress]
        folders += [self.failures, self.tmp, self.repaired, self.images]
        known = {os.path.basename(path) for path in (*files, *folders)}
        names = {listed.name for listed in scan(self.build)}
        return names <= known and self.begun()

    def begun(self) -> bool:
        """Returns whether `_build/` exists, which a started job creates."""
        if is_remote(self.build):
            return any(True for _ in scan(self.build))
        return os.path.isdir(self.build)

    def pairs(self, key_range: int) -> str:
        """Returns the path of the pairs of a key range."""
        return os.path.join(self.plan_dir, f"pairs-{key_range:03d}.jsonl")

    def rejects(self, key_range: int) -> str:
        """Returns the path of the rejected keys of a key range."""
        return os.path.join(self.plan_dir, f"rejects-{key_range:03d}.jsonl")

    def commit(self, shard: str) -> str:
        """Returns the path of a shard's commit record."""
        return os.path.join(self.commits, f"{shard}.json")

    def published(self, file: str) -> str:
        """Returns the path of a dataset file."""
        return os.path.join(self.dataset, file)

    def publish(self, path: str, data: bytes, *, durable: bool = True) -> None:
        """Writes a file atomically.

        Args:
            path: Path of the file.
            data: Contents of the file.
            durable: Whether the file must survive a crash of the machine.
        """
        publish_bytes(path, data, self.tmp, durable=durable)

    def before(self) -> "Workspace":
        """Returns the workspace of the plan that was put aside."""
        return Workspace(self.output, plan="plan_before")

    def repair_workspace(self) -> "Workspace":
        """Returns the workspace for rewriting files during a repair."""
        return Workspace(self.output, dataset=self.repaired)

    def put_plan_aside(self) -> None:
        """Keeps the plan for comparison and replaces the plan kept before."""
        # Plans are compared by hashes of arrays, and by lists made from rows.
        for folder in (self.arrays, self.rows):
            delete_folder(folder)
        move_folder(self.plan_dir, self.before().plan_dir)

    def clear_plan(self) -> None:
        """Removes the plan, so no stale files of empty key ranges remain."""
        delete_folder(self.plan_dir)

    def forget_attempts(self) -> None:
        """Removes commits and configuration of earlier attempts, but not the lock."""
        delete_folder(self.commits)
        delete_file(self.config)

    def begin_attempt(self) -> None:
        """Removes the leftovers of an interrupted attempt."""
        delete_folder(self.repaired)
        for folder in (self.tmp, self.progress, self.failures):
            delete_folder(folder)
            make_folder(folder)
        delete_file(self.outcome)

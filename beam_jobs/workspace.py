"""Work in progress: what lies where below the output while a job runs.

_build/config.json              the configuration the job was begun with
_build/diptych.lock             held by the job at work
_build/plan/pairs-007.jsonl     pairs of a bucket, in order
_build/plan/rejects-007.jsonl   keys of a bucket that pairing turned down
_build/plan/tokenizer           the tokenizer's file: a vocabulary, a model, merges
_build/plan/arrays/*            long arrays of columns
_build/plan/plan.json           the plan is complete
_build/commits/*.json           a finished shard each
_build/progress/*               examples done of a shard at work
_build/failures/*.json          why a worker gave up
_build/outcome.json             what finalising found
_build/rejects.jsonl            keys turned down, where these were too many
_build/tmp/                     files not yet published
"""

import contextlib
import os
import shutil
from collections.abc import Iterator

from beam_jobs.storage import publish_bytes, read_file
from reader.contract.errors import BuildError
from reader.contract.layout import BUILD_DIR


class Workspace:
    """Paths of an output folder and its `_build/`."""

    def __init__(self, output: str) -> None:
        """Takes the output folder; creates nothing."""
        self.output = output
        self.build = os.path.join(output, BUILD_DIR)
        self.lock = os.path.join(self.build, "diptych.lock")
        self.config = os.path.join(self.build, "config.json")
        self.plan = os.path.join(self.build, "plan", "plan.json")
        self.tokenizer = os.path.join(self.build, "plan", "tokenizer")
        self.arrays = os.path.join(self.build, "plan", "arrays")
        self.commits = os.path.join(self.build, "commits")
        self.progress = os.path.join(self.build, "progress")
        self.failures = os.path.join(self.build, "failures")
        self.outcome = os.path.join(self.build, "outcome.json")
        self.too_many_rejects = os.path.join(self.build, "rejects.jsonl")
        self.tmp = os.path.join(self.build, "tmp")

    def is_ours(self) -> bool:
        """Tells whether `_build/` is there, with nothing in it that is not ours."""
        plan = os.path.dirname(self.plan)
        files = [self.config, self.lock, self.outcome, self.too_many_rejects]
        folders = [plan, self.commits, self.progress, self.failures, self.tmp]
        ours = {os.path.basename(path) for path in (*files, *folders)}
        return os.path.isdir(self.build) and set(os.listdir(self.build)) <= ours

    def pairs(self, bucket: int) -> str:
        """Path of the pairs of a bucket."""
        return os.path.join(self.build, "plan", f"pairs-{bucket:03d}.jsonl")

    def rejects(self, bucket: int) -> str:
        """Path of the keys of a bucket that pairing turned down."""
        return os.path.join(self.build, "plan", f"rejects-{bucket:03d}.jsonl")

    def commit(self, shard: str) -> str:
        """Path of a shard's commit record."""
        return os.path.join(self.commits, f"{shard}.json")

    def published(self, file: str) -> str:
        """Path of a file of the finished dataset."""
        return os.path.join(self.output, file)

    def publish(self, path: str, data: bytes, *, durable: bool = True) -> None:
        """Writes a file that appears at `path` only when it is complete."""
        publish_bytes(path, data, self.tmp, durable=durable)

    def read_if_exists(self, path: str) -> bytes | None:
        """Returns a file's bytes, or None where there is none."""
        try:
            return read_file(path)
        except FileNotFoundError:
            return None

    def clear_plan(self) -> None:
        """Removes an earlier plan: a bucket that has become empty has no new list."""
        shutil.rmtree(os.path.dirname(self.plan), ignore_errors=True)

    def forget_attempts(self) -> None:
        """Removes what earlier attempts have finished, but for the lock on it."""
        shutil.rmtree(self.commits, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.config)

    def begin_attempt(self) -> None:
        """Clears what an attempt that was cut off left behind."""
        for folder in (self.tmp, self.progress, self.failures):
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.outcome)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the output: one job at a time; a killed job holds nothing.

        Raises:
            BuildError: Another job is at work on it.
        """
        import fcntl

        os.makedirs(self.build, exist_ok=True)
        with open(self.lock, "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A job that has just finished takes the lock's file away with it.
                if not os.path.samestat(os.fstat(lock.fileno()), os.stat(self.lock)):
                    raise BlockingIOError
            except (BlockingIOError, FileNotFoundError):
                raise BuildError(
                    f"another job is writing to {self.output}: wait for it, or choose "
                    "another --output"
                ) from None
            yield

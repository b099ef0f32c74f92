"""Jobs on outputs in buckets: killed, run again, taken over, repaired."""

import json
import signal
import time
from collections.abc import Callable

import pytest
from fork_server import Fork
from forks import wait_for
from patience import PATIENCE_SECONDS

SHAPE = ("--splits=train=0.7,validation=0.3", "--num_shards=6", "--max_rejects=10%")

pytestmark = pytest.mark.parametrize("session_store", ["gs", "s3"], indirect=True)


def command(source: str, output: str, *flags: str) -> list[str]:
    folders = [f"--images={source}/images", f"--captions={source}/captions"]
    return ["build", *folders, f"--output={output}", *SHAPE, *flags]


def commits(store, output: str) -> set[str]:
    return {n for n in store.names(output) if n.startswith("_build/commits/")}


@pytest.fixture
def under_way(forks, store, uploaded, output) -> Callable[[int], Fork]:
    """Starts a build; returns it once so many shards are committed."""

    def start(shards: int) -> Fork:
        # With few threads: a shard takes a while.
        slow = command(uploaded, output, *store.flags, "--threads=1")
        process = forks.start_command(slow)
        wait_for(lambda: len(commits(store, output)) >= shards, process, 0.02)
        return process

    return start


def kill(process: Fork) -> None:
    process.kill_session()
    assert process.returncode == -signal.SIGKILL


@pytest.fixture
def run(run_build, uploaded, output):
    def run(*flags: str) -> int:
        images, captions = f"{uploaded}/images", f"{uploaded}/captions"
        return run_build(*flags, images=images, captions=captions, output=output)

    return run


def test_a_killed_job_is_taken_over_and_ends_in_the_same_bytes(
    under_way, store, uploaded, output, run, local, capsys
):
    kill(under_way(2))
    assert "manifest.json" not in store.download(output)
    before = store.download(output)

    assert run(*store.flags) == 1
    said = capsys.readouterr().err
    assert f"another job is writing to {output}: started on " in said
    assert "--take_over" in said
    assert said.count("diptych: error") == 1
    # Looking changes nothing.
    assert store.download(output) == before

    assert run(*store.flags, "--take_over") == 0
    said = capsys.readouterr().err
    finished = len([name for name in before if name.startswith("_build/commits/")])
    assert f"resuming: {finished} of 6 shards are finished" in said
    assert store.download(output) == local


def test_a_job_that_is_taken_over_stops(under_way, store, uploaded, output, run, local):
    first = under_way(1)
    lease = json.loads(store.download(output)["_build/lease.json"])
    other = json.dumps(lease | {"lease": "of another job"}).encode()
    store.put(f"{output.split('/', 3)[3]}/_build/lease.json", other)
    _, said = first.communicate(PATIENCE_SECONDS)
    assert first.returncode == 1
    assert f"another job started writing to {output}: this job stops" in said
    # It leaves the other's lease alone.
    assert store.download(output)["_build/lease.json"] == other
    assert "manifest.json" not in store.download(output)
    assert run(*store.flags, "--take_over") == 0
    assert store.download(output) == local


def test_ctrl_c_leaves_no_lease(under_way, store, uploaded, output, run, local):
    process = under_way(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(PATIENCE_SECONDS)
    assert process.returncode == 130, said
    assert "run the same command again to resume" in said
    assert run(*store.flags) == 0
    assert store.download(output) == local


def test_what_changed_is_told_by_name(under_way, store, uploaded, output, run, capsys):
    kill(under_way(1))
    base = uploaded.split("/", 3)[3]
    time.sleep(1.1)  # In S3 an object's time has whole seconds.
    store.put(f"{base}/captions/scene-00003.txt", b"another caption altogether")
    store.put(f"{base}/captions/new.txt", b"one more")
    picture = store.download(uploaded)["images/scene-00001.jpg"]
    store.put(f"{base}/images/new.jpg", picture)
    assert run(*store.flags, "--take_over") == 1
    said = capsys.readouterr().err
    assert "since then 1 pair was added (new); 1 pair was changed" in said
    assert "(scene-00003)" in said
    assert run(*store.flags) == 1  # It left no lease.
    assert run(*store.flags, "--overwrite") == 0


def test_damaged_objects_are_made_again(store, output, run, local, capsys):
    assert run(*store.flags) == 0
    base = output.split("/", 3)[3]
    shard = next(name for name in local if name.startswith("train-00001"))
    damaged = bytearray(local[shard])
    damaged[len(damaged) // 2] ^= 1
    store.put(f"{base}/{shard}", bytes(damaged))
    store.put(f"{base}/index/blocks.bin", b"")
    assert run(*store.flags, "--repair") == 0
    said = capsys.readouterr().out
    assert "2 damaged and repaired" in said
    assert shard.removesuffix(".tfrecord") in said
    assert "index/blocks.bin" in said
    assert store.download(output) == local
    assert run(*store.flags, "--repair") == 0
    assert "no damage found" in capsys.readouterr().out

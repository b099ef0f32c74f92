"""On a Flink cluster: workers that die, launchers that die, counters, progress."""

import base64
import json
import os
import re
import signal
from collections import Counter
from pathlib import Path

import pytest
from real_engines.builds import SLOW, built, commits, digests, launched
from real_engines.processes import wait_until

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def disturbed(large_sample, tmp_path_factory, cluster) -> "Disturbed":
    """A build on Flink, one of whose workers was killed in the middle."""
    return Disturbed(
        large_sample, tmp_path_factory.mktemp("disturbed") / "out", cluster
    )


class Disturbed:
    """What is to be known of a build of which a worker was killed."""

    def __init__(self, source: Path, output: Path, cluster) -> None:
        with launched(source, output, *cluster.flags, *SLOW) as build:
            build.wait_until(lambda: len(commits(output)) >= 6, "six shards are done")
            self.job = list(cluster.jobs())[-1]
            self.finished = commits(output)
            self.workers = cluster.workers()
            os.kill(self.workers[0], signal.SIGKILL)
            build.finish()
            self.said = build.said
        self.output = output


def test_flink_tries_again_when_a_worker_is_killed(disturbed, cluster, expected_large):
    assert digests(disturbed.output) == expected_large
    assert cluster.jobs()[disturbed.job] == "FINISHED"
    # It was killed, and Flink saw it.
    assert disturbed.workers[0] not in cluster.workers()
    assert len(disturbed.finished) < 40
    assert max(attempts(cluster, disturbed.job)) >= 1
    history = cluster.get(f"/jobs/{disturbed.job}/exceptions")["exceptionHistory"]
    assert history["entries"]


def test_what_was_finished_before_a_worker_died_is_not_done_again(disturbed, cluster):
    for name, committed in disturbed.finished.items():
        shard = disturbed.output / f"{name}.tfrecord"
        assert shard.stat().st_mtime_ns <= committed, f"{name} was written again"
    counted = counters(cluster, disturbed.job)
    assert counted["shards/already_finished"] >= len(disturbed.finished)


def test_progress_is_told_while_flink_runs(disturbed):
    lines = re.findall(
        r"^(\d+) of 400 examples, 0 rejects, \d+ s$", disturbed.said, re.MULTILINE
    )
    assert 0 < max(map(int, lines), default=0) <= 400, disturbed.said


def test_counters_are_on_flinks_pages(flawed_sample, tmp_path, cluster):
    output = tmp_path / "out"
    built(flawed_sample, output, "--num_shards=6", *cluster.flags)
    written = list(cluster.jobs())[-1]
    counted = counters(cluster, written)
    manifest = json.loads((output / "manifest.json").read_text())
    assert counted["examples/written"] == manifest["books"]["written"]
    rejects = sum(n for name, n in counted.items() if name.startswith("rejects/"))
    assert rejects >= 2


def test_a_launcher_killed_on_flink_can_be_replaced_at_once(
    large_sample, tmp_path, cluster, two_processes, expected_large
):
    """The job on Flink goes on, and finds that the output is another's now."""
    output = tmp_path / "out"
    with launched(large_sample, output, *cluster.flags, *SLOW) as build:
        build.wait_until(lambda: len(commits(output)) >= 3, "three shards are done")
        build.kill()
    orphan = list(cluster.jobs())[-1]
    assert cluster.jobs()[orphan] == "RUNNING"
    assert built(large_sample, output, *two_processes, *SLOW) == expected_large
    wait_until(
        lambda: cluster.jobs()[orphan] in ("FINISHED", "FAILED", "CANCELED"),
        lambda: f"the orphan does not end: {cluster.jobs()[orphan]}",
    )
    assert digests(output) == expected_large


def attempts(cluster, job: str) -> list[int]:
    """Returns how often each part of a job was tried before its last time."""
    vertices = cluster.get(f"/jobs/{job}")["vertices"]
    return [
        subtask["attempt"]
        for vertex in vertices
        for subtask in cluster.get(f"/jobs/{job}/vertices/{vertex['id']}")["subtasks"]
    ]


def counters(cluster, job: str) -> Counter[str]:
    """Returns the counters of a job, `{"namespace/name": value}`."""
    accumulators = cluster.get(f"/jobs/{job}/accumulators")["user-task-accumulators"]
    (beam,) = (
        json.loads(accumulator["value"])
        for accumulator in accumulators
        if accumulator["name"] == "__metricscontainers"
    )
    counted: Counter[str] = Counter()
    for metric in beam["metrics"]["attempted"]:
        if metric["urn"] == "beam:metric:user:sum_int64:v1":
            labels = metric["labels"]
            name = f"{labels['NAMESPACE']}/{labels['NAME']}"
            counted[name] += varint(base64.b64decode(metric["payload"]))
    return counted


def varint(data: bytes) -> int:
    return sum((byte & 127) << (7 * place) for place, byte in enumerate(data))

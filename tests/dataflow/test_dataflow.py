"""`diptych build --runner=DataflowRunner`, by a stand-in that really runs the jobs."""

import base64
import bz2
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
import pytest
from apache_beam.internal.gcp.auth import _Credentials
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.dataflow.dataflow_metrics import DataflowMetrics
from apache_beam.runners.dataflow.dataflow_runner import DataflowPipelineResult
from apache_beam.runners.dataflow.internal.apiclient import DataflowApplicationClient
from patience import PATIENCE_SECONDS

import beam_jobs
from beam_jobs.sample_data import write_sample

pytestmark = pytest.mark.engines
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
SHAPE = ("--splits=train=0.7,validation=0.3", "--num_shards=6")


class Built(NamedTuple):
    """What a command did: its end, and the jobs that it submitted."""

    status: int
    stdout: str
    stderr: str
    jobs: list[Any]

    @property
    def errors(self) -> list[str]:
        mark = "diptych: error: "
        return [line for line in self.stderr.splitlines() if line.startswith(mark)]


def unpacked(pipeline_pb: bytes) -> Iterator[bytes]:
    """Yields what Beam pickled, compressed and encoded."""
    for text in re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", pipeline_pb):
        # What precedes it may be of its alphabet too: a tag, a length.
        for start in range(8):
            piece = text[start:]
            packed = base64.b64decode(piece[: len(piece) // 4 * 4])
            for unpack in (bz2.decompress, zlib.decompress):
                try:
                    yield unpack(packed)
                except (OSError, ValueError, zlib.error):
                    continue


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "s"
    write_sample(str(folder), 60)
    (folder / "captions/alone.txt").write_text("a caption with no picture")
    return folder


@pytest.fixture(scope="module")
def uploaded(source, bucket_store) -> str:
    return bucket_store.upload(source, "source")


def changed(flags: Iterable[str], name: str, value: str) -> list[str]:
    """Returns flags with another value for one of them, or with one more."""
    others = [flag for flag in flags if not flag.startswith(f"--{name}=")]
    return [*others, f"--{name}={value}"]


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def started(dataflow):
    """Starts `diptych build` as a process of its own, as a user does."""

    def started(source: object, output: object, *flags: str) -> "subprocess.Popen[str]":
        folders = [f"--images={source}/images", f"--captions={source}/captions"]
        command = [sys.executable, "-m", "beam_jobs", "build", f"--output={output}"]
        return subprocess.Popen(
            [*command, *folders, *SHAPE, *flags],
            env=os.environ | dataflow.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


@pytest.fixture(scope="module")
def build(started, dataflow):
    def build(*arguments: object) -> Built:
        before = len(dataflow.service.jobs)
        with started(*arguments) as process:
            try:
                stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
            finally:
                process.kill()
        jobs = dataflow.service.jobs[before:]
        return Built(process.returncode, stdout, stderr, jobs)

    return build


@pytest.fixture(scope="module")
def local(source, build, tmp_path_factory) -> dict[str, bytes]:
    """The dataset as this machine builds it."""
    output = tmp_path_factory.mktemp("local") / "out"
    assert build(source, output).status == 0
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def built(uploaded, build, dataflow) -> Built:
    """The dataset as Dataflow builds it, in `gs://bucket/out`."""
    done: Built = build(uploaded, "gs://bucket/out", *dataflow.flags)
    assert done.status == 0, done.stderr
    return done


def test_bytes_are_those_of_a_local_build(built, local, bucket_store):
    remote = bucket_store.download("gs://bucket/out")
    manifests = [
        json.loads(files.pop("manifest.json")) for files in (remote, {**local})
    ]
    # Workers have what the wheel asks for, and no extras.
    assert manifests[1]["versions"].pop("pillow-heif")
    assert manifests[0] == manifests[1]
    assert remote == {n: data for n, data in local.items() if n != "manifest.json"}


def test_it_plans_and_writes_in_two_jobs(built):
    assert [job.state for job in built.jobs] == ["JOB_STATE_DONE"] * 2


def test_one_package_of_ours_is_staged_and_it_needs_no_tensorflow(built, bucket_store):
    for job in built.jobs:
        (wheel,) = job.staged(".whl")
        assert wheel.startswith("gs://bucket/temporary/")
        assert Path(wheel).name.startswith("diptych-")
        assert not job.staged(".tar.gz")
        with zipfile.ZipFile(BytesIO(bucket_store.get(wheel))) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
            metadata = archive.read(name).decode()
        assert "Requires-Dist: opencv-python-headless" in metadata
        assert "tensorflow" not in metadata


def test_workers_have_what_was_staged_and_no_tensorflow(built):
    for job in built.jobs:
        assert job.imports["tensorflow"] is None
        for name in ("beam_jobs", "reader"):
            place = job.imports[name]
            assert place == f"lib/{PYTHON}/site-packages/{name}/__init__.py"


def test_pipelines_know_neither_this_machine_nor_main(built, source):
    """Neither would mean on a worker what it means here."""
    here = Path(beam_jobs.__file__).parents[1]
    # Not the folder itself: an environment with Beam in it may lie there.
    modules = [str(here / package) for package in ("beam_jobs", "reader")]
    strangers = ("__main__", *modules, str(source))
    for job in built.jobs:
        texts = [job.pipeline_pb, *unpacked(job.pipeline_pb)]
        assert any(b"beam_jobs" in text for text in texts[1:]), "nothing was unpacked"
        for stranger in strangers:
            assert not [text for text in texts if stranger.encode() in text], stranger


def test_the_image_is_beams_of_this_version(built):
    for job in built.jobs:
        (image,) = job.images
        assert image.endswith(f"/beam_{PYTHON}_sdk:{beam.__version__}")


def test_counters_come_through_beams_own_metrics(built, dataflow, monkeypatch):
    for name, value in dataflow.environment.items():
        monkeypatch.setenv(name, value)
    # Beam keeps the first credentials of a process, or that there were none.
    monkeypatch.setattr(_Credentials, "_credentials_init", False)
    monkeypatch.setattr(_Credentials, "_credentials", None)
    options = PipelineOptions(dataflow.flags)
    client = DataflowApplicationClient(options)
    counted = {}
    for job in built.jobs:
        result = DataflowPipelineResult(client.get_job(job.id), None, options)
        metrics = DataflowMetrics(client, result, None)
        for counter in metrics.query()["counters"]:
            name = counter.key.metric
            counted[f"{name.namespace}/{name.name}"] = counter.committed
    assert counted["pairs/found"] == 61  # One of them is a caption alone.
    assert counted["examples/written"] == 60


def test_a_second_run_has_nothing_to_do(built, uploaded, build, dataflow):
    again = build(uploaded, "gs://bucket/out", *dataflow.flags)
    assert again.status == 0
    assert "gs://bucket/out is complete already" in again.stdout
    assert not again.jobs


def test_what_stays_behind_is_the_dataset(built, local, bucket_store):
    assert "manifest.json" in local
    assert not [n for n in bucket_store.download("gs://bucket/out") if "_build" in n]


def test_options_of_beam_reach_the_service(uploaded, build, dataflow):
    """And the user's image is used, which has a Diptych of its own: this has none."""
    done = build(
        uploaded,
        "gs://bucket/of_options",
        *dataflow.flags,
        "--sdk_container_image=example.com/ours/image:1",
        "--machine_type=n2-standard-4",
        "--max_num_workers=3",
        "--number_of_worker_harness_threads=2",
        "--labels=team=vision",
        "--job_name=mine",
    )
    (job,) = done.jobs
    pool = job.proto["environment"]["workerPools"][0]
    assert job.images == ["example.com/ours/image:1"]
    assert not job.staged(".whl")
    assert pool["machineType"] == "n2-standard-4"
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 3
    assert pool["numThreadsPerWorker"] == 2
    assert job.proto["labels"] == {"team": "vision"}
    assert job.proto["name"] == "mine"
    assert job.state == "JOB_STATE_FAILED"
    assert done.status == 1
    (error,) = done.errors
    assert "No module named 'beam_jobs'" in error
    assert "Traceback" not in done.stderr.partition("diptych: error")[2]


def test_a_job_that_fails_names_the_file(source, build, dataflow, bucket_store):
    """An object that is there for the plan, and gone when it is to be written."""
    folder = bucket_store.upload(source, "vanishing")
    gone = f"{folder}/images/scene-00007.jpg"
    dataflow.service.before_done = lambda: bucket_store.delete(gone)
    done = build(folder, "gs://bucket/of_vanishing", *dataflow.flags)
    dataflow.service.before_done = None
    states = [job.state for job in done.jobs]
    assert states == ["JOB_STATE_DONE", "JOB_STATE_FAILED"]
    assert done.status == 1
    (error,) = done.errors
    assert gone in error


def test_who_stops_the_command_stops_the_job(uploaded, started, dataflow):
    """It would go on, and cost, where nobody looks."""
    before, held = len(dataflow.service.jobs), threading.Event()
    dataflow.service.before_done = held.wait
    try:
        process = started(uploaded, "gs://bucket/of_stopped", *dataflow.flags)
        wait_for(lambda: len(dataflow.service.jobs) > before)
        job = dataflow.service.jobs[before]
        wait_for(lambda: job.counters)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        dataflow.service.before_done = None
        held.set()
    assert process.returncode == 130
    assert "diptych: error: stopped" in stderr
    assert job.state == "JOB_STATE_CANCELLED"


def test_too_many_rejects_end_it_after_the_plan(source, build, dataflow, bucket_store):
    folder = bucket_store.upload(source, "rejects")
    for number in range(20):
        bucket_store.delete(f"{folder}/captions/scene-{number:05}.txt")
    done = build(folder, "gs://bucket/of_rejects", *dataflow.flags, "--max_rejects=1")
    assert [job.state for job in done.jobs] == ["JOB_STATE_DONE"]
    assert done.status == 1
    assert done.errors
    assert "manifest.json" not in bucket_store.download("gs://bucket/of_rejects")


def test_what_dataflow_refuses_is_told_in_one_line(uploaded, build, dataflow):
    flags = changed(dataflow.flags, "region", "nowhere")
    done = build(uploaded, "gs://bucket/of_refused", *flags)
    assert done.status == 1
    (error,) = done.errors
    assert "'region'" in error
    assert not done.jobs


def test_a_service_that_is_not_there_is_told_in_one_line(uploaded, build, dataflow):
    flags = changed(dataflow.flags, "dataflow_endpoint", "http://localhost:9")
    done = build(uploaded, "gs://bucket/of_nowhere", *flags)
    assert done.status == 1
    (error,) = done.errors
    assert "localhost:9" in error.replace("', port=", ":")


@pytest.mark.parametrize("flag", ["region", "temp_location", "project"])
def test_what_dataflow_cannot_do_without_is_asked_for(
    uploaded, build, dataflow, bucket_store, flag
):
    flags = [given for given in dataflow.flags if f"--{flag}" not in given]
    done = build(uploaded, "gs://bucket/of_missing", *flags)
    assert done.status == 2
    assert f"--{flag}" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not bucket_store.download("gs://bucket/of_missing")


def test_what_is_staged_goes_into_a_bucket(uploaded, build, dataflow, tmp_path):
    flags = changed(dataflow.flags, "temp_location", str(tmp_path))
    done = build(uploaded, "gs://bucket/of_local", *flags)
    assert done.status == 2
    assert f"--temp_location={tmp_path}" in done.stderr
    assert "gs://" in done.stderr


def test_an_output_of_this_machine_is_refused(uploaded, build, dataflow, tmp_path):
    done = build(uploaded, tmp_path / "out", *dataflow.flags)
    assert done.status == 2
    (error,) = done.errors
    assert str(tmp_path / "out") in error
    assert not done.jobs


def test_a_dry_run_submits_nothing(uploaded, build, dataflow, bucket_store):
    """By the rules of the real service: Beam knows others for one on localhost."""
    flags = [flag for flag in dataflow.flags if "dataflow_endpoint" not in flag]
    bucket_store.reset()
    done = build(uploaded, "gs://bucket/of_dry", *flags, "--dry_run=True")
    assert done.status == 0, done.stderr
    assert "europe-west4" in done.stdout
    assert f"beam_{PYTHON}_sdk:{beam.__version__}" in done.stdout
    assert "diptych-" in done.stdout
    assert not done.jobs
    assert {request.method for request in bucket_store.requests()} <= {"GET"}


@pytest.mark.parametrize(
    ("flag", "wrong"),
    [
        ("project", "A Project"),
        ("job_name", "A_b"),
        ("temp_location", "gs://bucket"),
        ("dataflow_endpoint", "dataflow"),
    ],
)
def test_a_dry_run_finds_what_the_service_would_not_take(
    uploaded, build, dataflow, bucket_store, flag, wrong
):
    flags = [given for given in dataflow.flags if "dataflow_endpoint" not in given]
    flags = [*changed(flags, flag, wrong), "--dry_run=True"]
    done = build(uploaded, "gs://bucket/of_dry", *flags)
    assert done.status == 2
    assert wrong in done.errors[0]
    assert list(bucket_store.objects.buckets) == ["bucket"]  # Beam might make one.

"""Every engine gives the same bytes, and goes on with what another one began."""

import json
from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
from real_engines.builds import SLOW, Build, built, commits, digests, launched

from beam_jobs.config.job_config import JobConfig
from beam_jobs.engines.options import engine_options
from beam_jobs.engines.runner import run_pipeline

pytestmark = pytest.mark.engines

SHARDS = "--num_shards=6"
DEDUPE = ["none", "exact"]


@pytest.fixture(scope="module")
def expected(flawed_sample, tmp_path_factory, in_memory) -> dict[str, dict[str, str]]:
    """Digests of what the local engine gives, for each `--dedupe`."""
    folder = tmp_path_factory.mktemp("expected")
    return {
        dedupe: built(
            flawed_sample, folder / dedupe, SHARDS, f"--dedupe={dedupe}", *in_memory
        )
        for dedupe in DEDUPE
    }


@pytest.mark.parametrize("dedupe", DEDUPE)
def test_every_engine_gives_the_same_bytes(
    flawed_sample, tmp_path, expected, engine, dedupe
):
    output = tmp_path / "out"
    found = built(flawed_sample, output, SHARDS, f"--dedupe={dedupe}", *engine)
    assert found == expected[dedupe]


def test_the_sample_has_rejects_of_many_kinds(flawed_sample, tmp_path, in_memory):
    output = tmp_path / "out"
    built(flawed_sample, output, "--dedupe=exact", *in_memory)
    lines = (output / "rejects.jsonl").read_text().splitlines()
    assert len({json.loads(line)["reason"] for line in lines}) >= 5


@pytest.mark.parametrize(
    ("first", "second"), [("two_processes", "prism"), ("spark", "two_processes")]
)
def test_killed_on_one_engine_and_finished_on_another_gives_the_same_bytes(
    request, large_sample, tmp_path, expected_large, first, second
):
    first, second = (request.getfixturevalue(name) for name in (first, second))
    output = tmp_path / "out"
    with launched(large_sample, output, *first, *SLOW) as build:
        build.wait_until(lambda: len(commits(output)) >= 5, "five shards are done")
        build.kill()
    finished = commits(output)
    assert not (output / "manifest.json").exists()
    assert built(large_sample, output, *second, *SLOW) == expected_large
    for name, committed in finished.items():
        assert shard_written(output, name) <= committed, f"{name} was written again"


@pytest.fixture(scope="module")
def layered(flawed_sample, tmp_path_factory, in_memory) -> tuple[Path, dict[str, str]]:
    """A dataset, and the digests of the layer that the local engine adds."""
    folder = tmp_path_factory.mktemp("layered")
    built(flawed_sample, folder / "out", SHARDS, *in_memory)
    return folder / "out", layer_of(folder / "out", folder, in_memory)


def layer_of(dataset: Path, folder: Path, engine: Sequence[str]) -> dict[str, str]:
    """Adds a layer with a caption of every third key; returns digests of its files."""
    tables = sorted((dataset / "samples").iterdir())
    keys = [k for table in tables for k in pq.read_table(table)["key"].to_pylist()]
    rows = [{"key": key, "text": f"about {key}"} for key in ["unknown", *keys[::3]]]
    table = folder / "rows.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["layer", str(dataset), "--name=x", f"--table={table}"]
    command += ["--caption_column=text", f"--output={folder / 'layer'}"]
    flags = [flag for flag in engine if not flag.startswith("--threads")]
    Build([*command, *flags], folder / "layer.log").finish()
    return digests(folder / "layer")


def test_every_engine_writes_the_same_layer(layered, tmp_path, engine):
    dataset, expected = layered
    assert layer_of(dataset, tmp_path, engine) == expected


def shard_written(output: Path, name: str) -> int:
    return (output / f"{name}.tfrecord").stat().st_mtime_ns


def test_options_reach_worker_processes(tmp_path):
    """Beam's own FnApiRunner, asked for by name, hands its worker processes none."""
    config = JobConfig(images="a", captions="a", output=str(tmp_path), workers=2)
    options = engine_options(config, ["--s3_region_name=elsewhere"])
    run_pipeline(options, lambda root: note_options(root, str(tmp_path)))
    noted = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(noted.values()) == {"elsewhere"}
    assert len(noted) == 2, "both workers should have worked"


def note_options(root: beam.Pipeline, folder: str) -> beam.PCollection[None]:
    """Has each worker write, to a file named by its process, a flag it was given."""

    # Local, so that it is sent as it is: workers cannot import tests.
    def note(_: int) -> None:
        import os

        from apache_beam.options.pipeline_options import S3Options

        from beam_jobs.storage.beam_internals import beam_options

        region = beam_options().view_as(S3Options).s3_region_name
        with open(os.path.join(folder, str(os.getpid())), "w") as file:
            file.write(str(region))

    return root | beam.Create(range(8)) | beam.Reshuffle() | beam.Map(note)

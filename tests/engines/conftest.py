"""Real engines, each started once, and `diptych build` on any of them.

Ask for `engine`, which goes through all, or for the flags of one: `prism`, `spark`, …
An engine that cannot be had here skips its tests, and says why; with
DIPTYCH_REQUIRE_ENGINES=1 it fails them.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from real_engines.builds import SLOW, built
from real_engines.downloads import prism as prism_binary
from real_engines.downloads import spark_job_server
from real_engines.flink import FlinkCluster, flink_cluster, java_job_server
from real_engines.had import had
from real_engines.processes import port_of, serving, worker_pool

from beam_jobs.sample_data import write_sample

Flags = tuple[str, ...]

ENGINES = (
    "in_memory",
    "two_processes",
    "loopback",
    "external",
    "prism",
    "spark",
    "flink",
)


@pytest.fixture(scope="session")
def flawed_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 drawn scenes, some of them damaged, unpaired or equal to others."""
    folder = tmp_path_factory.mktemp("flawed") / "s"
    write_sample(str(folder), 80)
    images, captions = folder / "images", folder / "captions"
    (captions / "alone.txt").write_text("a caption with no picture")
    some = sorted(images.iterdir())[:7]
    some[0].write_bytes(some[0].read_bytes()[:-200])
    some[1].write_bytes(b"this is not an image")
    some[2].unlink()
    (captions / f"{some[3].stem}.txt").write_text("  \n")
    some[4].write_bytes(some[5].read_bytes())
    (captions / f"{some[6].stem}.txt").unlink()
    return folder


@pytest.fixture(scope="session")
def large_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 drawn scenes: with `--image_size=1024 --upscale`, several seconds of work."""
    folder = tmp_path_factory.mktemp("large") / "s"
    write_sample(str(folder), 400)
    return folder


@pytest.fixture(scope="session")
def expected_large(
    large_sample: Path, tmp_path_factory: pytest.TempPathFactory, two_processes: Flags
) -> dict[str, str]:
    """Digests of what the local engine makes of `large_sample` with `SLOW`."""
    output = tmp_path_factory.mktemp("expected_large") / "out"
    return built(large_sample, output, *two_processes, *SLOW)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Flags:
    """The flags of each engine in turn."""
    flags: Flags = request.getfixturevalue(request.param)
    return flags


@pytest.fixture(scope="session")
def in_memory() -> Flags:
    """Beam's FnApiRunner, in the process that was started."""
    return ("--workers=1",)


@pytest.fixture(scope="session")
def two_processes() -> Flags:
    """Beam's FnApiRunner, with two worker processes."""
    return ("--workers=2", "--threads=1")


@pytest.fixture(scope="session")
def portable_job_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Beam's own job server, in Python; gives its endpoint."""
    folder = tmp_path_factory.mktemp("job_server")
    module = "apache_beam.runners.portability.local_job_service_main"
    port_file = folder / "port"
    flags = ("--port=0", f"--port_file={port_file}", f"--staging_dir={folder}")
    command = [sys.executable, "-m", module, *flags]
    with serving("Beam's job server", command, folder / "log") as server:
        server.wait_until(port_file.exists, "no port")
        yield f"127.0.0.1:{port_file.read_text()}"


@pytest.fixture(scope="session")
def loopback(portable_job_server: str) -> Flags:
    """Beam's own job server, with its workers in the process that was started."""
    endpoint = f"--job_endpoint={portable_job_server}"
    return ("--runner=PortableRunner", endpoint, "--environment_type=LOOPBACK")


@pytest.fixture(scope="session")
def external(
    portable_job_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flags]:
    """Beam's own job server, with workers from a pool."""
    with worker_pool(tmp_path_factory.mktemp("worker_pool") / "log") as pool:
        yield (
            "--runner=PortableRunner",
            f"--job_endpoint={portable_job_server}",
            "--environment_type=EXTERNAL",
            f"--environment_config=127.0.0.1:{port_of(pool)}",
        )


@pytest.fixture(scope="session")
def prism() -> Flags:
    """Beam's Prism, which Beam's own client starts and stops."""
    with had("Prism"):
        location = f"--prism_location={prism_binary()}"
    return ("--runner=PrismRunner", location)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flags]:
    """Spark, in Beam's job server for it, with two cores."""
    folder = tmp_path_factory.mktemp("spark")
    with contextlib.ExitStack() as stack:
        with had("Spark"):
            endpoint = stack.enter_context(
                java_job_server(
                    "org.apache.beam.runners.spark.SparkJobServerDriver",
                    str(spark_job_server()),
                    folder,
                    "--spark-master-url=local[2]",
                )
            )
        yield (
            "--runner=PortableRunner",
            f"--job_endpoint={endpoint}",
            "--environment_type=LOOPBACK",
        )


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    """A Flink cluster: one JobManager and two TaskManagers, with worker processes."""
    with contextlib.ExitStack() as stack:
        with had("Flink"):
            started = flink_cluster(tmp_path_factory.mktemp("flink"))
            cluster = stack.enter_context(started)
        yield cluster


@pytest.fixture(scope="session")
def flink(cluster: FlinkCluster) -> Flags:
    """The Flink cluster's flags."""
    return cluster.flags

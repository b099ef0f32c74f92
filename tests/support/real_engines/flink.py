"""A Flink cluster on this machine: one JobManager, two TaskManagers, Beam's job server.

Each TaskManager has a pool of worker processes of its own, as on a real cluster, where
each host has one. One pool for both would mix them up: all TaskManagers number their
workers alike, and one that stops its worker "1-1" would stop another's. Pipelines name
the pool by one address, so each TaskManager knows it by another one.
"""

import contextlib
import json
import os
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from real_engines.downloads import UnavailableError, flink, flink_job_server
from real_engines.processes import Server, free_port, port_of, serving, worker_pool

_NUM_TASK_MANAGERS = 2
_POOL_HOST = "worker-pool"
# What Flink's own scripts take from its conf/config.yaml, for Java 17.
_OPENED = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net"),
    *("java.nio", "java.text", "java.time", "java.util", "java.util.concurrent"),
    *("java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.nio.ch"),
    # Spark's, besides.
    *("sun.nio.cs", "sun.security.action", "sun.util.calendar"),
)
_SMALL = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx768m")
_LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = out
appender.out.name = out
appender.out.type = CONSOLE
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss,SSS} %-5p %c{1} - %m%n
"""


def java(*arguments: object, logging: Path) -> list[object]:
    """Returns a command that runs Java, with all that old libraries want of it."""
    path = shutil.which("java")
    if path is None:
        raise UnavailableError("java is not installed")
    opened = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in _OPENED]
    logging.write_text(_LOG4J)
    log4j = f"-Dlog4j.configurationFile={logging}"
    return [path, *_SMALL, *opened, log4j, *arguments]


@dataclass(frozen=True)
class FlinkCluster:
    """A cluster that runs.

    Attributes:
        flags: What the command line takes to run on it.
        rest: The address of its REST API.
        pools: Its pools of worker processes, one for each TaskManager.
    """

    flags: tuple[str, ...]
    rest: str
    pools: tuple[Server, ...]

    def get(self, path: str) -> Any:
        """Returns what the REST API answers."""
        with urllib.request.urlopen(f"{self.rest}{path}", timeout=30) as answer:
            return json.load(answer)

    def cancel(self, job: str) -> None:
        """Asks a job to stop."""
        request = urllib.request.Request(f"{self.rest}/jobs/{job}", method="PATCH")
        urllib.request.urlopen(request, timeout=30).close()

    def jobs(self) -> dict[str, str]:
        """Returns the states of all jobs, the oldest first, by their ids."""
        jobs = self.get("/jobs/overview")["jobs"]
        jobs.sort(key=lambda job: job["start-time"])
        return {job["jid"]: job["state"] for job in jobs}

    def workers(self) -> list[int]:
        """Returns the process ids of all Python workers."""
        return [pid for pool in self.pools for pid in pool.children()]


@contextlib.contextmanager
def flink_cluster(folder: Path) -> Iterator[FlinkCluster]:
    """Starts a cluster whose files and logs lie in a folder; stops it whatever happens.

    Raises:
        UnavailableError: Flink or Java cannot be had here.
    """
    distribution, job_server_jar = flink(), flink_job_server()
    rest_port = free_port()
    _configure(folder, rest_port)
    class_path = os.pathsep.join(map(str, sorted(distribution.glob("*.jar"))))
    entry = "org.apache.flink.runtime"
    configured = ("--configDir", folder)
    with contextlib.ExitStack() as stack:
        manager = stack.enter_context(
            serving(
                "Flink's JobManager",
                java(
                    *("-cp", class_path),
                    f"{entry}.entrypoint.StandaloneSessionClusterEntrypoint",
                    *configured,
                    logging=folder / "log4j.properties",
                ),
                folder / "job-manager.log",
            )
        )
        pools: list[Server] = []
        for number in range(_NUM_TASK_MANAGERS):
            pools.append(stack.enter_context(_own_pool(folder, number, pools)))
            stack.enter_context(
                serving(
                    "a TaskManager of Flink",
                    java(
                        f"-Djdk.net.hosts.file={_hosts(folder, number)}",
                        *("-cp", class_path),
                        f"{entry}.taskexecutor.TaskManagerRunner",
                        *configured,
                        logging=folder / "log4j.properties",
                    ),
                    folder / f"task-manager-{number}.log",
                )
            )
        log4j = map(str, sorted(distribution.glob("log4j-*.jar")))
        endpoint = stack.enter_context(
            java_job_server(
                "org.apache.beam.runners.flink.FlinkJobServerDriver",
                os.pathsep.join([str(job_server_jar), *log4j]),
                folder,
                f"--flink-master=127.0.0.1:{rest_port}",
            )
        )
        flags = (
            "--runner=PortableRunner",
            f"--job_endpoint={endpoint}",
            "--environment_type=EXTERNAL",
            f"--environment_config={_POOL_HOST}:{port_of(pools[0])}",
            f"--parallelism={_NUM_TASK_MANAGERS}",
        )
        cluster = FlinkCluster(flags, f"http://127.0.0.1:{rest_port}", tuple(pools))
        manager.wait_until(lambda: _has_all_slots(cluster), "not all TaskManagers came")
        yield cluster


@contextlib.contextmanager
def java_job_server(
    main: str, class_path: str, folder: Path, *arguments: str
) -> Iterator[str]:
    """Starts one of Beam's job servers in Java; gives its endpoint."""
    command = java(
        *("-cp", class_path),
        *("-Dspark.driver.host=127.0.0.1", "-Dspark.driver.bindAddress=127.0.0.1"),
        *("-Dspark.ui.enabled=false", f"-Dspark.local.dir={folder}"),
        main,
        *("--job-host=127.0.0.1", "--job-port=0"),
        *("--artifact-port=0", "--expansion-port=0"),
        f"--artifacts-dir={folder / 'artifacts'}",
        *arguments,
        logging=folder / "log4j.properties",
    )
    name = main.rpartition(".")[2]
    environment = {"SPARK_LOCAL_IP": "127.0.0.1"}
    with serving(name, command, folder / f"{name}.log", environment) as server:
        port = server.wait_for(r"JobService started on \S+:(\d+)")[1]
        yield f"127.0.0.1:{port}"


def _configure(folder: Path, rest_port: int) -> None:
    settings = {
        "jobmanager.rpc.address": "127.0.0.1",
        "jobmanager.rpc.port": free_port(),
        "jobmanager.bind-host": "127.0.0.1",
        "taskmanager.host": "127.0.0.1",
        "taskmanager.bind-host": "127.0.0.1",
        "rest.address": "127.0.0.1",
        "rest.bind-address": "127.0.0.1",
        "rest.port": rest_port,
        "io.tmp.dirs": folder,
        "taskmanager.numberOfTaskSlots": 1,
        # What Flink's scripts would work out.
        "taskmanager.cpu.cores": 1,
        "taskmanager.memory.task.heap.size": "256m",
        "taskmanager.memory.task.off-heap.size": "64m",
        "taskmanager.memory.framework.heap.size": "64m",
        "taskmanager.memory.framework.off-heap.size": "64m",
        "taskmanager.memory.network.min": "64m",
        "taskmanager.memory.network.max": "64m",
        "taskmanager.memory.managed.size": "128m",
        "taskmanager.memory.jvm-metaspace.size": "256m",
        "taskmanager.memory.jvm-overhead.min": "128m",
        "taskmanager.memory.jvm-overhead.max": "128m",
        "restart-strategy.type": "fixed-delay",
        "restart-strategy.fixed-delay.attempts": 2,
        # Long enough for a line of progress meanwhile: there is one every 10 s.
        "restart-strategy.fixed-delay.delay": "6 s",
    }
    lines = "".join(f"{name}: {value}\n" for name, value in settings.items())
    (folder / "config.yaml").write_text(lines)


def _own_address(number: int) -> str:
    return f"127.0.0.{2 + number}"


def _own_pool(
    folder: Path, number: int, others: list[Server]
) -> contextlib.AbstractContextManager[Server]:
    port = port_of(others[0]) if others else 0
    log = folder / f"worker-pool-{number}.log"
    return worker_pool(log, f"{_own_address(number)}:{port}")


def _hosts(folder: Path, number: int) -> Path:
    """Writes the names that a TaskManager knows, in place of the system's."""
    hosts = folder / f"hosts-{number}"
    hosts.write_text(
        f"127.0.0.1 localhost {socket.gethostname()}\n"
        f"{_own_address(number)} {_POOL_HOST}\n"
    )
    return hosts


def _has_all_slots(cluster: FlinkCluster) -> bool:
    try:
        overview = cluster.get("/overview")
    except OSError:
        return False
    return bool(overview["slots-available"] == _NUM_TASK_MANAGERS)

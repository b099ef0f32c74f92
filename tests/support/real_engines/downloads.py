"""Engines and emulators from package registries, kept between runs.

Their ordinary clients know the registries from the machine's settings, and check what
they get: Go by its checksum database, Maven by the checksums beside each file, npm by
those of its index, pip by the SHA-256 given here. What they bring is then renamed into
the cache, whole or not at all.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import apache_beam

# Of Beam's Java runners: the newest that could be had whole when this was written. Of
# Beam's own version there was no job server. The protocol between the two is Beam's
# stable one, for which this is a test too.
BEAM_JAVA = "2.62.0"
FLINK = "1.19.3"
_FLINK_SHA256 = "4a58e3a1fb7d83340bc96b6c080624c6d792d69fae5d294b96224775204a9c60"
_FLINK_RUNNER = (f"org.apache.beam:beam-runners-flink-1.19:{BEAM_JAVA}",)
_SPARK_RUNNER = (
    # Before the runner: of one library in two versions, Maven takes the first.
    "org.slf4j:slf4j-api:2.0.7",
    "org.apache.spark:spark-streaming_2.12:3.5.9",
    "org.apache.spark:spark-sql_2.12:3.5.9",
    f"org.apache.beam:beam-runners-spark-3:{BEAM_JAVA}",
)
# Of the names and the SHA-256 of all files that these bring along.
_SHA256 = {
    "flink": "1d3dafed98a9fa242d8d15d6e73b16242f884711011ee989c750ceac190265e8",
    "spark": "65da6db11d36403a1477006e805574b79327777628a5fd5a59d2b55e93ce8a92",
}

# Of Azure Blob Storage: the newest for Node.js 20.
_AZURITE = "3.35.0"

_MAVEN_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"
_CLIENT_SECONDS = 900


class UnavailableError(Exception):
    """An engine cannot be had here: a tool is missing, or a registry refuses."""


def prism() -> Path:
    """Returns Beam's Prism, of Beam's own version."""
    version = f"v{apache_beam.__version__}"

    def build(folder: Path) -> None:
        module = f"github.com/apache/beam/sdks/v2/go/cmd/prism@{version}"
        environment = {"GOBIN": str(folder), "CGO_ENABLED": "0"}
        _client("go", "install", module, environment=environment)

    return _cached(f"prism-{version}", build) / "prism"


def azurite() -> Path:
    """Returns the script, for Node.js, that serves as Azure Blob Storage."""

    def fetch(folder: Path) -> None:
        flags = ("--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder)
        _client("npm", "install", *flags, f"azurite@{_AZURITE}")

    modules = _cached(f"azurite-{_AZURITE}", fetch) / "node_modules"
    return modules / "azurite/dist/src/blob/main.js"


def flink() -> Path:
    """Returns a folder with the jars of Flink itself."""

    def fetch(folder: Path) -> None:
        wanted = folder / "requirements.txt"
        wanted.write_text(
            f"apache-flink-libraries=={FLINK} --hash=sha256:{_FLINK_SHA256}\n"
        )
        _client("pip", "download", "-r", wanted, "-d", folder, "--no-deps")
        (archive,) = folder.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            for member in tar:
                name = Path(member.name).name
                if name.startswith(("flink-dist", "log4j-")) and "/lib/" in member.name:
                    member.name = name
                    tar.extract(member, folder, filter="data")
        archive.unlink()

    return _cached(f"flink-{FLINK}", fetch)


def flink_job_server() -> Path:
    """Returns Beam's runner for Flink and all that it needs, in one jar."""
    return _runner("flink", _FLINK_RUNNER)


def spark_job_server() -> Path:
    """Returns Beam's runner for Spark, Spark and all that these need, in one jar."""
    return _runner("spark", _SPARK_RUNNER)


def _runner(name: str, artifacts: tuple[str, ...]) -> Path:
    """Makes one jar, as Beam's released job servers are.

    Of a class path of jars Flink would get each one, with a pause before the next: 15
    seconds a job.
    """

    def fetch(folder: Path) -> None:
        jars = _class_path(folder, artifacts)
        found = _digest(jars)
        if found != _SHA256[name]:
            raise UnavailableError(
                f"the jars of {', '.join(artifacts)} are others than those that were "
                f"tested: their digest is {found}, and not {_SHA256[name]}"
            )
        _merge(jars, folder / f"{name}.jar")

    return (
        _cached(f"beam-{name}-{BEAM_JAVA}-{_SHA256[name][:8]}", fetch) / f"{name}.jar"
    )


def _class_path(folder: Path, artifacts: Iterable[str]) -> list[Path]:
    dependencies = ""
    for artifact in artifacts:
        parts = zip(
            ("groupId", "artifactId", "version"), artifact.split(":"), strict=True
        )
        fields = "".join(f"<{tag}>{value}</{tag}>" for tag, value in parts)
        dependencies += f"<dependency>{fields}</dependency>"
    pom = folder / "pom.xml"
    pom.write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>diptych</groupId>"
        "<artifactId>engine</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )
    output = folder / "class-path"
    arguments = ("--batch-mode", "--quiet", "--strict-checksums", "--file", pom)
    goal = f"{_MAVEN_PLUGIN}:build-classpath"
    _client("mvn", *arguments, goal, f"-Dmdep.outputFile={output}")
    return [Path(path) for path in output.read_text().split(os.pathsep)]


def _digest(jars: Iterable[Path]) -> str:
    lines = sorted(
        f"{jar.name} {hashlib.sha256(jar.read_bytes()).hexdigest()}\n" for jar in jars
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _merge(jars: Iterable[Path], output: Path) -> None:
    """Writes one jar of many; of equal names the first counts, as on a class path."""
    seen: set[str] = set()
    services: dict[str, bytes] = {}
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as merged:
        merged.writestr("META-INF/MANIFEST.MF", "Multi-Release: true\n\n")
        for jar in jars:
            with zipfile.ZipFile(jar) as archive:
                for name in archive.namelist():
                    if name.startswith("META-INF/services/") and name[-1] != "/":
                        services[name] = services.get(name, b"") + (
                            archive.read(name) + b"\n"
                        )
                    elif name not in seen and not _is_of_its_jar(name):
                        seen.add(name)
                        merged.writestr(name, archive.read(name))
        for name, providers in services.items():
            merged.writestr(name, providers)


def _is_of_its_jar(name: str) -> bool:
    """Tells what makes no sense in another jar: signatures, module descriptors."""
    return name.endswith(
        ("/", ".SF", ".DSA", ".RSA", "META-INF/MANIFEST.MF", "module-info.class")
    )


def _cached(name: str, make: Callable[[Path], None]) -> Path:
    """Returns a folder of the cache, made if it is not there."""
    default = Path("~/.cache/diptych/engines").expanduser()
    cache = Path(os.environ.get("DIPTYCH_ENGINE_CACHE", default))
    folder = cache / name
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / f"{name}.lock", "w") as lock:
        # One of several processes fetches, and the others wait for it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            aside = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=cache))
            try:
                make(aside)
                aside.rename(folder)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    return folder


def _client(
    tool: str, *arguments: object, environment: dict[str, str] | None = None
) -> None:
    """Runs a registry's client.

    Raises:
        UnavailableError: It is not here, or did not bring what was asked for.
    """
    path = shutil.which(tool)
    if path is None:
        raise UnavailableError(f"{tool} is not installed")
    command = [path, *map(str, arguments)]
    try:
        ended = subprocess.run(
            command,
            env=os.environ | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_CLIENT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"{tool} took over {_CLIENT_SECONDS} s") from error
    if ended.returncode:
        said = "\n".join(ended.stdout.splitlines()[-15:])
        raise UnavailableError(f"{' '.join(command)} failed:\n{said}")

"""Pythons that have what a container would have, made in a moment.

A virtual environment whose `site-packages` links to the packages of this one: to those
that Beam's image has, and on request to those that a wheel requires. So nothing is at
hand that was not asked for, be it a test's or the checkout.
"""

import functools
import json
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from email.parser import BytesParser
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What a worker has before anything is staged. Beam's image has more of its own.
BASE = ("apache-beam[gcp]", "pip", "setuptools")
# Whatever is staged may not bring this: a worker has no use for it, and no room.
FORBIDDEN = {"tensorflow"}


class Image:
    """A virtual environment, of which nothing leads back to this one."""

    def __init__(self, folder: Path) -> None:
        """Makes one with Beam."""
        venv.create(folder, symlinks=True, with_pip=False)
        self.python = folder / "bin" / "python"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self._site = folder / "lib" / version / "site-packages"
        self._link(BASE)

    def install(self, wheel: Path) -> None:
        """Installs a wheel and what it requires, with pip.

        Raises:
            RuntimeError: pip refuses, for instance since a requirement is not here.
        """
        self._link(_requirements_of(wheel))
        pip = [str(self.python), "-m", "pip", "install", "--no-index", str(wheel)]
        quiet = ["--disable-pip-version-check", "--no-cache-dir", "--no-compile"]
        done = subprocess.run(
            [*pip, *quiet], capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode:
            raise RuntimeError(f"pip install {wheel.name}: {done.stderr.strip()}")

    def imports(self, *modules: str) -> dict[str, str | None]:
        """Returns the files, relative to the image, that modules would come from."""
        code = (
            "import importlib.util as u, json, os, sys\n"
            "specs = {name: u.find_spec(name) for name in sys.argv[1:]}\n"
            "print(json.dumps({name: spec and os.path.relpath(spec.origin, sys.prefix)"
            " for name, spec in specs.items()}))"
        )
        done = subprocess.run(
            [str(self.python), "-I", "-c", code, *modules],
            capture_output=True,
            timeout=60,
            check=True,
        )
        found: dict[str, str | None] = json.loads(done.stdout)
        return found

    def _link(self, requirements: Iterable[str]) -> None:
        for name in _closure(tuple(requirements)):
            for path in _top_level(name):
                link = self._site / path.name
                if not link.exists():
                    link.symlink_to(path)


def _requirements_of(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = BytesParser().parsebytes(archive.read(name))
    return metadata.get_all("Requires-Dist") or []


@functools.cache
def _closure(requirements: tuple[str, ...]) -> frozenset[str]:
    """Returns the names of all that is required and is here; pip tells of the rest."""
    todo = [r for r in map(Requirement, requirements) if _applies(r, {""})]
    done: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement = todo.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key in done or key[0] in FORBIDDEN:
            continue
        try:
            found = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        done.add(key)
        more = map(Requirement, found.requires or [])
        todo += [r for r in more if _applies(r, requirement.extras | {""})]
    return frozenset(name for name, _ in done)


def _applies(requirement: Requirement, extras: set[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


@functools.cache
def _top_level(name: str) -> tuple[Path, ...]:
    """Returns the packages, modules and metadata of a distribution."""
    found: Distribution = distribution(name)
    tops = {Path(file).parts[0] for file in found.files or []}
    paths = (Path(str(found.locate_file(top))) for top in tops - {"..", "__pycache__"})
    # A `.pth` is code that runs at each start, and leads back here.
    return tuple(path for path in paths if path.suffix != ".pth" and path.exists())

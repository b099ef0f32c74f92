"""Writes the wheel that remote workers install: the running Diptych.

The wheel contains the modules of the running process. It can be written from an
installed Diptych as well as from a checkout, without a build tool. The wheel requires
only the dependencies of `beam_jobs`, which do not include TensorFlow, and the client of
object stores. The format is specified in https://packaging.python.org/specifications/binary-distribution-format
"""

import base64
import hashlib
import importlib.resources
import os
import zipfile
from collections.abc import Iterator
from importlib.resources.abc import Traversable

from reader.contract.version import __version__

NAME = "diptych"

_PACKAGES = ("beam_jobs", "reader")
_INFO = f"{NAME}-{__version__}.dist-info"
_WHEEL = """\
Wheel-Version: 1.0
Generator: diptych
Root-Is-Purelib: true
Tag: py3-none-any
"""
# As in the extras of setup.cfg; vendors' libraries are in Beam's images.
_OBJECT_STORES = "obstore>=0.12"
# A fixed time, so the same modules give the same bytes: engines cache staged files.
_TIME = (1980, 1, 1, 0, 0, 0)


def write_worker_wheel(folder: str) -> str:
    """Writes the wheel to a folder and returns its path."""
    path = os.path.join(folder, f"{NAME}-{__version__}-py3-none-any.whl")
    files = dict(_modules())
    files[f"{_INFO}/METADATA"] = _metadata().encode()
    files[f"{_INFO}/WHEEL"] = _WHEEL.encode()
    record = [_record_line(name, data) for name, data in files.items()]
    record.append(f"{_INFO}/RECORD,,\n")
    files[f"{_INFO}/RECORD"] = "".join(record).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            wheel.writestr(zipfile.ZipInfo(name, _TIME), data, zipfile.ZIP_DEFLATED)
    return path


def _modules() -> Iterator[tuple[str, bytes]]:
    for package in _PACKAGES:
        yield from _files_below(importlib.resources.files(package), package)


def _files_below(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            if entry.name != "__pycache__":
                yield from _files_below(entry, f"{path}/{entry.name}")
        elif not entry.name.startswith("."):
            yield f"{path}/{entry.name}", entry.read_bytes()


def _metadata() -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {NAME}", f"Version: {__version__}"]
    return "\n".join([*lines, *map("Requires-Dist: {}".format, requirements()), ""])


def requirements() -> list[str]:
    """Returns the writing side's requirements, and that of reading from buckets."""
    text = importlib.resources.files("beam_jobs").joinpath("requirements.txt")
    lines = (line.partition("#")[0].strip() for line in text.read_text().splitlines())
    return [*filter(None, lines), _OBJECT_STORES]


def _record_line(name: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return f"{name},sha256={digest.decode()},{len(data)}\n"

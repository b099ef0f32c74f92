"""What is compared: tasks, peers, and what each of these needs."""

import importlib
import importlib.util
from types import ModuleType
from typing import NamedTuple

BATCH, SIZE, STORED, MAX_TOKENS = 64, 224, 256, 64

# Tasks, with what is stored for them.
TASKS = {"random_resized": "jpeg", "center": "jpeg", "raw": "raw"}
DTYPES = ("uint8", "float32")

Does = dict[str, tuple[str, ...]]
_JPEGS: Does = {"random_resized": DTYPES, "center": DTYPES}
_RAW: Does = {"raw": ("uint8",)}


class Case(NamedTuple):
    """A peer and what it is asked for.

    Attributes:
        task: One of `TASKS`.
        dtype: Pixel type, one of `DTYPES`.
        peer: Name of the peer.
        beside: What keeps a core busy meanwhile: "thread", "process" (`busy.py`) or "".
    """

    task: str
    dtype: str
    peer: str
    beside: str = ""

    def __str__(self) -> str:
        """Returns the case for a line of a log."""
        beside = f", beside a busy {self.beside}" if self.beside else ""
        return f"{self.peer} {self.task} {self.dtype}{beside}"


class Peer(NamedTuple):
    """A way to read images.

    Attributes:
        name: Name in `--peers` and of the module in `peers/`.
        does: Pixel types that it can return, by task.
        package: Package that must be importable.
        extra: Whether the package comes with `diptych[bench]`.
        antialiases: Whether it filters all images that it makes smaller.
    """

    name: str
    does: Does
    package: str
    extra: bool = True
    antialiases: bool = True

    @property
    def module(self) -> ModuleType:
        """Its `prepare(corpus, folder, stored)` and `epoch(folder, task, dtype)`."""
        return importlib.import_module(f"tests.benchmarks.reading.peers.{self.name}")

    @property
    def installed(self) -> bool:
        """Whether its package can be found."""
        try:
            return importlib.util.find_spec(self.package) is not None
        except ModuleNotFoundError:  # Of a package's parent.
            return False

    @property
    def remedy(self) -> str:
        """What to type if it is not installed."""
        return "pip install 'diptych[bench]'" if self.extra else "pip install diptych"


_ALL = (
    Peer("diptych", _JPEGS | _RAW, "tensorflow", extra=False),
    Peer("stream", _JPEGS | _RAW, "numpy", extra=False),
    Peer("open", _JPEGS | _RAW, "torch"),
    Peer("ffcv", _JPEGS | _RAW, "ffcv", antialiases=False),
    Peer("dali", _JPEGS, "nvidia.dali"),
    Peer("torchvision", _JPEGS, "torchvision"),
    Peer("webdataset", _JPEGS, "webdataset"),
    Peer("streaming", _JPEGS, "streaming"),
    Peer("grain", _JPEGS, "grain"),
    Peer("bare", {"center": ("uint8",)}, "tensorflow", extra=False),
    Peer("tutorial", {"center": ("float32",)}, "tensorflow", extra=False),
    Peer("loose", {"center": ("float32",)}, "tensorflow", extra=False),
)
PEERS = {peer.name: peer for peer in _ALL}
OURS = "diptych"


def cases(tasks: list[str], dtypes: list[str], peers: list[str]) -> list[Case]:
    """Returns all cases that the peers can do."""
    return [
        Case(task, dtype, peer)
        for task in tasks
        for dtype in dtypes
        for peer in peers
        if dtype in PEERS[peer].does.get(task, ())
    ]

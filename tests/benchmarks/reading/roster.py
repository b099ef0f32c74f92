"""Who is compared: the names and dtypes of peers, and what each needs."""

import importlib
import importlib.util
from types import ModuleType
from typing import NamedTuple

BATCH, SIZE, STORED, MAX_TOKENS = 64, 224, 256, 64

_BOTH = ("float32", "uint8")


class Peer(NamedTuple):
    """Something that reads images.

    Attributes:
        name: As `--peers` takes it; its module in `peers/` has `_` for `-`.
        dtypes: What it can give, of "float32" and "uint8".
        package: What must be importable.
        extra: Whether that comes with `diptych[bench]`.
    """

    name: str
    dtypes: tuple[str, ...]
    package: str
    extra: bool = True

    @property
    def module(self) -> ModuleType:
        """Imports its `prepare(corpus, folder)` and `epoch(folder, dtype)`."""
        name = self.name.replace("-", "_")
        return importlib.import_module(f"tests.benchmarks.reading.peers.{name}")

    @property
    def rival(self) -> str:
        """The name of the peer of ours that reads the same pixels, stored alike."""
        return "diptych-raw" if self.name.endswith("-raw") else "diptych"

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
    Peer("bare", ("uint8",), "tensorflow", extra=False),
    Peer("diptych", _BOTH, "tensorflow", extra=False),
    Peer("tutorial", ("float32",), "tensorflow", extra=False),
    Peer("dali", _BOTH, "nvidia.dali"),
    Peer("ffcv", _BOTH, "ffcv"),
    Peer("webdataset", _BOTH, "webdataset"),
    Peer("streaming", _BOTH, "streaming"),
    Peer("grain", _BOTH, "grain"),
    Peer("loose", ("float32",), "tensorflow", extra=False),
    Peer("diptych-raw", ("uint8",), "tensorflow", extra=False),
    Peer("open-raw", ("uint8",), "reader", extra=False),
    Peer("ffcv-raw", ("uint8",), "ffcv"),
)
PEERS = {peer.name: peer for peer in _ALL}

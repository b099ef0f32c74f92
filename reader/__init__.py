"""The reader of Diptych: a glob of shards → GPU-ready batches.

    import reader

    batches = reader.load("out/train-*.tfrecord", batch_size=256, image_size=224)
    for batch in batches:
        batch["image"], batch["tokens"], batch["mask"]

Public names are imported on first use, so importing the package is fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reader.contract.errors import DatasetError as DatasetError
    from reader.contract.errors import UsageError as UsageError
    from reader.contract.version import __version__ as __version__
    from reader.datasets.dataset_tokenizer import tokenizer as tokenizer
    from reader.frameworks.adapters import as_jax as as_jax
    from reader.frameworks.adapters import as_numpy as as_numpy
    from reader.frameworks.adapters import as_torch as as_torch
    from reader.frameworks.progress import progress as progress
    from reader.frameworks.tasks import for_captioning as for_captioning
    from reader.frameworks.tasks import for_retrieval as for_retrieval
    from reader.loader.load import load as load
    from reader.map_dataset.open_dataset import open as open
    from reader.map_dataset.planned_sampler import sampler as sampler
    from reader.schedule.coverage import coverage as coverage
    from reader.schedule.resumable import state as state
    from reader.schedule.run import steps_per_epoch as steps_per_epoch
    from reader.streaming.stream import stream as stream
    from reader.tools.verify.dataset_check import verify as verify

_MODULES = {
    "DatasetError": "reader.contract.errors",
    "UsageError": "reader.contract.errors",
    "__version__": "reader.contract.version",
    "as_jax": "reader.frameworks.adapters",
    "as_numpy": "reader.frameworks.adapters",
    "as_torch": "reader.frameworks.adapters",
    "coverage": "reader.schedule.coverage",
    "for_captioning": "reader.frameworks.tasks",
    "for_retrieval": "reader.frameworks.tasks",
    "load": "reader.loader.load",
    "open": "reader.map_dataset.open_dataset",
    "progress": "reader.frameworks.progress",
    "sampler": "reader.map_dataset.planned_sampler",
    "state": "reader.schedule.resumable",
    "steps_per_epoch": "reader.schedule.run",
    "stream": "reader.streaming.stream",
    "tokenizer": "reader.datasets.dataset_tokenizer",
    "verify": "reader.tools.verify.dataset_check",
}

__all__ = sorted(_MODULES)

# Hidden from type checkers, which would otherwise accept any name in this module.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Loads a public name from its module (PEP 562)."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
        return value


def __dir__() -> list[str]:
    return __all__

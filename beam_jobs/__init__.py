"""Builds datasets: folders of images and captions → sharded TFRecords.

    diptych build --images=photos --captions=captions --output=out

is the same as

    import beam_jobs

    config = beam_jobs.JobConfig(images="photos", captions="captions", output="out")
    beam_jobs.run(config)

Public names are imported on first use, so `diptych show` does not need Apache Beam.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beam_jobs.config.job_config import JobConfig as JobConfig
    from beam_jobs.config.layer_config import LayerConfig as LayerConfig
    from beam_jobs.job.run import run as run
    from beam_jobs.job.run_layer import layer as layer
    from beam_jobs.sample_data import write_sample as write_sample
    from reader.contract.errors import BuildError as BuildError
    from reader.contract.errors import UsageError as UsageError
    from reader.contract.version import __version__ as __version__

_MODULES = {
    "BuildError": "reader.contract.errors",
    "JobConfig": "beam_jobs.config.job_config",
    "LayerConfig": "beam_jobs.config.layer_config",
    "UsageError": "reader.contract.errors",
    "__version__": "reader.contract.version",
    "layer": "beam_jobs.job.run_layer",
    "run": "beam_jobs.job.run",
    "write_sample": "beam_jobs.sample_data",
}

__all__ = sorted(_MODULES)


# Hidden from type checkers, which would otherwise accept any attribute name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Loads a public name from its module (PEP 562)."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
        return value


def __dir__() -> list[str]:
    return __all__

"""Worker process of the local engine, started as a script.

Modules of Diptych can be imported only after `_set_path`.
"""

import importlib.util
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence

_PACKAGES = ("reader", "beam_jobs")


def _beat(pipe: int, seconds: float) -> None:
    """Shows the launcher that this process lives, and ends it without a launcher."""
    try:
        while True:
            os.write(pipe, b".")
            time.sleep(seconds)
    except BrokenPipeError:
        os._exit(1)


def _set_path(folder: str, path: Sequence[str]) -> None:
    """Finds modules where the launcher does, and Diptych where the launcher has it.

    The folder with Diptych is not on the path, since it may be a working folder with
    other files. Another Diptych may be installed.
    """
    sys.path[:] = path
    for name in _PACKAGES:
        init = os.path.join(folder, name, "__init__.py")
        spec = importlib.util.spec_from_file_location(name, init)
        assert spec is not None and spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


def main(pipe: int, beat_seconds: float, folder: str, path: Sequence[str]) -> None:
    """Runs the worker until the launcher releases it.

    Args:
        pipe: File descriptor of the pipe that the launcher watches.
        beat_seconds: Seconds between two bytes that are written to the pipe.
        folder: Path of the folder with Diptych's packages.
        path: Folders with other modules.
    """
    threading.Thread(target=_beat, args=[pipe, beat_seconds], daemon=True).start()
    _set_path(folder, path)
    # An error that stops a worker is raised in the launcher. Beam's other log messages
    # are about settings that users of Diptych do not make.
    logging.getLogger().addHandler(logging.NullHandler())
    # Imported only now, so that the launcher hears of the worker at once.
    from beam_jobs.engines.beam_workers import run_beam_worker

    run_beam_worker()


if __name__ == "__main__":
    main(int(sys.argv[1]), *json.loads(sys.argv[2]))

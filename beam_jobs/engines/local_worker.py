"""Worker process of the local engine, started as a module with `python -m`."""

import logging
import os
import sys
import threading
import time

from beam_jobs.engines.worker_process import BEAT_SECONDS


def _beat(pipe: int) -> None:
    """Shows the launcher that this process lives, and ends it without a launcher."""
    try:
        while True:
            os.write(pipe, b".")
            time.sleep(BEAT_SECONDS)
    except BrokenPipeError:
        os._exit(1)


def main(pipe: int) -> None:
    """Runs the worker until the launcher releases it.

    Args:
        pipe: File descriptor of the pipe that the launcher watches.
    """
    threading.Thread(target=_beat, args=[pipe], daemon=True).start()
    # An error that stops a worker is raised in the launcher. Beam's other log messages
    # are about settings that users of Diptych do not make.
    logging.getLogger().addHandler(logging.NullHandler())
    # Imported only now, so that the launcher hears of the worker at once.
    from beam_jobs.engines.beam_workers import run_beam_worker

    run_beam_worker()


if __name__ == "__main__":
    main(int(sys.argv[1]))

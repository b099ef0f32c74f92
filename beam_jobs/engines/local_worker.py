"""Worker process of the local engine, started as a module with `python -m`."""

import sys

from beam_jobs.storage.beam_internals import run_local_worker

if __name__ == "__main__":
    run_local_worker(sys.argv)

"""A worker process of the local engine, run by `python -m` this module."""

import sys

from beam_jobs.storage.beam_internals import run_local_worker

if __name__ == "__main__":
    run_local_worker(sys.argv)

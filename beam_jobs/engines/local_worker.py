"""A worker process of the local engine, as `python -m beam_jobs.engines.local_worker`.

What stops a worker reaches the launcher as an exception, and the person as one message.
Beam's worker prints a page of traceback as well: this one does not.
"""

import sys

from apache_beam.runners.worker import sdk_worker, sdk_worker_main


def _say_nothing(*_: object, **__: object) -> None:
    pass


def main() -> None:
    """Works until the launcher has nothing more to do, or has ended."""
    # The one thing it prints; what it logs goes to the launcher.
    sdk_worker.print = _say_nothing
    sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()

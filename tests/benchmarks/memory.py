"""How much memory reading takes beside an imported TensorFlow, at its peak.

    python -m tests.benchmarks.memory --pattern='out/train-*'

The memory of the pixel workers counts too. Each setting runs in a process of its own;
`slow` has a consumer that takes its time, so that all buffers fill up.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

from tests.benchmarks.usage import tree_bytes

BUDGET = 10**9
SETTINGS: tuple[dict[str, Any], ...] = (
    {"batch_size": 64},
    {"batch_size": 64, "ram_budget": BUDGET},
    {"batch_size": 64, "ram_budget": BUDGET, "prefetch": 8, "slow": 0.05},
    {"batch_size": 128, "ram_budget": BUDGET, "slow": 0.1},
    {"batch_size": 256, "ram_budget": BUDGET, "prefetch": 1, "slow": 0.2},
    {"batch_size": 256, "ram_budget": BUDGET, "prefetch": 1, "crop": "random_resized"},
    {"batch_size": 32, "ram_budget": BUDGET // 2, "dtype": "uint8", "slow": 0.02},
)
NUM_IMAGES = 15_000
MODULE = "tests.benchmarks.memory"


def main() -> None:
    """Prints a row for each setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pattern", required=True)
    parser.add_argument("--one", type=json.loads)
    args = parser.parse_args()
    if args.one is not None:
        print(peak(args.pattern, **args.one))
        return
    for settings in SETTINGS:
        command = [sys.executable, "-m", MODULE, f"--pattern={args.pattern}"]
        done = subprocess.run(
            [*command, f"--one={json.dumps(settings)}"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        print(f"| {settings} | {int(done.stdout) / 1e6:,.0f} MB |", flush=True)


def peak(pattern: str, slow: float = 0, **settings: Any) -> int:
    """Returns the most bytes held beside those before `load`."""
    import tensorflow  # noqa: F401

    import reader

    before, most, done = tree_bytes(), 0, threading.Event()
    batches = reader.load(pattern, image_size=224, epochs=None, **settings)

    def watch() -> None:
        nonlocal most
        while not done.wait(0.05):
            most = max(most, tree_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in batches.take(NUM_IMAGES // settings["batch_size"]):
        time.sleep(slow)
    done.set()
    watcher.join()
    return most - before


if __name__ == "__main__":
    main()

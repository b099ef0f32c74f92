"""A folder of work, which is kept for another run of the same benchmark."""

import json
from pathlib import Path
from typing import Any


def claim(work: Path, of: dict[str, Any]) -> None:
    """Makes a folder of work, and notes of what its data are made.

    Raises:
        SystemExit: It holds data made of something else.
    """
    told = work / "corpus.json"
    work.mkdir(parents=True, exist_ok=True)
    if not told.exists():
        told.write_text(json.dumps(of))
    if json.loads(told.read_text()) != of:
        raise SystemExit(f"{work} holds another corpus: {told.read_text()}")

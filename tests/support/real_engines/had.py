"""What becomes of tests whose engine or emulator cannot be had here."""

import contextlib
import os
from collections.abc import Iterator

import pytest

from real_engines.downloads import UnavailableError


@contextlib.contextmanager
def had(engine: str) -> Iterator[None]:
    """Skips, or fails where engines are required, if an engine cannot be had."""
    try:
        yield
    except UnavailableError as error:
        required = os.environ.get("DIPTYCH_REQUIRE_ENGINES", "0") not in ("", "0")
        end = pytest.fail if required else pytest.skip
        end(f"{engine} cannot be had here: {error}")

"""What tests of interrupted jobs share."""

from collections.abc import Iterator

import pytest
from forks import Forks


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    """Runs commands in processes that may be killed at any step."""
    with Forks() as forks:
        yield forks

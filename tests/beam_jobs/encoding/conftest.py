"""Configures the codecs for each test, as a worker does."""

from collections.abc import Iterator

import pytest

from beam_jobs.encoding.codecs import codecs_restored, configure_codecs


@pytest.fixture(autouse=True)
def codecs() -> Iterator[None]:
    with codecs_restored():
        configure_codecs()
        yield

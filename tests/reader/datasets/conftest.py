"""Fixtures shared by the tests of foreign TFRecords."""

from pathlib import Path

import pytest
from foreign_records import small, write


@pytest.fixture(scope="module")
def numbered(tmp_path_factory) -> Path:
    """130 small records in three numbered files."""
    folder = tmp_path_factory.mktemp("numbered")
    for place, part in enumerate([range(70), range(70, 75), range(75, 130)]):
        write(folder / f"x-0000{place}-of-00003", map(small, part))
    return folder

"""Builds from bucket to bucket while requests fail: the same bytes as on a disk."""

import re

import pytest
from stand_ins.faulty import FaultyStore, faulty

# A job's requests are those of the store layer, whose faults test_requests.py injects
# with each of the stores.
pytestmark = pytest.mark.parametrize("session_store", ["gs"], indirect=True)


@pytest.fixture
def proxy(session_store, monkeypatch):
    """The store, as this process reaches it through a proxy."""
    with faulty(session_store, monkeypatch) as proxy:
        yield proxy


def retries_in(said: str) -> int:
    return int(re.search(r"failed and were repeated: ([\d,]+)", said)[1])


def test_a_build_with_faults_at_every_fifth_request(
    proxy: FaultyStore, source, run_build, local, tmp_path, capsys
):
    uploaded = proxy.upload(source, f"{tmp_path.name}/s")
    folders = {"images": f"{uploaded}/images", "captions": f"{uploaded}/captions"}
    output = uploaded.removesuffix("/s") + "/out"
    # Each fault meets reads, lists, uploads and the lease.
    for first, how in enumerate(("reset", "503", "cut", "lost", "short")):
        proxy.fail(how, at=range(5 * first + 3, 10**6, 25))
    assert run_build(*proxy.flags, **folders, output=output) == 0
    assert proxy.download(output) == local
    assert proxy.faults() > 10
    assert retries_in(capsys.readouterr().err) >= proxy.faults() / 2

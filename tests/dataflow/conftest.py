"""Dataflow on loopback.

What is submitted to the stand-in is checked and then really run, by workers that have
what Beam's image has, and what was staged.
"""

from collections.abc import Iterator

import pytest
from stand_ins.account import Account, serve_account
from stand_ins.dataflow import DataflowStandIn, serve_dataflow
from stand_ins.gcs import BucketStore


@pytest.fixture(scope="session")
def service_account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """A service account that is known here only."""
    yield from serve_account(tmp_path_factory.mktemp("account"))


@pytest.fixture(scope="session")
def dataflow(
    bucket_store: BucketStore,
    service_account: Account,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[DataflowStandIn]:
    """The service. Jobs of all tests of a session are in one list."""
    folder = tmp_path_factory.mktemp("dataflow")
    yield from serve_dataflow(bucket_store, service_account, folder)

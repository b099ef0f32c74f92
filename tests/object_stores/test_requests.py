"""Requests of the store layer: faults, forked processes, and accounts."""

import contextlib
import errno
import io
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from patience import SOON_SECONDS
from stand_ins.faulty import faulty

from reader.__main__ import main
from reader.contract.errors import UsageError
from reader.object_stores import counts
from reader.object_stores.open_store import store_of
from reader.object_stores.protocol import Listed
from reader.object_stores.retries import RETRY_SECONDS

DATA = bytes(range(256)) * 40


@pytest.fixture
def proxy(store, monkeypatch):
    """The store behind a proxy, with which this process has an account."""
    with faulty(store, monkeypatch) as proxy:
        yield proxy


@pytest.fixture
def address(proxy, tmp_path) -> str:
    return proxy.put(f"{tmp_path.name}/requests/x", DATA)


STATUSES = ("500", "503", "429")  # In turn: what is done is the same.
OTHERS = ("reset", "lost", "cut", "short", "shifted", "whole")


@pytest.mark.parametrize("kinds", [STATUSES, *((how,) for how in OTHERS)], ids="-".join)
def test_every_request_is_repeated_until_its_answer_is_whole(proxy, address, kinds):
    store, folder = store_of(address), address.rpartition("/")[0]
    status = store.stat(address)
    before = counts.snapshot()
    # Each first attempt fails, but those the fault does not apply to; a list has no
    # range that might be another.
    match = "GET .*(/|%2F)x" if kinds[0] in ("shifted", "whole") else ""
    for first, how in enumerate(kinds):
        proxy.fail(how, at=range(1 + 2 * first, 100, 2 * len(kinds)), match=match)
    assert store.read(address) == DATA
    assert store.read(address, 5, 10, status.version) == DATA[5:15]
    ranges = store.read_ranges(address, [0, 500, 1000], [100, 900, 1001])
    assert list(map(bytes, ranges)) == [DATA[:100], DATA[500:900], DATA[1000:1001]]
    assert store.stat(address) == status
    assert list(store.scan(folder, deep=True)) == [Listed("x", status)]
    assert list(store.scan(folder, deep=False)) == [Listed("x", status)]
    store.put(f"{folder}/y", io.BytesIO(b"y"))
    # The answer to the first attempt may be lost: then somebody created the object.
    assert store.put_new(f"{folder}/z", b"z") or kinds == ("lost",)
    proxy.heal()
    assert proxy.download(folder) == {"x": DATA, "y": b"y", "z": b"z"}
    made = counts.snapshot().since(before)
    assert 0 < made.retried <= proxy.faults()
    assert made.bytes == len(DATA) + 10 + 501 + 2


def test_a_large_file_is_uploaded_in_parts_that_are_repeated(proxy, address):
    store = store_of(address)
    proxy.fail("500", every=3)
    data = os.urandom(20 << 20)
    store.put(address, io.BytesIO(data))
    parts = [one for one in proxy.requests() if one.received > 1 << 20]
    assert len(parts) >= 3
    assert store.read(address) == data  # In pieces, too.
    assert store.stat(address).size == len(data)
    proxy.heal()


def test_a_final_failure_names_the_object_the_range_and_the_answer(
    proxy, address, monkeypatch
):
    monkeypatch.setenv(RETRY_SECONDS, "0.3")
    proxy.fail("503")
    with pytest.raises(OSError, match=r"\d attempts in 0.\d s failed") as caught:
        store_of(address).read_ranges(address, [7], [9])
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == address
    assert "(bytes 7 to 9)" in str(caught.value)
    assert "at last: the store answered 503 Service Unavailable" in str(caught.value)
    assert "http" not in str(caught.value)


def test_what_is_refused_is_not_asked_for_again(proxy, address):
    store = store_of(address)
    proxy.fail("403")
    with pytest.raises(PermissionError, match=r"No permission: .*403") as caught:
        store.read(address)
    assert caught.value.filename == address
    folder = address.rpartition("/")[0]
    for deep in (False, True):
        with pytest.raises(PermissionError, match=r"No permission: .*403") as caught:
            list(store.scan(folder, deep=deep))
        assert caught.value.filename == folder
    assert len(proxy.requests()) == 3


def test_a_range_beyond_the_end_is_an_error_at_once(proxy, address):
    for begin in (len(DATA) - 1, len(DATA) + 1):
        with pytest.raises(OSError, match=f"ends at byte {len(DATA)}") as caught:
            store_of(address).read_ranges(address, [begin], [begin + 2])
        assert caught.value.errno == errno.EIO
    assert len(proxy.requests()) == 4


def test_a_host_that_is_not_there_is_reported_soon(monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:1")
    begun = time.monotonic()
    with pytest.raises(OSError, match=r"from http://127.0.0.1:1 .*refused"):
        store_of("gs://bucket/x").stat("gs://bucket/x")
    assert time.monotonic() - begun < SOON_SECONDS


# Forked processes.


def in_child(check) -> int:
    """Runs a check in a forked child; returns its exit status."""
    child = os.fork()
    if not child:
        try:
            check()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_child_that_was_forked_after_use_asks_through_a_helper(
    proxy, address, tmp_path
):
    noted = tmp_path / "helper"
    store, folder = store_of(address), address.rpartition("/")[0]
    status = store.stat(address)

    def check() -> None:
        before = counts.snapshot()
        assert store.stat(address) == status
        assert store.read(address, 5, 10) == DATA[5:15]
        (data,) = store_of(address).read_ranges(address, [7], [9])
        assert bytes(data) == DATA[7:9]
        assert list(store.scan(folder, deep=True)) == [Listed("x", status)]
        assert counts.snapshot().since(before).bytes == 12
        with pytest.raises(FileNotFoundError) as caught:
            store.read(f"{folder}/none")
        assert caught.value.filename == f"{folder}/none"
        store.put(f"{folder}/y", io.BytesIO(b"y"))
        assert not store.put_new(f"{folder}/y", b"z")
        # And a child of that one, which has a helper of its own. A list that it leaves
        # there waits for nothing.
        left = store.scan(folder, deep=True)
        next(left)
        assert in_child(left.close) == 0
        left.close()
        assert in_child(lambda: store.delete(f"{folder}/y")) == 0
        with pytest.raises(FileNotFoundError):
            store.stat(f"{folder}/y")
        (helper,) = psutil.Process().children()
        noted.write_text(str(helper.pid))
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(check) == -signal.SIGKILL
    # The helper ends with its process, however that ends.
    deadline = time.monotonic() + SOON_SECONDS
    while is_running(int(noted.read_text())) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(int(noted.read_text()))
    assert store.stat(address) == status


def is_running(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


# Ctrl-C.

WAIT = """
import sys
from reader.object_stores.open_store import store_of
print("begins", flush=True)
try:
    store_of(sys.argv[1]).read(sys.argv[1])
except KeyboardInterrupt:
    sys.exit("interrupted")
"""


# The wait is the same for each store.
@pytest.mark.parametrize("session_store", ["gs"], indirect=True)
def test_ctrl_c_ends_the_wait_for_an_answer(proxy, address):
    proxy.latency = 2.0 * SOON_SECONDS
    command = [sys.executable, "-c", WAIT, address]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        time.sleep(1.5)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "interrupted\n"
    assert time.monotonic() - begun < SOON_SECONDS
    assert process.returncode == 1


# Accounts.


def test_s3_is_found_by_a_profile(s3_store, tmp_path, monkeypatch):
    config = tmp_path / "config"
    config.write_text(
        f"[profile here]\nregion = us-east-1\nendpoint_url = {s3_store.endpoint}\n"
        "aws_access_key_id = testing\naws_secret_access_key = testing\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "here")
    address = s3_store.put(f"{tmp_path.name}/x", DATA)
    assert store_of(address).read(address) == DATA


def test_s3_without_keys_says_what_to_set(s3_store, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_store.endpoint)
    address = s3_store.put(f"{tmp_path.name}/x", DATA)
    with pytest.raises(PermissionError, match="set AWS_PROFILE or AWS_ACCESS_KEY_ID"):
        store_of(address).read(address)
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    with pytest.raises(PermissionError, match="403 Forbidden"):  # moto refuses.
        store_of(address).read(address)


@pytest.mark.parametrize(
    ("name", "value", "address"),
    [
        ("AWS_PROFILE", "of-nobody", "s3://bucket/x"),
        ("AWS_CA_BUNDLE", "/of/nobody", "s3://bucket/x"),
        ("AWS_ENDPOINT_URL", "of-nobody", "s3://bucket/x"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:99999", "s3://bucket/x"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/of/nobody", "gs://bucket/x"),
        ("STORAGE_EMULATOR_HOST", "localhost:port", "gs://bucket/x"),
        ("STORAGE_EMULATOR_HOST", "ftp://localhost", "gs://bucket/x"),
        ("AZURE_STORAGE_ENDPOINT", "http://local host", "az://container/x"),
        (
            "AZURE_STORAGE_CONNECTION_STRING",
            "AccountName=a;AccountKey=%of-nobody",
            "az://container/x",
        ),
    ],
)
def test_settings_that_cannot_be_used_are_wrong_usage(
    monkeypatch, name, value, address
):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "nobody")
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        store_of(address).stat(address)
    said = str(caught.value)
    assert "\n" not in said
    assert value in said or "Invalid Access Key" in said


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://", "must name a bucket"),
        ("gs:///out", "must name a bucket"),
        ("az:/container/out", "needs two slashes"),
        ("gs://a b/out", '"a b" is not the name of a bucket'),
    ],
)
def test_an_address_without_a_bucket_is_wrong_usage(
    monkeypatch, capsys, address, message
):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:1")
    assert main(["verify", address]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert address in said


def test_a_bucket_that_does_not_exist_is_named(store, monkeypatch):
    for name, value in store.environment_at(store.endpoint).items():
        monkeypatch.setenv(name, value)
    address = store.put("x", DATA).replace("://", "://not-a-")
    asked = store_of(address)
    requests = (
        lambda: asked.read(address),
        lambda: list(asked.scan(address, deep=True)),
        lambda: asked.put(address, io.BytesIO(b"")),
    )
    for request in requests:
        with pytest.raises(OSError, match="No such bucket: create it") as caught:
            request()
        assert caught.value.filename == address
        assert not isinstance(caught.value, FileNotFoundError)


def test_azure_is_found_by_a_connection_string(azure_store, tmp_path, monkeypatch):
    account = azure_store.environment
    stated = {
        "AccountName": account["AZURE_STORAGE_ACCOUNT_NAME"],
        "AccountKey": account["AZURE_STORAGE_ACCOUNT_KEY"],
        "BlobEndpoint": account["AZURE_STORAGE_ENDPOINT"],
    }
    text = ";".join(f"{name}={value}" for name, value in stated.items())
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    address = azure_store.put(f"{tmp_path.name}/x", DATA)
    assert store_of(address).read(address) == DATA


def test_azure_without_an_account_says_what_to_set():
    with pytest.raises(UsageError, match="set AZURE_STORAGE_ACCOUNT_NAME"):
        store_of("az://bucket/x")

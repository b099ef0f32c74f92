"""Storage in buckets: the calls that the job is made of."""

import errno
import io
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from beam_jobs.inputs.roots import fixed_folder, glob_expression
from beam_jobs.storage import files as storage
from beam_jobs.storage.beam_internals import use_beam_options
from beam_jobs.workspace.lease import leased
from beam_jobs.workspace.workspace import Workspace
from reader.contract.errors import BuildError
from reader.object_stores.open_store import store_of
from reader.object_stores.range_file import buffered


@pytest.fixture
def folder(store, tmp_path) -> str:
    """An address to put things below, with Beam's options known."""
    from apache_beam.options.pipeline_options import PipelineOptions

    use_beam_options(PipelineOptions(list(store.flags)))
    return store.put(f"{tmp_path.name}/here", b"").rpartition("/")[0]


def name_of(address: str) -> str:
    return address.split("/", 3)[3]


DATA = bytes(range(256)) * 40


@pytest.mark.parametrize("offset", [0, 1, 255, len(DATA) - 1, len(DATA), 10**6])
@pytest.mark.parametrize("at_most", [-1, 0, 1, 1000, 10**6])
def test_ranges_are_those_of_a_file(store, folder, tmp_path, offset, at_most):
    (tmp_path / "file").write_bytes(DATA)
    address = store.put(f"{name_of(folder)}/file", DATA)
    asked = {"offset": offset, "at_most": at_most}
    here = storage.read_file(str(tmp_path / "file"), **asked)
    assert storage.read_file(address, **asked) == here


def test_an_object_that_changed_is_not_read(store, folder):
    address = store.put(f"{name_of(folder)}/file", b"one")
    before = storage.status_of(address)
    assert storage.read_file(address, version=before.version) == b"one"
    with pytest.raises(OSError, match="Changed since it was listed") as caught:
        storage.read_file(address, version=before.version + 1)
    assert caught.value.errno == errno.ESTALE


def test_what_is_not_there_is_a_missing_file(folder):
    for ask in (storage.read_file, storage.status_of, storage.open_file):
        with pytest.raises(FileNotFoundError) as caught:
            ask(f"{folder}/none")
        assert caught.value.filename == f"{folder}/none"
    assert storage.read_if_exists(f"{folder}/none") is None
    assert storage.names_in(f"{folder}/none") == []
    storage.delete_file(f"{folder}/none")
    storage.delete_folder(f"{folder}/none")


def test_folders_are_listed_as_on_a_disk(store, folder, tmp_path):
    names = ["a", "b/c", "b/d/e", "b-not", "ü/x y", "#/?%+", "z/"]
    for name in names:
        store.put(f"{name_of(folder)}/in/{name}", b"" if name[-1] == "/" else b"12")
        if not name.endswith("/"):
            path = tmp_path / "in" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"12")
    # Where somebody has put an empty object for a folder, it is one.
    (tmp_path / "in/z").mkdir()
    for deep in (False, True):
        there, here = (
            sorted(
                (listed.name, listed.status and listed.status.size)
                for listed in storage.scan(where, deep=deep)
            )
            for where in (f"{folder}/in", str(tmp_path / "in"))
        )
        assert there == here


@pytest.mark.parametrize("name", ["/x", "a//x", "a//b/x"])
def test_two_slashes_in_a_row_are_refused_and_not_passed_over(store, folder, name):
    store.put(f"{name_of(folder)}/in/{name}", b"")
    with pytest.raises(OSError, match="two slashes in a row"):
        list(storage.scan(f"{folder}/in", deep=True))


def test_folders_move_and_go(store, folder):
    for number in range(40):
        store.put(f"{name_of(folder)}/one/{number % 3}/{number}", b"%d" % number)
    moved = store.download(f"{folder}/one")
    store.put(f"{name_of(folder)}/two/old", b"")
    storage.move_folder(f"{folder}/one", f"{folder}/two")
    assert store.download(f"{folder}/two") == moved
    assert store.names(f"{folder}/one") == []
    storage.delete_folder(f"{folder}/two")
    assert store.names(f"{folder}/two") == []
    assert store.names(folder) == ["here"]


def test_an_exception_publishes_nothing(store, folder):
    with (
        pytest.raises(ValueError, match="no"),
        storage.publish(f"{folder}/file", "unused") as file,
    ):
        file.write(b"half")
        raise ValueError("no")
    assert store.names(folder) == ["here"]


def test_one_of_many_creates(folder):
    start = threading.Barrier(8)
    made = []

    def create(number: int) -> None:
        start.wait()
        made.append(storage.publish_new(f"{folder}/lock", b"%d" % number))

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 7 + [True]


# The lease.


def test_the_second_of_two_is_refused_and_the_first_goes_on(folder):
    workspace = Workspace(f"{folder}/out")
    with leased(workspace, take_over=False):
        with (
            pytest.raises(BuildError, match=f"started on {socket.gethostname()} at 20"),
            leased(workspace, take_over=False),
        ):
            pass
        assert workspace.begun()
    with leased(workspace, take_over=False):
        pass


def test_an_answer_that_is_lost_locks_nobody_out(folder, monkeypatch):
    """The client asks again, and is told that there is an object: its own."""
    workspace = Workspace(f"{folder}/out")
    store = store_of(folder)
    put_new = type(store).put_new

    def put_twice(self: object, path: str, data: bytes) -> bool:
        return put_new(self, path, data) and put_new(self, path, data)

    monkeypatch.setattr(type(store), "put_new", put_twice)
    with leased(workspace, take_over=False) as lease:
        held = storage.read_file(workspace.lease)
        assert json.loads(held)["lease"] == lease
    assert not workspace.begun()


def test_taking_over_ends_the_other_lease_and_not_the_new_one(folder):
    workspace = Workspace(f"{folder}/out")
    with leased(workspace, take_over=False) as first:
        with leased(workspace, take_over=True) as second:
            assert first != second
        assert storage.read_if_exists(workspace.lease) is None


# S3 as others speak it.


class _Other(BaseHTTPRequestHandler):
    """A store that lists fractions of a second, and hangs up in mid-answer once."""

    protocol_version = "HTTP/1.1"
    hang_up = 1

    def do_GET(self) -> None:
        if "list-type" in self.path:
            body = (
                b"<ListBucketResult><Contents><Key>in/x</Key><Size>100</Size>"
                b"<LastModified>2026-01-02T03:04:05.678Z</LastModified>"
                b"<ETag>tag</ETag></Contents>"
                b"</ListBucketResult>"
            )
        else:
            body = b"y" * 100
        ranged = "Range" in self.headers
        self.send_response(206 if ranged else 200)
        if ranged:
            self.send_header("Content-Range", "bytes 0-99/100")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT")
        self.send_header("ETag", '"tag"')
        self.end_headers()
        if body[:1] == b"y" and type(self).hang_up:
            type(self).hang_up -= 1
            self.wfile.write(body[:50])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_store_with_fractions_of_seconds_that_hangs_up(monkeypatch):
    from apache_beam.options.pipeline_options import PipelineOptions

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Other) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        endpoint = f"--s3_endpoint_url=http://127.0.0.1:{server.server_port}"
        options = ["--s3_region_name=us-east-1", endpoint]
        use_beam_options(PipelineOptions(options))
        (listed,) = storage.scan("s3://bucket/in", deep=True)
        found = storage.read_file("s3://bucket/in/x", version=listed.status.version)
        server.shutdown()
    assert found == b"y" * 100
    assert _Other.hang_up == 0


# What needs no store.


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("gs://b/a/*.tar", "gs://b/a/1.tar", True),
        ("gs://b/a/*.tar", "gs://b/a/b/1.tar", False),
        ("gs://b/a/**/*.tar", "gs://b/a/b/c/1.tar", True),
        ("gs://b/a/**/*.tar", "gs://b/a/1.tar", True),
        ("gs://b/a/?.tar", "gs://b/a/1.tar", True),
        ("gs://b/a/?.tar", "gs://b/a/12.tar", False),
        ("gs://b/a/[0-3].tar", "gs://b/a/2.tar", True),
        ("gs://b/a/[!0-3].tar", "gs://b/a/2.tar", False),
        ("gs://b/a+(1).tar", "gs://b/a+(1).tar", True),
        ("gs://b/a.tar", "gs://b/axtar", False),
    ],
)
def test_globs_mean_what_they_mean_on_a_disk(pattern, name, matches):
    assert bool(glob_expression(pattern).fullmatch(name)) == matches
    if matches:
        assert name.startswith(fixed_folder(pattern))


def test_a_file_of_ranges_is_read_and_searched_like_any(tmp_path):
    (tmp_path / "file").write_bytes(DATA)
    file = buffered(lambda offset, size: DATA[offset : offset + size], len(DATA))
    with open(tmp_path / "file", "rb") as here, file as there:
        for place, whence, size in (
            (0, io.SEEK_SET, 10),
            (5000, io.SEEK_SET, 7000),
            (-3, io.SEEK_CUR, 5),
            (-100, io.SEEK_END, 1000),
            (10**6, io.SEEK_SET, 5),
        ):
            assert there.seek(place, whence) == here.seek(place, whence)
            assert there.read(size) == here.read(size)
            assert there.tell() == here.tell()

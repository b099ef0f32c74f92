"""The stand-in of `gs://` does what Google's does, where the job relies on it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from apache_beam.io.filesystems import FileSystems
from google.api_core import exceptions
from google.cloud import storage
from google.cloud.storage.exceptions import InvalidResponse

NAMES = [
    *("a b", "a#b", "a%2Fb", "a%b", "ünïcode ☃", "a?b", "a*b", "a[b]", "a&b=c", "a+b"),
    *("a//b", "a/./b", "a/../b", "/a", "a/", "a\\b", "a\nb", "a/acl", "copyTo/b/c/o/d"),
    "\N{LATIN SMALL LETTER E}\N{COMBINING ACUTE ACCENT}",
]


@pytest.fixture
def bucket(bucket_store, service_account, monkeypatch):
    """The bucket through Google's client; and Beam's, which wants an account."""
    environment = bucket_store.environment | service_account.environment
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    client = storage.Client.create_anonymous_client()
    yield client.bucket("bucket")
    client.close()


def listed(bucket, **wanted) -> list[str]:
    return [blob.name for blob in bucket.list_blobs(**wanted)]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_a_name_of_its_own(bucket, name):
    name = f"names/{NAMES.index(name)}/{name}"
    blob = bucket.blob(name)
    blob.upload_from_string(b"content")
    assert blob.download_as_bytes() == b"content"
    assert listed(bucket, prefix=name) == [name]
    copy = bucket.copy_blob(blob, bucket, "copies/" + name)
    assert copy.download_as_bytes() == b"content"
    assert copy.rewrite(blob)[0] is None
    blob.delete()
    assert not blob.exists()
    with bucket.client.batch():
        copy.delete()
    assert not copy.exists()


def test_names_that_are_one_path_are_two_objects(bucket):
    for name in ("twins/a/b", "twins/a//b", "twins/a/./b"):
        bucket.blob(name).upload_from_string(name)
    for name in ("twins/a/b", "twins/a//b", "twins/a/./b"):
        assert bucket.blob(name).download_as_text() == name


@pytest.mark.parametrize("size", [0, 1, (8 << 20) + 1, 33 << 20])
def test_beam_writes_and_reads_any_size(bucket, size):
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    with FileSystems.create(f"gs://bucket/beam/{size}") as file:
        file.write(content)
    with FileSystems.open(f"gs://bucket/beam/{size}") as file:
        assert file.read() == content
    assert bucket.get_blob(f"beam/{size}").size == size


def test_a_large_object_is_uploaded_in_pieces(bucket, bucket_store):
    bucket_store.reset()
    with bucket.blob("pieces").open("wb", chunk_size=256 << 10) as file:
        file.write(b"x" * ((1 << 20) + 1))
    statuses = [r.status for r in bucket_store.requests() if r.method == "PUT"]
    assert statuses == [308, 308, 308, 308, 200]
    assert bucket.get_blob("pieces").size == (1 << 20) + 1


def test_a_range_ends_where_the_object_ends(bucket):
    blob = bucket.blob("range")
    blob.upload_from_string(b"0123456789")
    assert blob.download_as_bytes(start=2, end=4) == b"234"
    assert blob.download_as_bytes(start=8, end=99) == b"89"
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=10, end=11)


def test_a_range_of_nothing_is_refused(bucket):
    blob = bucket.blob("nothing")
    blob.upload_from_string(b"")
    assert blob.download_as_bytes() == b""
    with pytest.raises(exceptions.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=0, end=0)


def test_lists_come_in_pages(bucket, bucket_store):
    names = [f"pages/{number:04}" for number in range(2500)]
    for name in names:
        bucket_store.put(name, b"")
    bucket_store.reset()
    assert listed(bucket, prefix="pages/") == names
    # Google's client asks for the bucket too, on the side, for its traces.
    lists = [
        r for r in bucket_store.requests() if r.path.partition("?")[0][-2:] == "/o"
    ]
    assert len(lists) == 3
    assert listed(bucket, prefix="pages/", page_size=999) == names
    assert listed(bucket, prefix="pages/", start_offset=names[2400]) == names[2400:]
    assert len(FileSystems.match(["gs://bucket/pages/*"])[0].metadata_list) == 2500


def test_folders_are_listed_page_by_page_too(bucket, bucket_store, monkeypatch):
    for name in ("a/1", "a/2", "b", "c/1", "d"):
        bucket_store.put(f"folders/{name}", b"")
    monkeypatch.setattr(bucket_store.objects, "page_size", 1)
    pages = bucket.list_blobs(prefix="folders/", delimiter="/")
    assert [blob.name for blob in pages] == ["folders/b", "folders/d"]
    assert pages.prefixes == {"folders/a/", "folders/c/"}


def test_an_object_is_created_once_among_threads(bucket):
    def create(number: int) -> bool:
        blob = bucket.blob("once")
        try:
            blob.upload_from_string(str(number), if_generation_match=0)
        except exceptions.PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        created = list(pool.map(create, range(64)))
    assert created.count(True) == 1
    assert bucket.blob("once").download_as_text() == str(created.index(True))


def test_what_was_overwritten_is_another_generation(bucket):
    blob = bucket.blob("generations")
    blob.upload_from_string(b"1")
    first = blob.generation
    blob.upload_from_string(b"2")
    with pytest.raises(exceptions.PreconditionFailed):
        blob.download_as_bytes(if_generation_match=first)
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_generation_match=first)
    assert blob.download_as_bytes(if_generation_match=blob.generation) == b"2"
    file = blob.open("wb", if_generation_match=first)
    file.write(b"3")
    with pytest.raises(InvalidResponse, match="412"):
        file.close()
    assert blob.download_as_bytes() == b"2"


def test_threads_do_not_disturb_one_another(bucket):
    def use(number: int) -> bytes:
        blob = bucket.blob(f"threads/{number}")
        blob.upload_from_string(str(number))
        listed(bucket, prefix="threads/")
        content: bytes = blob.download_as_bytes()
        blob.delete()
        return content

    with ThreadPoolExecutor(16) as pool:
        contents = list(pool.map(use, range(400)))
    assert contents == [str(number).encode() for number in range(400)]
    assert listed(bucket, prefix="threads/") == []


def test_what_is_not_there_is_not_found(bucket):
    with pytest.raises(exceptions.NotFound):
        bucket.blob("none").download_as_bytes()
    with pytest.raises(exceptions.NotFound):
        bucket.blob("none").delete()
    with pytest.raises(exceptions.NotFound):
        bucket.client.bucket("no-bucket").blob("a").upload_from_string(b"")
    with pytest.raises(exceptions.NotFound):
        listed(bucket.client.bucket("no-bucket"))


def test_a_folder_goes_up_and_comes_down(bucket_store, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "a b").write_bytes(b"1")
    (tmp_path / "in" / "empty").touch()
    folder = bucket_store.upload(tmp_path, "folder")
    assert folder == "gs://bucket/folder"
    assert bucket_store.download(folder) == {"a b": b"1", "in/empty": b""}
    assert bucket_store.get(f"{folder}/a b") == b"1"

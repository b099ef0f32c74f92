"""Names in tables and tars → files, never outside the roots."""

import os
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.elements import BadInput
from beam_jobs.inputs.paths import below_root, place_of

ROOTS = (b"/data/images", b"/more", b"/data/other")


@pytest.mark.parametrize(
    ("name", "folder", "root", "path"),
    [
        ("a.jpg", b"", 0, b"a.jpg"),
        ("a.jpg", b"sub", 0, b"sub/a.jpg"),
        ("./x//y/../a.jpg", b"", 0, b"x/a.jpg"),
        ("../b/a.jpg", b"sub", 0, b"b/a.jpg"),
        ("..a.jpg", b"", 0, b"..a.jpg"),
        (".../a.jpg", b"", 0, b".../a.jpg"),
        ("/data/images/a.jpg", b"sub", 0, b"a.jpg"),
        ("/data/images//sub/../a.jpg", b"", 0, b"a.jpg"),
        ("/more/a.jpg", b"", 1, b"a.jpg"),
        ("//more/a.jpg", b"", 1, b"a.jpg"),
        ("../other/a.jpg", b"", 2, b"a.jpg"),
        ("../../other/a.jpg", b"sub", 2, b"a.jpg"),
        ("café.jpg", b"", 0, "café.jpg".encode()),
        ("caf\udce9.jpg", b"", 0, b"caf\xe9.jpg"),
        (" a.jpg\n", b"", 0, b" a.jpg\n"),
        ("~/a.jpg", b"", 0, b"~/a.jpg"),
        ("$HOME/%2e%2e/a.jpg", b"", 0, b"$HOME/%2e%2e/a.jpg"),
        ("..\\a.jpg", b"", 0, b"..\\a.jpg"),
        ("a:b.jpg", b"", 0, b"a:b.jpg"),
    ],
)
def test_names_below_a_root(name, folder, root, path):
    file = place_of(name, folder, ROOTS)
    assert (file.root, file.path) == (root, path)


@pytest.mark.parametrize(
    "name",
    [
        "../a.jpg",
        "..",
        ".",
        "/",
        "/etc/passwd",
        "/data/images",
        "/data/images/../a",
        "x/../../a.jpg",
        "//etc/passwd",
        "/data/images2/a.jpg",
        "/data/image",
        "./..",
    ],
)
def test_names_that_leave_the_roots(name):
    with pytest.raises(BadInput, match="--allow_roots") as caught:
        place_of(name, b"", ROOTS)
    assert caught.value.reason == "outside_root"


@pytest.mark.parametrize(
    "name", ["https://a/b.jpg", "hdfs://b/k", "FILE:///a.jpg", "a\0b.jpg", "\ud800.jpg"]
)
def test_names_of_no_file_are_missing(name):
    with pytest.raises(BadInput) as caught:
        place_of(name, b"", ROOTS)
    assert caught.value.reason == "missing_image"


BUCKETS = (b"gs://bucket/images", b"s3://other/more")


@pytest.mark.parametrize(
    ("name", "folder", "root", "path"),
    [
        ("a.jpg", b"", 0, b"a.jpg"),
        ("./x//y/../a.jpg", b"sub", 0, b"sub/x/a.jpg"),
        ("gs://bucket/images/a.jpg", b"sub", 0, b"a.jpg"),
        ("s3://other/more/b/a.jpg", b"", 1, b"b/a.jpg"),
    ],
)
def test_a_name_below_a_folder_in_a_bucket_is_found(name, folder, root, path):
    place = place_of(name, folder, BUCKETS)
    assert (place.root, place.path) == (root, path)


@pytest.mark.parametrize(
    "name",
    [
        "../a.jpg",
        "/etc/passwd",
        "gs://bucket/imagesque/a.jpg",
        "gs://bucket/images/../a.jpg",
        "gs://other/more/a.jpg",
        "s3://bucket/images/a.jpg",
        "../../../../etc/passwd",
    ],
)
def test_no_name_leaves_its_folder_in_a_bucket(name):
    with pytest.raises(BadInput) as caught:
        place_of(name, b"", BUCKETS)
    assert caught.value.reason == "outside_root"


@pytest.mark.parametrize("name", ["gs://bucket/a.jpg", "s3://bucket/data/images/a.jpg"])
def test_an_address_is_no_file_of_this_machine(name):
    with pytest.raises(BadInput) as caught:
        place_of(name, b"", ROOTS)
    assert caught.value.reason == "outside_root"


def test_the_root_of_all_holds_every_file():
    assert place_of("/etc/../a.jpg", b"", (b"/",)).path == b"a.jpg"


parts = st.sampled_from(["..", ".", "", "a", "b.jpg", "é", "data", "images", "more"])


@given(st.lists(parts, min_size=1, max_size=8), st.booleans(), st.booleans())
def test_a_place_is_where_the_name_leads_or_refused(names, absolute, deep):
    name = "/" * absolute + "/".join(names)
    folder = b"sub/deep" if deep else b""
    if not name:
        return
    start = os.path.join(ROOTS[0], folder)
    meant = posixpath.normpath(os.path.join(start, name.encode()))
    meant = b"/" + meant.lstrip(b"/") if not name.startswith("//") else meant
    inside = [root for root in ROOTS if meant.startswith(root + b"/")]
    try:
        file = place_of(name, folder, ROOTS)
    except BadInput as error:
        assert error.reason == "outside_root"
        assert not inside
    else:
        assert posixpath.join(ROOTS[file.root], file.path) == meant
        assert ROOTS[file.root] in inside


@given(st.lists(parts, min_size=1, max_size=8), st.booleans())
def test_a_member_of_a_tar_stays_below_it(names, absolute):
    name = ("/" * absolute + "/".join(names)).encode()
    leads_to = posixpath.normpath(b"/root/" + name)
    leaves = name.startswith(b"/") or not leads_to.startswith(b"/root/")
    try:
        path = below_root(name)
    except BadInput as error:
        assert error.reason == "outside_root"
        # A path that leaves the root and returns needs the name of the root.
        assert leaves or name.count(b"..")
    else:
        assert b"/root/" + path == leads_to

"""Source `folders`: listed files, their keys, and skipped files."""

import errno
import os
import random
import socket
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from beam_jobs.config.columns import parse_columns
from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Aside, Entry, ListTask, Pair, Reject, SourceFile
from beam_jobs.inputs.paths import key_of
from beam_jobs.planning.pair_entries import pair_entries
from beam_jobs.sources.folders import (
    SUFFIXES,
    check,
    ignored_as,
    list_entries,
    list_tasks,
)
from reader.contract.errors import UsageError

NFC, NFD = "caf\u00e9".encode(), "cafe\u0301".encode()
IMAGE_SUFFIXES = [
    "jpg",
    "jpeg",
    "jpe",
    "jfif",
    "png",
    "webp",
    "gif",
    "bmp",
    "tif",
    "tiff",
    "avif",
    "heic",
    "heif",
]
CAPTION_SUFFIXES = ["txt", "caption"]


class Listed(NamedTuple):
    """A listed path, made from an `Entry` or an `Aside`."""

    kind: str
    path: bytes
    size: int
    mtime_ns: int


def list_task(task: ListTask, config: JobConfig) -> list[Entry | Aside]:
    return list(list_entries(task, config))


def as_listed(one: Entry | Aside) -> Listed:
    if isinstance(one, Aside):
        return Listed(one.kind, one.path, 0, 0)
    if one.flaw is not None:
        return Listed(one.flaw[0], one.origin, 0, 0)
    kind = "image" if one.image else "caption"
    file = one.image or one.caption or SourceFile(b"")
    assert one.key == key_of(file.path)
    assert one.origin == file.path
    assert file.root == (kind == "caption")
    return Listed(kind, file.path, file.size, file.version)


def entries_of(
    images: Path, captions: Path | None = None, *, output=""
) -> list[Entry | Aside]:
    config = JobConfig(
        images=str(images),
        captions=str(captions or images),
        output=str(output) or str(images) + "-out",
    )
    return [one for task in list_tasks(config) for one in list_task(task, config)]


def list_all(images: Path, captions: Path | None = None, *, output="") -> list[Listed]:
    return [as_listed(one) for one in entries_of(images, captions, output=output)]


def pair_all(
    images: Path, captions: Path | None = None
) -> tuple[list[Pair], list[Reject]]:
    config = JobConfig(images="i", captions="c", output="o")
    found = entries_of(images, captions)
    return pair_entries([one for one in found if isinstance(one, Entry)], config)


def kinds_of(listed: Iterable[Listed]) -> dict[bytes, str]:
    found = {one.path: one.kind for one in listed}
    assert len(found) == len(list(listed))
    return found


def write(folder: Path | bytes, *names: str | bytes) -> None:
    for name in names:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(name if isinstance(name, bytes) else name.encode())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


# Kinds of files.


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_images_are_known_by_their_suffix_in_any_case(source, suffix):
    write(source, f"a.{suffix}", f"b.{suffix.upper()}", f"c.{suffix.title()}")
    assert set(kinds_of(list_all(source)).values()) == {"image"}


@pytest.mark.parametrize("suffix", CAPTION_SUFFIXES)
def test_captions_are_known_by_their_suffix_in_any_case(source, suffix):
    write(source, f"a.{suffix}", f"b.{suffix.upper()}")
    assert set(kinds_of(list_all(source)).values()) == {"caption"}


def test_no_other_suffix_counts():
    known = {f".{suffix}".encode() for suffix in IMAGE_SUFFIXES + CAPTION_SUFFIXES}
    assert set(SUFFIXES) == known


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("a.json", ".json"),
        ("a.JPG2", ".jpg2"),
        ("README", "none"),
        ("a.", "."),
        ("jpg", "none"),
        (".hidden.jpg", "hidden"),
        (".jpg", "hidden"),
        ("a.jpg~", ".jpg~"),
        ("a.jpg.tmp", ".tmp"),
        (b"a.\xff", ".\ufffd"),
    ],
)
def test_everything_else_is_ignored_and_counted_by_suffix(source, name, counted):
    write(source, name)
    (listed,) = list_all(source)
    assert listed.kind == "ignored"
    assert listed.path == os.fsencode(name)
    assert ignored_as(listed.path) == counted


def test_hidden_folders_are_ignored_with_all_that_is_in_them(source):
    write(source, ".git/a.jpg", "sub/.cache/deep/b.jpg", "sub/c.jpg")
    assert kinds_of(list_all(source)) == {
        b".git": "ignored",
        b"sub/.cache": "ignored",
        b"sub/c.jpg": "image",
    }
    assert ignored_as(b"sub/.cache") == "hidden"


def test_a_folder_that_is_called_like_an_image_is_a_folder(source):
    write(source, "a.jpg/b.jpg", "sub/c.png/d.png")
    assert kinds_of(list_all(source)) == {b"a.jpg/b.jpg": "image"} | {
        b"sub/c.png/d.png": "image"
    }


def test_size_and_time_are_those_of_the_file(source):
    write(source, "sub/a.jpg")
    status = os.stat(source / "sub" / "a.jpg")
    (listed,) = list_all(source)
    assert (listed.size, listed.mtime_ns) == (status.st_size, status.st_mtime_ns)


def test_an_empty_folder_lists_nothing(source):
    (source / "sub" / "empty").mkdir(parents=True)
    assert list_all(source) == []


# One or two roots.


def test_of_the_folder_of_images_only_images_count_and_the_reverse(tmp_path):
    write(tmp_path / "i", "a.jpg", "a.txt")
    write(tmp_path / "c", "a.jpg", "a.txt")
    listed = list_all(tmp_path / "i", tmp_path / "c")
    assert sorted((one.kind, one.path) for one in listed) == [
        ("caption", b"a.txt"),
        ("ignored", b"a.jpg"),
        ("ignored", b"a.txt"),
        ("image", b"a.jpg"),
    ]


@pytest.mark.parametrize("way", ["same", "slash", "dots", "link"])
def test_one_folder_for_both_is_listed_once_however_it_is_written(source, way):
    write(source, "sub/a.jpg", "sub/a.txt")
    os.symlink(source, source.parent / "link")
    captions = {
        "same": source,
        "slash": f"{source}/",
        "dots": source / "sub" / "..",
        "link": source.parent / "link",
    }[way]
    assert kinds_of(list_all(source, captions)) == {
        b"sub/a.jpg": "image",
        b"sub/a.txt": "caption",
    }


# Links.


def test_links_to_files_and_folders_are_followed(source, tmp_path):
    write(tmp_path, "elsewhere/deep/b.jpg", "elsewhere/one.png")
    os.symlink(tmp_path / "elsewhere" / "one.png", source / "a.jpg")
    os.symlink("../elsewhere", source / "folder")
    assert kinds_of(list_all(source)) == {
        b"a.jpg": "image",
        b"folder/deep/b.jpg": "image",
        b"folder/one.png": "image",
    }
    size = os.stat(tmp_path / "elsewhere" / "one.png").st_size
    assert next(one for one in list_all(source) if one.path == b"a.jpg").size == size


def test_a_root_that_is_a_link_is_followed(source, tmp_path):
    write(source, "a.jpg", "sub/b.jpg")
    os.symlink(source, tmp_path / "root")
    os.symlink("root", tmp_path / "link to a link")
    for root in ("root", "link to a link"):
        assert kinds_of(list_all(tmp_path / root)) == kinds_of(list_all(source))


def test_one_folder_under_two_names_gives_keys_under_both(source, tmp_path):
    write(source, "a/x.jpg")
    os.symlink("a", source / "b")
    assert set(kinds_of(list_all(source))) == {b"a/x.jpg", b"b/x.jpg"}


@pytest.mark.parametrize("target", [".", "..", "../..", "../../sub", "../../sub/deep"])
def test_a_link_back_up_is_a_loop_and_the_rest_is_listed_once(source, target):
    write(source, "a.jpg", "sub/deep/b.jpg")
    os.symlink(target, source / "sub" / "deep" / "back")
    found = kinds_of(list_all(source))
    assert found == {
        b"a.jpg": "image",
        b"sub/deep/b.jpg": "image",
        b"sub/deep/back": "loop",
    }


def test_a_link_to_the_root_in_the_root_is_a_loop(source):
    write(source, "a.jpg")
    os.symlink(source, source / "self")
    assert kinds_of(list_all(source)) == {b"a.jpg": "image", b"self": "loop"}


def test_a_link_to_above_the_root_stops_where_the_root_comes_again(source, tmp_path):
    write(source, "a.jpg")
    write(tmp_path, "beside.jpg")
    os.symlink("..", source / "up")
    assert kinds_of(list_all(source)) == {
        b"a.jpg": "image",
        b"up/beside.jpg": "image",
        b"up/source": "loop",
    }


def test_two_folders_that_hold_links_to_each_other_end(source):
    write(source, "a/x.jpg", "b/y.jpg")
    os.symlink("../b", source / "a" / "other")
    os.symlink("../a", source / "b" / "other")
    assert kinds_of(list_all(source)) == {
        b"a/x.jpg": "image",
        b"a/other/y.jpg": "image",
        b"a/other/other": "loop",
        b"b/y.jpg": "image",
        b"b/other/x.jpg": "image",
        b"b/other/other": "loop",
    }


@pytest.mark.parametrize("depth", ["", "sub/"])
def test_links_to_nowhere_are_no_files_but_are_not_lost(source, depth):
    write(source, f"{depth}ok.jpg")
    folder = source / depth
    os.symlink("nowhere", folder / "dangling.jpg")
    os.symlink("self.txt", folder / "self.txt")
    os.symlink("pong.png", folder / "ping.png")
    os.symlink("ping.png", folder / "pong.png")
    os.symlink("nowhere", folder / "ignored.json")
    prefix = depth.encode()
    assert kinds_of(list_all(source)) == {
        prefix + b"ok.jpg": "image",
        prefix + b"dangling.jpg": "not_a_file",
        prefix + b"self.txt": "not_a_file",
        prefix + b"ping.png": "not_a_file",
        prefix + b"pong.png": "not_a_file",
        prefix + b"ignored.json": "ignored",
    }


@pytest.mark.parametrize(
    ("target", "code"),
    [("ok.jpg/x", errno.ENOTDIR), ("x" * 300, errno.ENAMETOOLONG)],
)
@pytest.mark.parametrize("depth", ["", "sub/"])
def test_links_that_cannot_be_followed_lead_nowhere_too(source, depth, target, code):
    write(source, f"{depth}ok.jpg")
    os.symlink(target, source / depth / "a.jpg")
    with pytest.raises(OSError) as caught:
        os.stat(source / depth / "a.jpg")
    assert caught.value.errno == code
    found = kinds_of(list_all(source))
    assert found[f"{depth}a.jpg".encode()] == "not_a_file"


def test_pipes_and_sockets_and_devices_are_not_opened(source, monkeypatch):
    os.mkfifo(source / "pipe.jpg")
    os.mkfifo(source / "pipe.fifo")
    os.symlink("/dev/null", source / "device.txt")
    monkeypatch.chdir(source)  # The path of a socket must be short.
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
        assert kinds_of(list_all(source)) == {
            b"pipe.jpg": "not_a_file",
            b"pipe.fifo": "ignored",
            b"device.txt": "not_a_file",
            b"socket.png": "not_a_file",
        }


# Names.

NAMES = [
    b"with space",
    b" leading and trailing ",
    b"quote'\"quote",
    b"line\nbreak",
    b"tab\tand\rreturn",
    b"back\\slash",
    b"$(rm -rf) `x` %00 %s {} *?",
    b"--output=x",
    "emoji 👩\u200d👩\u200d👧".encode(),
    "right to left עברית".encode(),
    "日本語".encode(),
    b"not \xff\xfe UTF-8",
    b"caf\xe9 in latin-1",
    b"\xed\xa0\x80 surrogate",
    b"\x01\x7f control",
    b"a.b.c",
    b"..twice",
    b"x" * 251,
    "ü".encode() * 125,
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("folder", [b"", b"sub/", b"line\nbreak \xff/"])
def test_files_of_any_name_pair(source, name, folder):
    write(source, folder + name + b".jpg", folder + name + b".txt")
    listed = sorted(list_all(source))
    if name.startswith(b"."):
        assert {one.kind for one in listed} == {"ignored"}
        return
    (pair,), rejects = pair_all(source)
    assert not rejects
    assert pair.key == folder + name
    for file, suffix in ((pair.image, b".jpg"), (pair.caption, b".txt")):
        assert file.path == folder + name + suffix
        assert os.path.exists(os.path.join(os.fsencode(source), file.path))


def test_the_longest_name_that_there_is_pairs(source):
    write(source, b"x" * 251 + b".jpg", b"x" * 251 + b".txt")
    assert max(len(name) for name in os.listdir(source)) == 255
    (pair,), rejects = pair_all(source)
    assert pair.key == b"x" * 251
    assert not rejects


@pytest.mark.parametrize(("image", "caption"), [(NFC, NFD), (NFD, NFC), (NFD, NFD)])
def test_composed_and_decomposed_names_are_one_key(tmp_path, image, caption):
    write(tmp_path / "i", image + b"/" + image + b".jpg")
    write(tmp_path / "c", caption + b"/" + caption + b".txt")
    (pair,), rejects = pair_all(tmp_path / "i", tmp_path / "c")
    assert not rejects
    assert pair.key == NFC + b"/" + NFC
    # Paths keep the original names.
    assert pair.image.path == image + b"/" + image + b".jpg"
    assert pair.caption.path == caption + b"/" + caption + b".txt"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (b"a.jpg", b"a"),
        (b"park/a.b.jpg", b"park/a.b"),
        (b"a.b/c.jpg", b"a.b/c"),
        (b"a.b/c", b"a.b/c"),
        (b"A.JPG", b"A"),
        (b"a..jpg", b"a."),
        (b"a .txt", b"a "),
        (NFD + b".jpg", NFC),
        ("\u212b.jpg".encode(), "Å".encode()),
        ("\ufb01.jpg".encode(), "\ufb01".encode()),  # Not NFKC.
        (b"\xff" + NFD + b".jpg", b"\xff" + NFD),
    ],
)
def test_known_keys(path, key):
    assert key_of(path) == key


def test_keys_are_told_apart_by_case(source):
    write(source, "a.jpg", "A.txt")
    pairs, rejects = pair_all(source)
    assert not pairs
    assert {reject.key for reject in rejects} == {b"a", b"A"}


# The output and invalid roots.


@pytest.mark.parametrize("place", ["out", "sub/out", "sub/deep/out"])
@pytest.mark.parametrize("way", ["plain", "slash", "link"])
def test_an_output_inside_the_source_is_passed_over(source, place, way):
    write(source, "a.jpg", "sub/b.jpg", f"{place}/c.jpg", f"{place}/d/e.jpg")
    output = {"plain": source / place, "slash": f"{source}/{place}/"}.get(way)
    if way == "link":
        output = source.parent / "link"
        os.symlink(source / place, output)
    found = kinds_of(list_all(source, output=output))
    assert found == {b"a.jpg": "image", b"sub/b.jpg": "image"}


def test_an_output_that_a_link_in_the_source_leads_to_is_passed_over(source, tmp_path):
    write(source, "a.jpg")
    write(tmp_path, "out/b.jpg")
    os.symlink(tmp_path / "out", source / "link")
    assert set(kinds_of(list_all(source, output=tmp_path / "out"))) == {b"a.jpg"}


def test_a_folder_whose_name_begins_like_the_outputs_is_listed(source):
    write(source, "out2/a.jpg", "ou/b.jpg")
    found = kinds_of(list_all(source, output=source / "out"))
    assert set(found) == {b"out2/a.jpg", b"ou/b.jpg"}


@pytest.mark.parametrize("flag", ["images", "captions"])
@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("missing", "no such folder"),
        ("file", "not a folder"),
        ("dangling", "no such folder"),
        ("", "no such folder"),
        ("out", "is the same folder as --{flag}"),
        ("link to out", "is the same folder as --{flag}"),
    ],
)
def test_a_root_that_will_not_do_is_told_by_its_flag(
    tmp_path, monkeypatch, flag, root, message
):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "file", "ok/a.jpg", "out/a.jpg")
    os.symlink("nowhere", "dangling")
    os.symlink("out", "link to out")
    roots = {"images": "ok", "captions": "ok", flag: root}
    with pytest.raises(UsageError, match=message.format(flag=flag)) as caught:
        check(JobConfig(**roots, output="out"))
    shown = "--output=out" if "same folder" in message else f"--{flag}={root}"
    assert shown in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [{"columns": parse_columns("a:int")}, {"key_column": "a"}, {"split_column": "a"}],
)
def test_columns_that_folders_do_not_have_are_wrong_usage(tmp_path, fields):
    write(tmp_path, "ok/a.jpg")
    config = JobConfig(
        images=str(tmp_path / "ok"),
        captions=str(tmp_path / "ok"),
        output=str(tmp_path / "out"),
        **fields,
    )
    with pytest.raises(UsageError, match="columns need a table"):
        check(config)


# Random folders.


def grow(folder: Path, rng: random.Random, depth: int = 0) -> None:
    folder.mkdir()
    for number in range(rng.randint(0, 6)):
        suffix = rng.choice([*IMAGE_SUFFIXES, *CAPTION_SUFFIXES, "json", "JPG", "x"])
        write(folder, f"{rng.choice(['é', '.', 'a b', ''])}{number}.{suffix}")
    if depth < 4:
        for number in range(rng.randint(0 if depth else 3, 4)):
            grow(folder / f"{rng.choice('d.')}{number}", rng, depth + 1)


@pytest.mark.parametrize("seed", range(8))
def test_every_file_is_listed_exactly_once(tmp_path, seed):
    source = tmp_path / "source"
    grow(source, random.Random(seed))
    expected: Counter[bytes] = Counter()
    for folder, folders, files in os.walk(os.fsencode(source)):
        below = os.path.relpath(folder, os.fsencode(source))
        hidden = [name for name in folders if name.startswith(b".")]
        folders[:] = set(folders) - set(hidden)
        expected.update(
            os.path.normpath(os.path.join(below, name)) for name in files + hidden
        )
    listed = list_all(source)
    assert Counter(one.path for one in listed) == expected
    for one in listed:
        name = os.path.basename(one.path)
        suffix = name.rpartition(b".")[2].lower().decode()
        if name.startswith(b".") or suffix in ("json", "x"):
            assert one.kind == "ignored"
        else:
            assert one.kind == ("image" if suffix in IMAGE_SUFFIXES else "caption")


def test_each_folder_at_the_top_is_a_task_of_its_own(source):
    write(source, "a.jpg", "x/b.jpg", "y/deep/c.jpg", "z/d.jpg")
    config = JobConfig(images=str(source), captions=str(source), output="out")
    parts = [
        {as_listed(one).path for one in list_task(task, config)}
        for task in list_tasks(config)
    ]
    assert sorted(map(sorted, parts)) == [
        [b"a.jpg"],
        [b"x/b.jpg"],
        [b"y/deep/c.jpg"],
        [b"z/d.jpg"],
    ]

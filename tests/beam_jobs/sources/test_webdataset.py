"""Source `webdataset`, compared with the webdataset library and `tarfile`."""

import io
import json
import os
import random
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander

from beam_jobs.config.columns import parse_columns
from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Aside, Entry, Pair, Reject
from beam_jobs.planning.pair_entries import pair_entries
from beam_jobs.sources.registry import list_entries, list_tasks
from beam_jobs.sources.source_files import SourceFiles
from beam_jobs.sources.webdataset import check
from reader.contract.errors import UsageError

FORMATS = {
    "ustar": tarfile.USTAR_FORMAT,
    "gnu": tarfile.GNU_FORMAT,
    "pax": tarfile.PAX_FORMAT,
}
Member = tuple[str, bytes]


def add(tar: tarfile.TarFile, name: str, data: bytes, **more: Any) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in more.items():
        setattr(info, field, value)
    tar.addfile(info, io.BytesIO(data))


def tar_of(members: Iterable[Member], format: int = tarfile.GNU_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(
        fileobj=file,
        mode="w",
        format=format,
        encoding="utf-8",
        errors="surrogateescape",
    ) as tar:
        for name, data in members:
            add(tar, name, data)
    return file.getvalue()


def config_of(folder: Path, **more: Any) -> JobConfig:
    return JobConfig(webdataset=f"{folder}/*.tar", output=f"{folder}/out", **more)


def listed(folder: Path, data: bytes | None = None, **more: Any) -> list[Entry | Aside]:
    if data is not None:
        (folder / "t.tar").write_bytes(data)
    config = config_of(folder, **more)
    tasks = list_tasks(config)
    return [one for task in tasks for one in list_entries(task, config)]


def paired(
    folder: Path, data: bytes | None = None, **more: Any
) -> tuple[dict[bytes, Pair], dict[bytes, Reject]]:
    """Returns pairs and rejects by key, without the path of the tar."""
    found = [one for one in listed(folder, data, **more) if isinstance(one, Entry)]
    pairs, rejects = pair_entries(found, config_of(folder, **more))
    every = [one.key for one in (*pairs, *rejects)]
    assert len(set(every)) == len(every)
    assert set(every) == {entry.key for entry in found}
    return (
        {pair.key.removeprefix(b"t/"): pair for pair in pairs},
        {reject.key.removeprefix(b"t/"): reject for reject in rejects},
    )


def reasons(rejects: dict[bytes, Reject]) -> dict[bytes, str]:
    return {key: reject.reason for key, reject in rejects.items()}


def image_of(folder: Path, pair: Pair, **more: Any) -> bytes:
    return SourceFiles(config_of(folder, **more)).image(pair)


def samples(num: int, seed: int = 0) -> list[Member]:
    rng = random.Random(seed)
    made = []
    for number in range(num):
        key = f"{rng.choice(['', 'deep/', 'a.b/'])}{number:04d}"
        made += [
            (f"{key}.{rng.choice(['jpg', 'png', 'JPEG'])}", rng.randbytes(number * 37)),
            (f"{key}.txt", f"caption {number}".encode()),
            (f"{key}.cls", b"3"),
        ]
    return made


# Keys and contents match those of the webdataset library.


NAMES = [
    "plain",
    "with space",
    "quote'\"",
    "line\nbreak",
    "\x1b[2J",
    "back\\slash",
    "emoji 👩‍👩‍👧",
    "日本語",
    "deep/" * 30 + "end",
    "x" * 90,
    "y" * 200 + "/" + "z" * 240,
    "a.b/c",
    "café",
]


@pytest.mark.parametrize("format", FORMATS)
def test_keys_and_contents_are_those_of_the_webdataset_library(tmp_path, format):
    names = NAMES if format != "ustar" else [n for n in NAMES if len(n) < 100]
    members = samples(40)
    for number, name in enumerate(names):
        members += [(f"{name}.jpg", b"%d" % number), (f"{name}.txt", name.encode())]
    data = tar_of(members, FORMATS[format])
    source = [{"url": "t.tar", "stream": io.BytesIO(data)}]
    expected = {
        sample["__key__"]: sample for sample in group_by_keys(tar_file_expander(source))
    }
    pairs, rejects = paired(tmp_path, data)
    assert not rejects
    assert {key.decode() for key in pairs} == set(expected)
    assert len(pairs) == 40 + len(names)
    for key, pair in pairs.items():
        sample = expected[key.decode()]
        (image,) = [sample[e] for e in ("jpg", "png", "jpeg") if e in sample]
        assert image_of(tmp_path, pair) == image
        assert pair.texts == (sample["txt"].decode(),)


@pytest.mark.parametrize("format", ["gnu", "pax"])
def test_names_that_are_not_utf_8_keep_their_bytes(tmp_path, format):
    data = tar_of([("caf\udce9.jpg", b"i"), ("caf\udce9.txt", b"t")], FORMATS[format])
    pairs, rejects = paired(tmp_path, data)
    assert set(pairs) == {b"caf\xe9"}
    assert not rejects


def test_a_leading_dot_and_slash_is_of_no_account(tmp_path):
    pairs, _ = paired(tmp_path, tar_of([("./a/1.jpg", b"i"), ("a/1.txt", b"t")]))
    assert set(pairs) == {b"a/1"}


def test_the_tars_own_path_goes_before_the_key(tmp_path):
    for place in ("one/0.tar", "two/0.tar"):
        (tmp_path / place).parent.mkdir()
        (tmp_path / place).write_bytes(tar_of([("1.jpg", b"i"), ("1.txt", b"t")]))
    config = JobConfig(webdataset=f"{tmp_path}/**/*.tar", output=f"{tmp_path}/out")
    found = [one for task in list_tasks(config) for one in list_entries(task, config)]
    assert [one.key for one in found] == [b"one/0/1", b"two/0/1"]


# Members of a sample.


def test_other_extensions_are_ignored_and_counted(tmp_path):
    members = [
        "1.jpg",
        "1.txt",
        "1.cls",
        "1.seg.png",
        "README",
        ".hidden.jpg",
        "x/.jpg",
    ]
    members += ["only.npy", "d/.txt"]
    found = listed(tmp_path, tar_of([(name, b"x") for name in members]))
    counted = sorted(one.counted_as for one in found if isinstance(one, Aside))
    assert counted == [".cls", ".npy", ".seg.png", "hidden", "hidden", "hidden", "none"]
    assert [one.key for one in found if isinstance(one, Entry)] == [b"t/1"]


def test_a_name_with_more_dots_is_told_and_not_lost(tmp_path):
    data = tar_of([("1.b.jpg", b"i"), ("1.b.txt", b"t"), ("2.jpg", b"i")])
    pairs, rejects = paired(tmp_path, data)
    assert not pairs
    assert reasons(rejects) == {b"1": "unknown_extension", b"2": "unpaired_image"}
    assert "b.jpg, b.txt" in rejects[b"1"].detail


def test_txt_goes_before_json(tmp_path):
    both = [("1.json", b'{"caption": "json"}'), ("1.jpg", b"i"), ("1.txt", b"txt")]
    pairs, _ = paired(tmp_path, tar_of(both))
    assert pairs[b"1"].texts == ("txt",)
    pairs, _ = paired(tmp_path, tar_of(both[:2]))
    assert pairs[b"1"].texts == ("json",)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"caption": ["a", null, "b"]}', ("a", "b")),
        ('{"caption": "é"}'.encode("utf-16"), ("é",)),
        (b'{"caption": null}', "unpaired_image"),
        (b"{}", "unpaired_image"),
        (b'{"caption": 3}', "bad_value"),
        (b'{"caption": "a"', "bad_row"),
        (b"[]", "bad_row"),
        (b"\xff", "bad_row"),
        (b"[" * 100_000, "bad_row"),
        (b"", "bad_row"),
        (b" " * (16 << 20) + b"{}", "bad_row"),
    ],
)
def test_captions_in_json(tmp_path, data, expected):
    pairs, rejects = paired(tmp_path, tar_of([("1.jpg", b"i"), ("1.json", data)]))
    if isinstance(expected, tuple):
        assert pairs[b"1"].texts == expected
    else:
        assert reasons(rejects) == {b"1": expected}


def test_lines_and_encodings_of_txt_are_those_of_files(tmp_path):
    text = "Ein Café\n\nZwei\n".encode("latin-1")
    data = tar_of([("1.jpg", b"i"), ("1.txt", text)])
    more = {"captions_per_file": "lines"}
    pairs, _ = paired(tmp_path, data, caption_encoding="latin-1", **more)
    assert pairs[b"1"].texts == ("Ein Café", "Zwei")
    files = SourceFiles(config_of(tmp_path, **more))
    pairs, _ = paired(tmp_path, data, **more)
    captions = files.captions(pairs[b"1"])
    assert (captions.texts, captions.dropped) == (("Zwei",), 1)
    _, rejects = paired(tmp_path, data)
    assert reasons(rejects) == {b"1": "undecodable_caption"}


def test_columns_key_and_split_come_from_json(tmp_path):
    rows = [
        {"caption": "a", "id": "k1", "part": "train", "score": 0.5},
        {"caption": "b", "id": 2, "part": "test"},
        {"caption": "c", "id": "k3", "part": "Not One", "score": 1},
        {"caption": "d", "part": "test"},
        {"caption": "e", "id": "k5", "part": "test", "score": "x"},
    ]
    members = []
    for number, row in enumerate(rows):
        members += [
            (f"{number}.jpg", b"i"),
            (f"{number}.json", json.dumps(row).encode()),
        ]
    more = {"key_column": "id", "split_column": "part"}
    columns = parse_columns("score:float=-1")
    pairs, rejects = paired(tmp_path, tar_of(members), columns=columns, **more)
    got = {key: (pair.split, pair.values) for key, pair in pairs.items()}
    assert got == {b"k1": ("train", (0.5,)), b"2": ("test", (-1.0,))}
    expected = {b"k3": "bad_value", b"3": "bad_value", b"k5": "bad_value"}
    assert reasons(rejects) == expected


# Unusual members.


def test_members_of_a_sample_need_not_be_neighbors(tmp_path):
    pairs, rejects = paired(
        tmp_path,
        tar_of([("1.jpg", b"1"), ("2.jpg", b"2"), ("1.txt", b"a"), ("2.txt", b"b")]),
    )
    assert not rejects
    assert {k: p.texts for k, p in pairs.items()} == {b"1": ("a",), b"2": ("b",)}


def test_a_readme_in_the_middle_of_a_sample_changes_nothing(tmp_path):
    members = [
        ("1.jpg", b"i"),
        ("README", b""),
        ("1.json", b'{"caption": "a", "s": 1}'),
    ]
    columns = parse_columns("s:int")
    pairs, rejects = paired(tmp_path, tar_of(members), columns=columns)
    assert not rejects
    assert pairs[b"1"].values == (1,)


def test_members_of_a_sample_need_not_lie_side_by_side(tmp_path):
    members = [
        *((f"{n}.jpg", b"i") for n in range(3)),
        *((f"{n}.txt", b"t%d" % n) for n in range(3)),
        *((f"{n}.json", b'{"caption": "j", "s": %d}' % n) for n in range(3)),
    ]
    columns = parse_columns("s:int")
    pairs, rejects = paired(tmp_path, tar_of(members), columns=columns)
    assert not rejects
    assert {key: (p.texts, p.values) for key, p in pairs.items()} == {
        b"%d" % n: ((f"t{n}",), (n,)) for n in range(3)
    }


@pytest.mark.parametrize("other", ["jpg", "txt", "png", "json"])
@pytest.mark.parametrize("apart", [False, True])
def test_what_is_there_twice_is_never_guessed(tmp_path, other, apart):
    data = b'{"caption": "c"}' if other == "json" else b"c"
    between = [("0.jpg", b"0"), ("0.txt", b"0")] if apart else []
    members = [("1.jpg", b"a"), ("1.txt", b"b"), *between, (f"1.{other}", data)]
    pairs, rejects = paired(tmp_path, tar_of(members))
    if other == "json":
        assert pairs[b"1"].texts == ("b",)
    else:
        assert reasons(rejects) == {b"1": "ambiguous_key"}


KINDS = {
    "hard link": {"type": tarfile.LNKTYPE, "linkname": "0.jpg"},
    "link": {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
    "device": {"type": tarfile.CHRTYPE},
    "pipe": {"type": tarfile.FIFOTYPE},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("extension", ["jpg", "txt"])
def test_links_and_devices_are_no_files(tmp_path, kind, extension):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        add(tar, "0.jpg", b"i")
        add(tar, "0.txt", b"t")
        other = {"jpg": "txt", "txt": "jpg"}[extension]
        add(tar, f"1.{extension}", b"", **KINDS[kind])
        add(tar, f"1.{other}", b"x")
        add(tar, "folder.jpg", b"", type=tarfile.DIRTYPE)
    pairs, rejects = paired(tmp_path, file.getvalue())
    assert set(pairs) == {b"0"}
    assert reasons(rejects) == {b"1": "not_a_file"}


@pytest.mark.parametrize(
    "name", ["../1.jpg", "/etc/1.jpg", "a/../../1.jpg", "..", "/1.jpg", "./../1.txt"]
)
def test_names_that_leave_the_tar_are_told(tmp_path, name):
    data = tar_of([(name, b"x"), ("1.jpg", b"i"), ("1.txt", b"t")])
    pairs, rejects = paired(tmp_path, data)
    assert set(pairs) == {b"1"}
    assert set(reasons(rejects).values()) == {"outside_root"}


def test_names_that_come_back_are_what_they_lead_to(tmp_path):
    pairs, _ = paired(tmp_path, tar_of([("x/../1.jpg", b"i"), ("1.txt", b"t")]))
    assert image_of(tmp_path, pairs[b"1"]) == b"i"


@pytest.mark.parametrize("magic", [b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0"])
def test_a_compressed_tar_is_wrong_usage(tmp_path, magic):
    (tmp_path / "t.tar").write_bytes(magic + bytes(1024))
    with pytest.raises(UsageError, match=r"t\.tar: the tar is compressed"):
        check(config_of(tmp_path))


def test_a_tar_that_is_not_there_or_no_file_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        check(config_of(tmp_path))
    os.mkdir(tmp_path / "t.tar")
    with pytest.raises(UsageError, match="not a file"):
        check(config_of(tmp_path))

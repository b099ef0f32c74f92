"""Tests pairing."""

import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import (
    Entry,
    Pair,
    Reject,
    SourceFile,
)
from beam_jobs.inputs.paths import key_of
from beam_jobs.planning.pair_entries import pair_entries
from reader.contract.rejects import REASONS

NFC, NFD = "caf\u00e9".encode(), "cafe\u0301".encode()


CONFIG = JobConfig(images="i", captions="c", output="o")


def entry_of(kind: str, file: SourceFile) -> Entry:
    entry = Entry(key_of(file.path), file.path)
    if kind == "not_a_file":
        return entry._replace(flaw=("not_a_file", "a link to nowhere"))
    return entry._replace(**{kind: file})


def listed(*files: tuple[str, bytes]) -> list[Entry]:
    return [
        entry_of(kind, SourceFile(path, 10 + n, 100 + n, kind == "caption"))
        for n, (kind, path) in enumerate(files)
    ]


def pair_listed(entries: list[Entry]) -> tuple[list[Pair], list[Reject]]:
    return pair_entries(entries, CONFIG)


def test_excluded_keys_are_rejects_whatever_else_is_wrong_with_them():
    entries = listed(
        ("image", b"a/caf\xe9.jpg"),
        ("caption", b"a/caf\xe9.txt"),
        ("image", b"alone.jpg"),
        ("not_a_file", b"link.jpg"),
        ("image", b"kept.jpg"),
        ("caption", b"kept.txt"),
    )
    excluded = {"a/caf%E9", "alone", "link", "nowhere"}
    pairs, rejects = pair_entries(entries, CONFIG, excluded)
    assert [pair.key for pair in pairs] == [b"kept"]
    reasons = {reject.key: (reject.stage, reject.reason) for reject in rejects}
    wanted = ("pair", "excluded_key")
    assert reasons == {b"a/caf\xe9": wanted, b"alone": wanted, b"link": wanted}


def pair(*files: tuple[str, bytes]) -> tuple[list[Pair], list[Reject]]:
    return pair_listed(listed(*files))


def only_reject(*files: tuple[str, bytes]) -> Reject:
    pairs, rejects = pair(*files)
    assert not pairs
    (reject,) = rejects
    assert reject.stage == "list" if reject.reason == "not_a_file" else "pair"
    assert reject.reason in REASONS
    assert reject.detail
    return reject


def test_an_image_and_a_caption_of_one_key_are_a_pair():
    files = listed(("image", b"park/1.jpg"), ("caption", b"park/1.txt"))
    (made,), rejects = pair_listed(files)
    assert not rejects
    assert made == Pair(
        b"park/1",
        "train",
        SourceFile(b"park/1.jpg", 10, 100, root=0),
        SourceFile(b"park/1.txt", 11, 101, root=1),
    )


def test_only_the_last_suffix_is_cut():
    pairs, rejects = pair(
        ("image", b"a.b.jpg"), ("caption", b"a.b.txt"), ("caption", b"a.txt")
    )
    assert [made.key for made in pairs] == [b"a.b"]
    assert [reject.key for reject in rejects] == [b"a"]


def test_folders_are_part_of_the_key():
    pairs, rejects = pair(("image", b"x/1.jpg"), ("caption", b"y/1.txt"))
    assert not pairs
    assert {(reject.key, reject.reason) for reject in rejects} == {
        (b"x/1", "unpaired_image"),
        (b"y/1", "unpaired_caption"),
    }


def test_a_composed_and_a_decomposed_name_are_a_pair():
    (made,), rejects = pair(("image", NFD + b".jpg"), ("caption", NFC + b".txt"))
    assert not rejects
    assert made.key == NFC
    assert made.image.path == NFD + b".jpg"


def test_an_image_alone_is_unpaired():
    reject = only_reject(("image", b"a.jpg"))
    assert (reject.key, reject.reason) == (b"a", "unpaired_image")
    assert reject.source == (b"a.jpg",)
    assert "caption" in reject.detail


def test_a_caption_alone_is_unpaired():
    reject = only_reject(("caption", b"a.txt"))
    assert (reject.key, reject.reason) == (b"a", "unpaired_caption")
    assert reject.source == (b"a.txt",)
    assert "image" in reject.detail


def test_two_images_without_a_caption_are_unpaired_and_both_named():
    reject = only_reject(("image", b"a.jpg"), ("image", b"a.png"))
    assert reject.reason == "unpaired_image"
    assert set(reject.source) == {b"a.jpg", b"a.png"}


@pytest.mark.parametrize(
    "files",
    [
        [("image", b"a.jpg"), ("image", b"a.png"), ("caption", b"a.txt")],
        [("image", b"a.jpg"), ("image", b"a.JPG"), ("caption", b"a.txt")],
        [("image", b"a.jpg"), ("caption", b"a.txt"), ("caption", b"a.caption")],
        [
            ("image", b"a.jpg"),
            ("image", b"a.gif"),
            ("caption", b"a.txt"),
            ("caption", b"a.TXT"),
        ],
        [
            ("image", NFC + b".jpg"),
            ("image", NFD + b".jpg"),
            ("caption", NFC + b".txt"),
        ],
        [
            ("image", NFC + b".jpg"),
            ("caption", NFC + b".txt"),
            ("caption", NFD + b".txt"),
        ],
        [
            ("image", NFC + b".jpg"),
            ("caption", NFC + b".txt"),
            ("image", NFD + b".jpg"),
            ("caption", NFD + b".txt"),
        ],
    ],
)
def test_we_never_guess_which_of_two_files_is_meant(files):
    reject = only_reject(*files)
    assert reject.reason == "ambiguous_key"
    assert sorted(reject.source) == sorted(path for _, path in files)
    images = sum(kind == "image" for kind, _ in files)
    assert f"{images} images and {len(files) - images} captions" in reject.detail


@pytest.mark.parametrize(
    "others",
    [
        [],
        [("caption", b"a.txt")],
        [("image", b"a.jpg"), ("caption", b"a.txt")],
        [("image", b"a.jpg")],
    ],
)
def test_what_is_named_like_a_file_and_is_none_spoils_its_key(others):
    reject = only_reject(("not_a_file", b"a.png"), *others)
    assert reject.reason == "not_a_file"
    assert reject.source == (b"a.png",)


def test_the_same_file_name_below_two_roots_is_one_of_each():
    # Broken links below both roots give one key and one reject.
    reject = only_reject(("not_a_file", b"a.jpg"), ("not_a_file", b"a.jpg"))
    assert reject.key == b"a"


def test_nothing_makes_nothing():
    assert pair_listed([]) == ([], [])


STEMS = st.sampled_from([b"a", b"b", b"x/a", b"a.b", NFC, NFD, b"\xff", b"x/" + NFD])
SUFFIXES = {
    "image": [b".jpg", b".png", b".JPG"],
    "caption": [b".txt", b".caption"],
    "not_a_file": [b".jpg", b".txt"],
}
FILES = st.sampled_from(sorted(SUFFIXES)).flatmap(
    lambda kind: st.tuples(
        st.just(kind), st.builds(bytes.__add__, STEMS, st.sampled_from(SUFFIXES[kind]))
    )
)


@settings(max_examples=300)
@given(st.sets(FILES, max_size=20), st.integers(0, 99))
def test_every_key_ends_exactly_once_and_by_plain_rules(files, seed):
    kinds: dict[bytes, list[str]] = defaultdict(list)
    for kind, path in files:
        kinds[key_of(path)].append(kind)
    order = sorted(files)
    random.Random(seed).shuffle(order)
    pairs, rejects = pair(*order)
    ended = [made.key for made in pairs] + [reject.key for reject in rejects]
    assert sorted(ended) == sorted(kinds)
    for made in pairs:
        assert sorted(kinds[made.key]) == ["caption", "image"]
        assert key_of(made.image.path) == key_of(made.caption.path) == made.key
    reasons = {reject.key: reject.reason for reject in rejects}
    for key, reason in reasons.items():
        if "not_a_file" in kinds[key]:
            assert reason == "not_a_file"
        elif len(set(kinds[key])) == 1:
            assert reason == f"unpaired_{kinds[key][0]}"
        else:
            assert reason == "ambiguous_key"
            assert len(kinds[key]) > 2


@settings(max_examples=100)
@given(st.sets(FILES, max_size=12))
def test_every_file_is_named_by_its_pair_or_reject(files):
    pairs, rejects = pair(*sorted(files))
    named = {path for made in pairs for path in (made.image.path, made.caption.path)}
    named |= {path for reject in rejects for path in reject.source}
    spoilt = {r.key for r in rejects if r.reason == "not_a_file"}
    assert named == {
        path
        for kind, path in files
        if key_of(path) not in spoilt or kind == "not_a_file"
    }

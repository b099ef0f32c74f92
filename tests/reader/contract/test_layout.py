import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reader.contract import layout
from reader.contract.layout import ShardName, is_split_name, parse_shard_name

SPLITS = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
NAMES = st.builds(
    lambda split, number, more: ShardName(split, number, number + more),
    SPLITS,
    st.integers(0, 10**7),
    st.integers(1, 10**7),
)


@given(NAMES)
def test_a_shards_file_name_parses_back(name):
    assert parse_shard_name(name.file) == name


def test_names_are_those_of_the_design():
    name = ShardName("train", 3, 64)
    assert name.file == "train-00003-of-00064.tfrecord"
    assert name.index_file == "index/train-00003-of-00064.tfrecord.idx"
    assert name.samples_file == "samples/train-00003-of-00064.parquet"
    assert layout.BLOCKS == "index/blocks.bin"
    assert layout.MANIFEST == "manifest.json"
    assert layout.REJECTS == "rejects.jsonl"
    assert layout.TOKENIZER_DIR == "tokenizer"
    assert layout.BUILD_DIR == "_build"


@given(NAMES, NAMES)
def test_different_shards_have_different_files(one, other):
    assert (one == other) == (one.file == other.file)
    assert (one == other) == (one.index_file == other.index_file)
    assert (one == other) == (one.samples_file == other.samples_file)


@given(st.integers(1, 10**7))
def test_names_sort_in_the_order_of_their_numbers_within_a_split(num):
    places = sorted({0, num // 3, num // 2, num - 1})
    files = [ShardName("train", place, num).file for place in places]
    if num <= 10**5:
        assert files == sorted(files)


@given(NAMES)
def test_a_glob_of_a_split_catches_its_shards_and_no_other_file(name):
    others = (
        name.index_file,
        name.samples_file,
        layout.MANIFEST,
        layout.BLOCKS,
        layout.REJECTS,
        layout.TOKENIZER_DIR,
        layout.BUILD_DIR,
    )
    assert fnmatch.fnmatchcase(name.file, f"{name.split}-*")
    assert not any(fnmatch.fnmatchcase(file, f"{name.split}-*") for file in others)


@given(SPLITS, SPLITS)
def test_a_glob_of_one_split_never_catches_another(one, other):
    file = ShardName(other, 0, 1).file
    assert fnmatch.fnmatchcase(file, f"{one}-*") == (one == other)


@pytest.mark.parametrize(
    "file",
    [
        "",
        "train",
        "train-00000.tfrecord",
        "train-0000-of-00001.tfrecord",
        "train-00000-of-0001.tfrecord",
        "train-00000-of-00001.tfrecord.idx",
        "train-00000-of-00001.tfrecord\n",
        "train-00000-of-00001.parquet",
        "Train-00000-of-00001.tfrecord",
        "my-train-00000-of-00001.tfrecord",
        "1train-00000-of-00001.tfrecord",
        "x/train-00000-of-00001.tfrecord",
        " train-00000-of-00001.tfrecord",
        "-00000-of-00001.tfrecord",
    ],
)
def test_any_other_name_is_no_shards(file):
    assert parse_shard_name(file) is None


@given(st.text())
def test_any_text_parses_or_does_not_and_raises_nothing(text):
    assert parse_shard_name(text) is None


@pytest.mark.parametrize(
    "file",
    [
        "train-000000-of-00001.tfrecord",
        "train-٠٠٠٠٠-of-00001.tfrecord",
        "train-00001-of-00001.tfrecord",
        "train-00000-of-00000.tfrecord",
    ],
    ids=["too many zeros", "other digits", "number too high", "of no shards"],
)
def test_a_name_that_no_shard_has_does_not_parse(file):
    assert parse_shard_name(file) is None


@pytest.mark.parametrize("name", ["train", "validation", "a", "test_2", "x9_"])
def test_lower_case_names_are_split_names(name):
    assert is_split_name(name)
    assert parse_shard_name(ShardName(name, 0, 1).file) == (name, 0, 1)


@pytest.mark.parametrize(
    "name",
    [
        *("", "Train", "2nd", "_x", "a-b", "a b", "a/b", "..", "é", "a\n", "train*"),
        *("a.b", "all"),
    ],
)
def test_any_other_name_is_no_split_name(name):
    assert not is_split_name(name)

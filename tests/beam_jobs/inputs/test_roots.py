"""Finds files by path, glob and braces."""

import os

import pytest

from beam_jobs.config.job_config import JobConfig
from beam_jobs.inputs.roots import files_named
from reader.contract.errors import UsageError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("0.tar", "1.tar", "2.tar", "a b.tar", "odd{x}.tar", "odd[1].tar"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def config_of(*patterns: str) -> JobConfig:
    return JobConfig(webdataset=patterns, output="out")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("1.tar", ["1.tar"]),
        ("?.tar", ["0.tar", "1.tar", "2.tar"]),
        ("{0..2}.tar", ["0.tar", "1.tar", "2.tar"]),
        ("{2,0}.tar", ["0.tar", "2.tar"]),
        ("{0,?}.tar", ["0.tar", "1.tar", "2.tar"]),
        ("a b.tar", ["a b.tar"]),
        # An existing file is not expanded.
        ("odd{x}.tar", ["odd{x}.tar"]),
        ("odd[1].tar", ["odd[1].tar"]),
    ],
)
def test_a_pattern_names_files_in_order_and_once(folder, pattern, names):
    assert files_named("webdataset", config_of(pattern)) == [
        os.fsencode(name) for name in names
    ]


def test_several_patterns_are_like_one_that_matches_what_they_match(folder):
    names = files_named("webdataset", config_of("1.tar", "{2,1}.tar", "a*"))
    assert names == [b"1.tar", b"2.tar", b"a b.tar"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{0..3}.tar", "--webdataset=3.tar: no such file"),
        ("*.zip", r"--webdataset=\*.zip: no such file"),
        ("{0.tar", "--webdataset={0.tar: "),
        (".", "--webdataset=.: not a file"),
    ],
)
def test_a_pattern_that_names_none_is_wrong_usage(folder, pattern, message):
    with pytest.raises(UsageError, match=message):
        files_named("webdataset", config_of(pattern))

"""The files for others are a dataset's own: same bytes, checked, mended, removed."""

import json
import shutil

import pytest

import reader
from beam_jobs.__main__ import main

FILES = ("features.json", "dataset_info.json", "croissant.json")


def args(table, output, *more):
    sources = [f"--images={table}/images", f"--table={table}/table.jsonl"]
    return ["build", *sources, f"--output={output}", "--image_size=32", *more]


@pytest.fixture
def folder(table, tmp_path):
    assert main(args(table, tmp_path / "out", "--license=MIT")) == 0
    return tmp_path / "out"


def test_two_builds_write_the_same_bytes(table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for output in (tmp_path / "a", "somewhere/else/b"):
        assert main(args(table, output)) == 0
    for file in FILES:
        one, other = tmp_path / "a" / file, tmp_path / "somewhere/else/b" / file
        assert one.read_bytes() == other.read_bytes()
        assert str(table).encode() not in one.read_bytes()


def test_verify_holds_their_checksums(folder, capsys):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["files"].keys() >= {*FILES}
    for file in FILES:
        text = (folder / file).read_text()
        (folder / file).write_text(text.replace("1", "2", 1))
    assert main(["verify", str(folder)]) == 1
    told = capsys.readouterr().err
    assert all(str(folder / file) in told for file in FILES)


def test_what_is_said_shows_in_the_manifest(folder):
    manifest = json.loads((folder / "manifest.json").read_bytes())
    assert manifest["about"]["license"] == "MIT"
    assert manifest["about"]["version"] == "1.0.0"
    assert manifest["about"]["citation"] is None


def test_another_licence_is_another_dataset(table, folder, capsys):
    assert main(args(table, folder, "--license=MIT")) == 0
    capsys.readouterr()
    assert main(args(table, folder, "--license=BSD")) == 1
    assert "license MIT, not BSD" in capsys.readouterr().err
    assert main(args(table, folder, "--license=BSD", "--overwrite")) == 0
    info = json.loads((folder / "dataset_info.json").read_bytes())
    assert info["redistributionInfo"] == {"license": "BSD"}


def test_overwriting_leaves_none_of_an_older_one(table, folder, tmp_path):
    # The job fails after the old dataset has made way.
    with_limit = args(table, folder, "--overwrite", "--min_image_size=900")
    assert main([*with_limit, "--max_rejects=100%"]) == 1
    assert not [file for file in FILES if (folder / file).exists()]


def older(folder):
    """Makes a dataset one of before there were these files."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    del manifest["about"]
    for file in FILES:
        (folder / file).unlink()
        del manifest["files"][file]
    # As it was written then.
    data = json.dumps(manifest, sort_keys=True, indent=1) + "\n"
    (folder / "manifest.json").write_text(data)


def test_datasets_of_before_are_read_checked_and_mended(table, folder, capsys):
    plain = args(table, folder, "--overwrite")
    assert main(plain) == 0
    older(folder)
    before = (folder / "manifest.json").read_bytes()
    assert len(reader.open(folder)) == 36
    assert main(["verify", str(folder)]) == 0
    assert main(args(table, folder)) == 0
    shutil.rmtree(folder / "tokenizer")
    assert main(args(table, folder, "--repair")) == 0
    assert main(["verify", str(folder)]) == 0
    assert (folder / "manifest.json").read_bytes() == before
    assert not [file for file in FILES if (folder / file).exists()]


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--dataset_version=1.0", 'three numbers such as 1.0.0, got "1.0"'),
        ("--dataset_version=1.0.0-rc", 'three numbers such as 1.0.0, got "1.0.0-rc"'),
        ("--date_published=20251231", 'a date such as 2025-12-31, got "20251231"'),
        ("--date_published=2025-02-30", 'a date such as 2025-12-31, got "2025-02-30"'),
        ("--url=example.org", 'url must be http://… or https://…, got "example.org"'),
        ("--license= ", "license must not be empty"),
        ("--citation=\udcff", "citation must be UTF-8, got '\\udcff'"),
    ],
)
def test_what_nobody_could_use_is_refused(table, tmp_path, flag, told, capsys):
    assert main(args(table, tmp_path / "out", flag)) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

"""`croissant.json` is valid, and its records can be read."""

import json
import math
from urllib.parse import unquote

import mlcroissant
import pytest

from beam_jobs.__main__ import main


def dataset_of(folder):
    return mlcroissant.Dataset(folder / "croissant.json")


def plain(value):
    """What Parquet and JSON would show: text is bytes in `mlcroissant`."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode()
    return value


def test_neither_errors_nor_warnings_where_all_was_said(published, caplog):
    dataset = dataset_of(published)
    assert dataset.metadata.ctx.issues.report() == ""
    assert not caplog.records  # Of another context than the standard's.
    assert dataset.metadata.ctx.is_latest_version()
    assert dataset.metadata.name == 'Shapes & "co"'
    assert dataset.metadata.version == "2.0.1"
    assert dataset.metadata.url == "https://example.org/shapes"
    assert dataset.metadata.cite_as == "@misc{shapes, title={Shapes}}"
    assert dataset.metadata.description == "Coloured shapes – drawn."
    assert dataset.metadata.date_published.isoformat()[:10] == "2025-12-31"
    assert len(dataset.metadata.license) == 1


def test_what_nobody_said_is_left_out(scattered):
    issues = dataset_of(scattered).metadata.ctx.issues
    assert not issues.errors
    lacking = {warning.split('"')[1].rpartition("/")[2] for warning in issues.warnings}
    assert lacking == {"license", "citeAs", "datePublished"}


def test_a_creator_can_be_named_in_a_copy(make):
    folder = make()
    metadata = json.loads((folder / "croissant.json").read_bytes())
    metadata["creator"] = {"@type": "sc:Person", "name": "Zoë"}
    copy = folder / "park.json"
    copy.write_text(json.dumps(metadata))
    dataset = mlcroissant.Dataset(copy)
    assert not dataset.metadata.ctx.issues.errors
    assert [creator.name for creator in dataset.metadata.creators] == ["Zoë"]
    assert len(list(dataset.records("samples"))) == 36
    assert main(["verify", str(folder)]) == 0


@pytest.mark.parametrize("name", ["published", "scattered"])
def test_records_are_those_of_the_shards(request, expected, splits, name, caplog):
    folder = request.getfixturevalue(name)
    found = {split: {} for split in splits(folder)}
    for record in dataset_of(folder).records("samples"):
        record = {unquote(k.removeprefix("samples/")): v for k, v in record.items()}
        found[plain(record["split"])][plain(record["key"])] = record
    for split, rows in found.items():
        records = expected(folder, split)
        assert rows.keys() == records.keys()
        for key, row in rows.items():
            record = records[key]
            assert plain(row["captions"]) == [
                text.decode() for text in record["image/caption"]
            ]
            assert row["num_tokens"] == record["caption/lengths"]
            assert [row["height"]] == record["image/height"]
            extras = [name for name in record if name.startswith("extra/")]
            assert len(extras) == 7
            for extra in extras:
                # Croissant knows no NaN: there is no value.
                held = [None if v != v else v for v in record[extra]]
                value = row[extra]
                value = value if isinstance(value, list) else [value]
                assert value == held, extra
    messages = [r.getMessage() for r in caplog.records if "recommended" not in r.msg]
    assert not messages


def test_a_single_split_can_be_asked_for(published, expected):
    for split in ("train", "validation_2"):
        # A new one: `mlcroissant` keeps the filter.
        rows = dataset_of(published).records("samples", {"samples/split": split})
        keys = [row["samples/key"].decode() for row in rows]
        assert sorted(keys) == sorted(expected(published, split))


def test_splits_and_the_tokenizer_are_named(published):
    dataset = dataset_of(published)
    splits = [plain(row["splits/name"]) for row in dataset.records("splits")]
    assert splits == ["train", "validation_2"]
    manifest = json.loads((published / "manifest.json").read_bytes())
    (file,) = dataset.metadata.file_objects
    assert (published / file.content_url).is_file()
    assert file.sha256 == manifest["tokenizer"]["sha256"]
    includes = {files.id: files.includes for files in dataset.metadata.file_sets}
    for patterns, shards in ((includes["shards"], 5), (includes["parquet"], 5)):
        assert len([path for p in patterns for path in published.glob(p)]) == shards


def test_numbers_are_numbers(published):
    (first, *_) = dataset_of(published).records("samples")
    assert first["samples/extra/a%23b%20%25c"] < -(2**39)
    score = first["samples/extra/score"]
    assert score is None or math.isfinite(score)

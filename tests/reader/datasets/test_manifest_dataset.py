import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reader.contract.errors import DatasetError, UsageError
from reader.contract.layout import FORMAT_VERSION
from reader.datasets.manifest_dataset import (
    ShardSelection,
    find_place,
    open_dataset,
    select,
)
from reader.storage.tfrecord_file import read_shard

TRAIN = [f"train-0000{number}-of-00003.tfrecord" for number in range(3)]
VALIDATION = ["validation-00000-of-00001.tfrecord"]


def selected(pattern: str | list[str], split: str | None = None) -> ShardSelection:
    patterns = [pattern] if isinstance(pattern, str) else pattern
    return select([find_place(each) for each in patterns], split)


def files(pattern: Any, split: str | None = None) -> list[str]:
    return [shard.file for shard in selected(pattern, split).shards]


def refusal(error: type[Exception], pattern: Any, split: str | None = None) -> str:
    with pytest.raises(error) as raised:
        selected(pattern, split)
    return str(raised.value)


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    fields = json.loads(path.read_bytes())
    edit(fields)
    path.write_text(json.dumps(fields))


# Selection of shards.


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("train-*", TRAIN),
        ("train-*.tfrecord", TRAIN),
        ("train-*-of-00003.tfrecord", TRAIN),
        ("train-0000[02]-*", [TRAIN[0], TRAIN[2]]),
        ("train-0000?-*", TRAIN),
        (TRAIN[1], [TRAIN[1]]),
        ("validation-*", VALIDATION),
    ],
)
def test_a_glob_selects_the_shards_it_matches(dataset, glob, expected):
    assert files(f"{dataset}/{glob}") == expected


@pytest.mark.parametrize("glob", ["*.tfrecord", "*"])
def test_a_glob_that_would_mix_splits_is_refused(dataset, glob):
    message = refusal(UsageError, f"{dataset}/{glob}")
    assert "matches the splits train, validation" in message
    patterns = [f"{dataset}/{name}-*" for name in ("train", "validation")]
    assert files(patterns) == TRAIN + VALIDATION


def test_a_glob_for_the_folder_is_followed_where_it_is_one_folder(dataset):
    assert files(f"{dataset.parent}/o*/train-*") == TRAIN


def test_a_glob_for_several_folders_is_refused(own_dataset):
    shutil.copytree(own_dataset, own_dataset.parent / "out2")
    message = refusal(UsageError, f"{own_dataset.parent}/out*/train-*")
    assert "must match one folder, got 2" in message
    assert str(own_dataset.parent / "out2") in message


def test_a_list_keeps_the_order_of_the_manifest_and_no_repeats(dataset):
    patterns = [f"{dataset}/{glob}" for glob in ("validation-*", "train-*", TRAIN[0])]
    assert files(patterns) == TRAIN + VALIDATION


def test_the_counts_of_a_selection_are_those_of_its_shards(dataset):
    selection = selected(f"{dataset}/{TRAIN[1]}")
    path = dataset / TRAIN[1]
    assert selection.num_bytes == path.stat().st_size
    assert selection.num_examples == len(list(read_shard(str(path))))
    assert selection.paths == [str(path)]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder_with_a_split_selects_the_split(dataset, slash):
    assert files(f"{dataset}{slash}", "validation") == VALIDATION


def test_a_folder_of_several_splits_needs_a_split(dataset):
    message = refusal(UsageError, str(dataset))
    assert str(dataset) in message
    assert "train, validation" in message
    assert "split=" in message


def test_an_unknown_split_is_refused_with_those_there_are(dataset):
    message = refusal(UsageError, str(dataset), "test")
    assert '"test"' in message
    assert "train, validation" in message


def test_a_split_does_not_go_with_a_glob(dataset):
    message = refusal(UsageError, f"{dataset}/train-*", "train")
    assert 'split="train"' in message
    assert f"{dataset}/train-*" in message


def test_a_glob_that_matches_nothing_is_refused_with_what_there_is(dataset):
    message = refusal(UsageError, f"{dataset}/test-*")
    assert f"{dataset}/test-*" in message
    assert "train-*.tfrecord, validation-*.tfrecord" in message


def test_one_glob_of_several_that_matches_nothing_is_refused(dataset):
    message = refusal(UsageError, [f"{dataset}/train-*", f"{dataset}/test-*"])
    assert "test-*" in message


def test_a_folder_with_brackets_in_its_name_is_opened_as_a_folder(own_dataset):
    folder = own_dataset.rename(own_dataset.parent / "out[1]")
    assert files(str(folder), "train") == TRAIN


def test_a_glob_below_a_folder_with_brackets_in_its_name_is_found(own_dataset):
    folder = own_dataset.rename(own_dataset.parent / "out[1]")
    assert files(f"{folder}/train-*") == TRAIN


# Unfinished or missing datasets.


def test_a_folder_without_a_manifest_is_refused(own_dataset):
    (own_dataset / "manifest.json").unlink()
    for pattern in (str(own_dataset), f"{own_dataset}/train-*"):
        message = refusal(DatasetError, pattern)
        assert f"no manifest.json in {own_dataset}/" in message
        assert "run it again to resume" in message
        assert "the path is wrong" in message


def test_a_folder_that_is_being_built_is_refused_with_how_to_go_on(own_dataset):
    (own_dataset / "manifest.json").unlink()
    (own_dataset / "_build").mkdir()
    message = refusal(DatasetError, f"{own_dataset}/train-*")
    assert f"no manifest.json in {own_dataset}/" in message
    assert "the job has not finished" in message
    assert "run it again to resume" in message
    assert "wrong" not in message


def test_leftovers_of_the_job_do_not_matter_once_the_manifest_is_there(own_dataset):
    (own_dataset / "_build").mkdir()
    assert files(f"{own_dataset}/train-*") == TRAIN


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    message = refusal(DatasetError, f"{tmp_path}/nowhere/train-*")
    assert f"no manifest.json in {tmp_path}/nowhere/" in message


def test_a_mistyped_folder_is_named_as_it_was_given(tmp_path):
    message = refusal(DatasetError, f"{tmp_path}/nowhere")
    assert f"{tmp_path}/nowhere" in message


# Damaged shards.


def test_a_missing_shard_is_named_though_the_glob_does_not_see_it(own_dataset):
    (own_dataset / TRAIN[1]).unlink()
    message = refusal(DatasetError, f"{own_dataset}/train-*")
    assert f"{own_dataset}/{TRAIN[1]} is missing" in message
    assert "restore it or build again" in message


def test_a_missing_shard_of_another_split_does_not_matter(own_dataset):
    (own_dataset / VALIDATION[0]).unlink()
    assert files(f"{own_dataset}/train-*") == TRAIN


def test_all_shards_missing_is_told_as_such_and_not_as_a_wrong_glob(own_dataset):
    for file in TRAIN:
        (own_dataset / file).unlink()
    assert "is missing" in refusal(DatasetError, f"{own_dataset}/train-*")


def last_offset(shard: Path) -> int:
    *_, last = read_shard(str(shard))
    return last.offset


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(lambda shard: shard.stat().st_size - 1, id="by a byte"),
        pytest.param(lambda shard: shard.stat().st_size // 2, id="in a record"),
        pytest.param(last_offset, id="between records"),
        pytest.param(lambda shard: 0, id="to nothing"),
    ],
)
def test_a_shard_cut_short_is_refused_with_both_sizes(own_dataset, cut):
    shard = own_dataset / TRAIN[2]
    size, left = shard.stat().st_size, cut(shard)
    os.truncate(shard, left)
    message = refusal(DatasetError, f"{own_dataset}/train-*")
    assert f"{shard} has {left} bytes, not {size}" in message
    assert "restore it or build again" in message


def test_a_shard_that_has_grown_is_refused(own_dataset):
    with (own_dataset / TRAIN[0]).open("ab") as file:
        file.write(b"\0")
    assert str(own_dataset / TRAIN[0]) in refusal(
        DatasetError, f"{own_dataset}/train-*"
    )


def test_a_stray_shard_of_another_count_is_refused(own_dataset):
    stray = own_dataset / "train-00001-of-00009.tfrecord"
    shutil.copy(own_dataset / TRAIN[0], stray)
    message = refusal(DatasetError, f"{own_dataset}/train-*")
    assert str(stray) in message
    assert "not part of the dataset" in message
    assert "remove it or narrow the pattern" in message


def test_a_stray_shard_that_the_pattern_leaves_out_does_not_matter(own_dataset):
    shutil.copy(own_dataset / TRAIN[0], own_dataset / "train-00001-of-00009.tfrecord")
    assert files(f"{own_dataset}/train-*-of-00003.tfrecord") == TRAIN


def test_other_files_that_a_glob_matches_do_not_matter(own_dataset):
    (own_dataset / "train-notes.txt").write_text("mine")
    assert files(f"{own_dataset}/train-*") == TRAIN


# Manifests.


def test_a_newer_format_is_refused_with_both_versions(own_dataset):
    edit_manifest(own_dataset, lambda fields: fields.update(format_version=99))
    message = refusal(DatasetError, f"{own_dataset}/train-*")
    assert f"{own_dataset}/manifest.json" in message
    assert "format_version 99" in message
    assert f"({FORMAT_VERSION})" in message
    assert "upgrade" in message


def test_a_newer_format_is_refused_whatever_else_it_holds(own_dataset):
    (own_dataset / "manifest.json").write_text('{"format_version": 2}')
    assert "format_version 2 is newer" in refusal(
        DatasetError, f"{own_dataset}/train-*"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"not JSON",
        b"\xff\xfe\x00",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"{}",
        b'{"format_version": null}',
        b'{"format_version": "0"}',
        b'{"format_version": 0}',
        b'{"format_version": 0, "features": 3}',
    ],
)
def test_what_is_no_manifest_is_refused_by_name(own_dataset, data):
    (own_dataset / "manifest.json").write_bytes(data)
    message = refusal(DatasetError, f"{own_dataset}/train-*")
    assert f"{own_dataset}/manifest.json" in message
    assert "rebuild the dataset" in message


@pytest.mark.parametrize(
    "field",
    ["features", "image", "tokenizer", "splits", "books", "files"],
)
def test_a_manifest_without_a_field_is_refused_by_name(own_dataset, field):
    edit_manifest(own_dataset, lambda fields: fields.pop(field))
    message = refusal(DatasetError, f"{own_dataset}/train-*")
    assert f"{own_dataset}/manifest.json" in message
    assert field in message


def test_a_manifest_cut_short_anywhere_is_refused(own_dataset):
    path = own_dataset / "manifest.json"
    data = path.read_bytes()
    for length in range(0, len(data.rstrip()) - 1, 97):
        path.write_bytes(data[:length])
        assert str(path) in refusal(DatasetError, f"{own_dataset}/train-*")


def test_fields_of_later_versions_are_passed_over(own_dataset):
    def add(fields: dict[str, Any]) -> None:
        fields["color"] = "blue"
        for part in (fields["image"], fields["tokenizer"], fields["books"]):
            part["color"] = "blue"
        for split in fields["splits"]:
            split["color"] = split["shards"][0]["color"] = "blue"
            split["statistics"]["color"] = {"count": 1}

    edit_manifest(own_dataset, add)
    assert files(f"{own_dataset}/train-*") == TRAIN


# The tokenizer's file.


def test_a_missing_vocabulary_is_named(own_dataset):
    (own_dataset / "tokenizer" / "vocab.txt").unlink()
    with pytest.raises(DatasetError) as raised:
        open_dataset(str(own_dataset)).tokenizer()
    assert str(raised.value) == (
        f"{own_dataset}/tokenizer/vocab.txt is missing: restore it"
    )


def test_a_changed_vocabulary_is_refused(own_dataset):
    with (own_dataset / "tokenizer" / "vocab.txt").open("a") as file:
        file.write("word\n")
    with pytest.raises(DatasetError, match=r"vocab\.txt has changed .*: restore it"):
        open_dataset(str(own_dataset)).tokenizer()


def test_an_unknown_kind_of_tokenizer_asks_for_an_upgrade(own_dataset):
    edit_manifest(own_dataset, lambda fields: fields["tokenizer"].update(kind="new"))
    with pytest.raises(DatasetError, match="'new': upgrade"):
        open_dataset(str(own_dataset)).tokenizer()

import itertools
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import reader
from reader.__main__ import main
from reader.contract.errors import DatasetError
from reader.contract.record import frame_record, parse_example, serialize_example
from reader.contract.schema import CAPTIONS, FEATURES, KEY, TOKEN_LENGTHS
from reader.storage.tfrecord_file import read_shard
from reader.tools.verify.dataset_check import verify

SHARD = "train-00000-of-00003.tfrecord"
OTHER = "train-00001-of-00003.tfrecord"
INDEX = f"index/{SHARD}.idx"
SAMPLES = "samples/train-00000-of-00003.parquet"
BLOCKS = "index/blocks.bin"
VOCABULARY = "tokenizer/vocab.txt"
REJECTS = "rejects.jsonl"

# Every kind of non-empty file, of the dataset's first and last shard.
GUARDED = [
    SHARD,
    "validation-00000-of-00001.tfrecord",
    INDEX,
    "index/validation-00000-of-00001.tfrecord.idx",
    SAMPLES,
    BLOCKS,
    VOCABULARY,
]


def problems(folder: Path) -> list[str]:
    return [str(problem) for problem in verify(str(folder)).problems]


def flip(path: Path, offset: int, mask: int = 0xFF) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= mask
    path.write_bytes(data)


def named(found: list[str], *files: str) -> bool:
    """Returns whether the problems name each of the files."""
    return all(any(file in problem for problem in found) for file in files)


def rewrite(path: Path, edit: Callable[[list[bytes]], list[bytes]]) -> None:
    """Rewrites a shard; each record has valid checksums."""
    records = [record.data for record in read_shard(str(path))]
    framed = ((frame_record(r), r) for r in edit(records))
    path.write_bytes(b"".join(head + r + foot for (head, foot), r in framed))


def changed(record: bytes, **features: list[Any]) -> bytes:
    """Returns a record with other values, or without features (`None`)."""
    values = {**parse_example(record), **features}
    return serialize_example(
        {f.key: (f.dtype, values[f.key]) for f in FEATURES if values[f.key] is not None}
    )


# Intact.


def test_an_intact_dataset_has_no_problems(dataset):
    report = verify(str(dataset))
    assert report.problems == []
    assert (report.num_shards, report.num_examples) == (4, 60)


def test_a_dataset_may_be_moved(own_dataset):
    folder = own_dataset.rename(own_dataset.parent / "elsewhere")
    assert problems(folder) == []


def test_a_dataset_with_rejects_and_awkward_captions_has_no_problems(build, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "empty.png").write_bytes(b"")
    for number, text in enumerate(["👍", "犬とcat", "word " * 500, "Ünïcödé"]):
        shutil.copy(picture(tmp_path), source / f"ключ {number}.png")
        (source / f"ключ {number}.txt").write_text(text, encoding="utf-8")
    (source / "empty.txt").write_text("the picture is an empty file")
    folder = build(source, source, tmp_path / "out", max_rejects="50%")
    assert problems(folder) == []
    assert len((folder / REJECTS).read_bytes().splitlines()) == 1


def picture(folder: Path) -> Path:
    path = folder / "picture.png"
    Image.new("RGB", (30, 20), "red").save(path)
    return path


# One kind of damage.


@pytest.mark.parametrize("file", GUARDED)
def test_a_flipped_byte_anywhere_is_found_and_the_file_named(own_dataset, file):
    rng = random.Random(f"flip {file}")
    path = own_dataset / file
    data = path.read_bytes()
    for _ in range(60):
        offset, mask = rng.randrange(len(data)), rng.randrange(1, 256)
        flip(path, offset, mask)
        found = problems(own_dataset)
        assert named(found, file), f"byte {offset} ^ {mask:#04x}: {found}"
        path.write_bytes(data)
    assert problems(own_dataset) == []


@pytest.mark.parametrize("file", GUARDED)
def test_a_file_cut_short_anywhere_is_found_and_the_file_named(own_dataset, file):
    rng = random.Random(f"cut {file}")
    path = own_dataset / file
    data = path.read_bytes()
    for length in {0, len(data) - 1, *(rng.randrange(len(data)) for _ in range(20))}:
        path.write_bytes(data[:length])
        assert named(problems(own_dataset), file), f"cut to {length} bytes"


@pytest.mark.parametrize("file", [*GUARDED, REJECTS])
def test_a_file_with_something_appended_is_found_and_the_file_named(own_dataset, file):
    with (own_dataset / file).open("ab") as handle:
        handle.write(b"0")
    assert named(problems(own_dataset), file)


def test_a_shard_cut_short_between_records_is_found(own_dataset):
    shard = own_dataset / SHARD
    *_, last = read_shard(str(shard))
    shard.write_bytes(shard.read_bytes()[: last.offset])
    found = problems(own_dataset)
    assert any("19 readable records, but" in problem for problem in found)


@pytest.mark.parametrize("file", [*GUARDED, REJECTS])
def test_a_deleted_file_is_found_and_named(own_dataset, file):
    (own_dataset / file).unlink()
    assert named(problems(own_dataset), f"{file}: missing")


def test_every_file_there_is_missed_when_it_is_deleted(own_dataset):
    files = [path for path in own_dataset.rglob("*") if path.is_file()]
    assert len(files) == 4 * 3 + 8
    for path in files:
        data = path.read_bytes()
        path.unlink()
        if path.name == "manifest.json":
            with pytest.raises(DatasetError, match=r"no manifest\.json"):
                verify(str(own_dataset))
        else:
            assert named(problems(own_dataset), str(path))
        path.write_bytes(data)
    assert problems(own_dataset) == []


def test_swapped_shards_are_found_and_both_named(own_dataset):
    one, other = own_dataset / SHARD, own_dataset / OTHER
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    assert named(problems(own_dataset), SHARD, OTHER)


def test_swapped_indexes_are_found_and_both_named(own_dataset):
    one, other = own_dataset / INDEX, own_dataset / f"index/{OTHER}.idx"
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    assert named(problems(own_dataset), INDEX, f"index/{OTHER}.idx")


def test_swapped_records_are_found(own_dataset):
    rewrite(own_dataset / SHARD, lambda records: records[::-1])
    assert named(problems(own_dataset), SHARD)


def test_a_record_changed_and_rightly_framed_again_is_found(own_dataset):
    def other(record: bytes) -> bytes:
        (caption, *more) = parse_example(record)[CAPTIONS]
        return changed(record, **{CAPTIONS: [caption.swapcase(), *more]})

    rewrite(own_dataset / SHARD, lambda records: [other(records[0]), *records[1:]])
    assert named(problems(own_dataset), SHARD)


def test_a_corrupt_record_is_named_by_file_and_byte(own_dataset):
    shard = own_dataset / SHARD
    _, second, *_ = read_shard(str(shard))
    flip(shard, second.offset + 100)
    where = f"{shard} at byte {second.offset}"
    assert named(problems(own_dataset), f"{where}: corrupt record")


def test_a_corrupt_length_is_named_by_file_and_byte(own_dataset):
    shard = own_dataset / SHARD
    _, second, *_ = read_shard(str(shard))
    flip(shard, second.offset + 7)  # Must not read a record of 2^63 bytes.
    where = f"{shard} at byte {second.offset}"
    assert named(problems(own_dataset), f"{where}: corrupt record")


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda record: b"\xff\xff", id="no example"),
        pytest.param(lambda record: b"", id="nothing"),
        pytest.param(lambda record: changed(record, **{KEY: None}), id="no key"),
        pytest.param(
            lambda record: changed(record, **{TOKEN_LENGTHS: [1, 1]}), id="lengths"
        ),
    ],
)
def test_a_record_that_is_no_example_of_the_schema_is_named(own_dataset, edit):
    shard = own_dataset / SHARD
    rewrite(shard, lambda records: [edit(records[0]), *records[1:]])
    assert named(problems(own_dataset), f"{shard} at byte 0: ")


def test_a_record_with_an_empty_key_feature_is_named(own_dataset):
    shard = own_dataset / SHARD
    rewrite(shard, lambda rs: [changed(rs[0], **{KEY: []}), *rs[1:]])
    assert named(problems(own_dataset), f"{shard} at byte 0: ")


@pytest.mark.parametrize(
    ("key", "dtype", "values"), [(KEY, "int64", [7]), (TOKEN_LENGTHS, "bytes", [b"7"])]
)
def test_a_feature_of_another_type_is_named(own_dataset, key, dtype, values):
    def retyped(record: bytes) -> bytes:
        old = parse_example(record)
        typed = {f.key: (f.dtype, old[f.key]) for f in FEATURES}
        return serialize_example({**typed, key: (dtype, values)})

    shard = own_dataset / SHARD
    rewrite(shard, lambda records: [retyped(records[0]), *records[1:]])
    assert named(problems(own_dataset), f"{shard} at byte 0: ")


def test_a_key_that_is_there_twice_is_named(own_dataset):
    rewrite(own_dataset / SHARD, lambda records: [records[0], *records])
    key = parse_example(next(read_shard(str(own_dataset / SHARD))).data)[KEY][0]
    assert named(problems(own_dataset), f"duplicate key {key.decode()}")


def edit_accounting(folder: Path, **accounting: Any) -> None:
    path = folder / "manifest.json"
    fields = json.loads(path.read_bytes())
    fields["books"].update(accounting)
    path.write_text(json.dumps(fields))


@pytest.mark.parametrize(
    "accounting",
    [{"found": 61}, {"written": 59}, {"not_written": {"empty_caption": 1}}],
)
def test_books_that_do_not_balance_are_found(own_dataset, accounting):
    edit_accounting(own_dataset, **accounting)
    found = problems(own_dataset)
    assert named(found, "manifest.json: the counts of keys do not add up")


def test_books_that_count_other_examples_than_the_shards_are_found(own_dataset):
    edit_accounting(own_dataset, found=61, written=61)
    assert named(problems(own_dataset), "manifest.json")


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"format_version": 1000}'])
def test_a_damaged_manifest_is_an_error_that_names_it(own_dataset, data):
    (own_dataset / "manifest.json").write_bytes(data)
    with pytest.raises(DatasetError, match=r"manifest\.json"):
        verify(str(own_dataset))


def test_a_flipped_byte_in_the_manifest_never_ends_in_another_error(own_dataset):
    path = own_dataset / "manifest.json"
    data = path.read_bytes()
    rng = random.Random("manifest")
    for _ in range(300):
        flip(path, rng.randrange(len(data)), rng.randrange(1, 256))
        try:
            verify(str(own_dataset))
        except DatasetError as error:
            assert str(path) in str(error)
        path.write_bytes(data)


# Differences that only look harmless.


@pytest.mark.parametrize("line_end", [b"\r", b"\r\n"])
def test_other_line_ends_in_an_index_are_found(own_dataset, line_end):
    path = own_dataset / INDEX
    path.write_bytes(path.read_bytes().replace(b"\n", line_end))
    assert named(problems(own_dataset), INDEX)


def test_what_load_refuses_is_found(own_dataset):
    path = own_dataset / "manifest.json"
    fields = json.loads(path.read_bytes())
    fields["splits"][0]["shards"][0]["num_bytes"] += 1
    path.write_text(json.dumps(fields))
    assert problems(own_dataset) != []


def test_a_stray_shard_is_found(own_dataset):
    stray = "train-00000-of-00009.tfrecord"
    shutil.copy(own_dataset / SHARD, own_dataset / stray)
    assert named(problems(own_dataset), stray)


# Several problems: all are listed.


def test_damage_to_several_files_is_all_listed(own_dataset):
    broken = [SHARD, OTHER, BLOCKS, VOCABULARY]
    missing = ["samples/train-00002-of-00003.parquet", REJECTS]
    for file in broken:
        flip(own_dataset / file, 20 if file != BLOCKS else 3)
    for file in missing:
        (own_dataset / file).unlink()
    edit_accounting(own_dataset, found=99)
    assert named(problems(own_dataset), *broken, *missing, "manifest.json")


def test_any_two_damaged_files_are_both_named(dataset, tmp_path):
    for number, pair in enumerate(itertools.combinations(GUARDED, 2)):
        folder = Path(shutil.copytree(dataset, tmp_path / str(number)))
        for file in pair:
            flip(folder / file, 5)
        assert named(problems(folder), *pair)


def test_a_missing_index_does_not_hide_a_damaged_shard(own_dataset):
    (own_dataset / INDEX).unlink()
    flip(own_dataset / SHARD, 5000)
    found = problems(own_dataset)
    assert named(found, f"{own_dataset / SHARD} at byte", INDEX)


def test_a_missing_index_does_not_hide_missing_samples(own_dataset):
    (own_dataset / INDEX).unlink()
    (own_dataset / SAMPLES).unlink()
    assert named(problems(own_dataset), INDEX, SAMPLES)


def test_a_missing_shard_does_not_hide_missing_samples(own_dataset):
    (own_dataset / SHARD).unlink()
    (own_dataset / SAMPLES).unlink()
    assert named(problems(own_dataset), SHARD, SAMPLES)


def test_each_corrupt_record_of_a_shard_is_listed(own_dataset):
    shard = own_dataset / SHARD
    offsets = [record.offset for record in read_shard(str(shard))]
    for offset in (offsets[1], offsets[10], offsets[-1]):
        flip(shard, offset + 100)
    report = verify(str(own_dataset))
    places = [f"{shard} at byte {offsets[place]}" for place in (1, 10, -1)]
    assert named([str(problem) for problem in report.problems], *places)
    assert report.num_examples == 57


@pytest.mark.parametrize("file", [BLOCKS, INDEX])
def test_an_intact_index_is_not_blamed_for_a_damaged_shard(own_dataset, file):
    if file == BLOCKS:
        (own_dataset / SHARD).unlink()
    else:
        flip(own_dataset / SHARD, 5000)
    assert not named(problems(own_dataset), file)


# The command line.


def run(capsys, *args: str) -> tuple[int, str, str]:
    status = main([*args])
    return status, *capsys.readouterr()


def test_verify_ends_with_0_and_says_what_was_checked(dataset, capsys):
    status, out, err = run(capsys, "verify", str(dataset))
    assert status == 0
    assert "4 shards, 60 examples" in out
    assert err == ""


def test_verify_ends_with_1_and_lists_the_problems(own_dataset, capsys):
    flip(own_dataset / SHARD, 5000)
    (own_dataset / REJECTS).unlink()
    status, out, err = run(capsys, "verify", str(own_dataset))
    assert status == 1
    assert str(own_dataset / SHARD) in err
    assert str(own_dataset / REJECTS) in err
    listed, commands = err.split("to repair:\n")
    assert f"{len(listed.splitlines())} problems" in out
    assert f"diptych build … --output={own_dataset} --repair" in commands


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_folder_without_a_dataset_ends_with_1_and_says_so(tmp_path, capsys, command):
    status, out, err = run(capsys, command, str(tmp_path))
    assert status == 1
    assert f"error: no manifest.json in {tmp_path}/" in err
    assert out == ""


@pytest.mark.parametrize(
    "args", [[], ["verify"], ["show"], ["walk", "out"], ["verify", "out", "--color"]]
)
def test_wrong_usage_ends_with_2(args, capsys):
    status, out, err = run(capsys, *args)
    assert (status, out) == (2, "")
    assert "python -m reader" in err


def test_show_ends_with_0_and_shows_splits_books_and_features(dataset, capsys):
    status, out, _ = run(capsys, "show", str(dataset))
    assert status == 0
    for part in ("train", "validation", "60 keys found", "60 written", "image/encoded"):
        assert part in out


@pytest.mark.parametrize("num", [0, 1, 100])
def test_show_prints_as_many_examples_of_each_split_as_asked_for(dataset, capsys, num):
    _, out, _ = run(capsys, "show", str(dataset), f"--num={num}")
    shown = [line for line in out.splitlines() if "  scene-" in line]
    assert len(shown) == min(num, 48) + min(num, 12)


def test_show_of_a_corrupt_shard_ends_with_1_and_names_it(own_dataset, capsys):
    flip(own_dataset / SHARD, 100)
    status, _, err = run(capsys, "show", str(own_dataset))
    assert status == 1
    assert str(own_dataset / SHARD) in err


def test_show_of_a_dataset_without_its_first_shard_ends_with_1(own_dataset, capsys):
    (own_dataset / SHARD).unlink()
    status, _, err = run(capsys, "show", str(own_dataset))
    assert status == 1
    assert str(own_dataset / SHARD) in err


def test_show_of_a_negative_number_of_examples_is_wrong_usage(dataset, capsys):
    status, out, err = run(capsys, "show", str(dataset), "--num=-1")
    assert "got -1" in err
    assert out == ""
    assert status == 2


# From Python.


def test_verify_takes_a_path_object(dataset):
    assert verify(dataset).problems == []


def test_verify_of_a_path_object_without_a_dataset_is_a_dataset_error(tmp_path):
    with pytest.raises(DatasetError, match=r"no manifest\.json"):
        verify(tmp_path)


def test_the_public_name_is_the_function_whatever_was_imported_before(dataset):
    assert reader.verify(str(dataset)).problems == []

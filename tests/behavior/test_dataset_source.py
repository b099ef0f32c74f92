"""A finished dataset as the source of another: no originals, and the same bytes."""

import io
import json
import random
import re
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from built_datasets import all_records, contents, manifest_of, rejects_of, shards_of
from forks import commits
from PIL import Image

import reader
from beam_jobs.__main__ import main
from beam_jobs.config.columns import parse_columns
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.key_file import key_text, parse_keys
from beam_jobs.config.values import parse_splits
from beam_jobs.engines.options import engine_options
from beam_jobs.job.run import BuildResult, run
from reader.contract.errors import UsageError
from reader.contract.record import parse_halves
from reader.contract.schema import display_path

COLUMNS = "score:float,label:int=-1,tags:str[2],emb:float16[20],half:float16"
BUILT: dict[str, Any] = {
    "columns": parse_columns(COLUMNS),
    "splits": parse_splits("train=0.75,validation=0.25"),
    "key_column": "id",
    "num_shards": 4,
    "image_size": 48,
    "license": "CC0-1.0",
}
NUM = 40
# Its first row is on the left once it is upright.
TURNED = 6


def write_originals(folder: Path, seed: int = 0, prefix: str = "a") -> Path:
    """Writes a table of photographs that are kept, resized, turned and converted."""
    rng = random.Random(seed)
    rows = []
    for number in range(NUM):
        side = rng.choice([30, 48, 90])
        size = side, side + rng.randint(0, 40)
        pixels = np.full((size[1], size[0], 3), 40 + 4 * number, np.uint8)
        pixels[: size[1] // 3] = 255
        name = f"{number:02d}.{'png' if number % 5 == 0 else 'jpg'}"
        exif = Image.Exif()
        if number % 4 == 1:
            exif[0x112] = TURNED
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name, exif=exif)
        rows.append(
            {
                "image": name,
                "caption": [f"Picture {number}, {w}" for w in "abc"[: 1 + number % 3]],
                "id": f"{prefix}/é{number}",
                "score": None if number == 3 else rng.random(),
                "label": rng.randint(0, 9),
                "tags": [rng.choice("xyz"), "ü"],
                "emb": [rng.gauss(0, 3) for _ in range(20)],
                "half": None if number == 4 else rng.gauss(0, 100),
                "fold": rng.choice(["train", "test"]),
            }
        )
    table = folder / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return table


def build(output: Path, **settings: Any) -> BuildResult:
    texts = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in settings.items()
    }
    config = JobConfig(output=str(output), workers=1, threads=2, **texts)
    result = run(config, engine_options(config, []))
    assert result is not None
    assert result.outcome is not None
    assert not result.outcome.failures
    return result


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return write_originals(tmp_path_factory.mktemp("originals") / "a")


@pytest.fixture(scope="module")
def old(table, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("old") / "old"
    build(folder, table=table, **BUILT)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Path:
    """Another dataset: `old`'s first ten keys and images, and thirty of its own."""
    folder = tmp_path_factory.mktemp("other")
    table = write_originals(folder / "a", seed=1, prefix="b")
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    write_originals(folder / "b")
    for number, row in enumerate(rows[:10]):
        row |= {"id": f"a/é{number}", "image": f"../b/{row['image']}"}
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = BUILT | {"splits": parse_splits("train=1"), "tokenizer": "bytes"}
    build(folder / "other", table=table, allow_roots=(str(folder / "b"),), **settings)
    return folder / "other"


def files_of(output: Path) -> dict[str, bytes]:
    """All files but those that state what the dataset was built from."""
    files = contents(output)
    del files["manifest.json"]
    return files


def rows_of(output: Path) -> dict[str, dict[str, Any]]:
    """The rows of `samples/` by key, without the places of the records."""
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(output.glob("samples/*.parquet")):
        for row in pq.read_table(path).to_pylist():
            del row["offset"], row["length"]
            rows[row["key"]] = row | {"split": path.name.split("-")[0]}
    return rows


def images_of(output: Path) -> dict[str, bytes]:
    records = (record.features for record in all_records(output))
    return {r["image/source_id"][0].decode(): r["image/encoded"][0] for r in records}


def test_captions_keep_their_names(tmp_path):
    table = write_originals(tmp_path / "originals")
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    for row in rows:
        alt, *others = row.pop("caption")
        row |= {"alt": alt, "recap": others}
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    named = BUILT | {"table": table, "caption_columns": ("alt", "recap")}
    build(tmp_path / "old", **named)
    build(tmp_path / "new", dataset=tmp_path / "old", tokenizer="bytes")
    build(tmp_path / "wanted", **named, tokenizer="bytes")
    assert files_of(tmp_path / "new") == files_of(tmp_path / "wanted")
    assert manifest_of(tmp_path / "new")["caption_names"] == ["alt", "recap"]


def test_captions_without_names_are_read_with_those_that_have_some(old, tmp_path):
    table = write_originals(tmp_path / "originals", seed=2, prefix="c")
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    table.write_text(
        "".join(json.dumps(row | {"alt": "so called"}) + "\n" for row in rows)
    )
    named = {"caption_columns": ("alt",), "tokenizer": str(old)}
    build(tmp_path / "other", table=table, **BUILT | named)
    folders = (str(old), str(tmp_path / "other"))
    build(tmp_path / "both", dataset=folders)
    for record in all_records(tmp_path / "both"):
        names, captions = (
            record.features[key] for key in ("caption/names", "image/caption")
        )
        is_named = record.features["image/source_id"][0].startswith(b"c")
        assert names == [b"alt" if is_named else b""] * len(captions)


def test_halves_are_stored_as_numpy_rounds_them(table, old):
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    wanted = {row["id"]: (np.float16(row["emb"]), row["half"]) for row in rows}
    for record in all_records(old):
        key = record.features["image/source_id"][0].decode()
        (data,) = record.features["extra/emb"]
        (half,) = parse_halves(record.features["extra/half"][0])
        emb, number = wanted[key]
        assert data == emb.astype("<f2").tobytes()
        np.testing.assert_equal(half, np.float16(np.nan if number is None else number))
        # In the table, halves are floats of the same values.
        assert rows_of(old)[key]["extra/emb"] == emb.astype(float).tolist()


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"tokenizer": "bytes"},
        {"splits": parse_splits("train=0.5,test=0.5"), "num_shards": 2, "seed": 7},
        {"split_by": "content", "dedupe": "exact", "min_image_size": 40},
    ],
    ids=lambda changed: "-".join(changed) or "nothing",
)
def test_it_is_what_a_build_of_the_originals_gives(table, old, tmp_path, changed):
    build(tmp_path / "new", dataset=old, **changed)
    if changed:
        settings = BUILT | {"tokenizer": old} | changed
        build(tmp_path / "wanted", table=table, **settings)
    wanted = tmp_path / "wanted" if changed else old
    files, wanted_files = files_of(tmp_path / "new"), files_of(wanted)
    if "min_image_size" in changed:
        # Rejects name the record by its original, and no image is opened to see it.
        assert len(rejects_of(tmp_path / "new")) == len(rejects_of(wanted)) > 0
    assert files == wanted_files
    if not changed:
        assert manifest_of(tmp_path / "new")["config"]["license"] == "CC0-1.0"


def test_images_of_every_stored_format_are_kept_or_converted(old, tmp_path):
    png, raw, again = tmp_path / "png", tmp_path / "raw", tmp_path / "again"
    build(png, dataset=old, image_format="png", image_size=24)
    build(raw, dataset=png, image_format="raw")
    build(again, dataset=raw)
    assert files_of(raw) == files_of(again)
    pixels = images_of(raw)
    for key, data in images_of(png).items():
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, min(image.size)) == ("PNG", 24)
            assert image.tobytes() == pixels[key]


def test_smaller_images_are_made_of_the_stored_ones_which_are_upright(old, tmp_path):
    build(tmp_path / "new", dataset=old, image_size=30)
    before, after = rows_of(old), rows_of(tmp_path / "new")
    stored, images = images_of(old), images_of(tmp_path / "new")
    turned = 0
    for key, row in after.items():
        was = before[key]
        for name in was.keys() - {"width", "height", "actions"}:
            assert row[name] == was[name] or row[name] != row[name]
        with Image.open(io.BytesIO(stored[key])) as image:
            shorter = min(image.size)
            if shorter <= 30:
                assert images[key] == stored[key]
                continue
            size = tuple(round(side * 30 / shorter + 1e-9) for side in image.size)
            wanted = image.resize(size, Image.Resampling.BOX, reducing_gap=None)
        made = Image.open(io.BytesIO(images[key]))
        assert made.size == size == (row["width"], row["height"])
        difference = np.asarray(made, int) - np.asarray(wanted, int)
        assert np.abs(difference).mean() < 4
        turned += "oriented" in was["actions"]
        kept = [action for action in was["actions"] if action != "encoded"]
        assert row["actions"][: len(kept)] == kept
        assert {*row["actions"]} == {*kept, "resized", "encoded"}
    assert turned


def test_only_what_was_encoded_is_encoded_again(old, tmp_path):
    build(tmp_path / "new", dataset=old, jpeg_quality=50)
    before, after = images_of(old), images_of(tmp_path / "new")
    kept = {key for key, row in rows_of(old).items() if not row["actions"]}
    assert kept
    assert {key for key in before if before[key] == after[key]} == kept


def test_a_condition_on_all_columns_needs_no_originals(old, tmp_path):
    where = "extra/score > 0.3 and original_width < 60 and split = 'train'"
    build(tmp_path / "new", dataset=old, where=where)
    wanted = {
        key
        for key, row in rows_of(old).items()
        if row["extra/score"] > 0.3
        and row["original_width"] < 60
        and row["split"] == "train"
    }
    assert rows_of(tmp_path / "new").keys() == wanted
    assert 0 < len(wanted) < NUM


def test_columns_may_be_chosen_and_hold_halves(old, tmp_path):
    columns = parse_columns("emb:float[20],score:float16")
    build(tmp_path / "new", dataset=old, columns=columns)
    (record, *_) = all_records(tmp_path / "new")
    extras = {key for key in record.features if key.startswith("extra/")}
    assert extras == {"extra/emb", "extra/score"}
    assert len(record.features["extra/emb"]) == 20
    assert len(record.features["extra/score"][0]) == 2


def test_keys_are_left_out_and_counted(old, tmp_path, capsys):
    left_out = ["a/é1", "a/é2", "a/é17"]
    # As a Mac lists names.
    decomposed = unicodedata.normalize("NFD", left_out[1])
    assert decomposed not in left_out
    keys = tmp_path / "keys.txt"
    lines = ["a/é1", decomposed, "a/é17", "", "a/é1", "nowhere"]
    keys.write_text("\r\n".join(lines), "utf-8")
    output = tmp_path / "new"
    flags = [f"--dataset={old}", f"--exclude_keys={keys}", f"--output={output}"]
    assert main(["build", *flags]) == 0
    said = capsys.readouterr()
    assert "3 filtered: 3 excluded_key" in said.out
    assert f"1 of 4 keys in --exclude_keys={keys} are in no source" in said.err
    assert sorted(row["key"] for row in rejects_of(output)) == sorted(left_out)
    assert rows_of(output).keys() == rows_of(old).keys() - {*left_out}

    assert main(["select", str(old), f"--keys={keys}"]) == 0
    assert "1 of them unknown: nowhere" in capsys.readouterr().out


def test_keys_of_any_bytes_are_left_out_as_they_are_or_as_they_are_shown():
    for key in (b"cafe\xcc\x81\xff/1", b"\xea\xcc\x81/1", b"caf\xe9", "é".encode()):
        shown = display_path(key).encode()
        assert parse_keys(key) == parse_keys(shown) == {key_text(key)}


def test_datasets_are_merged_and_each_record_keeps_its_split(old, other, tmp_path):
    shared = {f"a/é{number}" for number in range(10)}
    settings: dict[str, Any] = {"dataset": [str(old), str(other)], "tokenizer": "bytes"}
    build(tmp_path / "both", **settings, max_rejects=10)
    rows = rows_of(tmp_path / "both")
    first, second = rows_of(old), rows_of(other)
    assert rows.keys() == (first.keys() | second.keys()) - shared
    reasons = {reject["reason"] for reject in rejects_of(tmp_path / "both")}
    assert reasons == {"ambiguous_key"}
    for key, row in rows.items():
        was = first.get(key) or second[key]
        same = ("split", "captions", "sha256", "actions", "extra/emb", "source")
        assert all(row[name] == was[name] for name in same)

    build(tmp_path / "deduped", **settings, dedupe="exact")
    rows = rows_of(tmp_path / "deduped")
    # Of equal images, the first key in the order of records stays; of equal keys, that
    # of the first dataset.
    assert len({row["sha256"] for row in rows.values()}) == len(rows)
    assert {row["sha256"] for row in rows.values()} == {
        row["sha256"] for row in (*first.values(), *second.values())
    }
    assert all(
        rows[key]["captions"] == first[key]["captions"] for key in shared & {*rows}
    )
    assert shared & {*rows}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"dedupe": "exact"},
            r"tokenizer is basic .*… and bytes .*…\. Pass --tokenizer",
        ),
        ({"tokenizer": "basic", "min_count": 2, "dataset": ["old"]}, None),
    ],
)
def test_settings_that_differ_are_refused(old, other, tmp_path, settings, said):
    if said is None:
        build(tmp_path / "new", **settings | {"dataset": old})
        assert manifest_of(tmp_path / "new")["config"]["min_count"] == 2
        return
    datasets = [str(old), str(other)]
    with pytest.raises(UsageError, match=said):
        build(tmp_path / "new", dataset=datasets, **settings)
    assert not (tmp_path / "new").exists()


def test_a_damaged_record_is_a_reject_and_the_others_are_written(old, tmp_path):
    copy, new = tmp_path / "copy", tmp_path / "new"
    shutil.copytree(old, copy)
    _, shard, records = next(shards_of(copy))
    path = copy / shard["file"]
    data = bytearray(path.read_bytes())
    data[records[0].offset + 40] ^= 1
    data[records[1].offset + 3] ^= 1
    path.write_bytes(data)
    build(new, dataset=copy, max_rejects=2)
    damaged = {r.features["image/source_id"][0].decode() for r in records[:2]}
    assert {reject["key"] for reject in rejects_of(new)} == damaged
    assert {reject["reason"] for reject in rejects_of(new)} == {"damaged_record"}
    assert rows_of(new).keys() == rows_of(old).keys() - damaged
    # Without its table, a shard cannot be listed.
    samples = copy / "samples" / f"{path.stem}.parquet"
    samples.write_bytes(samples.read_bytes()[:-1] + b"?")
    with pytest.raises(Exception, match=re.escape(f"{samples} is damaged")):
        build(tmp_path / "no", dataset=copy)


def test_a_killed_build_is_resumed(forks, old, tmp_path):
    output = tmp_path / "new"
    flags = [f"--dataset={old}", f"--output={output}", "--num_shards=16"]
    forks.kill_once(["build", *flags], lambda: commits(output) >= 2)
    assert main(["build", *flags]) == 0
    build(tmp_path / "whole", dataset=old, num_shards=16)
    assert contents(output) == contents(tmp_path / "whole")


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_datasets_of_earlier_versions_are_sources(version, tmp_path):
    golden = Path(__file__).parents[1] / "golden" / version / "dataset"
    build(tmp_path / "new", dataset=golden)
    before, after = rows_of(golden), rows_of(tmp_path / "new")
    assert repr(before) == repr({key: after[key] for key in before})
    assert images_of(golden) == images_of(tmp_path / "new")
    assert not reader.verify(tmp_path / "new").problems


def test_what_is_no_dataset_is_refused_with_what_it_is(old, tmp_path):
    layer = tmp_path / "old/layers/clip"
    layer.mkdir(parents=True)
    (layer / "layer.json").write_text("{}")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/a-00000-of-00001.tfrecord").write_bytes(b"")
    (tmp_path / "begun/_build").mkdir(parents=True)
    for folder, said in (
        (layer, f"a layer, which holds no images: .* {re.escape(str(tmp_path))}/old$"),
        (tmp_path / "foreign", "TFRecords without a manifest.json, from another tool"),
        (tmp_path / "begun", "has not finished: run it again"),
        (tmp_path / "nowhere", "no such folder"),
        (tmp_path / "old", r"no finished dataset \(no manifest.json\)"),
        (old / "manifest.json", "a file: pass the folder"),
    ):
        with pytest.raises(UsageError, match=said):
            build(tmp_path / "new", dataset=folder)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="is the output itself"):
            build(old, dataset=f"{old}/", overwrite=overwrite)
    with pytest.raises(UsageError, match="is the same folder as"):
        build(tmp_path / "new", dataset=[str(old), f"{old}/"])
    with pytest.raises(UsageError, match='no column "fold" among score, label'):
        build(tmp_path / "new", dataset=old, split_column="fold")
    with pytest.raises(UsageError, match="caption_encoding says how to read files"):
        build(tmp_path / "new", dataset=old, caption_encoding="cp1252")
    assert not (tmp_path / "new").exists()

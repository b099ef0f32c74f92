"""Layers on small drawn data, held against dictionaries of what they are to hold."""

import json
import math
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from built_datasets import (
    all_records,
    contents,
    file_of,
    manifest_of,
    picture,
    put,
    put_pairs,
    records_of,
    rejects_of,
    words_of,
)
from forks import commits

from beam_jobs.__main__ import main

NUM = 90
# Keys that are not UTF-8, that only look so, and that Unicode composes.
ODD = [b"caf\xe9", b"caf%E9", "cafe\u0301/\u00fc".encode()]
CAPTIONS = ["image/caption", "caption/ids", "caption/lengths"]


class Base(NamedTuple):
    source: Path
    folder: Path
    records: dict[bytes, dict[str, list[Any]]]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Base:
    source = tmp_path_factory.mktemp("layers") / "source"
    put_pairs(source, NUM)
    rng = random.Random(5)
    for key in ODD:
        put(source, key + b".png", file_of(picture(rng), "PNG"))
        put(source, key + b".txt", "an odd name")
    assert main(build_args(source, source.parent / "out")) == 0
    return Base(source, source.parent / "out", by_key(source.parent / "out"))


def build_args(source: Path, output: Path, *more: str) -> list[str]:
    folders = [f"--images={source}", f"--captions={source}", f"--output={output}"]
    splits = ["--splits=train=0.8,validation=0.2", "--num_shards=12"]
    return ["build", *folders, *splits, "--image_size=16", "--workers=1", *more]


def by_key(folder: Path) -> dict[bytes, dict[str, list[Any]]]:
    records = [record.features for record in all_records(folder)]
    return {features["image/source_id"][0]: features for features in records}


def layer(base: Base, table: Path | None, *flags: str) -> list[str]:
    tables = [] if table is None else [f"--table={table}"]
    given = {flag.partition("=")[0] for flag in flags}
    usual = ("--max_rejects=100%", "--max_unpaired=100%", "--workers=1")
    others = [flag for flag in usual if flag.partition("=")[0] not in given]
    return ["layer", str(base.folder), *tables, *others, *flags]


def put_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def layer_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "layer.json").read_bytes())


def added(base: Base, folder: Path) -> dict[bytes, dict[str, list[Any]]]:
    """What a layer adds to each key, by the order of records alone."""
    shards = [row[0] for row in layer_of(folder)["base"]]
    assert shards == [shard["file"] for shard in layer_of(folder)["shards"]]
    found = {}
    for shard in shards:
        ours = records_of(folder / shard)
        for base_record, record in zip(
            records_of(base.folder / shard), ours, strict=True
        ):
            key = base_record.features["image/source_id"][0]
            found[key] = record.features
        table = pq.read_table(folder / f"samples/{shard[:-9]}.parquet").to_pylist()
        places = [(row["offset"], row["length"]) for row in table]
        assert places == [(record.offset, record.length) for record in ours]
    return found


class Case(NamedTuple):
    rows: list[dict[str, Any]]
    expected: dict[bytes, tuple[list[str], float, list[float]]]
    rejected: Counter[str]


@pytest.fixture(scope="module")
def case(base: Base) -> Case:
    """Rows of every kind, and what a dictionary makes of them."""
    rng = random.Random(7)
    rows: list[dict[str, Any]] = []
    expected: dict[bytes, tuple[list[str], float, list[float]]] = {}
    rejected: Counter[str] = Counter()

    def add(key: str, captions: Any, score: Any, emb: list[float]) -> None:
        rows.append({"key": key, "text": captions, "score": score, "emb": emb})

    for number, stored in enumerate(sorted(base.records)):
        key = stored.decode(errors="surrogateescape")
        score, emb = float(np.float32(rng.random())), [rng.randint(0, 9) / 8] * 20
        kind = number % 9
        if kind == 0:
            continue
        elif kind == 1:
            add(key, ["b", "a"], score, emb)
            add(key, "A   second ", score, emb)
            add(key, "A third", score, emb)
            expected[stored] = (["A second", "A third", "b", "a"], score, emb)
        elif kind == 2:
            add(key, "one", score, emb)
            add(key, "one", score, emb)
            expected[stored] = (["one"], score, emb)
        elif kind == 3:
            add(key, "one", 0.5, emb)
            add(key, "one", 0.25, emb)
            rejected["conflicting_rows"] += 1
        elif kind == 4:
            add(key, "one", "high", emb)
            rejected["bad_value"] += 1
        elif kind == 5:
            add(key, None, score, emb)
            rejected["empty_caption"] += 1
        else:
            add(key, f"Caption {number}", score, emb)
            expected[stored] = ([f"Caption {number}"], score, emb)
    for number in range(9):
        add(f"unknown/{number}", "nothing", 0.5, [0.0] * 20)
        rejected["unknown_key"] += 1
    rows += [{"text": "no key"}]
    rejected["bad_value"] += 1
    return Case(rows, expected, rejected)


COLUMNS = ("--caption_column=text", "--columns=score:float,emb:float[20]")


@pytest.fixture(scope="module")
def written(base: Base, case: Case, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    table = put_rows(folder / "rows.jsonl", case.rows[:-1][::-1] + case.rows[-1:])
    output = folder / "ext"
    assert main(layer(base, table, "--name=recap", *COLUMNS, f"--output={output}")) == 0
    return output


def vocabulary(folder: Path) -> list[str]:
    return (folder / "tokenizer/vocab.txt").read_text().splitlines()


def test_records_hold_what_a_dictionary_says(base, case, written):
    words = vocabulary(written)
    assert words == vocabulary(base.folder)
    found = added(base, written)
    assert found.keys() == base.records.keys()
    assert {key for key, features in found.items() if features} == {*case.expected}
    for key, (texts, score, emb) in case.expected.items():
        ids = [
            [words.index(w if w in words else "[UNK]") for w in words_of(text)]
            for text in texts
        ]
        assert found[key] == {
            "recap/caption": [text.encode() for text in texts],
            "recap/ids": [id_ for row in ids for id_ in row],
            "recap/lengths": list(map(len, ids)),
            "recap/score": [score],
            "recap/emb": emb,
        }


def test_the_counts_add_up(base, case, written):
    books = layer_of(written)["books"]
    num_keys = len({row.get("key") for row in case.rows})
    assert books == {
        "found": num_keys,
        "written": len(case.expected),
        "not_written": dict(case.rejected),
        "filled": 0,
        "records_without": len(base.records) - len(case.expected),
    }
    assert Counter(reject["reason"] for reject in rejects_of(written)) == case.rejected
    statistics = layer_of(written)["statistics"].values()
    captions = sum(each["captions"]["sum"] for each in statistics)
    assert captions == sum(len(texts) for texts, *_ in case.expected.values())


def test_the_order_of_rows_and_the_number_of_workers_do_not_matter(
    base, case, written, tmp_path
):
    # The row without a key is named by its number, so it stays the last.
    rows = [*case.rows[:-1]]
    random.Random(1).shuffle(rows)
    table = put_rows(tmp_path / "rows.jsonl", [*rows, case.rows[-1]])
    assert main(layer(base, table, "--name=recap", *COLUMNS, "--workers=2")) == 0
    assert contents(base.folder / "layers/recap") == contents(written)


def test_tf_data_alone_reads_a_layer(base, case, written):
    features = {
        "image/source_id": tf.io.FixedLenFeature((), tf.string),
        "image/caption": tf.io.VarLenFeature(tf.string),
        "recap/caption": tf.io.VarLenFeature(tf.string),
        "recap/score": tf.io.FixedLenFeature((), tf.float32, math.nan),
    }
    shards = [shard["file"] for shard in layer_of(written)["shards"]]
    both = [
        tf.data.TFRecordDataset([str(folder / shard) for shard in shards])
        for folder in (base.folder, written)
    ]
    joined = tf.data.Dataset.zip(tuple(both)).map(lambda *parts: tf.strings.join(parts))
    num = 0
    for example in joined.batch(16).map(lambda e: tf.io.parse_example(e, features)):
        texts = tf.sparse.to_dense(example["recap/caption"]).numpy()
        keys, scores = (example[n] for n in ("image/source_id", "recap/score"))
        for key, row, score in zip(keys.numpy(), texts, scores.numpy(), strict=True):
            captions, expected, _ = case.expected.get(key, ([], math.nan, []))
            assert [text.decode() for text in row if text] == captions
            np.testing.assert_equal(score, np.float32(expected))
            num += 1
    assert num == len(base.records)


def test_a_killed_job_ends_as_if_nothing_had_happened(
    forks, base, case, written, tmp_path
):
    table = put_rows(tmp_path / "rows.jsonl", case.rows)
    output = tmp_path / "layer"
    command = layer(base, table, "--name=recap", *COLUMNS, f"--output={output}")
    forks.kill_once(command, lambda: commits(output) >= 2)
    assert not (output / "layer.json").exists()
    finished = {
        path.name: path.stat().st_mtime_ns
        for path in (output / "_build").glob("commits/*.json")
    }
    assert main(command) == 0
    assert contents(output) == contents(written)
    for name, committed in finished.items():
        shard = output / name.replace(".json", ".tfrecord")
        assert shard.stat().st_mtime_ns <= committed


def test_retokenized_ids_are_those_of_a_build_with_that_tokenizer(base, tmp_path):
    built = tmp_path / "built"
    assert main(build_args(base.source, built, "--tokenizer=bytes")) == 0
    output = tmp_path / "layer"
    flags = ["--name=raw", "--retokenize", "--tokenizer=bytes", f"--output={output}"]
    assert main(layer(base, None, *flags)) == 0
    found = added(base, output)
    for key, features in by_key(built).items():
        names = ("raw/caption", "raw/ids", "raw/lengths")
        assert [found[key][name] for name in names] == [
            features[name] for name in CAPTIONS
        ]
    made = layer_of(output)
    assert made["replaces"] == ["captions"]
    assert made["tokenizer"] == manifest_of(built)["tokenizer"]
    splits = manifest_of(built)["splits"]
    of_captions = ("captions", "caption_tokens", "unknown_tokens")
    for split in splits:
        ours = made["statistics"][split["name"]]
        assert all(ours[name] == split["statistics"][name] for name in of_captions)
    num = len(base.records)
    assert made["books"] | {"not_written": {}} == {
        "found": num,
        "written": num,
        "not_written": {},
        "filled": 0,
        "records_without": 0,
    }


def test_a_layer_that_replaces_captions_needs_some_for_each(
    base, case, tmp_path, capfd
):
    table = put_rows(tmp_path / "rows.jsonl", case.rows)
    output = tmp_path / "layer"
    flags = ["--name=new", "--caption_column=text", "--replaces=captions"]
    flags += [f"--output={output}", "--tokenizer=bytes"]
    assert main(layer(base, table, *flags)) == 1
    # Without columns, no values can be bad, or differ.
    captions = {row["key"] for row in case.rows if row.get("text") and "key" in row}
    texts = {text_key.encode(errors="surrogateescape") for text_key in captions}
    lacking = len({*base.records} - texts)
    said = capfd.readouterr()
    assert f"{lacking} of {len(base.records)} records have no captions" in said.err
    assert "--fill=base" in said.err
    assert "unknown_key: rows.jsonl, unknown/" in said.out
    assert not (output / "layer.json").exists()
    assert main(layer(base, table, *flags, "--fill=base")) == 0
    made = layer_of(output)
    assert (made["books"]["filled"], made["books"]["records_without"]) == (lacking, 0)
    found = added(base, output)
    for key in {*base.records} - texts:
        captions = base.records[key]["image/caption"]
        assert found[key]["new/caption"] == captions
        assert found[key]["new/ids"] == [4 + byte for byte in b"".join(captions)]


def test_records_filled_with_captions_have_columns_of_nothing(base, tmp_path):
    keys = [key for key in sorted(base.records) if key not in ODD]
    row = {"text": "new", "s": 0.5, "n": [7], "u": "a url"}
    rows = [row | {"key": key.decode()} for key in keys[::3]]
    table = put_rows(tmp_path / "rows.jsonl", rows)
    flags = ["--name=new", "--caption_column=text", "--columns=s:float,n:int[1],u:str"]
    rest = ["--replaces=captions", "--fill=base", f"--output={tmp_path / 'layer'}"]
    assert main(layer(base, table, *flags, *rest)) == 0
    for key, features in added(base, tmp_path / "layer").items():
        filled = key not in keys[::3]
        captions = base.records[key]["image/caption"] if filled else [b"new"]
        values = ([0.0], [0], [b""]) if filled else ([0.5], [7], [b"a url"])
        assert features["new/caption"] == captions
        assert tuple(features[f"new/{name}"] for name in "snu") == values


def test_a_table_of_other_keys_is_an_error_that_shows_both(base, tmp_path, capfd):
    rows = [{"key": f"photos/{n}.jpg", "score": n} for n in range(3)]
    table = put_rows(tmp_path / "rows.jsonl", rows)
    assert main(layer(base, table, "--name=x", "--columns=score:float")) == 1
    said = capfd.readouterr().err
    shown = [key for key in base.records if f'"{key.decode("latin-1")}"' in said]
    assert shown and 'a key of the tables is "photos/' in said
    shutil.rmtree(base.folder / "layers/x")


def test_too_many_unknown_keys_fail_before_anything_is_written(base, tmp_path, capfd):
    keys = sorted(key.decode() for key in base.records if key.isascii())[:8]
    rows = [{"key": key, "score": 1} for key in [*keys, "unknown/1", "unknown/2"]]
    table = put_rows(tmp_path / "rows.jsonl", rows)
    output = tmp_path / "layer"
    flags = ["--name=x", "--columns=score:int", f"--output={output}"]
    assert main(layer(base, table, *flags, "--max_unpaired=1")) == 1
    assert (
        "2 of 10 keys are unpaired, more than --max_unpaired=1: raise the limit or fix "
        "the tables, and run the command again" in capfd.readouterr().err
    )
    assert not list(output.glob("*.tfrecord"))
    assert main(layer(base, table, *flags, "--max_unpaired=2")) == 0
    assert layer_of(output)["tokenizer"] is None
    assert not (output / "tokenizer").exists()


def test_parquet_of_several_tables(base, tmp_path):
    keys = sorted(key.decode() for key in base.records if key.isascii())
    scores = {key: number for number, key in enumerate(keys)}
    for part in range(3):
        some = keys[part::3]
        columns = {"image/source_id": some, "label": [scores[key] for key in some]}
        pq.write_table(pa.table(columns), tmp_path / f"part-{part}.parquet")
    flags = ["--name=labels", "--columns=label:int", f"--output={tmp_path / 'layer'}"]
    assert main(layer(base, tmp_path / "part-*.parquet", *flags)) == 0
    found = added(base, tmp_path / "layer")
    assert {k.decode(): v["labels/label"] for k, v in found.items() if v} == {
        key: [score] for key, score in scores.items()
    }


def test_damage_is_repaired_to_the_same_bytes(base, case, written, tmp_path):
    output = tmp_path / "layer"
    shutil.copytree(written, output)
    table = written.parent / "rows.jsonl"
    command = layer(base, table, "--name=recap", *COLUMNS, f"--output={output}")
    min(output.glob("train-*.tfrecord")).write_bytes(b"damaged")
    (output / "rejects.jsonl").unlink()
    (output / "index/blocks.bin").write_bytes(b"")
    assert main([*command, "--repair"]) == 0
    assert contents(output) == contents(written)
    assert main(command) == 0


def test_another_layer_is_not_replaced_without_being_asked(base, tmp_path, capfd):
    key = min(base.records).decode()
    table = put_rows(tmp_path / "rows.jsonl", [{"key": key, "a": 1, "b": 2}])
    output = f"--output={tmp_path / 'layer'}"
    assert main(layer(base, table, "--name=x", "--columns=a:int", output)) == 0
    other = layer(base, table, "--name=x", "--columns=b:int", output)
    assert main(other) == 1
    assert "pass --overwrite" in capfd.readouterr().err
    assert main([*other, "--overwrite"]) == 0
    assert [f["key"] for f in layer_of(tmp_path / "layer")["features"]] == ["x/b"]


def test_a_new_build_names_the_layers_that_no_longer_fit(base, tmp_path, capfd):
    folder = tmp_path / "out"
    source = tmp_path / "source"
    put_pairs(source, 5)
    assert main(build_args(source, folder)) == 0
    flags = ["--name=raw", "--retokenize", "--tokenizer=bytes", "--workers=1"]
    assert main(["layer", str(folder), *flags]) == 0
    assert 'layers=["raw"]' in capfd.readouterr().out
    assert main(build_args(source, folder, "--overwrite")) == 0
    assert "no longer" not in capfd.readouterr().err
    put_pairs(source, 6, seed=1)
    assert main(build_args(source, folder, "--overwrite")) == 0
    assert "layers/raw belong to an earlier build" in capfd.readouterr().err
    assert main(["layer", str(folder), *flags]) == 1
    assert "other settings (other shards of the dataset)" in capfd.readouterr().err


USAGE = {
    "no name": ([], "--name is missing"),
    "a reserved name": (["--name=extra"], "cannot be the name of a layer"),
    "nothing to store": (["--name=x"], "pass caption_column, columns, or retokenize"),
    "no such column": (["--name=x", "--columns=b:int"], 'no column "b"'),
    "the layer's own": (["--name=x", "--columns=ids:int"], "rename it"),
    "no captions": (
        ["--name=x", "--columns=a:int", "--replaces=captions"],
        "pass caption_column too",
    ),
    "no key": (
        ["--name=x", "--columns=a:int", "--key_column=id"],
        'no column "id"',
    ),
    "a vocabulary": (
        ["--name=x", "--caption_column=a", "--tokenizer=basic"],
        "counts a vocabulary",
    ),
    "two sources": (["--name=x", "--retokenize"], "retokenize and table"),
}


@pytest.mark.parametrize(("flags", "said"), USAGE.values(), ids=USAGE)
def test_wrong_usage_is_reported_before_any_work(base, tmp_path, capfd, flags, said):
    table = put_rows(tmp_path / "rows.jsonl", [{"key": "k", "a": 1}])
    assert main(["layer", str(base.folder), f"--table={table}", *flags]) == 2
    assert said in capfd.readouterr().err
    assert not (base.folder / "layers/x").exists()


def test_a_dataset_must_be_finished(base, tmp_path, capfd):
    table = put_rows(tmp_path / "rows.jsonl", [{"key": "k", "a": 1}])
    flags = [f"--table={table}", "--name=x", "--columns=a:int"]
    assert main(["layer", str(base.source), *flags]) == 2
    assert "is not a finished dataset" in capfd.readouterr().err
    assert main(["layer", str(tmp_path / "none"), *flags]) == 2
    assert "does not exist" in capfd.readouterr().err


def test_a_damaged_table_of_the_dataset_is_named(base, tmp_path, capfd):
    folder = tmp_path / "out"
    shutil.copytree(base.folder, folder)
    for path in (folder / "samples").glob("*.parquet"):
        path.write_bytes(path.read_bytes()[:-9])
    key = min(base.records).decode()
    table = put_rows(tmp_path / "rows.jsonl", [{"key": key, "a": 1}])
    flags = [f"--table={table}", "--name=x", "--columns=a:int"]
    assert main(["layer", str(folder), *flags]) == 1
    assert "is missing or damaged: repair the dataset" in capfd.readouterr().err

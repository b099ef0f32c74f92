"""Reads chosen records with all readers, and compares with a filtered list."""

import csv
import itertools
import json
import math
import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import reader
import reader.streaming.stream
from reader.contract.errors import DatasetError, UsageError
from reader.selections import choose

NUM = 700
KEYS = {"outputs": ("key",), "workers": 0}
STREAMS = {"streams": 16, "shuffle_bytes": 4096}


class Scored(NamedTuple):
    """A dataset with scores, and its records in the order written, by split."""

    folder: Path
    rows: dict[str, list[dict[str, Any]]]

    def keys(self, keep, split: str = "train") -> list[str]:
        return [row["key"] for row in self.rows[split] if keep(row)]


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> Scored:
    """700 records of two splits: scores of float32 with gaps, stars, kinds."""
    from beam_jobs.__main__ import main

    source, rng = tmp_path_factory.mktemp("scored"), random.Random(4)
    rows = [
        {
            "file_name": f"{('park', 'sea')[n % 2]}/{n:03}.png",
            "caption": f"picture {n}",
            "score": "" if n % 11 == 0 else f"{rng.randint(0, 20) / 20}",
            "stars": str(rng.randint(1, 5)),
            "kind": rng.choice(["drawn", "photo", "été"]),
        }
        for n in range(NUM)
    ]
    for place in ("park", "sea"):
        (source / place).mkdir()
    for n, row in enumerate(rows):
        pixels = np.random.default_rng(n).integers(0, 256, (8, 8 + n % 3, 3), np.uint8)
        Image.fromarray(pixels).save(source / row["file_name"])
    with (source / "table.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    flags = [
        f"--table={source}/table.csv",
        f"--images={source}",
        f"--output={source}/out",
        "--columns=score:float,stars:int,kind:str",
        "--splits=train=0.85,validation=0.15",
        "--num_shards=4",
    ]
    assert main(["build", *flags]) == 0
    return Scored(source / "out", {s: rows_of(source / "out", s) for s in SPLITS})


SPLITS = ("train", "validation")


def rows_of(folder: Path, split: str) -> list[dict[str, Any]]:
    outputs = ("key", "width", "extra/score", "extra/stars", "extra/kind")
    records = reader.open(folder, split=split, outputs=outputs)
    names = ("key", "width", "score", "stars", "kind")
    return [dict(zip(names, record, strict=True)) for record in records]


def has_score(row: dict[str, Any]) -> bool:
    return not math.isnan(row["score"])


CONDITIONS = {
    "extra/score > 0.3": lambda r: has_score(r) and r["score"] > np.float32(0.3),
    "not extra/score > 0.3": lambda r: has_score(r) and r["score"] <= np.float32(0.3),
    "extra/score is null": lambda r: not has_score(r),
    "extra/score != 0.5 and extra/stars in (1, 5)": lambda r: (
        has_score(r) and r["score"] != 0.5 and r["stars"] in (1, 5)
    ),
    "extra/kind = 'été' or width >= 10": lambda r: r["kind"] == "été" or r["width"] > 9,
    "key like 'park/*' and not extra/stars = 3": lambda r: (
        r["key"].startswith("park/") and r["stars"] != 3
    ),
    "split = 'train'": lambda r: True,
}


def batches_of(batches: Any) -> list[list[str]]:
    """Keys of each batch of one epoch; `outputs` must be `("key",)`."""
    if not isinstance(batches, (list, reader.streaming.stream.Stream)):
        batches = batches.as_numpy_iterator()
    return [[key.decode() for key in batch.tolist()] for (batch,) in batches]


def read(reads: str, folder: Path, **settings: Any) -> list[list[str]]:
    """Keys of each batch of the training split, by `load`, `stream` or `sampler`."""
    pattern = f"{folder}/train-*"
    if reads == "sampler":
        chosen = {k: settings.pop(k) for k in ("select", "where") if k in settings}
        dataset = reader.open(pattern, outputs=("key",), **chosen)
        batches = reader.sampler(dataset, **settings)
        return [[dataset[number][0] for number in batch] for batch in batches]
    function = getattr(reader, reads)
    return batches_of(function(pattern, outputs=("key",), workers=0, **settings))


READERS = ("load", "stream", "sampler")


@pytest.mark.parametrize("where", CONDITIONS)
def test_an_epoch_has_just_the_records_that_meet_a_condition(scored, where):
    wanted = scored.keys(CONDITIONS[where])
    assert wanted
    opened = reader.open(f"{scored.folder}/train-*", outputs=("key",), where=where)
    assert [key for (key,) in opened] == wanted
    for reads in READERS:
        settings = {"batch_size": 1, "where": where}
        written = read(reads, scored.folder, shuffle=False, **settings)
        assert list(itertools.chain(*written)) == wanted
        shuffled = read(reads, scored.folder, seed=3, **settings, **STREAMS)
        assert sorted(itertools.chain(*shuffled)) == sorted(wanted)
        assert list(itertools.chain(*shuffled)) != wanted or len(wanted) < 3


@pytest.mark.parametrize("seed", range(3))
def test_hosts_steps_and_readers_agree(scored, seed):
    rng = random.Random(seed)
    where = rng.choice(list(CONDITIONS))
    settings = {"where": where, "batch_size": 12, "seed": seed, **STREAMS}
    whole = read("stream", scored.folder, epochs=2, **settings)
    num = len(scored.keys(CONDITIONS[where]))
    assert len(whole) == 2 * (num // 12)
    for reads in READERS:
        step = rng.randrange(len(whole) // 2)
        assert (
            read(reads, scored.folder, epochs=2, start_step=step, **settings)
            == whole[step:]
        )
    for host_count in (2, 3, 12):
        parts = [
            read(
                "stream",
                scored.folder,
                epochs=2,
                host_index=host,
                host_count=host_count,
                **settings,
            )
            for host in range(host_count)
        ]
        for batch, shares in zip(whole, zip(*parts, strict=True), strict=True):
            assert sorted(batch) == sorted(itertools.chain(*shares))


def test_a_selection_of_all_is_no_selection(scored, diptych):
    assert (
        diptych("select", scored.folder, "--name=all", "--where=width > 0").status == 0
    )
    settings = {"batch_size": 8, "seed": 5, **STREAMS}
    for reads in READERS:
        assert read(reads, scored.folder, select="all", **settings) == read(
            reads, scored.folder, **settings
        )
    pattern = f"{scored.folder}/train-*"
    state = reader.state(reader.stream(pattern, select="all", **settings, **KEYS), 3)
    assert reader.state(reader.stream(pattern, **settings, **KEYS), 3) == state


def test_a_state_names_the_selection(scored, diptych):
    out, pattern = scored.folder, f"{scored.folder}/train-*"
    assert diptych("select", out, "--name=good", "--where=extra/stars > 2").status == 0
    assert diptych("select", out, "--name=bad", "--where=extra/stars <= 2").status == 0
    settings = {"batch_size": 8, "seed": 5, **STREAMS}
    state = reader.state(reader.load(pattern, select="good", **settings, **KEYS), 4)
    assert json.loads(json.dumps(state)) == state
    same = read("stream", out, where="extra/stars > 2", resume=state, **settings)
    assert same == read("stream", out, select="good", start_step=4, **settings)
    for other in ({"select": "bad"}, {}, {"where": "extra/stars > 3"}):
        with pytest.raises(UsageError, match="select"):
            reader.load(pattern, **other, resume=state, **settings, **KEYS)
    plain = reader.state(reader.load(pattern, **settings, **KEYS), 4)
    with pytest.raises(UsageError, match="all records"):
        reader.stream(pattern, select="good", resume=plain, **settings, **KEYS)
    two = {**settings, "batch_size": 16, "host_count": 2}
    assert len(reader.stream(pattern, select="good", resume=state, **two, **KEYS))


def test_select_and_where_together_are_both(scored, diptych):
    flags = ("--name=park", "--where=key like 'park/*'")
    assert diptych("select", scored.folder, *flags).status == 0
    settings = {"select": "park", "where": "extra/stars = 5"}
    found = read("stream", scored.folder, batch_size=1, shuffle=False, **settings)
    wanted = scored.keys(lambda r: r["key"].startswith("park/") and r["stars"] == 5)
    assert list(itertools.chain(*found)) == wanted


def test_a_selection_is_taken_to_another_place(scored, diptych, tmp_path):
    path = tmp_path / "good.selection"
    flags = ("--where=extra/stars = 4", f"--output={path}")
    assert diptych("select", scored.folder, *flags).status == 0
    moved, copied = tmp_path / "moved", tmp_path / "copied.selection"
    shutil.copytree(scored.folder, moved)
    shutil.move(path, copied)
    wanted = scored.keys(lambda r: r["stars"] == 4)
    for select in (copied, str(copied), [copied]):
        found = read("stream", moved, batch_size=1, shuffle=False, select=select)
        assert list(itertools.chain(*found)) == wanted


def test_a_selection_of_another_build_is_refused(scored, dataset, diptych, tmp_path):
    path = tmp_path / "good"
    flags = ("--where=width > 8", f"--output={path}")
    assert diptych("select", scored.folder, *flags).status == 0
    pattern = f"{dataset}/train-*"
    with pytest.raises(UsageError, match="selection of another"):
        reader.load(pattern, batch_size=4, image_size=8, select=path)
    with pytest.raises(UsageError, match="selection of another"):
        reader.open(pattern, select=path)
    built_again = tmp_path / "again"
    shutil.copytree(scored.folder, built_again)
    manifest = json.loads((built_again / "manifest.json").read_text())
    manifest["splits"][0]["shards"][0]["crc32c"] = "00000000"
    (built_again / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="selection of another build: train-00000"):
        reader.open(f"{built_again}/train-*", select=path)


def test_unions_and_mixtures_match_selections_with_their_datasets(
    scored, diptych, tmp_path
):
    other = tmp_path / "other"
    shutil.copytree(scored.folder, other)
    manifest = json.loads((other / "manifest.json").read_text())
    for split in manifest["splits"]:
        for shard in split["shards"]:  # Another build of other bytes.
            shard["crc32c"] = shard["crc32c"][::-1]
    (other / "manifest.json").write_text(json.dumps(manifest))
    for folder, stars in ((scored.folder, 1), (other, 2)):
        flags = (f"--where=extra/stars = {stars}", f"--output={tmp_path}/{stars}")
        assert diptych("select", folder, *flags).status == 0
    patterns = [f"{scored.folder}/train-*", f"{other}/validation-*"]
    settings = {"batch_size": 1, "outputs": ("key",), "workers": 0}
    select = [tmp_path / "2", tmp_path / "1"]
    ones = scored.keys(lambda r: r["stars"] == 1)
    twos = scored.keys(lambda r: r["stars"] == 2, "validation")
    union = reader.stream(patterns, select=select, shuffle=False, **settings)
    assert list(itertools.chain(*batches_of(union))) == ones + twos
    half = reader.stream(patterns, select=tmp_path / "1", shuffle=False, **settings)
    every = scored.keys(lambda r: True, "validation")
    assert list(itertools.chain(*batches_of(half))) == ones + every
    mixture = {patterns[0]: 2, patterns[1]: 1}
    for function in (reader.stream, reader.load):
        mixed = function(mixture, select=select, epochs=None, **settings, **STREAMS)
        iterator = (
            iter(mixed) if function is reader.stream else mixed.as_numpy_iterator()
        )
        found = [
            key.decode()
            for (batch,) in itertools.islice(iterator, 3 * len(ones))
            for key in batch.tolist()
        ]
        assert {*found} == {*ones, *twos}
        assert abs(sum(key in ones for key in found) / len(found) - 2 / 3) < 0.05
    with pytest.raises(UsageError, match="same dataset"):
        both = [tmp_path / "1", tmp_path / "1"]
        reader.stream(patterns[0], select=both, **settings)


def test_weights_decide_how_often_a_record_comes(scored, diptych):
    out = scored.folder
    assert diptych("select", out, "--name=often", "--weight=extra/stars").status == 0
    rows, num = scored.rows["train"], sum(r["stars"] for r in scored.rows["train"])
    for reads in READERS:
        found = list(
            itertools.chain(*read(reads, out, select="often", batch_size=1, **STREAMS))
        )
        assert len(found) == num
        assert all(found.count(row["key"]) == row["stars"] for row in rows[:50])
    opened = reader.open(f"{out}/train-*", select="often", outputs=("key",))
    assert len(opened) == len(rows)  # Each once: there are no epochs.
    settings = {"batch_size": 1, "image_size": 8, "crop": "random_resized"}
    crops: dict[bytes, set[bytes]] = {}
    for image, key in reader.stream(
        f"{out}/train-*",
        select="often",
        outputs=("image", "key"),
        workers=0,
        **settings,
    ):
        crops.setdefault(key[0], set()).add(image.tobytes())
    five = [row["key"].encode() for row in rows if row["stars"] == 5]
    # The images are so small that two regions may be the same.
    assert all(len(crops[key]) > 2 for key in five)


def test_fractions_of_weights_add_up_over_epochs(scored, diptych):
    out = scored.folder
    assert diptych("select", out, "--name=half", "--weight=extra/score").status == 0
    settings = {"select": "half", "batch_size": 1, "epochs": 16, **STREAMS}
    found = list(itertools.chain(*read("stream", out, **settings)))
    rows = [row for row in scored.rows["train"] if has_score(row)]
    weights = {row["key"]: round(row["score"] * 256) / 256 for row in rows}
    assert len(found) == 16 * int(sum(weights.values()))
    # The last ones may be what is less than one example at the end.
    for key, weight in [*weights.items()][:-3]:
        assert abs(found.count(key) - 16 * weight) <= 2


def test_steps_and_coverage_count_what_is_chosen(scored, diptych):
    pattern, where = f"{scored.folder}/train-*", "extra/stars >= 4"
    num = len(scored.keys(lambda r: r["stars"] >= 4))
    assert reader.steps_per_epoch(pattern, batch_size=8, where=where) == num // 8
    covered = reader.coverage(
        pattern, batch_size=8, host_count=4, where=where, **STREAMS
    )
    assert covered.problems == []
    assert (covered.num_examples, covered.num_left_over) == (num, num % 8)
    assert covered.num_once == num - num % 8
    flags = ("--split=train", "--step=2", "--batch_size=8", f"--where={where}")
    shown = diptych("show", scored.folder, *flags, "--seed=3", "--json").json
    keys = [place["key"] for place in shown["places"]]
    assert (
        keys
        == read(
            "stream", scored.folder, batch_size=8, where=where, seed=3, start_step=2
        )[0]
    )
    checked = diptych("verify", scored.folder, "--epoch=1", *flags[:1], *flags[2:])
    assert checked.status == 0
    assert f"of {num} examples" in checked.out


def test_too_few_records_are_an_error_before_reading(scored):
    pattern = f"{scored.folder}/train-*"
    with pytest.raises(UsageError, match=r"no example of .* is selected"):
        reader.load(pattern, batch_size=4, where="extra/stars > 5", **KEYS)
    with pytest.raises(UsageError, match="number of selected examples"):
        reader.stream(pattern, batch_size=600, where="extra/stars > 4", **KEYS)
    assert len(reader.open(pattern, where="extra/stars > 5")) == 0
    key = scored.rows["train"][0]["key"]
    one = reader.stream(
        pattern,
        batch_size=4,
        where=f"key = '{key}'",
        remainder="pad",
        outputs=("key", "valid"),
        workers=0,
    )
    ((keys, valid),) = list(one)
    assert keys[0] == key.encode()
    assert valid.tolist() == [True, False, False, False]
    most = reader.open(pattern, where=f"key != '{key}'", outputs=("key",))
    assert len(most) == len(scored.rows["train"]) - 1


def test_open_knows_only_what_is_chosen(scored):
    opened = reader.open(
        f"{scored.folder}/train-*", where="extra/stars = 1", outputs=("key",)
    )
    wanted = scored.keys(lambda r: r["stars"] == 1)
    assert opened.samples["key"].to_pylist() == wanted
    assert [opened.by_key(key) for key in wanted] == [(key,) for key in wanted]
    assert opened[-1] == (wanted[-1],)
    with pytest.raises(KeyError, match="not selected"):
        opened.by_key(scored.keys(lambda r: r["stars"] == 2)[0])
    with pytest.raises(IndexError):
        opened[len(wanted)]


def test_a_pickled_dataset_does_not_choose_again(scored, monkeypatch):
    opened = reader.open(
        f"{scored.folder}/train-*", where="extra/stars = 1", outputs=("key",)
    )
    pickled = pickle.dumps(opened)
    monkeypatch.setattr(choose, "keep_where", None)
    assert list(pickle.loads(pickled)) == list(opened)


def test_wrong_arguments_are_named(scored, dataset, tmp_path):
    pattern = f"{scored.folder}/train-*"
    for settings, message in (
        ({"where": "extra/scor > 1"}, r"extra/score\?"),
        ({"where": "extra/stars >"}, "character 14"),
        ({"where": 7}, "where must be"),
        ({"select": "nothing"}, "no selection nothing"),
        ({"select": []}, "empty list"),
        ({"select": 3}, "select must be"),
    ):
        with pytest.raises(UsageError, match=message):
            reader.stream(pattern, batch_size=4, **settings)
    with pytest.raises(DatasetError, match="is not a selection"):
        reader.stream(pattern, batch_size=4, select=tmp_path)


@pytest.mark.parametrize("file", ["bits.bin", "selection.json"])
def test_damage_of_a_selection_is_named(scored, diptych, tmp_path, file):
    path = tmp_path / "good"
    flags = ("--where=extra/stars > 3", f"--output={path}")
    assert diptych("select", scored.folder, *flags).status == 0
    data = bytearray((path / file).read_bytes())
    for damage in ("flipped", "cut", "missing"):
        if damage == "flipped":
            data[len(data) // 2] ^= 0x5A
            (path / file).write_bytes(data)
        elif damage == "cut":
            (path / file).write_bytes(data[:-8])
        else:
            (path / file).unlink()
        with pytest.raises(DatasetError, match="select"):
            reader.open(f"{scored.folder}/train-*", select=path)


def test_a_dataset_of_the_first_version_can_be_selected():
    golden = Path(__file__).parents[1] / "golden/v1/dataset"
    every = reader.open(f"{golden}/train-*", outputs=("key", "width"))
    wide = [key for key, width in every if width > 20]
    opened = reader.open(f"{golden}/train-*", outputs=("key",), where="width > 20")
    assert [key for (key,) in opened] == wide


def test_a_folder_may_have_a_name_that_is_not_utf_8(scored, tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    shutil.copytree(scored.folder, folder)
    opened = reader.open(f"{folder}/train-*", where="extra/stars = 1", outputs=("key",))
    wanted = scored.keys(lambda r: r["stars"] == 1)
    assert opened.samples["key"].to_pylist() == wanted
    assert opened.by_key(wanted[0]) == (wanted[0],)

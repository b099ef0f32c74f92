"""Whole jobs from each source: the same images and captions, and books that balance."""

import csv
import dataclasses
import hashlib
import io
import json
import os
import random
import tarfile
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import beam_jobs.job.run
from beam_jobs.config.columns import parse_columns
from beam_jobs.config.job_config import JobConfig
from beam_jobs.engines.options import engine_options
from beam_jobs.job.run import BuildResult, run
from beam_jobs.planning.job_plan import JobPlan
from reader.contract.errors import BuildError
from reader.contract.record import parse_example
from reader.contract.rejects import REASONS


def build(output: Path, **more: Any) -> BuildResult | None:
    defaults: dict[str, Any] = {
        "workers": 1,
        "threads": 2,
        "num_shards": 2,
        "image_size": 24,
        "tokenizer": "bytes",
    }
    config = JobConfig(output=str(output), **(defaults | more))
    result = run(config, engine_options(config, []))
    if result is not None:
        check_books(output, result)
    return result


def check_books(output: Path, result: BuildResult) -> None:
    """The identity, from what is on disk and not from what the job says."""
    if result.outcome is None or result.outcome.failures:
        return
    accounting = result.outcome.accounting
    lines: Counter[str] = Counter(REASONS[one["reason"]] for one in rejects_of(output))
    written = len(records_of(output))
    assert accounting.written == written
    named = ("rejected", "filtered", "duplicates", "unpaired")
    assert accounting.found == written + sum(lines[name] for name in named)
    assert set(lines) <= set(named)
    manifest = json.loads((output / "manifest.json").read_bytes())
    assert manifest["books"] == dataclasses.asdict(accounting)


def records_of(output: Path) -> dict[str, dict[str, list[Any]]]:
    """Returns {key: features} by a plain loop over the shards."""
    found = {}
    for path in sorted(output.glob("*.tfrecord")):
        data, place = path.read_bytes(), 0
        while place < len(data):
            length = int.from_bytes(data[place : place + 8], "little")
            features = parse_example(data[place + 12 : place + 12 + length])
            key = features["image/source_id"][0].decode("utf-8", "surrogateescape")
            assert key not in found
            found[key] = features
            place += length + 16
    return found


def rejects_of(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "rejects.jsonl").open()]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def jpeg(seed: int, size: int = 12) -> bytes:
    file = io.BytesIO()
    pixels = random.Random(seed).randbytes(size * size * 3)
    Image.frombytes("RGB", (size, size), pixels).save(file, "JPEG")
    return file.getvalue()


def write_csv(path: Path, rows: list[tuple[Any, ...]]) -> None:
    with path.open("w", newline="", errors="surrogateescape") as file:
        csv.writer(file).writerows(rows)


# The same photographs by every way.


def photographs(shared_data: Path) -> list[tuple[Path, list[str]]]:
    folder = shared_data / "pairs"
    captions = {p.stem: p for p in (folder / "captions_multi").iterdir()}
    return [
        (path, captions[path.stem].read_text().splitlines())
        for path in sorted((folder / "images").iterdir())
        if path.stem in captions
    ]


@pytest.fixture(scope="module")
def every_way(shared_data, tmp_path_factory) -> dict[str, dict[str, Any]]:
    """`{way: fields}` of configurations that mean the same photographs."""
    work = tmp_path_factory.mktemp("ways")
    pairs = photographs(shared_data)
    assert len(pairs) > 50
    rows = [(path.name, text) for path, texts in pairs for text in texts]
    write_csv(work / "t.csv", [("file_name", "caption"), *rows])
    lists = [{"image": str(p), "text": texts} for p, texts in pairs]
    (work / "t.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lists))
    table = {"image": [p.name for p, _ in pairs], "caption": [t for _, t in pairs]}
    pq.write_table(pa.table(table), work / "t.parquet")
    pictures = [{"bytes": p.read_bytes(), "path": p.name} for p, _ in pairs]
    table = {"image": pictures, "caption": [t for _, t in pairs]}
    pq.write_table(pa.table(table), work / "pictures.parquet", row_group_size=7)
    ids = {path.name: number for number, (path, _) in enumerate(pairs)}
    coco = {
        "images": [{"id": ids[path.name], "file_name": path.name} for path, _ in pairs],
        "annotations": [
            {"id": number, "image_id": ids[name], "caption": text}
            for number, (name, text) in enumerate(rows)
        ],
    }
    (work / "c.json").write_text(json.dumps(coco))
    split = {
        "dataset": "coco",
        "images": [
            {
                "filename": path.name,
                "split": "restval",
                "sentences": [{"raw": text} for text in texts],
            }
            for path, texts in pairs
        ],
    }
    (work / "k.json").write_text(json.dumps(split))
    with tarfile.open(work / "t.tar", "w") as tar:
        for path, texts in pairs:
            tar.add(path, path.name)
            info = tarfile.TarInfo(f"{path.stem}.json")
            data = json.dumps({"caption": texts}).encode()
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    folder = shared_data / "pairs"
    images = str(folder / "images")
    only = work / "only"
    only.mkdir()
    for path, _ in pairs:
        os.symlink(path, only / path.name)
    captions = str(folder / "captions_multi")
    return {
        "folders": {
            "images": str(only),
            "captions": captions,
            "captions_per_file": "lines",
        },
        "csv": {"table": str(work / "t.csv"), "images": images},
        "jsonl": {"table": str(work / "t.jsonl"), "images": images},
        "parquet": {"table": str(work / "t.parquet"), "images": images},
        "pictures": {"table": str(work / "pictures.parquet")},
        "coco": {"coco": str(work / "c.json"), "images": images},
        "split_file": {"coco": str(work / "k.json"), "images": images},
        "tar": {"webdataset": str(work / "t.tar")},
    }


@pytest.fixture(scope="module")
def built(every_way, tmp_path_factory) -> dict[str, Path]:
    work = tmp_path_factory.mktemp("built")
    for way, fields in every_way.items():
        build(work / way, **fields)
    return {way: work / way for way in every_way}


def plain_text(text: str) -> str:
    seen = (char for char in text if unicodedata.category(char) != "Cf")
    return unicodedata.normalize("NFC", " ".join("".join(seen).split()))


def test_every_way_gives_the_photographs_and_captions_there_are(shared_data, built):
    expected = {
        path.stem: [plain_text(text).encode() for text in texts]
        for path, texts in photographs(shared_data)
    }
    held = ("image/encoded", "image/caption", "image/key/sha256", "caption/ids")
    plain = records_of(built["folders"])
    assert {k: f["image/caption"] for k, f in plain.items()} == expected
    for way, output in built.items():
        found = records_of(output)
        if way == "tar":
            found = {key.removeprefix("t/"): value for key, value in found.items()}
        assert set(found) == set(plain), way
        for key, features in found.items():
            assert {name: features[name] for name in held} == {
                name: plain[key][name] for name in held
            }, (way, key)


@pytest.mark.parametrize("way", ["csv", "tar", "pictures"])
def test_the_same_run_twice_gives_the_same_bytes(every_way, built, tmp_path, way):
    build(tmp_path / "out", **every_way[way])
    assert contents(tmp_path / "out") == contents(built[way])
    assert build(tmp_path / "out", **every_way[way]) is None


@pytest.mark.slow
@pytest.mark.parametrize("way", ["parquet", "tar"])
def test_two_workers_give_the_same_bytes(every_way, built, tmp_path, way):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("one core")
    build(tmp_path / "out", **every_way[way], workers=2)
    assert contents(tmp_path / "out") == contents(built[way])


# Tables.


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """24 small images `i/00.jpg` … with nothing said of them."""
    (tmp_path / "i").mkdir()
    for number in range(24):
        (tmp_path / "i" / f"{number:02d}.jpg").write_bytes(jpeg(number))
    return tmp_path


def rows_about(source: Path, num: int = 24) -> list[tuple[Any, ...]]:
    return [(f"{n:02d}.jpg", f"caption {n}", n / 7) for n in range(num)]


HEAD = ("image", "caption", "score")


def of_table(source: Path, **more: Any) -> dict[str, Any]:
    return {"table": str(source / "t.csv"), "images": str(source / "i"), **more}


def test_rows_and_sources_in_another_order_give_the_same_bytes(source, monkeypatch):
    rows = rows_about(source)
    fields = of_table(source, columns=parse_columns("score:float"))
    write_csv(source / "t.csv", [HEAD, *rows])
    build(source / "one", **fields)
    random.Random(0).shuffle(rows)
    write_csv(source / "t.csv", [HEAD, *rows])
    build(source / "two", **fields)
    assert contents(source / "one") == contents(source / "two")
    # A finished dataset takes a table that was merely sorted anew for the same.
    assert build(source / "one", **fields) is None
    for number, name in enumerate("ab"):
        write_csv(source / f"{name}.csv", [HEAD, *rows[number::2]])
    several = fields | {"table": f"{source}/[ab].csv"}
    build(source / "three", **several)
    tasks = beam_jobs.job.run.list_tasks
    monkeypatch.setattr(
        beam_jobs.job.run, "list_tasks", lambda config: tasks(config)[::-1]
    )
    build(source / "four", **several)
    assert contents(source / "three") == contents(source / "four")
    assert records_of(source / "three") == records_of(source / "one")


def test_columns_arrive_in_records_samples_manifest_and_the_reader(source):
    import reader

    rng = np.random.default_rng(0)
    emb = rng.normal(size=(24, 5))
    lines, scores = [], [n / 7 if n % 5 else None for n in range(24)]
    for n in range(24):
        row = {"image": f"{n:02d}.jpg", "caption": f"caption {n}", "score": scores[n]}
        row |= {"emb": emb[n].tolist(), "url": f"é{n}", "ok": n % 2 == 0, "label": n}
        lines.append(json.dumps(row))
    (source / "t.jsonl").write_text("\n".join(lines))
    spec = "score:float,emb:float[5],url:str,ok:bool,label:int=-1"
    fields = of_table(source) | {"table": str(source / "t.jsonl")}
    build(source / "out", **fields, columns=parse_columns(spec))
    wanted = {
        f"{n:02d}": {
            "score": [np.float32(np.nan if scores[n] is None else scores[n])],
            "emb": emb[n].astype(np.float32),
            "url": [f"é{n}".encode()],
            "ok": [int(n % 2 == 0)],
            "label": [n],
        }
        for n in range(24)
    }
    found = records_of(source / "out")
    assert set(found) == set(wanted)
    for key, features in found.items():
        for name, values in wanted[key].items():
            np.testing.assert_array_equal(features[f"extra/{name}"], values)
    tables = [pq.read_table(p) for p in (source / "out" / "samples").iterdir()]
    samples = pa.concat_tables(tables)
    types = {f.name[6:]: f.type for f in samples.schema if f.name.startswith("extra/")}
    assert types == {
        "score": pa.float32(),
        "emb": pa.list_(pa.float32(), 5),
        "url": pa.string(),
        "ok": pa.int64(),
        "label": pa.int64(),
    }
    for row in samples.to_pylist():
        np.testing.assert_array_equal(
            np.float32(row["extra/emb"]), wanted[row["key"]]["emb"]
        )
    manifest = json.loads((source / "out" / "manifest.json").read_bytes())
    shapes = {f["key"]: (f["dtype"], f["shape"]) for f in manifest["features"]}
    assert shapes["extra/emb"] == ("float32", [5])
    assert shapes["extra/url"] == ("bytes", [])
    names = ("image", "key", "extra/score", "extra/emb", "extra/url")
    batches = reader.load(
        str(source / "out" / "train-*"), batch_size=4, image_size=24, outputs=names
    )
    seen = set()
    for batch in batches.take(6):
        _, keys, *extras = (part.numpy() for part in batch)
        for place, key in enumerate(key.decode() for key in keys):
            for name, values in zip(("score", "emb", "url"), extras, strict=True):
                held = np.ravel(values[place]).tolist()
                np.testing.assert_array_equal(held, wanted[key][name])
            seen.add(key)
    assert len(seen) == 24


def test_nothing_outside_the_roots_is_ever_read(source):
    (source / "secret.jpg").write_bytes(jpeg(999))
    write_csv(
        source / "t.csv",
        [
            HEAD,
            *rows_about(source),
            ("../secret.jpg", "x", 0),
            (f"{source}/secret.jpg", "x", 0),
            ("i/../../secret.jpg", "x", 0),
            ("../i/../secret.jpg", "\x1b[2Jx", 0),
        ],
    )
    result = build(source / "out", **of_table(source, resize="none"), max_rejects=4)
    assert result is not None and result.outcome is not None
    assert result.outcome.accounting.not_written == {"outside_root": 4}
    held = contents(source / "out")
    assert b"\x1b" not in held["rejects.jsonl"]
    seen = {f["image/key/sha256"][0] for f in records_of(source / "out").values()}
    inside = [path.read_bytes() for path in (source / "i").iterdir()]
    assert seen == {hashlib.sha256(data).hexdigest().encode() for data in inside}


def test_a_wrong_folder_of_images_fails_early(source):
    write_csv(source / "t.csv", [HEAD, *rows_about(source)])
    (source / "other").mkdir()
    fields = of_table(source) | {"images": str(source / "other")}
    result = build(source / "out", **fields)
    assert result is not None and result.outcome is not None
    assert "24 of 24 keys are unpaired" in result.outcome.failures[0]
    assert not (source / "out" / "manifest.json").exists()


def test_a_changed_caption_is_noticed_when_the_job_runs_again(source):
    rows = rows_about(source)
    write_csv(source / "t.csv", [HEAD, *rows])
    build(source / "out", **of_table(source))
    rows[3] = ("03.jpg", "another", 0)
    write_csv(source / "t.csv", [HEAD, *rows])
    with pytest.raises(BuildError, match="built from other files"):
        build(source / "out", **of_table(source))


@pytest.mark.parametrize("name", ["t.csv.gz", "t.parquet"])
def test_a_table_that_turns_out_damaged_fails_the_job_by_name(source, name):
    import gzip

    if name.endswith("gz"):
        text = "image,caption\n" + "".join(f"{n}.jpg,{n}\n" for n in range(5000))
        data = gzip.compress(text.encode())[:-600]
    else:
        file = io.BytesIO()
        cells = [random.Random(n).randbytes(30).hex() for n in range(2000)]
        pq.write_table(pa.table({"image": cells, "caption": cells}), file)
        data = bytearray(file.getvalue())
        data[1000:2000] = bytes(1000)
    (source / name).write_bytes(data)
    fields = of_table(source) | {"table": str(source / name)}
    with pytest.raises(BuildError, match=rf"{name} is damaged"):
        build(source / "out", **fields)


# What changes while the job runs, and books that do not balance.


def between(monkeypatch: pytest.MonkeyPatch, action) -> None:
    """Does something between planning and writing."""
    write = beam_jobs.job.run._run_write

    def run_write(workspace, config, options, plan, lease):
        changed = action(workspace, plan)
        return write(workspace, config, options, changed or plan, lease)

    monkeypatch.setattr(beam_jobs.job.run, "_run_write", run_write)


def tar_with(source: Path, name: str = "t.tar") -> None:
    with tarfile.open(source / name, "w") as tar:
        for path in sorted((source / "i").iterdir()):
            tar.add(path, path.name)
            info = tarfile.TarInfo(f"{path.stem}.txt")
            info.size = 5
            tar.addfile(info, io.BytesIO(b"hello"))


@pytest.mark.parametrize("what", ["tar", "image"])
def test_a_source_that_changes_meanwhile_fails_the_job(source, monkeypatch, what):
    write_csv(source / "t.csv", [HEAD, *rows_about(source)])
    tar_with(source)
    path = {"tar": source / "t.tar", "image": source / "i" / "07.jpg"}[what]

    def touch(workspace, plan):
        os.utime(path, (1, 1))

    between(monkeypatch, touch)
    fields = {"tar": {"webdataset": str(source / "t.tar")}, "image": of_table(source)}
    with pytest.raises(BuildError, match=f"Changed since .*{path.name}"):
        build(source / "out", **fields[what])
    assert not (source / "out" / "manifest.json").exists()


@pytest.mark.parametrize("how", ["lost pair", "lost reject", "miscounted"])
def test_books_that_do_not_balance_fail_the_job(source, monkeypatch, how):
    write_csv(source / "t.csv", [HEAD, *rows_about(source), ("no.jpg", "x", 0)])

    def lose(workspace, plan: JobPlan) -> JobPlan | None:
        kind = workspace.pairs if how == "lost pair" else workspace.rejects
        if how == "miscounted":
            return dataclasses.replace(plan, found=plan.found + 1)
        for bucket in range(256):
            path = Path(kind(bucket))
            if path.exists() and (lines := path.read_bytes().splitlines(True)):
                path.write_bytes(b"".join(lines[1:]))
                return None
        raise AssertionError("nothing to lose")

    between(monkeypatch, lose)
    result = build(source / "out", **of_table(source))
    assert result is not None and result.outcome is not None
    assert "the counts do not add up" in result.outcome.failures[0]
    assert not (source / "out" / "manifest.json").exists()


# Tars.


def test_a_tar_cut_short_keeps_its_whole_samples(source):
    tar_with(source)
    data = (source / "t.tar").read_bytes()
    (source / "t.tar").write_bytes(data[: len(data) // 2])
    fields = {"webdataset": str(source / "t.tar")}
    result = build(source / "out", **fields, max_rejects="50%", max_unpaired="50%")
    assert result is not None and result.outcome is not None
    assert 5 < result.outcome.accounting.written < 24
    (told,) = [one for one in rejects_of(source / "out") if one["key"] == "t.tar"]
    assert told["reason"] == "damaged_archive"


@pytest.mark.slow
def test_a_table_of_200_000_rows_is_accounted_for(source):
    names = [f"{n:02d}.jpg" for n in range(24)]
    with (source / "t.csv").open("w") as file:
        file.write("image,caption,id\n")
        for n in range(200_000):
            name = names[n % 24] if n % 20 else "gone.jpg"
            file.write(f"{name},caption {n},{n}\n")
    fields = of_table(source, key_column="id", plan_only=True, num_shards=None)
    result = build(source / "out", **fields)
    assert result is not None
    assert result.plan.found == 200_000
    assert result.plan.rejects == {"missing_image": 10_000}
    assert result.plan.num_pairs == 190_000


# Karpathy's split file.


@pytest.mark.parametrize("names", [("train", "val", "test", "restval"), ("val", "a")])
def test_the_splits_of_a_split_file_are_those_of_the_dataset(tmp_path, names):
    """The vocabulary is that of `train`, or of the first split without one."""
    (tmp_path / "i").mkdir()
    images, expected, words = [], {}, {}
    for number in range(24):
        name, split = f"COCO_{number:012d}.jpg", names[number % len(names)]
        (tmp_path / "i" / name).write_bytes(jpeg(number))
        sentences = [{"raw": f"A {split} image."}]
        images.append({"filename": name, "split": split, "sentences": sentences})
        stored = "train" if split == "restval" else split
        expected.setdefault(stored, set()).add(name.removesuffix(".jpg"))
        words.setdefault(stored, set()).update({"a", split, "image"})
    (tmp_path / "k.json").write_text(json.dumps({"images": images}))
    fields = {"coco": str(tmp_path / "k.json"), "images": str(tmp_path / "i")}
    output = tmp_path / "out"
    build(output, **fields, tokenizer="basic", num_shards=4)
    manifest = json.loads((output / "manifest.json").read_bytes())
    order = sorted(expected, key=lambda name: (name != "train", name))
    assert [split["name"] for split in manifest["splits"]] == order
    for split in order:
        rows = pq.read_table([*(output / "samples").glob(f"{split}-*")])
        assert {*rows["key"].to_pylist()} == expected[split]
    vocabulary = (output / "tokenizer/vocab.txt").read_text().split()
    assert {*vocabulary[4:]} == words[order[0]]
    assert build(output, **fields, tokenizer="basic", num_shards=4) is None

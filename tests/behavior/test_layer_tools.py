"""What `show`, `find`, `verify`, `report` and `select` say of layers."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import pytest
from pyarrow import parquet
from written_layers import Captions, write_layer

import reader
from reader.datasets.manifest_dataset import open_dataset


class Layered(NamedTuple):
    """A dataset with two layers, and what was put into them.

    Attributes:
        folder: Folder of the dataset.
        rows: Values of `clip-b32` by key, for two of three records.
        texts: Captions of `recap` by key, for all records.
    """

    folder: Path
    rows: dict[bytes, dict[str, Any]]
    texts: dict[bytes, list[str]]


@pytest.fixture(scope="module")
def layered(with_columns, tmp_path_factory) -> Layered:
    folder = tmp_path_factory.mktemp("layered") / "out"
    shutil.copytree(with_columns.folder, folder)
    rng = np.random.default_rng(1)
    keys = [b"%03d" % number for number in range(120)]
    rows = {
        key: {
            # Not exact in binary, but shown as they are here.
            "score": round(rng.random(), 4),
            "emb": [round(value, 2) for value in rng.random(4)],
            "label": f"é {key.decode()}",
        }
        for number, key in enumerate(keys)
        if number % 3
    }
    columns = {
        "score": ("float32", ()),
        "emb": ("float16", (4,)),
        "label": ("bytes", ()),
    }
    write_layer(folder, "clip-b32", columns, rows)
    texts = {key: [f"picture {key.decode()} again", "two"] for key in keys}
    dataset = open_dataset(folder)
    captions = Captions(
        texts,
        dataset.tokenizer().encode,
        dataset.manifest.tokenizer,
        dataset.tokenizer_data(),
    )
    write_layer(folder, "recap", captions=captions)
    return Layered(folder, rows, texts)


@pytest.fixture
def own(layered, tmp_path) -> Layered:
    """A copy to damage."""
    shutil.copytree(layered.folder, tmp_path / "out")
    return layered._replace(folder=tmp_path / "out")


def rebuild(folder: Path) -> None:
    """Makes the manifest that of another build of the same shards' names."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    manifest["splits"][0]["shards"][0]["crc32c"] = "00000000"
    path.write_text(json.dumps(manifest))


# show


def test_show_lists_layers_and_says_which_fit(own, diptych):
    out = diptych("show", own.folder, "--num=0").out
    assert "layer               examples     without" in out
    line = next(line for line in out.splitlines() if line.startswith("clip-b32"))
    assert line.split()[:3] == ["clip-b32", "80", "40"]
    assert line.endswith("score (float32), emb (float16[4]), label (bytes)")
    line = next(line for line in out.splitlines() if line.startswith("recap"))
    assert line.split()[1:3] == ["120", "0"]
    assert line.endswith("captions in place of the dataset's")
    layers = diptych("show", own.folder, "--num=0", "--json").json["layers"]
    assert [layer["name"] for layer in layers] == ["clip-b32", "recap"]
    assert layers[0]["books"]["records_without"] == 40
    assert layers[1]["replaces"] == ["captions"]
    rebuild(own.folder)
    (own.folder / "layers/recap/layer.json").unlink()
    out = diptych("show", own.folder, "--num=0").out
    assert "unusable: " in out
    assert "is a layer of another build" in out
    assert "recap is not a finished layer" in out
    layers = diptych("show", own.folder, "--num=0", "--json").json["layers"]
    assert all(layer["problem"] for layer in layers)


def test_show_of_a_step_has_the_values_of_layers(layered, diptych):
    step = ("--step=3", "--batch_size=12", "--seed=5", "--split=train")
    done = diptych("show", layered.folder, *step, "--layers=clip-b32,recap", "--json")
    places = done.json["places"]
    batches = reader.load(
        layered.folder, batch_size=12, seed=5, outputs=("key",), start_step=3
    )
    ((keys,), *_) = batches.as_numpy_iterator()
    assert [place["key"].encode() for place in places] == keys.tolist()
    for place in places:
        key, added = place["key"].encode(), place["added"]
        assert added["recap/caption"] == layered.texts[key]
        for column in ("score", "emb", "label"):
            expected = layered.rows.get(key, {}).get(column)
            assert added.get(f"clip-b32/{column}") == expected
    text = diptych("show", layered.folder, *step, "--layers=clip-b32,recap").out
    assert 'recap/caption  "picture ' in text
    assert "clip-b32/score  0." in text
    where = "--where=clip-b32/score > 0.5"
    assert diptych("show", layered.folder, *step[:2], where).status == 2
    few = diptych(
        "show",
        layered.folder,
        "--step=0",
        "--batch_size=12",
        where,
        "--layers=clip-b32",
        "--json",
    ).json["places"]
    assert all(place["added"]["clip-b32/score"] > 0.5 for place in few)
    done = diptych("show", layered.folder, "--layers=recap")
    assert (done.status, "--layers needs --step" in done.err) == (2, True)


# find


def test_find_shows_what_layers_add_to_a_record(own, diptych):
    for key in ("007", "009"):
        done = diptych("find", own.folder, key, "--json").json
        clip, recap = done["written"][0]["layers"]
        row = own.rows.get(key.encode(), {})
        assert clip["values"] == {f"clip-b32/{name}": row[name] for name in row}
        assert recap["values"]["recap/caption"] == own.texts[key.encode()]
    out = diptych("find", own.folder, "009").out
    assert "clip-b32  has nothing for it" in out
    assert 'recap/caption  "picture 009 again"' in out
    shard = done["written"][0]["shard"]
    (own.folder / "layers/recap" / shard).write_bytes(b"")
    out = diptych("find", own.folder, "009").out
    assert "recap  cannot be read: " in out
    assert "009: written" in out


# select


def test_select_chooses_by_columns_of_layers(own, diptych):
    where = "--where=clip-b32/score > 0.3 and extra/stars >= 2"
    done = diptych("select", own.folder, where, "--layers=clip-b32", "--json").json
    stars = {
        example[0]: example[1]
        for example in reader.open(own.folder, outputs=("key", "extra/stars"))
    }
    expected = {
        key.decode()
        for key, row in own.rows.items()
        if row["score"] > 0.3 and stars[key.decode()] >= 2
    }
    assert done["books"]["selected"] == len(expected)
    assert done["made_by"]["layers"] == ["clip-b32"]
    path = f"{own.folder}/layers/clip-b32"
    done = diptych("select", own.folder, where, f"--layers={path}", "--name=good")
    assert done.status == 0
    found = {key for (key,) in reader.open(own.folder, select="good", outputs=("key",))}
    assert found == expected
    flags = ("--top=5", "--by=clip-b32/score", "--name=best", "--layers=clip-b32")
    assert diptych("select", own.folder, *flags).status == 0
    best = {key for (key,) in reader.open(own.folder, select="best", outputs=("key",))}
    by_score = sorted(own.rows, key=lambda key: -own.rows[key]["score"])
    assert best == {key.decode() for key in by_score[:5]}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--where=clip-b32/score > 0.3"], "clip-b32/score"),
        (["--where=clip-b32/nope > 1", "--layers=clip-b32"], "clip-b32/nope"),
        (["--where=width > 1", "--layers=clip-b3"], "has no layer clip-b3"),
        (["--where=width > 1", "--layers=a,,b"], "must be names"),
    ],
)
def test_select_refuses_what_no_layer_has(layered, diptych, flags, said):
    done = diptych("select", layered.folder, *flags)
    assert (done.status, said in done.err) == (2, True)


# verify


@pytest.mark.parametrize(
    "command", [("verify",), ("show",), ("find", "x"), ("report",)], ids=" ".join
)
def test_a_folder_of_layers_is_no_dataset(layered, diptych, command):
    name, *more = command
    done = diptych(name, layered.folder / "layers", *more)
    assert done.status == 1
    assert f"holds the layers of {layered.folder}" in done.err
    assert f"pass {layered.folder}, and layers=" in done.err


def test_verify_checks_layers(own, diptych):
    done = diptych("verify", own.folder)
    assert (done.status, "2 layers" in done.out) == (0, True)
    shard = next((own.folder / "layers/clip-b32").glob("*-00002-*.tfrecord"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    (own.folder / "layers/recap/index/blocks.bin").write_bytes(b"")
    done = diptych("verify", own.folder, "--json")
    assert done.status == 1
    problems = {
        Path(problem["path"]).relative_to(own.folder).as_posix(): problem
        for problem in done.json["problems"]
    }
    damaged = problems[f"layers/clip-b32/{shard.name}"]
    assert damaged["remedy"] == "layer"
    assert (
        "checksum does not match layer.json"
        in problems["layers/recap/index/blocks.bin"]["what"]
    )
    assert [repair["command"] for repair in done.json["repair"]] == [
        f"diptych layer {own.folder} --name={name} … --repair"
        for name in ("clip-b32", "recap")
    ]
    found = [p for p in done.json["problems"] if p["offset"] is not None]
    assert [p["key"].encode() in own.texts for p in found] == [True]


def changed(layer: Path, change: Any) -> None:
    fields = json.loads((layer / "layer.json").read_bytes())
    change(fields)
    (layer / "layer.json").write_text(json.dumps(fields))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f["books"].update(written=81), "do not add up"),
        (
            lambda f: f["books"].update(written=81, found=81, records_without=39),
            "40 records have nothing added, but it counts 39",
        ),
        (lambda f: f["features"][1].update(float16=[5]), "feature clip-b32/emb does"),
        (lambda f: f["files"].pop("rejects.jsonl"), "no checksum for rejects.jsonl"),
        (
            lambda f: f["books"].update(found=81, not_written={"unknown_key": 1}),
            "0 lines, but layer.json counts 1 rejects",
        ),
        (lambda f: f["base"][0].__setitem__(2, "00000000"), "of another build"),
    ],
    ids=range(6),
)
def test_verify_finds_what_contradicts_a_layer(own, diptych, change, said):
    changed(own.folder / "layers/clip-b32", change)
    done = diptych("verify", own.folder)
    assert (done.status, said in done.err) == (1, True)
    assert f"diptych layer {own.folder} --name=clip-b32 … --" in done.err


def test_verify_counts_the_captions_of_a_layer(own, diptych):
    def change(fields: Any) -> None:
        fields["statistics"]["train"]["unknown_tokens"] += 1

    changed(own.folder / "layers/recap", change)
    done = diptych("verify", own.folder)
    assert done.status == 1
    assert "layer.json: the statistics of train do not match its records" in done.err


def test_verify_compares_the_keys_of_a_layer(own, diptych):
    (table, *_) = sorted((own.folder / "layers/clip-b32/samples").iterdir())
    rows = parquet.read_table(table)
    parquet.write_table(rows.take([1, 0, *range(2, len(rows))]), table)
    crc = google_crc32c.value(table.read_bytes())
    name = f"samples/{table.name}"
    changed(
        own.folder / "layers/clip-b32",
        lambda fields: fields["files"].update({name: f"{crc:08x}"}),
    )
    done = diptych("verify", own.folder)
    assert done.status == 1
    assert f"{name}: its keys are not those of the dataset's records" in done.err


def test_verify_walks_an_epoch_chosen_by_a_layer(layered, diptych):
    flags = ("--epoch=0", "--batch_size=8", "--where=clip-b32/score > 0.3")
    done = diptych("verify", layered.folder, *flags, "--layers=clip-b32", "--json").json
    num = sum(row["score"] > 0.3 for row in layered.rows.values())
    assert done["num_examples"] == num
    assert diptych("verify", layered.folder, "--layers=clip-b32").status == 2


# report


def test_the_report_lists_layers(own, diptych):
    rebuild(own.folder)
    changed(
        own.folder / "layers/recap", lambda f: f["base"][0].__setitem__(2, "00000000")
    )
    assert diptych("report", own.folder, "--samples=0").status == 0
    page = (own.folder / "report.html").read_text()
    section = page[page.index('id="layers"') : page.index('id="examples"')]
    row = section[section.index("recap") :]
    assert '<td class="number">120</td>' in row
    assert "place of the dataset" in row
    assert "is a layer of another build" in section
    assert '<a href="#layers">' in page

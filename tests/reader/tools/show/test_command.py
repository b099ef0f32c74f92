"""Tests `diptych show`: the page, and the keys of a step against `reader.load`."""

import itertools
import json
import re

import pytest
import tensorflow as tf
from flawed import write_flawed_sample

import reader
from reader.contract.record import frame_record
from reader.storage.tfrecord_file import read_shard


def test_the_page_has_what_there_is(diptych, flawed):
    _, out = flawed
    done = diptych("show", out)
    assert (done.status, done.err) == (0, "")
    for part in (
        "40 examples in 2 shards",
        "42 keys found",
        "40 written",
        "1 rejected",
        "(1 not_an_image)",
        "1 unpaired",
        "(1 unpaired_caption)",
        "jpeg, quality 90, 4:2:0, resize shorter_side 256",
        "basic, ",
        "image/source_id",
        'reader.load("',
        "scene-",
    ):
        assert part in done.out


def test_the_bars_of_the_books_are_as_long_as_their_shares(diptych, flawed):
    _, out = flawed
    lines = diptych("show", out).out.splitlines()
    (written,) = (line for line in lines if " written" in line)
    assert written.count("█") == round(22 * 40 / 42)
    assert written.endswith("95.2%")


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_the_books_fit_the_terminal(diptych, build, tmp_path, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    source = write_flawed_sample(tmp_path / "source", 12)
    for number, data in enumerate((b"", b"\xff\xd8\xff\xe0 no more")):
        (source / f"images/bad-{number}.jpg").write_bytes(data)
        (source / f"captions/bad-{number}.txt").write_text("bad")
    folders = source / "images", source / "captions", tmp_path / "out"
    out = build(*folders, num_shards=1, max_rejects="50%")
    page = diptych("show", out, "--num=0").out
    splits, accounting, *_ = page.split("\n\n")[1:]
    assert max(map(len, f"{splits}\n{accounting}".splitlines())) <= columns
    assert "100.0%" in splits
    for reasons in ("1 damaged_image, 2 not_an_image", "1 unpaired_caption"):
        assert reasons in " ".join(accounting.split())


def test_what_has_no_effect_without_step_is_refused(diptych, dataset):
    for flag in ("--split=train", "--batch_size=4", "--no_shuffle", "--seed=1"):
        done = diptych("show", dataset, flag)
        assert (done.status, done.out) == (2, "")
        assert f"{flag.partition('=')[0]} needs --step" in done.err


def test_json_has_the_manifest_and_the_examples(diptych, flawed):
    _, out = flawed
    fields = diptych("show", out, "--num=2", "--json").json
    manifest = json.loads((out / "manifest.json").read_text())
    for name in ("books", "image", "tokenizer", "fingerprints", "config"):
        assert fields[name] == manifest[name]
    expected = [*itertools.islice(reader.open(out, outputs=("key", "captions")), 2)]
    assert [(e["key"], e["captions"]) for e in fields["examples"]] == expected


def test_what_the_call_says_can_be_loaded(diptych, dataset):
    out = diptych("show", dataset).out
    (call,) = re.findall(r"^  (reader\.load\(.*\))$", out, re.M)
    batches = eval(call, {"reader": reader})
    assert next(iter(batches))["image"].shape[0] > 0


def test_warnings_are_on_the_page(diptych, own_dataset):
    path = own_dataset / "manifest.json"
    fields = json.loads(path.read_text())
    fields["splits"][0]["statistics"]["unknown_tokens"] = 10_000
    path.write_text(json.dumps(fields))
    assert re.search(
        r"warning: \d+% of the words of train", diptych("show", own_dataset).out
    )


def test_hostile_captions_are_spelled_out(diptych, build, sample, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    picture = next((sample / "images").glob("*.png")).read_bytes()
    (source / "\x1b]0;title\x07.png").write_bytes(picture)
    (source / "\x1b]0;title\x07.txt").write_text(
        "\u202egnp.exe \U000e0041 " + "word " * 99
    )
    out = build(source, source, tmp_path / "out", num_shards=1)
    shown = diptych("show", out).out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\U000e0041]", shown)
    assert r"\x1b]0;title\x07" in shown
    assert max(map(len, shown.splitlines())) <= 200


@pytest.mark.parametrize("data", ["{}", "[]", "{"])
def test_a_damaged_manifest_ends_with_1(diptych, own_dataset, data):
    (own_dataset / "manifest.json").write_text(data)
    done = diptych("show", own_dataset)
    assert (done.status, done.out) == (1, "")
    assert "manifest" in done.err


# Foreign TFRecords.


@pytest.fixture
def foreign(dataset, tmp_path):
    """Folder with records of a dataset in two files, without a manifest."""
    for number, shard in enumerate(sorted(dataset.glob("train-*"))[:2]):
        with open(tmp_path / f"x-{number:05}-of-00002.tfrecord", "wb") as file:
            for record in read_shard(str(shard)):
                header, footer = frame_record(record.data)
                file.write(header + record.data + footer)
    return tmp_path


def test_tfrecords_of_others_are_shown(diptych, foreign):
    pattern = f"{foreign}/x-*.tfrecord"
    done = diptych("show", pattern, "--num=2")
    assert done.status == 0
    assert re.search(r"^\d+ records in 2 files", done.out, re.M)
    assert re.search(r"image/encoded +bytes +1  image$", done.out, re.M)
    assert re.search(r"caption/ids +int64 +\d+ to \d+  ids$", done.out, re.M)
    fields = diptych("show", pattern, "--num=2", "--json").json
    opened = reader.open(pattern, outputs=("key", "captions"))
    assert fields["num_examples"] == len(opened)
    assert [(e["key"], e["captions"]) for e in fields["examples"]] == [
        opened[0],
        opened[1],
    ]


@pytest.mark.parametrize("name", ["pets_examples", "test", "train"])
def test_real_tfrecords_of_others_are_shown(diptych, shared_data, name):
    done = diptych("show", shared_data / f"tfrecords/{name}.record")
    assert done.status == 0
    assert "image/encoded" in done.out


def write_captions(path, captions):
    """Writes a record per list of captions, with an image and a long feature name."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for texts in captions:
            features = {"image": [b"?"], "caption": texts, LONG: [b"x"]}
            lists = {k: tf.train.BytesList(value=v) for k, v in features.items()}
            message = tf.train.Example()
            for name, values in lists.items():
                message.features.feature[name].bytes_list.CopyFrom(values)
            message.features.feature["never"].int64_list.SetInParent()
            writer.write(message.SerializeToString())
    return path


LONG = "image/object/of/a/name/that/is/long"


def test_features_are_those_of_all_records_that_are_looked_at(diptych, tmp_path):
    # The caption feature is listed although the first record has no caption.
    captions = [[], [b"a"], [b"b", b"c"], *[[b"d"]] * 97]
    path = write_captions(tmp_path / "x.tfrecord", captions)
    done = diptych("show", path, "--num=0")
    assert (done.status, done.err) == (0, "")
    assert re.search(r"^features of 64 records +type", done.out, re.M)
    assert re.search(r"^  caption +bytes +0 to \d  caption$", done.out, re.M)
    assert re.search(rf"^  {LONG} +bytes +1$", done.out, re.M)
    assert re.search(r"^  never +0$", done.out, re.M)
    fields = diptych("show", path, "--num=0", "--json").json
    assert fields["num_looked_at"] == 64
    found = {feature.pop("key"): feature for feature in fields["features"]}
    assert found["image"] == {
        "dtype": "bytes",
        "min_values": 1,
        "max_values": 1,
        "read_as": "image",
    }
    assert found["never"]["dtype"] is None


def test_a_record_of_something_else_is_named(diptych, tmp_path):
    path = write_captions(tmp_path / "x.tfrecord", [[b"a"]])
    size = path.stat().st_size
    with open(path, "ab") as file:
        data = b"\xff no message"
        header, footer = frame_record(data)
        file.write(header + data + footer)
    assert diptych("show", path, "--num=1").status == 0
    done = diptych("show", path)
    assert done.status == 1
    assert "not a tf.train.Example" in done.err and f"{path} at byte {size}" in done.err


def test_what_is_said_to_read_them_with_does(diptych, tmp_path, shared_data):
    (file,) = shared_data.glob("tfrecords/test.record")
    few = tmp_path / "few.tfrecord"
    records = itertools.islice(tf.data.TFRecordDataset(str(file)), 3)
    with tf.io.TFRecordWriter(str(few)) as writer:
        for record in records:
            writer.write(record.numpy())
    done = diptych("show", few)
    assert re.search(r"^features +type", done.out, re.M)
    (call,) = re.findall(r"^  (reader\.load\(.*\))$", done.out, re.M)
    (batch,) = eval(call)
    assert batch["image"].shape == (3, 224, 224, 3)
    captioned = write_captions(tmp_path / "captioned.tfrecord", [[], [b"a"]])
    call = 'batch_size=2, image_size=224, outputs=("image", "caption"))'
    assert call in diptych("show", captioned).out


@pytest.mark.parametrize("pattern", ["nothing", "nothing/*.tfrecord", "x.tfrecord"])
def test_nothing_there_ends_with_1(diptych, tmp_path, monkeypatch, pattern):
    monkeypatch.chdir(tmp_path)
    done = diptych("show", pattern)
    assert (done.status, done.out) == (1, "")
    assert f"no manifest.json in {pattern}/" in done.err


# The keys of a step.


def delivered(pattern, step: int, **settings) -> list[str | None]:
    """Returns the keys of a batch from `reader.load`; None for padding."""
    outputs = ("key", "valid") if settings.get("remainder") == "pad" else ("key",)
    batches = reader.load(pattern, start_step=step, outputs=outputs, **settings)
    keys, *valid = next(batches.as_numpy_iterator())
    there = valid[0] if valid else [True] * len(keys)
    return [k.decode() if v else None for k, v in zip(keys, there, strict=True)]


SETTINGS = [
    {},
    {"seed": 7},
    {"shuffle_bytes": 1},
    {"shuffle": False},
    {"host_count": 2, "host_index": 1},
    {"host_count": 4, "host_index": 3, "seed": 3},
    {"host_count": 2, "host_index": 1, "shuffle": False},
    {"remainder": "pad"},
    {"remainder": "pad", "shuffle": False, "host_count": 4, "host_index": 3},
]


def flags(settings: dict) -> list[str]:
    return [
        "--no_shuffle" if name == "shuffle" else f"--{name}={value}"
        for name, value in settings.items()
    ]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
# 509 records in batches of 100: five batches per epoch, or six with padding.
@pytest.mark.parametrize("step", [0, 3, 5, 11])
def test_a_step_has_the_keys_that_load_delivers(diptych, many, step, settings):
    args = ["show", many, f"--step={step}", "--batch_size=100", *flags(settings)]
    fields = diptych(*args, "--json").json
    keys = [place["key"] for place in fields["places"]]
    assert keys == delivered(str(many), step, batch_size=100, **settings)
    steps = 6 if settings.get("remainder") == "pad" else 5
    assert (fields["epoch"], fields["step_of_epoch"]) == divmod(step, steps)


def test_a_split_is_taken_and_each_place_is_listed(diptych, dataset):
    args = ["show", dataset, "--step=2", "--split=validation", "--batch_size=4"]
    done = diptych(*args)
    assert done.status == 0
    title, *lines = done.out.splitlines()
    assert title == "step 2: step 2 of epoch 0"
    keys = delivered(str(dataset), 2, split="validation", batch_size=4)
    assert [line.split()[-1] for line in lines] == keys


def test_places_that_are_filled_up_are_told(diptych, dataset):
    args = ["show", dataset, "--step=0", "--split=validation", "--batch_size=20"]
    lines = diptych(*args, "--remainder=pad").out.splitlines()
    assert sum("(padding)" in line for line in lines) == 8


def test_a_damaged_record_does_not_hide_the_others(diptych, own_dataset):
    for shard in own_dataset.glob("validation-*.tfrecord"):
        data = bytearray(shard.read_bytes())
        data[500] ^= 0xFF
        shard.write_bytes(data)
    args = ["show", own_dataset, "--step=0", "--split=validation", "--batch_size=12"]
    places = diptych(*args, "--json").json["places"]
    problems = [place["problem"] for place in places]
    assert sum(problem is not None for problem in problems) == 1
    assert sum(place["key"] is not None for place in places) == 11


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--step=0"], "--step needs --batch_size"),
        (["--step=-1", "--batch_size=4"], "step must be at least 0, got -1"),
        (["--step=0", "--batch_size=0"], "batch_size must be at least 1"),
        (["--step=0", "--batch_size=4", "--host_count=3"], "divisible by host_count"),
        (["--step=0", "--batch_size=4"], "pass split="),
    ],
)
def test_a_step_that_there_is_none_of_is_refused(diptych, dataset, args, message):
    done = diptych("show", dataset, *args)
    assert (done.status, done.out) == (2, "")
    assert message in done.err

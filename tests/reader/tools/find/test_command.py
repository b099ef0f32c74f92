"""Tests `diptych find`: checks its results against the sources and the records."""

import hashlib
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

import reader
from reader.contract.record import parse_example
from reader.contract.schema import KEY
from reader.storage.tfrecord_file import read_shard

WRITTEN = "scene-00003"


def record_at(out: Path, shard: str, offset: int) -> bytes:
    """Returns the key of the record at a byte offset."""
    (found,) = (r for r in read_shard(str(out / shard)) if r.offset == offset)
    return parse_example(found.data)[KEY][0]


def test_a_key_is_found_where_it_lies(diptych, flawed):
    source, out = flawed
    done = diptych("find", out, WRITTEN, "--json")
    assert done.status == 0
    assert done.json["status"] == "written"
    (found,) = done.json["written"]
    facts = found["facts"]
    assert record_at(out, found["shard"], facts["offset"]) == WRITTEN.encode()
    with (out / found["shard"]).open("rb") as file:
        file.seek(facts["offset"])
        assert WRITTEN.encode() in file.read(facts["length"])
    opened = reader.open(out, split=found["split"], outputs=("key", "captions"))
    assert opened[found["number"]] == (WRITTEN, facts["captions"])
    text = (source / "captions" / f"{WRITTEN}.txt").read_text().strip()
    assert facts["captions"] == [text]


def test_every_record_and_every_reject_is_found_by_its_key(diptych, flawed):
    _, out = flawed
    for number, (key,) in enumerate(reader.open(out, outputs=("key",))):
        (found,) = diptych("find", out, key, "--json").json["written"]
        assert found["number"] == number
    for key in ("alone", "bad"):
        assert diptych("find", out, key, "--json").json["status"] == "rejected"


def test_the_page_tells_it_all(diptych, flawed):
    _, out = flawed
    shown = diptych("find", out, WRITTEN).out
    for part in (f"{WRITTEN}: written", f"{out}/train-", "row ", "tokens)", "sha256"):
        assert part in shown


@pytest.mark.parametrize(
    ("key", "reason", "source"),
    [("alone", "unpaired_caption", "alone.txt"), ("bad", "not_an_image", "bad.png")],
)
def test_what_was_rejected_is_found_with_its_reason(
    diptych, flawed, key, reason, source
):
    _, out = flawed
    done = diptych("find", out, key)
    assert done.status == 0
    assert f"{key}: not written\n  reason    {reason}" in done.out
    (found,) = diptych("find", out, f"photos/{source}", "--json").json["rejected"]
    assert (found["facts"]["key"], found["facts"]["reason"]) == (key, reason)


@pytest.mark.parametrize("digits", [8, 20, 64])
def test_an_image_is_found_by_its_checksum(diptych, flawed, digits):
    source, out = flawed
    data = (source / "images" / f"{WRITTEN}.png").read_bytes()
    prefix = hashlib.sha256(data).hexdigest()[:digits]
    for text in (prefix, prefix.upper()):
        (found,) = diptych("find", out, text, "--json").json["written"]
        assert (found["by"], found["facts"]["key"]) == ("sha256", WRITTEN)


def test_files_are_found_by_content_and_by_name(diptych, flawed, tmp_path):
    source, out = flawed
    image = source / "images" / f"{WRITTEN}.png"
    renamed = tmp_path / "other name.png"
    renamed.write_bytes(image.read_bytes())
    changed = tmp_path / f"{WRITTEN}.png"
    changed.write_bytes(b"another image")
    expected = {
        image: "content",
        renamed: "content",
        source / "captions" / f"{WRITTEN}.txt": "caption_source",
        changed: "source",
        Path(f"not/here/{WRITTEN}.png"): "source",
    }
    for path, by in expected.items():
        (found,) = diptych("find", out, path, "--json").json["written"]
        assert (found["by"], found["facts"]["key"]) == (by, WRITTEN), path
    assert "it has changed" in diptych("find", out, changed).out
    assert "it has changed" not in diptych("find", out, image).out


def test_of_equal_images_the_one_of_that_name_is_found(
    diptych, build, sample, tmp_path
):
    source = tmp_path / "source"
    source.mkdir()
    data = (sample / "images" / f"{WRITTEN}.png").read_bytes()
    for name in ("one", "two", "three"):
        (source / f"{name}.png").write_bytes(data)
        (source / f"{name}.txt").write_text(f"picture {name}")
    out = build(source, source, tmp_path / "out", num_shards=1)
    fields = diptych("find", out, source / "two.png", "--json").json
    assert [found["facts"]["key"] for found in fields["written"]] == ["two"]
    assert fields["num_others"] == 2
    by_sum = diptych("find", out, hashlib.sha256(data).hexdigest(), "--json").json
    assert len(by_sum["written"]) == 3


def test_what_was_never_seen_ends_with_1_and_names_the_nearest(diptych, flawed):
    _, out = flawed
    done = diptych("find", out, "scene_00003")
    assert done.status == 1
    assert "scene_00003: not found" in done.out
    assert "nearest  scene-00003" in done.out
    fields = diptych("find", out, "photos/2026/baad.png", "--json").json
    assert (fields["status"], fields["nearest"]) == ("unknown", ["bad"])


def test_a_key_with_folders_and_odd_characters_is_found(
    diptych, build, sample, tmp_path
):
    source = tmp_path / "source"
    picture = (sample / "images" / f"{WRITTEN}.png").read_bytes()
    keys = ["park/é 犬", 'park/"quoted" \\back', "a.b.c", "park/x\x1b[2J"]
    for key in keys:
        (source / key).parent.mkdir(parents=True, exist_ok=True)
        (source / f"{key}.png").write_bytes(picture)
        (source / f"{key}.txt").write_text("a scene")
    (source / 'park/only "text".txt').write_text("alone")
    out = build(source, source, tmp_path / "out", num_shards=1, max_unpaired="50%")
    for key in keys:
        (found,) = diptych("find", out, key, "--json").json["written"]
        assert found["facts"]["key"] == key
        assert "\x1b" not in diptych("find", out, key).out
    apart = unicodedata.normalize("NFD", keys[0])
    assert diptych("find", out, apart, "--json").json["status"] == "written"
    assert (
        diptych("find", out, 'park/only "text"', "--json").json["status"] == "rejected"
    )


def test_columns_are_told_too(diptych, sample, tmp_path):
    image = next((sample / "images").iterdir())
    table = tmp_path / "table.csv"
    table.write_text(f"file_name,caption,score\n{image.name},a scene,0.5\n")
    out = tmp_path / "out"
    args = ["build", f"--table={table}", f"--images={image.parent}"]
    assert diptych(*args, "--columns=score:float", f"--output={out}").status == 0
    assert "extra/score  0.5" in diptych("find", out, image.stem).out


def test_without_pyarrow_the_records_are_searched(flawed):
    source, out = flawed
    image = source / "images" / f"{WRITTEN}.png"
    code = f"""
import sys

sys.modules["pyarrow"] = sys.modules["tensorflow"] = None
from reader.tools.find.search import find

for wanted in ({WRITTEN!r}, {str(image)!r}, "photos/{WRITTEN}.jpg"):
    (found,) = find({str(out)!r}, wanted).written
    print(found.facts["key"], found.by)
print(find({str(out)!r}, "scene_00003").nearest[0])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        f"{WRITTEN} key",
        f"{WRITTEN} content",
        f"{WRITTEN} source",
        WRITTEN,
    ]
    assert done.stderr.count("reading records instead") == 4


def test_damaged_side_files_do_not_hide_a_record(diptych, own_dataset):
    for path in (own_dataset / "samples").iterdir():
        path.write_bytes(b"PAR1")
    (own_dataset / "rejects.jsonl").unlink()
    (own_dataset / "validation-00000-of-00001.tfrecord").unlink()
    first = own_dataset / "train-00000-of-00003.tfrecord"
    data = bytearray(first.read_bytes())
    data[100] ^= 1
    first.write_bytes(data)
    *_, last = read_shard(str(own_dataset / "train-00002-of-00003.tfrecord"))
    kept = parse_example(last.data)[KEY][0].decode()
    done = diptych("find", own_dataset, kept, "--json")
    assert [found["facts"]["key"] for found in done.json["written"]] == [kept]


def test_what_cannot_be_looked_for_is_refused(diptych, dataset, tmp_path):
    assert diptych("find", dataset, "").status == 2
    assert diptych("find", dataset).status == 2
    assert diptych("find", tmp_path, "key").status == 1


@pytest.mark.parametrize("line", [b"{", b"[]", b'{"key": "scene-00003"}'])
def test_a_damaged_line_of_rejects_is_named(diptych, own_dataset, line):
    (own_dataset / "rejects.jsonl").write_bytes(line + b"\n")
    done = diptych("find", own_dataset, "never-there")
    assert done.status == 1
    assert f"{own_dataset}/rejects.jsonl is damaged" in done.err

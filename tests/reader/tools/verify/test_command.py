"""Tests `diptych verify` on damaged datasets."""

import io
import os
import random
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE_SECONDS
from PIL import Image

import reader
from reader.contract.record import frame_record, parse_example, serialize_example
from reader.contract.schema import FEATURES, HEIGHT, IMAGE, KEY
from reader.storage.tfrecord_file import read_shard

SHARD = "train-00000-of-00003.tfrecord"


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def rewrite(shard: Path, place: int, **features: list) -> int:
    """Changes values of a record, with valid checksums; returns its byte offset."""
    records = list(read_shard(str(shard)))
    values = parse_example(records[place].data) | features
    data = serialize_example({f.key: (f.dtype, values[f.key]) for f in FEATURES})
    parts = [record.data for record in records]
    parts[place] = data
    framed = (
        b"".join([header, part, footer])
        for part in parts
        for header, footer in [frame_record(part)]
    )
    shard.write_bytes(b"".join(framed))
    return records[place].offset


def keys_of(shard: Path) -> list[str]:
    return [parse_example(r.data)[KEY][0].decode() for r in read_shard(str(shard))]


def test_an_intact_dataset_ends_with_0(diptych, dataset):
    done = diptych("verify", dataset)
    assert (done.status, done.err) == (0, "")
    assert re.match(
        r"4 shards, 60 examples, .* KiB: all checksums, counts and keys are correct\n$",
        done.out,
    )


def test_json_tells_that_all_is_well(diptych, dataset):
    fields = diptych("verify", dataset, "--json", "--decode").json
    assert fields["ok"] is True
    assert (fields["problems"], fields["repair"], fields["mend"]) == ([], [], [])
    assert (fields["num_shards"], fields["num_examples"]) == (4, 60)
    assert fields["decoded"] is True


def test_all_that_is_wrong_is_listed_behind_a_damaged_length_too(diptych, own_dataset):
    shard = own_dataset / SHARD
    records, keys = list(read_shard(str(shard))), keys_of(shard)
    # A damaged length hides the offset of the next record; the index has it.
    flip(shard, records[2].offset)
    flip(shard, records[7].offset + 500)
    flip(shard, records[7].offset + 900)
    flip(shard, records[-1].offset + 20)
    done = diptych("verify", own_dataset, "--json")
    assert done.status == 1
    found = [p for p in done.json["problems"] if p["offset"] is not None]
    expected = [(records[n].offset, keys[n]) for n in (2, 7, len(records) - 1)]
    assert [(p["offset"], p["key"]) for p in found] == expected
    assert done.json["num_examples"] == 57
    assert [p["what"] for p in done.json["problems"] if p["offset"] is None] == [
        "17 readable records, but the manifest states 20"
    ]


def test_a_damaged_length_without_an_index_ends_the_shard_and_says_so(
    diptych, own_dataset
):
    records = list(read_shard(str(own_dataset / SHARD)))
    flip(own_dataset / SHARD, records[2].offset)
    (own_dataset / f"index/{SHARD}.idx").unlink()
    found = diptych("verify", own_dataset, "--json").json["problems"]
    assert any(p["what"].startswith("2 readable records, but") for p in found)


def test_other_shards_and_files_are_checked_whatever_one_is_like(diptych, own_dataset):
    (own_dataset / SHARD).unlink()
    (own_dataset / SHARD).mkdir()
    (own_dataset / "index/blocks.bin").unlink()
    flip(own_dataset / "validation-00000-of-00001.tfrecord", 100)
    found = {
        Path(p["path"]).name
        for p in diptych("verify", own_dataset, "--json").json["problems"]
    }
    assert found == {SHARD, "blocks.bin", "validation-00000-of-00001.tfrecord"}


@pytest.mark.parametrize(
    "name",
    [
        "train-00003-of-00003.tfrecord",
        "train-00000-of-00003 copy.tfrecord",
        "two\nlines, it's \x1b[2J.tfrecord",
    ],
)
def test_what_a_glob_would_catch_too_is_told_and_the_command_removes_it(
    diptych, own_dataset, name
):
    shutil.copy(own_dataset / SHARD, own_dataset / name)
    with pytest.raises(reader.DatasetError, match="not part of the dataset"):
        reader.open(f"{own_dataset}/t*.tfrecord")
    done = diptych("verify", own_dataset)
    assert (done.status, "\x1b" in done.err) == (1, False)
    (line,) = done.err.split("to repair:\n")[1].splitlines()
    subprocess.run(["bash", "-c", line], check=True)
    assert not (own_dataset / name).exists()
    assert diptych("verify", own_dataset).status == 0


def test_what_may_not_be_read_is_told_and_the_command_mends_it(own_dataset):
    denied = [own_dataset / SHARD, own_dataset / "features.json", own_dataset / "index"]
    for path in denied:
        path.chmod(0)
    # Root can read every file unless it drops these capabilities.
    rights = "-dac_override,-dac_read_search"
    drop = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
    command = [*(drop if os.geteuid() == 0 else []), sys.executable, "-m", "reader"]
    verify = [*command, "verify", str(own_dataset)]
    done = subprocess.run(verify, capture_output=True, text=True)
    assert done.returncode == 1
    found, commands = done.stderr.split("to repair:\n")
    assert all(f"{path}: cannot be read (Perm" in found for path in denied)
    assert "index/blocks.bin: cannot be read" in found
    assert "--repair" not in commands  # A repair could not read the files either.
    subprocess.run(["bash", "-c", commands], check=True)
    assert subprocess.run(verify).returncode == 0


def test_the_terminal_has_so_many_problems_and_json_has_all(diptych, own_dataset):
    shard = own_dataset / SHARD
    for record in list(read_shard(str(shard))):
        flip(shard, record.offset + 100)
    done = diptych("verify", own_dataset, "--limit=5")
    lines = done.err.splitlines()
    assert lines[5] == "… and 16 more: use --limit=N or --json to list them"
    assert lines[6] == "to repair:"
    assert "21 problems in 4 shards, 40 examples readable" in done.out
    assert len(diptych("verify", own_dataset, "--json").json["problems"]) == 21
    assert diptych("verify", own_dataset, "--limit=-1").status == 2


def test_the_command_that_is_named_mends(diptych, sample, tmp_path):
    out = tmp_path / "with space"
    command = ["build", f"--images={sample}/images", f"--captions={sample}/captions"]
    command += ["--captions_per_file=lines", "--num_shards=3"]
    assert diptych(*command, f"--output={out}").status == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    rng = random.Random(0)
    for path in before:
        if path.name not in ("manifest.json", "rejects.jsonl"):
            flip(path, rng.randrange(path.stat().st_size))
    done = diptych("verify", out, "--json")
    assert done.status == 1
    (repair,) = done.json["repair"]
    assert done.json["mend"] == [repair]
    words = shlex.split(repair["command"])
    assert words[:3] == ["diptych", "build", "…"]
    assert diptych(*command, *words[3:]).status == 0
    assert diptych("verify", out).status == 0
    assert before == {path: path.read_bytes() for path in before}


def test_what_is_no_part_of_the_dataset_is_to_be_removed(diptych, own_dataset):
    stray = own_dataset / "train-00000-of-00009.tfrecord"
    shutil.copy(own_dataset / SHARD, stray)
    (repair,) = diptych("verify", own_dataset, "--json").json["repair"]
    subprocess.run(["bash", "-euc", repair["command"]], check=True)
    assert diptych("verify", own_dataset).status == 0


def test_a_wrong_manifest_is_not_to_be_repaired(diptych, own_dataset):
    path = own_dataset / "manifest.json"
    path.write_text(path.read_text().replace('"found": 60', '"found": 61'))
    fields = diptych("verify", own_dataset, "--json").json
    assert [p["remedy"] for p in fields["problems"]] == ["overwrite"]
    assert fields["repair"][0]["command"].endswith("--overwrite")


def test_a_damaged_shard_does_not_put_the_manifest_in_doubt(diptych, own_dataset):
    flip(own_dataset / SHARD, 300)
    fields = diptych("verify", own_dataset, "--json").json
    assert {p["remedy"] for p in fields["problems"]} == {"repair"}


# Images.


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2] + b"\xff\xd9"


def test_images_are_decoded_when_asked_for(diptych, own_dataset):
    shard = own_dataset / SHARD
    keys = keys_of(shard)
    image = parse_example(list(read_shard(str(shard)))[3].data)[IMAGE][0]
    offset = rewrite(shard, 3, **{IMAGE: [truncated(image)]})
    # The record's checksums are valid: without decoding, only the file's is wrong.
    without = diptych("verify", own_dataset, "--json").json["problems"]
    assert [p["offset"] for p in without] == [None]
    found = diptych("verify", own_dataset, "--decode", "--json").json["problems"]
    (flaw,) = (p for p in found if p["offset"] is not None)
    assert (flaw["offset"], flaw["key"]) == (offset, keys[3])
    assert "image does not decode" in flaw["what"]


def test_an_image_of_another_size_than_it_says_is_told(diptych, own_dataset):
    shard = own_dataset / SHARD
    height = parse_example(list(read_shard(str(shard)))[5].data)[HEIGHT][0]
    offset = rewrite(shard, 5, **{HEIGHT: [height + 1]})
    found = diptych("verify", own_dataset, "--decode", "--json").json["problems"]
    assert [p["offset"] for p in found if "pixels" in p["what"]] == [offset]


@pytest.mark.parametrize("image_format", ["png", "raw"])
def test_images_of_every_format_are_decoded(build, sample, tmp_path, image_format):
    out = build(
        sample / "images",
        sample / "captions",
        tmp_path / "out",
        image_format=image_format,
        image_size=64,
        num_shards=1,
    )
    shard = out / "train-00000-of-00001.tfrecord"
    assert reader.verify(out, decode=True).problems == []
    image = parse_example(next(read_shard(str(shard))).data)[IMAGE][0]
    rewrite(shard, 0, **{IMAGE: [image[:-40]]})
    flaws = [p for p in reader.verify(out, decode=True).problems if p.offset == 0]
    assert len(flaws) == 1


# Processes.


def test_workers_find_what_one_process_finds(own_dataset):
    for file in (SHARD, "validation-00000-of-00001.tfrecord"):
        for record in list(read_shard(str(own_dataset / file)))[::3]:
            flip(own_dataset / file, record.offset + 50)
    code = f"""
import reader

if __name__ == "__main__":
    one, two = (reader.verify({str(own_dataset)!r}, workers=n) for n in (1, 2))
    assert one == two, (one, two)
    print(len(one.problems))
"""
    script = own_dataset.parent / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == 7 + 4 + 2


def test_ctrl_c_ends_workers_without_their_tracebacks(dataset, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"""
import reader

if __name__ == "__main__":
    while True:
        reader.verify({str(dataset)!r}, workers=2)
""")
    process = subprocess.Popen(
        [sys.executable, script],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    # The first child is Python's resource tracker. No worker has started its work.
    while len(children.read_text().split()) < 2:
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert err.count("Traceback") == 1
    assert err.splitlines()[-1] == "KeyboardInterrupt"


@pytest.mark.parametrize("first", ["", "if __name__ != '__main__': os._exit(9)"])
def test_a_process_that_dies_is_no_traceback_of_the_pool(dataset, tmp_path, first):
    """In a script without a guard, every process dies at its start."""
    script = tmp_path / "script.py"
    script.write_text(f"""
import os, reader
from reader.contract.errors import BuildError
{first}
try:
    reader.verify({str(dataset)!r}, workers=2)
except BuildError as error:
    print(error)
""")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True
    )
    assert "a process that checked shards died" in done.stdout
    assert "__main__" in done.stdout


def test_a_number_of_workers_that_is_none_is_refused(dataset):
    with pytest.raises(reader.UsageError, match="workers must be at least 1, got 0"):
        reader.verify(dataset, workers=0)


def test_hostile_names_do_not_reach_the_terminal(diptych, build, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a\x1b[2Jb", "c"):
        picture = io.BytesIO()
        Image.new("RGB", (40, 40), "red").save(picture, "PNG")
        (source / f"{name}.png").write_bytes(picture.getvalue())
        (source / f"{name}.txt").write_text("esc \x9b2J ape")
    out = build(source, source, tmp_path / "out", num_shards=1)
    (shard,) = out.glob("*.tfrecord")
    for record in list(read_shard(str(shard))):
        flip(shard, record.offset + 100)
    done = diptych("verify", out)
    assert "\x1b" not in done.err
    assert r"a\x1b[2Jb" in done.err


def test_verifying_in_a_folder_of_one_s_own_takes_a_relative_path(
    diptych, dataset, monkeypatch
):
    monkeypatch.chdir(dataset)
    assert diptych("verify", ".").status == 0
    monkeypatch.chdir(dataset.parent)
    assert diptych("verify", os.path.basename(dataset)).status == 0


def test_an_epoch_is_walked_and_told_as_json(diptych, dataset):
    args = ["verify", dataset, "--epoch=1", "--split=train", "--batch_size=16"]
    fields = diptych(*args, "--json").json
    assert (fields["num_once"], fields["steps"], fields["problems"]) == (48, [3], [])
    assert diptych(*args).out == (
        "epoch 1 on 1 host, 3 steps each: of 48 examples, 48 are read once, 0 more "
        "than once, 0 never (0 in a dropped last batch)\n"
    )


def test_what_has_no_effect_is_refused(diptych, dataset):
    for flag in ("--split=train", "--batch_size=4", "--host_count=2", "--seed=1"):
        done = diptych("verify", dataset, flag)
        assert done.status == 2
        assert f"{flag.partition('=')[0]} needs --epoch" in done.err
    for flag in ("--decode", "--limit=3"):
        done = diptych("verify", dataset, "--split=train", "--epoch=0", flag)
        assert done.status == 2
        assert "cannot be combined with --epoch, which reads no records" in done.err


def test_main_is_the_same_command_without_beam(dataset):
    code = f"""
import sys

sys.modules["apache_beam"] = sys.modules["tensorflow"] = None
from reader.__main__ import main

sys.exit(main(["verify", {str(dataset)!r}]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "are correct" in done.stdout

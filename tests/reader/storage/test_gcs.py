"""Streaming from a stand-in for gs:// through TensorFlow's file system."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import reader
from reader.contract.record import parse_example
from reader.storage.tfrecord_file import read_shard

# Prints the keys of each batch of one host.
STREAM = """
import json, sys
import reader
pattern, settings = sys.argv[1], json.loads(sys.argv[2])
batches = reader.load(pattern, outputs=("key",), **settings)
keys = [keys.tolist() for keys, in batches.as_numpy_iterator()]
print(json.dumps([[key.decode() for key in batch] for batch in keys]))
"""

MISSING = """
import json, reader
try:
    reader.load("gs://bucket/none/train-*", batch_size=8)
except reader.DatasetError as error:
    print(json.dumps(str(error)))
"""


def run(code: str, environment: dict[str, str], *args: object) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def noise(build, tmp_path_factory) -> Path:
    """400 images of noise: records of about 10 kB, in three shards."""
    source = tmp_path_factory.mktemp("noise")
    rng = np.random.default_rng(0)
    for number in range(400):
        pixels = rng.integers(0, 256, (64, 96 + number % 32, 3), np.uint8)
        Image.fromarray(pixels).save(source / f"{number:03}.png")
        (source / f"{number:03}.txt").write_text(f"picture {number}")
    return build(source, source, source / "out", resize="none", num_shards=3)


@pytest.fixture(scope="module")
def bucket(gcs: Any, noise: Path) -> str:
    return gcs.upload(noise, "noise")


def record_bytes(folder: Path) -> dict[str, int]:
    """Bytes of each key's record, framing included."""
    return {
        parse_example(record.data)["image/source_id"][0].decode(): len(record.data) + 16
        for shard in folder.glob("*.tfrecord")
        for record in read_shard(str(shard))
    }


def local_keys(folder: Path, **settings: Any) -> list[list[str]]:
    batches = reader.load(f"{folder}/train-*", outputs=("key",), **settings)
    return [
        [k.decode() for k in keys.tolist()] for (keys,) in batches.as_numpy_iterator()
    ]


@pytest.mark.parametrize("host_count", [1, 4])
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_host_fetches_its_own_records_and_little_else(
    gcs: Any, bucket: str, noise: Path, host_count: int, shuffle: bool
):
    settings = {"batch_size": 40, "host_count": host_count, "seed": 1}
    settings |= {"shuffle": shuffle, "host_index": host_count - 1}
    gcs.reset()
    keys = run(STREAM, gcs.environment, f"{bucket}/train-*", json.dumps(settings))
    assert keys == local_keys(noise, **settings)
    size_of = record_bytes(noise)
    own = sum(size_of[key] for batch in keys for key in batch)
    fetched = {k: v for k, v in gcs.fetched().items() if k.endswith(".tfrecord")}
    assert own <= sum(fetched.values()) <= 1.05 * own
    # The rest is the index, which holds the byte offsets of the records.
    assert sum(gcs.fetched().values()) <= 1.2 * own


@pytest.mark.parametrize("where", ["key like '*7'", "width < 112"])
def test_what_is_not_selected_is_not_fetched(
    gcs: Any, bucket: str, noise: Path, where: str
):
    settings = {"batch_size": 8, "where": where, "seed": 2}
    gcs.reset()
    keys = run(STREAM, gcs.environment, f"{bucket}/train-*", json.dumps(settings))
    assert keys == local_keys(noise, **settings)
    size_of = record_bytes(noise)
    own = sum(size_of[key] for batch in keys for key in batch)
    fetched = {k: v for k, v in gcs.fetched().items() if k.endswith(".tfrecord")}
    # What does not fill the last batch may be fetched too.
    assert own <= sum(fetched.values()) <= 1.05 * own + 8 * max(size_of.values())


def test_a_run_goes_on_in_a_bucket_where_it_stopped_here(
    gcs: Any, bucket: str, noise: Path
):
    settings = {"batch_size": 40, "epochs": 2, "seed": 3}
    batches = reader.load(f"{noise}/train-*", outputs=("key",), **settings)
    state = reader.state(batches, 13)
    keys = run(
        STREAM,
        gcs.environment,
        f"{bucket}/train-*",
        json.dumps({**settings, "resume": state}),
    )
    assert keys == local_keys(noise, **settings)[13:]


def test_a_missing_bucket_is_told_in_one_line(gcs: Any):
    message = run(MISSING, gcs.environment)
    assert "no manifest.json in gs://bucket/none/" in message


# Commands that inspect a dataset.

COMMAND = """
import contextlib, io, json, sys
from reader.__main__ import main

out = io.StringIO()
with contextlib.redirect_stdout(out):
    status = main(sys.argv[1:])
print(json.dumps([status, json.loads(out.getvalue())]))
"""


def test_a_dataset_in_a_bucket_is_verified_found_in_and_shown(noise, gcs):
    out = gcs.upload(noise, "looked-at")
    status, report = run(COMMAND, gcs.environment, "verify", out, "--json", "--decode")
    assert (status, report["problems"], report["num_examples"]) == (0, [], 400)
    status, report = run(COMMAND, gcs.environment, "find", out, "007", "--json")
    assert (status, report["written"][0]["facts"]["captions"]) == (0, ["picture 7"])
    status, report = run(COMMAND, gcs.environment, "show", out, "--json")
    assert (status, report["num_examples"]) == (0, 400)


def test_damage_in_a_bucket_is_listed(noise, gcs, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(noise, damaged)
    shard = damaged / "train-00001-of-00003.tfrecord"
    data, records = bytearray(shard.read_bytes()), list(read_shard(str(shard)))
    for place in (1, 5):
        data[records[place].offset] ^= 1
    shard.write_bytes(data)
    (damaged / "index/blocks.bin").unlink()
    out = gcs.upload(damaged, "damaged")
    status, report = run(COMMAND, gcs.environment, "verify", out, "--json")
    assert status == 1
    offsets = [p["offset"] for p in report["problems"] if p["offset"] is not None]
    assert offsets == [records[place].offset for place in (1, 5)]
    assert [p["path"] for p in report["problems"]][-1] == f"{out}/index/blocks.bin"

"""Keys of a dataset by ranges of the order hash, held against all of its records."""

import random
import shutil

import pytest
from built_datasets import all_records, build, file_of, manifest_of, picture, put

from beam_jobs.layers.base_records import BaseRecords, shards_of_key_range
from beam_jobs.planning.key_order import (
    NUM_KEY_RANGES,
    key_range_of,
    key_ranges_of_shard,
    order_of,
)
from reader.contract.errors import BuildError
from reader.contract.layout import parse_shard_name
from reader.contract.manifest import parse_manifest

KEYS = [*(b"plain/%d" % n for n in range(60)), b"caf\xe9", b"caf%E9", b"50%25", b"%"]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    data = file_of(picture(random.Random(0)), "PNG")
    for key in KEYS:
        put(folder / "source", key + b".png", data)
        put(folder / "source", key + b".txt", f"about {key!r}")
    splits = {"train": 0.7, "validation": 0.3}
    build(folder / "source", folder / "out", splits=splits, num_shards=5, seed=3)
    return folder / "out"


def records_of(folder):
    data = (folder / "manifest.json").read_bytes()
    return BaseRecords(str(folder), parse_manifest(data, str(folder)))


def test_each_key_is_in_the_range_of_its_hash(output):
    base = records_of(output)
    found = {}
    for number in range(NUM_KEY_RANGES):
        splits = base.splits_of(number)
        assert {key_range_of(order_of(key, 3)) for key in splits} <= {number}
        found |= splits
    stored = {r.features["image/source_id"][0] for r in all_records(output)}
    assert found.keys() == stored == {*KEYS}
    for split in manifest_of(output)["splits"]:
        num = sum(name == split["name"] for name in found.values())
        assert num == sum(shard["num_examples"] for shard in split["shards"])


def test_records_of_a_shard_are_in_order(output):
    base = records_of(output)
    keys, captions = [], []
    for split in manifest_of(output)["splits"]:
        for shard in split["shards"]:
            records = base.shard(parse_shard_name(shard["file"]))
            keys += [records.key(index) for index in range(len(records))]
            captions += records.captions()
    stored = [record.features for record in all_records(output)]
    assert keys == [features["image/source_id"][0] for features in stored]
    assert captions == [
        [text.decode() for text in features["image/caption"]] for features in stored
    ]


@pytest.mark.parametrize("num_shards", [1, 3, 256, 300, 1000])
def test_ranges_and_shards_overlap_both_ways(num_shards):
    shards = {
        number: {*shards_of_key_range(number, num_shards)}
        for number in range(NUM_KEY_RANGES)
    }
    for shard in range(num_shards):
        ranges = {number for number, found in shards.items() if shard in found}
        assert ranges == {*key_ranges_of_shard(shard, num_shards)}


def test_a_damaged_record_of_an_odd_key_is_named(output, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(output, folder)
    for shard in folder.glob("*.tfrecord"):
        shard.write_bytes(b"\xff" * shard.stat().st_size)
    with pytest.raises(BuildError, match=r"the record at byte \d+ is damaged"):
        for number in range(NUM_KEY_RANGES):
            records_of(folder).splits_of(number)

"""The package `tfrecord` reads shards with the text indexes, for PyTorch."""

import hashlib
import json
import subprocess
import sys

import pytest

# In a process of its own: it brings the messages that TensorFlow registers too, and
# protobuf takes only one of each name.
PROGRAM = """
import hashlib, itertools, json, sys
from torch.utils.data import DataLoader
from tfrecord.torch.dataset import MultiTFRecordDataset, TFRecordDataset

folder, how, *stems = sys.argv[1:]
kinds = {"image/encoded": "byte", "image/source_id": "byte", "caption/ids": "int"}
shard, index = f"{folder}/{{}}.tfrecord", f"{folder}/index/{{}}.tfrecord.idx"
if how == "mixed":
    shares = dict.fromkeys(stems, 1 / len(stems))
    examples = MultiTFRecordDataset(shard, index, shares, kinds, infinite=False)
else:
    workers = 2 if how == "workers" else 0
    examples = itertools.chain.from_iterable(
        DataLoader(
            TFRecordDataset(
                shard.format(stem), index.format(stem) if workers else None, kinds
            ),
            batch_size=None,
            num_workers=workers,
        )
        for stem in stems
    )
for example in examples:
    image, key, ids = (example[name] for name in kinds)
    digest = hashlib.sha256(image).hexdigest()
    print(json.dumps([bytes(key).decode(), digest, ids.tolist()]))
"""


def read(folder, how):
    stems = [path.stem for path in sorted(folder.glob("train-*.tfrecord"))]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder, how, *stems],
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def held(records):
    return sorted(
        (
            key,
            hashlib.sha256(record["image/encoded"][0]).hexdigest(),
            record["caption/ids"],
        )
        for key, record in records.items()
    )


@pytest.mark.parametrize("how", ["workers", "mixed"])
def test_each_record_is_read_once(published, expected, how):
    assert sorted(read(published, how)) == held(expected(published, "train"))


def test_shards_of_no_or_one_record_are_read_without_their_index(scattered, expected):
    # With it, the package asks NumPy for columns of what has none.
    assert sorted(read(scattered, "whole")) == held(expected(scattered, "train"))

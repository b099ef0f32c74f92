import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

NUM_RECORDS, TAKEN_FROM, NUM_TAKEN = 256, 64, 64
FRAMING = 16  # bytes that TFRecord adds to a record

# Reads records at an offset, with a buffer of exactly the requested bytes.
READ_PIECE = """
import sys
import tensorflow as tf
path, offset, num_bytes, num_records = sys.argv[1], *map(int, sys.argv[2:])
def read(row):
    piece = tf.raw_ops.TFRecordDatasetV2(
        filenames=[path], compression_type="", buffer_size=row[1],
        byte_offsets=[row[0]], metadata="",
    )
    return tf.data.experimental.from_variant(piece, tf.TensorSpec([], tf.string))
rows = tf.data.Dataset.from_tensors(tf.constant([offset, num_bytes], tf.int64))
for record in rows.flat_map(read).take(num_records).as_numpy_iterator():
    print(record.decode())
"""

READ_FILES = """
import sys
import tensorflow as tf
folder = sys.argv[1]
print(tf.io.gfile.glob(folder + "/*.txt"))
print(tf.io.gfile.isdir(folder), tf.io.gfile.exists(folder + "/none"))
print(tf.io.gfile.stat(folder + "/in/empty").length)
print(tf.io.gfile.GFile(folder + "/a.txt", "rb").read())
"""

READ_MISSING = """
import sys
import tensorflow as tf
try:
    tf.io.gfile.GFile(sys.argv[1], "rb").read()
except tf.errors.NotFoundError:
    print("not found")
"""


def run(code: str, environment: dict[str, str], *arguments: object) -> list[str]:
    """Runs code in a new Python process and returns the lines of its output."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def records() -> list[str]:
    return [f"{number:05}" * 200 for number in range(NUM_RECORDS)]


@pytest.fixture(scope="module")
def shard(
    gcs: Any, records: list[str], tmp_path_factory: pytest.TempPathFactory
) -> str:
    folder = tmp_path_factory.mktemp("records")
    with tf.io.TFRecordWriter(str(folder / "x.tfrecord")) as writer:
        for record in records:
            writer.write(record.encode())
    return gcs.upload(folder, "records") + "/x.tfrecord"


def piece(records: list[str]) -> tuple[int, int]:
    """Returns (offset, size in bytes) of the records that are read."""
    sizes = [len(record) + FRAMING for record in records]
    end = TAKEN_FROM + NUM_TAKEN
    return sum(sizes[:TAKEN_FROM]), sum(sizes[TAKEN_FROM:end])


def test_tensorflow_reads_a_piece_of_an_object_and_its_bytes_are_counted(
    gcs: Any, shard: str, records: list[str]
):
    offset, num_bytes = piece(records)
    gcs.reset()
    read = run(
        READ_PIECE,
        gcs.environment | {"GCS_READAHEAD_BUFFER_SIZE_BYTES": "0"},
        *(shard, offset, num_bytes, NUM_TAKEN),
    )
    assert read == records[TAKEN_FROM : TAKEN_FROM + NUM_TAKEN]
    # A seek reads one byte, to check that the offset exists.
    assert gcs.fetched() == {"records/x.tfrecord": num_bytes + 1}
    assert gcs.requests() == {"records/x.tfrecord": 2}


def test_tensorflow_lists_and_asks_and_that_is_not_content(gcs: Any, tmp_path: Path):
    (tmp_path / "in").mkdir()
    (tmp_path / "a.txt").write_bytes(b"abc")
    (tmp_path / "in" / "empty").touch()
    folder = gcs.upload(tmp_path, "files")
    gcs.reset()
    assert run(READ_FILES, gcs.environment, folder) == [
        "['gs://bucket/files/a.txt']",
        "True False",
        "0",
        "b'abc'",
    ]
    assert gcs.fetched() == {"files/a.txt": 3}
    assert gcs.metadata()["/storage/v1/b/bucket/o/files/in/empty"] == 1


def test_a_missing_object_is_told_as_such(gcs: Any):
    gcs.reset()
    assert run(READ_MISSING, gcs.environment, "gs://bucket/none") == ["not found"]
    assert gcs.fetched() == {}

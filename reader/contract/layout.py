"""Names of files: what lies where in a dataset's directory.

train-00000-of-00064.tfrecord                 shards
index/blocks.bin                              offset of every 64th record
index/train-00000-of-00064.tfrecord.idx       "<offset> <length>" of each record
samples/train-00000-of-00064.parquet          a row per record
tokenizer/                                    all that is needed to tokenize again
rejects.jsonl                                 a line per key that was not written
features.json, dataset_info.json              for TensorFlow Datasets
croissant.json                                for tools that know Croissant
report.html                                   a page about it, if one was asked for
manifest.json                                 written last: the dataset is complete
_build/                                       work in progress
"""

import re
from typing import NamedTuple

FORMAT_VERSION = 1

MANIFEST = "manifest.json"
REJECTS = "rejects.jsonl"
TFDS_FEATURES = "features.json"
TFDS_INFO = "dataset_info.json"
CROISSANT = "croissant.json"
REPORT = "report.html"
INDEX_DIR = "index"
BLOCKS = "index/blocks.bin"
SAMPLES_DIR = "samples"
TOKENIZER_DIR = "tokenizer"
BUILD_DIR = "_build"
SHARD_SUFFIX = ".tfrecord"

# Records a block of the index spans: 64 stored photographs of 256 pixels are about
# 1 MB, a good size for one read, and 10^8 records need an index of 12.5 MB only.
BLOCK_RECORDS = 64

# What TensorFlow Datasets calls all splits together: it reads no split of that name.
ALL_SPLITS = "all"

# Names of files end at 255 bytes, and a shard's is longer than its split's.
_SPLIT_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}\Z")
_SHARD_NAME = re.compile(
    r"(?P<split>[a-z][a-z0-9_]*)-(?P<number>[0-9]{5,})-of-(?P<num>[0-9]{5,})\.tfrecord\Z"
)


class ShardName(NamedTuple):
    """A shard's place: its split, its number, and how many the split has."""

    split: str
    number: int
    num_shards: int

    @property
    def stem(self) -> str:
        """`train-00003-of-00064`, which all files of the shard begin with."""
        return f"{self.split}-{self.number:05d}-of-{self.num_shards:05d}"

    @property
    def file(self) -> str:
        """Path of the shard below the dataset."""
        return f"{self.stem}{SHARD_SUFFIX}"

    @property
    def index_file(self) -> str:
        """Path of its text index, a line per record, below the dataset."""
        return f"{INDEX_DIR}/{self.file}.idx"

    @property
    def samples_file(self) -> str:
        """Path of its table of samples below the dataset."""
        return f"{SAMPLES_DIR}/{self.stem}.parquet"

    @property
    def files(self) -> tuple[str, str, str]:
        """Paths of all three below the dataset."""
        return self.file, self.index_file, self.samples_file


def parse_shard_name(file: str) -> ShardName | None:
    """Returns the parts of a shard's file name, or None for any other name."""
    match = _SHARD_NAME.match(file)
    if match is None:
        return None
    name = ShardName(match["split"], int(match["number"]), int(match["num"]))
    return name if name.file == file and name.number < name.num_shards else None


def shard_of_file(name: str) -> ShardName | None:
    """Returns the shard that a file in any folder is called after, or None.

    >>> shard_of_file("train-00000-of-00002.parquet").file
    'train-00000-of-00002.tfrecord'
    """
    stem = name.removesuffix(".idx").removesuffix(SHARD_SUFFIX).removesuffix(".parquet")
    return parse_shard_name(f"{stem}{SHARD_SUFFIX}")


def is_split_name(name: str) -> bool:
    """Tells whether a split may be called so (it becomes part of file names)."""
    return _SPLIT_NAME.match(name) is not None and name != ALL_SPLITS

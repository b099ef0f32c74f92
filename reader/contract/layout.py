"""File names and the layout of a dataset's directory.

train-00000-of-00064.tfrecord                 shards
index/blocks.bin                              byte offset of every 64th record
index/lengths.bin                             length of every record
index/train-00000-of-00064.tfrecord.idx       "<offset> <length>" of each record
samples/train-00000-of-00064.parquet          one row per record
tokenizer/                                    file of the tokenizer
rejects.jsonl                                 one line per key that was not written
features.json, dataset_info.json              metadata for TensorFlow Datasets
croissant.json                                metadata in the Croissant format
report.html                                   HTML report, if requested
selections/good/                              chosen records (`additions/selection.py`)
layers/clip-b32/                              added features (`additions/layer.py`)
manifest.json                                 written last: marks a complete dataset
_build/                                       work in progress; removed at the end
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
LENGTHS = "index/lengths.bin"
SAMPLES_DIR = "samples"
TOKENIZER_DIR = "tokenizer"
SELECTIONS_DIR = "selections"
LAYERS_DIR = "layers"
BUILD_DIR = "_build"
SHARD_SUFFIX = ".tfrecord"

# Records per block of the index. 64 stored photographs of 256 pixels are about 1 MB, a
# good size for one read, and the index of 10^8 records takes only 12.5 MB.
BLOCK_RECORDS = 64

# TensorFlow Datasets uses this name for all splits together: no split may have it.
ALL_SPLITS = "all"

# File names are limited to 255 bytes, and the name of a shard contains its split's.
_SPLIT_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}\Z")
_SHARD_NAME = re.compile(
    r"(?P<split>[a-z][a-z0-9_]*)-(?P<number>[0-9]{5,})-of-(?P<num>[0-9]{5,})\.tfrecord\Z"
)


class ShardName(NamedTuple):
    """The parts of a shard's file name.

    Attributes:
        split: Name of the split.
        number: Number of the shard in its split, from 0.
        num_shards: Number of shards in the split.
    """

    split: str
    number: int
    num_shards: int

    @property
    def stem(self) -> str:
        """Common stem of the shard's file names, such as `train-00003-of-00064`."""
        return f"{self.split}-{self.number:05d}-of-{self.num_shards:05d}"

    @property
    def file(self) -> str:
        """Path of the shard, relative to the dataset's directory."""
        return f"{self.stem}{SHARD_SUFFIX}"

    @property
    def index_file(self) -> str:
        """Path of the shard's text index, relative to the dataset's directory."""
        return f"{INDEX_DIR}/{self.file}.idx"

    @property
    def samples_file(self) -> str:
        """Path of the shard's samples table, relative to the dataset's directory."""
        return f"{SAMPLES_DIR}/{self.stem}.parquet"

    @property
    def files(self) -> tuple[str, str, str]:
        """Paths of the shard, its text index and its samples table."""
        return self.file, self.index_file, self.samples_file


def parse_shard_name(file: str) -> ShardName | None:
    """Returns the parts of a shard's file name, or None for any other name."""
    match = _SHARD_NAME.match(file)
    if match is None:
        return None
    name = ShardName(match["split"], int(match["number"]), int(match["num"]))
    return name if name.file == file and name.number < name.num_shards else None


def shard_of_file(name: str) -> ShardName | None:
    """Returns the shard that a file belongs to by its name, or None.

    The file may be a shard, a text index or a samples table.

    >>> shard_of_file("train-00000-of-00002.parquet").file
    'train-00000-of-00002.tfrecord'
    """
    stem = name.removesuffix(".idx").removesuffix(SHARD_SUFFIX).removesuffix(".parquet")
    return parse_shard_name(f"{stem}{SHARD_SUFFIX}")


def is_split_name(name: str) -> bool:
    """Returns whether a split may have this name, which is part of file names."""
    return _SPLIT_NAME.match(name) is not None and name != ALL_SPLITS

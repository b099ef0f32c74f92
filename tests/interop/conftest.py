"""A dataset with all that consumers could stumble over, and what its records hold.

What is expected comes from `tf.data.TFRecordDataset` and TensorFlow's own messages.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from beam_jobs.config.columns import parse_columns
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.values import parse_splits
from beam_jobs.engines.options import engine_options
from beam_jobs.job.run import run
from beam_jobs.sample_data import write_sample

# Of names that need quoting, too.
COLUMNS = "score:float,a#b %c:int,url:str,emb:float[3],tags:str[2],日本:str,flag:bool"
ABOUT = {
    "name": 'Shapes & "co"',
    "dataset_version": "2.0.1",
    "description": "Coloured shapes – drawn.",
    "license": "https://creativecommons.org/publicdomain/zero/1.0/",
    "url": "https://example.org/shapes",
    "citation": "@misc{shapes, title={Shapes}}",
    "date_published": "2025-12-31",
}

Make = Callable[..., Path]
Records = dict[str, dict[str, list[Any]]]


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 pictures of several sizes in `images/`, and `table.jsonl` that names them."""
    folder = tmp_path_factory.mktemp("interop")
    write_sample(str(folder), 36)
    rows = [
        {
            "image": path.name,
            "caption": [f"picture {i}", "zweites Bild"][: 1 + i % 2],
            "score": i / 3 if i % 4 else None,
            "a#b %c": i - 2**40,
            "url": "" if i % 2 else f"https://example.org/{i}",
            "emb": [i, 0.5, -1],
            "tags": ["", "x"],
            "日本": "犬" * (i % 3),
            "flag": i % 2 == 0,
        }
        for i, path in enumerate(sorted((folder / "images").iterdir()))
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "table.jsonl").write_text(lines)
    return folder


@pytest.fixture(scope="session")
def make(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`make(**settings)` builds a dataset of `table`; returns its folder."""

    def make(**settings: Any) -> Path:
        output = tmp_path_factory.mktemp("made") / "out"
        config = JobConfig(
            **{
                "table": str(table / "table.jsonl"),
                "images": str(table / "images"),
                "output": str(output),
                "columns": parse_columns(COLUMNS),
                "splits": parse_splits("train=0.8,validation_2=0.2"),
                "num_shards": 5,
                "image_size": 64,
                **settings,
            }
        )
        run(config, engine_options(config, []))
        return output

    return make


@pytest.fixture(scope="session")
def published(make: Make) -> Path:
    """JPEGs in two splits of several shards, with columns and all that can be said."""
    return make(**ABOUT)


@pytest.fixture(scope="session")
def scattered(make: Make) -> Path:
    """More shards than records, so that some are empty; one split has no record."""
    splits = parse_splits("train=0.9999,never=0.0001")
    output = make(num_shards=50, splits=splits)
    sizes = [path.stat().st_size for path in output.glob("train-*.tfrecord")]
    assert 0 in sizes
    assert not sum(path.stat().st_size for path in output.glob("never-*.tfrecord"))
    return output


def records_of(folder: Path, split: str) -> Records:
    """`{key: {feature: values}}` of a split."""
    records = {}
    paths = sorted(map(str, folder.glob(f"{split}-*.tfrecord")))
    for data in tf.data.TFRecordDataset(paths).as_numpy_iterator():
        features = tf.train.Example.FromString(data).features.feature
        values = {name: _values(features[name]) for name in features}
        records[values["image/source_id"][0].decode()] = values
    return records


def _values(feature: Any) -> list[Any]:
    return list(getattr(feature, feature.WhichOneof("kind")).value)


@pytest.fixture(scope="session")
def expected() -> Callable[[Path, str], Records]:
    """`expected(folder, split)`: what the records of a split hold, by key."""
    return records_of


@pytest.fixture(scope="session")
def splits() -> Callable[[Path], Iterator[str]]:
    """`splits(folder)`: names of a dataset's splits."""

    def names(folder: Path) -> Iterator[str]:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        return (split["name"] for split in manifest["splits"])

    return names

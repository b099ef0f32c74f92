"""Which settings of a dataset a build of it takes over, and which it was given."""

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.config.carried import with_carried
from beam_jobs.config.columns import parse_columns
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.values import parse_splits
from reader.contract.errors import UsageError

GOLDEN = Path(__file__).parents[2] / "golden"
# Built with 3 shards, split_column, image_size=48, a license and five columns.
V1 = str(GOLDEN / "v1/dataset")
# Built with splits of 0.6 and 0.4, resize=none, image_format=raw and two shards.
RAW = str(GOLDEN / "v1_raw/dataset")


def carried(dataset: Any = V1, **given: Any) -> JobConfig:
    return with_carried(JobConfig(dataset=dataset, output="o", **given))


def test_what_was_not_passed_is_that_of_the_dataset():
    config = carried()
    assert (config.image_size, config.num_shards) == (48, 3)
    assert (config.license, config.dataset_version) == ("CC0-1.0", "1.2.3")
    text = "score:float,label:int,url:str=unknown,emb:float[3],note:str"
    assert config.columns == parse_columns(text)
    assert config.tokenizer == V1
    assert config.keeps_splits
    raw = carried(RAW)
    assert (raw.image_format, raw.resize) == ("raw", "none")
    assert raw.splits == parse_splits("train=0.6,validation=0.4")


def test_a_default_that_was_passed_is_kept():
    assert carried(image_size=256).image_size == 256
    assert carried(license=None).license is None
    assert carried(columns=()).columns == ()
    assert carried(tokenizer="basic").tokenizer == "basic"


def test_settings_that_replace_each_other_are_not_mixed():
    assert carried(shard_size=1 << 20).num_shards is None
    assert not carried(RAW, split_by="folder").keeps_splits
    assert carried(RAW, split_by="folder").splits == carried(RAW).splits
    assert not carried(RAW, splits=parse_splits("train=1")).keeps_splits
    by_column = carried(split_column="note")
    assert (by_column.keeps_splits, by_column.leaves_splits_open) == (False, True)


def test_copies_know_what_was_passed():
    config = JobConfig(dataset=V1, output="o", image_size=256)
    for copy in (
        pickle.loads(pickle.dumps(config)),
        dataclasses.replace(config, output="p"),
        config.absolute(),
    ):
        assert with_carried(copy).image_size == 256
        assert with_carried(copy).num_shards == 3
    # A copy with another value was given that value.
    changed = dataclasses.replace(config, num_shards=5)
    assert with_carried(changed).num_shards == 5
    done = with_carried(config)
    assert with_carried(dataclasses.replace(done, output="p")) == dataclasses.replace(
        done, output="p"
    )


def test_other_sources_are_left_alone():
    config = JobConfig(images="i", captions="c", output="o")
    assert with_carried(config) is config


def test_differences_are_named_with_both_values_and_the_flags():
    with pytest.raises(UsageError) as caught:
        carried([V1, RAW], num_shards=2)
    message = str(caught.value)
    assert "image_format is jpeg and raw" in message
    assert "license is CC0-1.0 and unset" in message
    assert "tokenizer is basic" in message
    flags = message.rpartition("Pass ")[2].split(", ")
    assert {"--image_format", "--license", "--tokenizer", "--columns"} <= {*flags}
    # Records keep their splits, whatever the others were split by.
    assert not {"--splits", "--num_shards", "--shard_size"} & {*flags}

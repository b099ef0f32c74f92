"""JobConfig: accepted and rejected values, and the fingerprint."""

import dataclasses
import json
import math
import pickle
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.config.columns import Column
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.settings import settings_of
from beam_jobs.config.values import allowed, parse_size, parse_splits
from reader.contract.errors import UsageError


def config(**more) -> JobConfig:
    return JobConfig(**{"images": "i", "captions": "c", "output": "o", **more})


# Splits.


@pytest.mark.parametrize(
    ("text", "splits"),
    [
        ("train=1", {"train": 1}),
        ("train=0.9,validation=0.1", {"train": "9/10", "validation": "1/10"}),
        (" a = .5 , b = 0.50 ", {"a": "1/2", "b": "1/2"}),
        ("a=1/3,b=2/3", {"a": "1/3", "b": "2/3"}),
        ("b=0.1,a=0.9", {"b": "1/10", "a": "9/10"}),
        ("train_2=1.0", {"train_2": 1}),
    ],
)
def test_splits_are_read_exactly_and_in_order(text, splits):
    expected = [(name, Fraction(share)) for name, share in splits.items()]
    assert list(parse_splits(text).items()) == expected
    assert list(config(splits=parse_splits(text)).shares.items()) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "train",
        "train=",
        "=1",
        "train=0.9;validation=0.1",
        "train=0.9,",
        "a=1 b=0",
        "train=90%",
        "train=-1",
        "train=1e0",
        "train=one",
        "train:1",
        "a=1.",
        "a=nan",
    ],
)
def test_text_that_is_no_splits_is_refused_and_shown(text):
    with pytest.raises(UsageError) as caught:
        parse_splits(text)
    assert f'"{text}"' in str(caught.value)
    assert "train=0.9,validation=0.1" in str(caught.value)


def test_a_split_that_is_named_twice_is_refused():
    with pytest.raises(UsageError, match="split a is repeated"):
        parse_splits("a=0.5,b=0.25,a=0.25")


def test_a_share_without_a_value_is_refused():
    with pytest.raises(UsageError, match="1/0"):
        parse_splits("train=1/0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train=0.9", "got 0.9"),
        ("train=0.9,validation=0.2", "got 1.1"),
        ("train=2", "got 2"),
        ("train=0,validation=1", "the share of train must be positive, got 0"),
        ("Train=1", '"Train"'),
        ("9=1", '"9"'),
        ("_a=1", '"_a"'),
        ("entraînement=1", '"entraînement"'),
        ("train=0.5,all=0.5", 'cannot be called "all"'),
    ],
)
def test_splits_that_will_not_do_are_refused_and_shown(text, message):
    with pytest.raises(UsageError) as caught:
        config(splits=parse_splits(text))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "name", ["", "a-b", "a/b", "../a", "a b", "a\n", "A", "é", "1a"]
)
def test_a_name_of_a_split_is_fit_for_a_file(name):
    with pytest.raises(UsageError, match="split's name"):
        config(splits={name: Fraction(1)})


def test_no_splits_are_refused():
    with pytest.raises(UsageError, match="sum to 1, got 0"):
        config(splits={})


def test_a_sum_that_is_nearly_1_is_shown_so_that_one_sees_why():
    with pytest.raises(UsageError) as caught:
        config(splits=parse_splits("train=0.3333333,validation=0.6666666"))
    assert "got 1:" not in str(caught.value)


@pytest.mark.parametrize(
    "splits",
    [
        {"train": 0.7, "validation": 0.2, "test": 0.1},
        {"train": Fraction(7, 10), "validation": Fraction(1, 5), "test": 0.1},
        {"train": 0.7, "validation": Fraction("0.2"), "test": Fraction("0.1")},
    ],
)
def test_shares_may_be_floats_and_mean_their_decimals(splits):
    written = parse_splits("train=0.7,validation=0.2,test=0.1")
    assert config(splits=splits).shares == written
    assert config(splits=splits).fingerprint == config(splits=written).fingerprint


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=5))
def test_splits_written_out_are_read_back(parts):
    shares = {f"s{n}": Fraction(part, sum(parts)) for n, part in enumerate(parts)}
    text = ",".join(f"{name}={share}" for name, share in shares.items())
    assert parse_splits(text) == shares
    assert config(splits=shares).shares == shares


# Sizes.


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4096", 4096),
        ("128MiB", 128 << 20),
        ("1GB", 10**9),
        ("1.5 KiB", 1536),
        ("2gib", 2 << 30),
        ("10b", 10),
        (" 7 ", 7),
        ("0.5MB", 500_000),
    ],
)
def test_known_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "MiB", "-1", "1e9", "1,5MB", "5 apples", "1 GB 2 MB", "nan", "0x10", "½"],
)
def test_text_that_is_no_size_is_refused_and_shown(text):
    with pytest.raises(UsageError) as caught:
        parse_size(text)
    assert f'"{text}"' in str(caught.value)
    assert "128MiB" in str(caught.value)


@given(st.integers(0, 10**15))
def test_a_size_in_bytes_is_itself(size):
    assert parse_size(str(size)) == parse_size(f"{size}B") == size


# Limits.


@pytest.mark.parametrize(
    ("limit", "found", "expected"),
    [
        ("0", 1000, 0),
        ("20", 3, 20),
        (20, 3, 20),
        ("1%", 1000, 10),
        ("1%", 99, 0),
        ("1%", 100, 1),
        ("0.5%", 1000, 5),
        ("0.57%", 10_000, 57),  # Floats would give 56.
        ("100%", 7, 7),
        ("100.0%", 7, 7),
        ("0%", 10**9, 0),
        ("10%", 0, 0),
        ("33.3%", 1000, 333),
    ],
)
def test_known_limits(limit, found, expected):
    assert allowed(limit, found) == expected
    assert config(max_rejects=limit).max_rejects == limit


@pytest.mark.parametrize(
    "limit",
    [
        "",
        "-1",
        "1.5",
        "101%",
        "100.1%",
        "%",
        "5 %",
        "1%%",
        "one",
        "1e3",
        "nan%",
        "²",
        -1,
        0.5,
        None,
        "٥",
    ],
)
@pytest.mark.parametrize("field", ["max_rejects", "max_unpaired"])
def test_what_is_no_limit_is_refused_and_shown(field, limit):
    with pytest.raises(UsageError) as caught:
        config(**{field: limit})
    assert f'"{limit}"' in str(caught.value)
    assert "20 or 0.5%" in str(caught.value)


@given(st.integers(0, 10_000), st.integers(0, 10**12))
def test_a_percentage_is_exact_and_rounds_down(hundredths, found):
    limit = f"{hundredths // 100}.{hundredths % 100:02d}%"
    assert allowed(limit, found) == hundredths * found // 10_000


# Other fields.

INVALID = [
    ("resize", "square", '"square"'),
    ("image_format", "webp", "image_format must be one of jpeg, png, raw, got"),
    ("min_image_size", 0, "min_image_size must be at least 1, got 0"),
    ("max_aspect_ratio", 0.99, "max_aspect_ratio must be at least 1, got 0.99"),
    ("max_aspect_ratio", math.nan, "max_aspect_ratio must be a finite number, got nan"),
    ("max_aspect_ratio", math.inf, "max_aspect_ratio must be a finite number, got inf"),
    ("resize", "", '""'),
    ("jpeg_subsampling", "422", '"422"'),
    ("captions_per_file", "two", '"two"'),
    ("num_shards", 0, "num_shards must be at least 1 (one for each split), got 0"),
    ("num_shards", -3, "got -3"),
    ("shard_size", 1023, "shard_size must be at least 1024, got 1023"),
    ("image_size", 0, "image_size must be at least 1, got 0"),
    ("max_pixels", 0, "max_pixels must be at least 1, got 0"),
    ("max_image_bytes", 0, "max_image_bytes must be at least 1, got 0"),
    ("vocab_size", 4, "vocab_size must be at least 5, got 4"),
    ("min_count", 0, "min_count must be at least 1, got 0"),
    ("min_tokens", -1, "min_tokens must be at least 0, got -1"),
    ("workers", 0, "workers must be at least 1, got 0"),
    ("threads", -1, "threads must be from 1 to 256, got -1"),
    ("jpeg_quality", 0, "jpeg_quality must be from 1 to 100, got 0"),
    ("jpeg_quality", 101, "got 101"),
    ("name", "", "name must not be empty"),
    ("name", " \t", "name must not be empty"),
]


@pytest.mark.parametrize(("field", "value", "message"), INVALID)
def test_a_value_out_of_range_is_refused_named_and_shown(field, value, message):
    with pytest.raises(UsageError) as caught:
        config(**{field: value})
    assert field in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_shards", 1),
        ("shard_size", 1024),
        ("image_size", 1),
        ("jpeg_quality", 1),
        ("jpeg_quality", 100),
        ("vocab_size", 5),
        ("seed", -1),
        ("seed", 2**80),
    ],
)
def test_values_at_the_ends_are_accepted(field, value):
    assert getattr(config(**{field: value}), field) == value


def test_there_are_at_least_as_many_shards_as_splits():
    splits = parse_splits("a=0.5,b=0.25,c=0.25")
    assert config(num_shards=3, splits=splits).num_shards == 3
    with pytest.raises(UsageError, match=r"at least 3 \(one for each split\), got 2"):
        config(num_shards=2, splits=splits)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        config().seed = 1  # type: ignore[misc]


def test_a_copy_is_checked_too():
    with pytest.raises(UsageError):
        dataclasses.replace(config(), image_size=0)


def test_a_configuration_travels_to_workers():
    made = config(splits={"a": 0.5, "b": 0.5}, num_shards=4)
    assert pickle.loads(pickle.dumps(made)) == made


def test_workers_and_threads_go_by_the_cores_unless_they_are_given():
    assert config().num_workers >= 1
    assert config().num_threads >= 1
    given = config(workers=3, threads=5)
    assert (given.num_workers, given.num_threads) == (3, 5)


def test_the_image_spec_is_that_of_the_flags():
    made = config(
        resize="none", image_size=7, jpeg_quality=33, jpeg_subsampling="444"
    ).image_spec
    assert dataclasses.asdict(made) == {
        "format": "jpeg",
        "quality": 33,
        "subsampling": "444",
        "resize": "none",
        "size": 7,
        "upscale": False,
    }


# The fingerprint. Each field has a value other than its default.

CHANGES_THE_OUTPUT = {
    "name": "other",
    "dataset_version": "1.0.1",
    "description": "Pictures of the park.",
    "license": "MIT",
    "url": "https://example.org/park",
    "citation": "@misc{park}",
    "date_published": "2025-12-31",
    "splits": {"train": Fraction(1, 2), "validation": Fraction(1, 2)},
    "num_shards": 7,
    "shard_size": 1 << 20,
    "seed": 1,
    "resize": "none",
    "image_size": 255,
    "jpeg_quality": 91,
    "jpeg_subsampling": "444",
    "max_pixels": 1000,
    "max_image_bytes": 1000,
    "upscale": True,
    "image_format": "png",
    "min_image_size": 2,
    "max_aspect_ratio": 2.5,
    "captions_per_file": "lines",
    "caption_encoding": "cp1252",
    "split_by": "folder",
    "dedupe": "exact",
    "tokenizer": "bytes",
    "vocab_size": 9_999,
    "min_count": 2,
    "min_tokens": 1,
    "caption_files": {"alt": ".txt", "recap": ".recap.txt"},
}
CHANGES_THE_OUTPUT_OF_A_TABLE = {
    "image_column": "picture",
    "caption_column": "words",
    "caption_columns": ("alt", "recap"),
    "caption_names": ("alt", "recap"),
    "table_delimiter": ";",
    "table_quoting": "none",
    "key_column": "id",
    "split_column": "fold",
    "columns": (Column("score", "float", None, 0.0),),
    "where": "height > 1",
    "where_columns": (Column("score", "float", None, 0.0),),
}
OTHER_SOURCES = {
    "table": {"table": "t.csv"},
    "coco": {"coco": "c.json", "images": "i"},
    "webdataset": {"webdataset": "*.tar"},
    "dataset": {"dataset": "d"},
    "allow_roots": {"table": "t.csv", "allow_roots": ("/a",)},
}
LEAVES_THE_OUTPUT = {
    "images": "elsewhere",
    "captions": "elsewhere",
    "output": "elsewhere",
    "max_rejects": "7",
    "max_unpaired": "7%",
    "workers": 7,
    "threads": 7,
    "plan_only": True,
    "overwrite": True,
    "repair": True,
    "take_over": True,
}
PLAIN = config()


def test_every_field_is_known_to_change_the_output_or_not():
    fields = {*settings_of(JobConfig)}
    changing = {*CHANGES_THE_OUTPUT, *CHANGES_THE_OUTPUT_OF_A_TABLE, "exclude_keys"}
    leaving = {*LEAVES_THE_OUTPUT, *OTHER_SOURCES}
    assert not changing & leaving
    assert changing | leaving == fields


@pytest.mark.parametrize("field", CHANGES_THE_OUTPUT_OF_A_TABLE)
def test_columns_change_the_fingerprint(field):
    plain = JobConfig(table="t.csv", output="o", where="width > 1")
    value = CHANGES_THE_OUTPUT_OF_A_TABLE[field]
    changed = dataclasses.replace(plain, **{field: value})
    assert changed.fingerprint != plain.fingerprint


@pytest.mark.parametrize("source", OTHER_SOURCES.values(), ids=list(OTHER_SOURCES))
def test_where_the_sources_lie_leaves_the_fingerprint(source):
    assert JobConfig(**source, output="o").fingerprint == PLAIN.fingerprint


@pytest.mark.parametrize("field", CHANGES_THE_OUTPUT)
def test_what_changes_the_output_changes_the_fingerprint(field):
    changed = config(**{field: CHANGES_THE_OUTPUT[field]})
    assert getattr(changed, field) != getattr(PLAIN, field)
    assert changed.fingerprint != PLAIN.fingerprint
    assert changed.fingerprint_fields() != PLAIN.fingerprint_fields()


@pytest.mark.parametrize("field", LEAVES_THE_OUTPUT)
def test_what_leaves_the_output_leaves_the_fingerprint(field):
    changed = config(**{field: LEAVES_THE_OUTPUT[field]})
    assert getattr(changed, field) != getattr(PLAIN, field)
    assert changed.fingerprint == PLAIN.fingerprint
    assert changed.fingerprint_fields() == PLAIN.fingerprint_fields()


def test_what_nobody_said_leaves_the_fingerprint_of_before_it_could_be_said():
    assert "license" in config(license="MIT").fingerprint_fields()
    unsaid = {"license", "url", "dataset_version", "min_tokens"}
    unsaid |= {"table_delimiter", "table_quoting"}
    assert not unsaid & {*PLAIN.fingerprint_fields()}


def test_the_keys_that_are_left_out_are_in_the_fingerprint_and_not_their_file(
    tmp_path,
):
    prints = set()
    for name, text in (("a", "x\ny\n"), ("b", "y\r\n\nx"), ("c", "x\n")):
        (tmp_path / name).write_text(text)
        prints.add(config(exclude_keys=str(tmp_path / name)).fingerprint)
    assert len(prints) == 2
    assert PLAIN.fingerprint not in prints


def test_the_shard_size_counts_only_where_it_is_used():
    assert (
        config(num_shards=2, shard_size=1 << 20).fingerprint
        == config(num_shards=2).fingerprint
    )


def test_the_order_of_splits_changes_the_fingerprint():
    one = parse_splits("train=0.5,validation=0.5")
    other = parse_splits("validation=0.5,train=0.5")
    assert config(splits=one).fingerprint != config(splits=other).fingerprint


@pytest.mark.parametrize("share", [1, 1.0, Fraction(1)])
def test_equal_shares_have_one_fingerprint(share):
    assert config(splits={"train": share}).fingerprint == PLAIN.fingerprint


def test_the_fingerprint_is_of_plain_json():
    fields = PLAIN.fingerprint_fields()
    assert json.loads(json.dumps(fields)) == fields
    assert len(PLAIN.fingerprint) == 64
    int(PLAIN.fingerprint, 16)

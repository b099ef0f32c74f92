import dataclasses
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reader.contract.errors import DatasetError
from reader.contract.json_values import dump_json
from reader.contract.layout import FORMAT_VERSION
from reader.contract.manifest import (
    ImageSpec,
    KeyAccounting,
    Manifest,
    Shard,
    Split,
    TokenizerSpec,
    dump_manifest,
    parse_manifest,
)
from reader.contract.schema import Feature
from reader.contract.statistics import Statistics, Tally, statistics_of

NUMBERS = st.integers(0, 2**63)
TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
    ),
    max_leaves=6,
)

TALLIES = st.builds(Tally, **{name: NUMBERS for name in ("count", "sum", "min", "max")})
STATISTICS = st.builds(
    Statistics,
    width=TALLIES,
    height=TALLIES,
    image_bytes=TALLIES,
    caption_tokens=TALLIES,
    unknown_tokens=NUMBERS,
    one_token_captions=NUMBERS | st.none(),
    no_token_captions=NUMBERS,
)
SHARDS = st.builds(
    Shard, file=TEXT, num_examples=NUMBERS, num_bytes=NUMBERS, crc32c=TEXT
)
SPLITS = st.builds(
    Split,
    name=TEXT,
    shards=st.lists(SHARDS, max_size=3).map(tuple),
    statistics=STATISTICS,
)
FEATURES = st.builds(
    Feature,
    key=TEXT,
    dtype=st.sampled_from(["bytes", "int64", "float32"]),
    shape=st.lists(st.none() | NUMBERS, max_size=3).map(tuple),
    role=TEXT,
)
MANIFESTS = st.builds(
    Manifest,
    name=TEXT,
    features=st.lists(FEATURES, max_size=3).map(tuple),
    image=st.builds(
        ImageSpec,
        format=TEXT,
        quality=NUMBERS,
        subsampling=TEXT,
        resize=TEXT,
        size=NUMBERS,
    ),
    tokenizer=st.builds(
        TokenizerSpec,
        kind=TEXT,
        file=TEXT,
        sha256=TEXT,
        vocab_size=NUMBERS,
        pad_id=NUMBERS,
        unknown_id=NUMBERS | st.none(),
        start_id=NUMBERS | st.none(),
        end_id=NUMBERS | st.none(),
    ),
    splits=st.lists(SPLITS, max_size=2).map(tuple),
    accounting=st.builds(
        KeyAccounting,
        found=NUMBERS,
        written=NUMBERS,
        not_written=st.dictionaries(TEXT, NUMBERS, max_size=3),
    ),
    files=st.dictionaries(TEXT, TEXT, max_size=3),
    fingerprints=st.dictionaries(TEXT, TEXT, max_size=3),
    config=st.dictionaries(TEXT, JSON, max_size=3),
    versions=st.dictionaries(TEXT, TEXT, max_size=3),
    format_version=st.integers(0, FORMAT_VERSION),
)
# A manifest has many parts, so generating one is slower than most examples.
many_parts = settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@many_parts
@given(MANIFESTS)
def test_a_manifest_parses_back_to_itself(manifest):
    assert parse_manifest(dump_manifest(manifest), "out") == manifest


@many_parts
@given(MANIFESTS)
def test_dumping_what_was_parsed_gives_the_same_bytes(manifest):
    data = dump_manifest(manifest)
    assert dump_manifest(parse_manifest(data, "out")) == data


def test_the_manifest_of_a_dataset_is_dumped_to_its_own_bytes(dataset):
    data = (dataset / "manifest.json").read_bytes()
    assert dump_manifest(parse_manifest(data, "out")) == data


def shuffled(value: Any, rng: Any) -> Any:
    """The same JSON with its keys in another order."""
    if isinstance(value, list):
        return [shuffled(item, rng) for item in value]
    if not isinstance(value, dict):
        return value
    items = [(key, shuffled(item, rng)) for key, item in value.items()]
    rng.shuffle(items)
    return dict(items)


@many_parts
@given(MANIFESTS, st.randoms(use_true_random=False))
def test_the_order_of_keys_and_white_space_do_not_matter(manifest, rng):
    data = dump_manifest(manifest)
    other = json.dumps(shuffled(json.loads(data), rng)).encode()
    assert dump_manifest(parse_manifest(other, "out")) == data


def with_unknown_fields(value: Any, *, below: tuple[str, ...] = ()) -> Any:
    """The same JSON with an unknown field in every object that has fixed fields."""
    if isinstance(value, list):
        return [with_unknown_fields(item, below=below) for item in value]
    free = ("config", "files", "fingerprints", "versions", "not_written")
    if not isinstance(value, dict) or (below and below[-1] in free):
        return value
    fields = {k: with_unknown_fields(v, below=(*below, k)) for k, v in value.items()}
    return {**fields, "a_field_of_later": {"x": [1]}}


def test_fields_this_version_does_not_know_are_passed_over_at_every_depth(dataset):
    data = (dataset / "manifest.json").read_bytes()
    later = json.dumps(with_unknown_fields(json.loads(data))).encode()
    assert later.count(b"a_field_of_later") > 20
    assert parse_manifest(later, "out") == parse_manifest(data, "out")


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 10**6])
def test_a_newer_version_is_refused_with_both_numbers_and_what_to_do(dataset, version):
    manifest = parse_manifest((dataset / "manifest.json").read_bytes(), "out")
    newer = dataclasses.replace(manifest, format_version=version)
    with pytest.raises(DatasetError) as raised:
        parse_manifest(dump_manifest(newer), "out")
    assert str(raised.value) == (
        f"out/manifest.json: format_version {version} is newer than this reader "
        f"({FORMAT_VERSION}): upgrade diptych"
    )


def test_a_newer_version_is_refused_though_all_else_has_changed():
    with pytest.raises(DatasetError, match="format_version 9 is newer"):
        parse_manifest(b'{"format_version": 9, "splits": "elsewhere"}', "out")


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_as_a_dataset_error_that_names_the_file(data):
    with pytest.raises(DatasetError, match=r"out/manifest\.json"):
        parse_manifest(data, "out")


@given(JSON)
def test_any_json_is_refused_as_a_dataset_error_that_names_the_file(value):
    with pytest.raises(DatasetError, match=r"out/manifest\.json"):
        parse_manifest(json.dumps(value).encode(), "out")


@given(data=st.data())
def test_a_part_of_another_type_is_a_dataset_error_or_passes(dataset, data):
    fields = json.loads((dataset / "manifest.json").read_bytes())
    names = ("features", "image", "tokenizer", "splits", "books")
    fields[data.draw(st.sampled_from(names))] = data.draw(JSON)
    try:
        parse_manifest(json.dumps(fields).encode(), "out")
    except DatasetError as error:
        assert "out/manifest.json" in str(error)


def test_json_is_indented_sorted_ascii_and_ends_in_one_newline():
    expected = b'{\n "a": [\n  "\\u00e9"\n ],\n "b": 1\n}\n'
    assert dump_json({"b": 1, "a": ["é"]}) == expected


# Tallies and statistics.


@given(st.lists(st.integers(), min_size=1))
def test_a_tally_is_count_sum_smallest_and_largest(values):
    assert Tally.of(values) == Tally(
        count=len(values), sum=sum(values), min=min(values), max=max(values)
    )


@given(st.lists(st.integers()), st.lists(st.integers()), st.lists(st.integers()))
def test_tallies_merge_in_any_order_and_grouping(one, two, three):
    whole = Tally.of(one + two + three)
    assert Tally.of(one).merge(Tally.of(two)).merge(Tally.of(three)) == whole
    assert Tally.of(three).merge(Tally.of(one).merge(Tally.of(two))) == whole


@given(st.lists(st.integers(0, 99)), st.lists(st.integers(0, 99)))
def test_statistics_merge_part_by_part(one, other):
    def statistics(values: list[int]) -> Statistics:
        part = Tally.of(values)
        return Statistics(
            width=part,
            height=part,
            image_bytes=part,
            caption_tokens=part,
            unknown_tokens=sum(values),
            one_token_captions=sum(values),
            no_token_captions=sum(values),
        )

    assert statistics(one).merge(statistics(other)) == statistics(one + other)


RECORDS = st.lists(
    st.tuples(NUMBERS, NUMBERS, NUMBERS, st.lists(st.integers(0, 3), max_size=4))
)


@given(RECORDS, st.integers(0, 99))
def test_statistics_are_those_of_a_plain_count(records, num_unknown):
    made = statistics_of(
        widths=[width for width, _, _, _ in records],
        heights=[height for _, height, _, _ in records],
        image_bytes=[size for _, _, size, _ in records],
        num_tokens=[tokens for *_, tokens in records],
        num_unknown=num_unknown,
    )
    lengths = []
    for *_, tokens in records:
        lengths += tokens
    assert made.width.count == made.captions.count == len(records)
    assert made.height.sum == sum(height for _, height, _, _ in records)
    assert made.image_bytes.max == max((size for _, _, size, _ in records), default=0)
    assert made.captions.sum == made.caption_tokens.count == len(lengths)
    assert made.caption_tokens.min == min(lengths, default=0)
    assert made.one_token_captions == sum(length == 1 for length in lengths)
    assert made.no_token_captions == sum(length == 0 for length in lengths)
    assert made.unknown_tokens == num_unknown


@given(STATISTICS)
def test_statistics_are_read_back_from_json(statistics):
    for fields in (dataclasses.asdict(statistics), statistics.to_json()):
        assert Statistics.from_json(json.loads(dump_json(fields))) == statistics


@pytest.mark.parametrize("number", [0, 3])
def test_manifests_count_captions_without_tokens_only_where_there_are_some(number):
    fields = Statistics(no_token_captions=number).to_json()
    assert fields.get("no_token_captions", 0) == number
    assert ("no_token_captions" in fields) == (number > 0)


# Sums.


@given(st.lists(SHARDS, max_size=4), st.lists(SHARDS, max_size=4))
def test_counts_of_a_split_and_a_manifest_are_sums_over_shards(one, other):
    splits = [
        Split(name=name, shards=tuple(shards), statistics=Statistics())
        for name, shards in (("a", one), ("b", other))
    ]
    accounting = KeyAccounting(found=0, written=0, not_written={})
    image = ImageSpec(format="", quality=1, subsampling="", resize="", size=1)
    ids = {name: 0 for name in ("pad_id", "unknown_id", "start_id", "end_id")}
    tokenizer = TokenizerSpec(kind="", file="", sha256="", vocab_size=0, **ids)
    manifest = Manifest(
        name="",
        features=(),
        image=image,
        tokenizer=tokenizer,
        splits=tuple(splits),
        accounting=accounting,
        files={},
        fingerprints={},
        config={},
        versions={},
    )
    assert splits[0].num_bytes == sum(shard.num_bytes for shard in one)
    assert manifest.shards == (*one, *other)
    assert manifest.num_examples == sum(s.num_examples for s in (*one, *other))


@pytest.mark.parametrize(
    ("found", "written", "not_written", "balanced"),
    [
        (0, 0, {}, True),
        (3, 3, {}, True),
        (3, 1, {"a": 1, "b": 1}, True),
        (3, 2, {}, False),
        (3, 3, {"a": 1}, False),
    ],
)
def test_books_balance_if_every_key_is_counted_once(
    found, written, not_written, balanced
):
    accounting = KeyAccounting(found=found, written=written, not_written=not_written)
    assert accounting.balanced is balanced

"""Tests the flags of `diptych build`."""

import argparse
import dataclasses
from fractions import Fraction

import pytest

from beam_jobs.cli.build_flags import add_build_parser, config_from
from beam_jobs.cli.settings_flags import check_beam_args
from beam_jobs.config.columns import Column
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.settings import settings_of
from reader.console.parser import underscored
from reader.contract.errors import UsageError

REQUIRED = ["--images=i", "--captions=c", "--output=o"]


def build_parser() -> argparse.ArgumentParser:
    return add_build_parser(argparse.ArgumentParser("diptych").add_subparsers())


def parse(*flags: str, required=REQUIRED) -> JobConfig:
    return config_from(build_parser().parse_args(underscored([*required, *flags])))


def flags_of(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings}


def refused(*flags: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        parse(*flags)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_every_field_has_a_flag_of_its_name_and_no_flag_lacks_a_field():
    fields = {f"--{field}" for field in settings_of(JobConfig)}
    assert flags_of(build_parser()) == fields | {"-h", "--help"}


def test_without_flags_the_configuration_is_the_default_one():
    assert parse() == JobConfig(images="i", captions="c", output="o")


GIVEN = {
    "name": ("shapes", "shapes"),
    "dataset_version": ("2.0.0", "2.0.0"),
    "description": ("Shapes, drawn.", "Shapes, drawn."),
    "license": ("CC0-1.0", "CC0-1.0"),
    "url": ("https://example.org/a", "https://example.org/a"),
    "citation": ("@misc{a}", "@misc{a}"),
    "date_published": ("2025-12-31", "2025-12-31"),
    "splits": ("a=0.75,b=0.25", {"a": Fraction(3, 4), "b": Fraction(1, 4)}),
    "num_shards": ("9", 9),
    "shard_size": ("1MiB", 1 << 20),
    "seed": ("-5", -5),
    "resize": ("none", "none"),
    "image_size": ("99", 99),
    "image_format": ("png", "png"),
    "min_image_size": ("64", 64),
    "max_aspect_ratio": ("2.5", 2.5),
    "jpeg_quality": ("77", 77),
    "jpeg_subsampling": ("444", "444"),
    "max_pixels": ("1000", 1000),
    "max_image_bytes": ("2MB", 2_000_000),
    "captions_per_file": ("lines", "lines"),
    "caption_encoding": ("cp1252", "cp1252"),
    "split_by": ("content", "content"),
    "exclude_keys": ("a/keys.txt", "a/keys.txt"),
    "dedupe": ("exact", "exact"),
    "tokenizer": ("bytes", "bytes"),
    "vocab_size": ("500", 500),
    "min_count": ("3", 3),
    "min_tokens": ("2", 2),
    "caption_files": (
        "alt:.txt, recap:.recap.txt",
        {"alt": ".txt", "recap": ".recap.txt"},
    ),
    "max_rejects": ("7", "7"),
    "max_unpaired": ("2.5%", "2.5%"),
    "workers": ("3", 3),
    "threads": ("4", 4),
}
# Flags of sources other than folders of images and captions.
TABLE = {"images": "i", "table": "t.csv", "output": "o", "where": "width > 1"}
GIVEN_WITH_A_TABLE = {
    "image_column": ("picture", "picture"),
    "caption_column": ("words", "words"),
    "caption_columns": ("alt, recap", ("alt", "recap")),
    "caption_names": ("alt,recap", ("alt", "recap")),
    "table_delimiter": ("tab", "\t"),
    "table_quoting": ("none", "none"),
    "key_column": ("id", "id"),
    "split_column": ("fold", "fold"),
    "columns": (
        "score:float,emb:int[3]=-1",
        (
            Column("score", "float", None, None),
            Column("emb", "int", 3, -1),
        ),
    ),
    "where": ("width > 9", "width > 9"),
    "where_columns": ("age:int", (Column("age", "int", None, None),)),
    "allow_roots": ("/a,/b c", ("/a", "/b c")),
}
SOURCES = (
    {"table": "t.csv", "output": "o"},
    {"coco": "c.json", "images": "i", "output": "o"},
    {"webdataset": "*.tar", "output": "o"},
    {"dataset": "d", "output": "o"},
    {"images": "i", "output": "o"},
)
SWITCHES = ("overwrite", "plan_only", "repair", "take_over", "upscale")


def test_every_flag_is_tried_here():
    fields = {*settings_of(JobConfig)}
    sources = {field for source in SOURCES for field in source}
    assert {*GIVEN, *GIVEN_WITH_A_TABLE, *SWITCHES, *sources, "captions"} == fields


@pytest.mark.parametrize("field", GIVEN_WITH_A_TABLE)
def test_a_flag_of_tables_becomes_its_field(field):
    text, value = GIVEN_WITH_A_TABLE[field]
    required = [f"--{name}={path}" for name, path in TABLE.items()]
    made = parse(f"--{field}={text}", required=required)
    assert getattr(made, field) == value
    default = JobConfig(**TABLE)
    assert dataclasses.replace(made, **{field: getattr(default, field)}) == default


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_has_its_flags(source):
    required = [f"--{name}={path}" for name, path in source.items()]
    assert parse(required=required) == JobConfig(**source)


@pytest.mark.parametrize("field", GIVEN)
@pytest.mark.parametrize("dashes", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_a_flag_becomes_its_field(field, dashes, apart):
    text, value = GIVEN[field]
    flag = "--" + (field.replace("_", "-") if dashes else field)
    made = parse(*([flag, text] if apart else [f"{flag}={text}"]))
    assert getattr(made, field) == value
    # No other field changes.
    default = JobConfig(images="i", captions="c", output="o")
    assert dataclasses.replace(made, **{field: getattr(default, field)}) == default


@pytest.mark.parametrize("field", SWITCHES)
@pytest.mark.parametrize("dashes", [False, True])
def test_a_switch_becomes_its_field(field, dashes):
    assert not getattr(parse(), field)
    flag = "--" + (field.replace("_", "-") if dashes else field)
    assert getattr(parse(flag), field) is True


def test_dashes_in_values_stay():
    args = ["build", "--shard-size=1-2", "--output", "my-out", "-x-y", "--a-b-c"]
    assert underscored(args) == [
        "build",
        "--shard_size=1-2",
        "--output",
        "my-out",
        "-x-y",
        "--a_b_c",
    ]
    assert parse("--output=my-out/a=b-c").output == "my-out/a=b-c"


@pytest.mark.parametrize(
    ("flag", "message_part"),
    [
        ("--splits=train", '"train"'),
        ("--splits=a=0.5,a=0.5", "split a is repeated"),
        ("--shard_size=12 apples", '"12 apples"'),
        ("--max_image_bytes=much", '"much"'),
        ("--max_rejects=101%", '"101%"'),
        ("--max_unpaired=few", '"few"'),
        ("--image_size=big", "'big'"),
        ("--num_shards=1.5", "'1.5'"),
        ("--resize=square", "'square'"),
        ("--jpeg_subsampling=411", "'411'"),
        ("--captions_per_file=all", "'all'"),
    ],
)
def test_a_value_that_cannot_be_read_is_shown_with_its_flag(flag, message_part, capsys):
    message = refused(flag, capsys=capsys)
    assert message_part in message
    assert flag.partition("=")[0] in message


def test_an_output_that_is_not_given_is_named():
    with pytest.raises(UsageError, match="--output is missing"):
        parse(required=["--images=i", "--captions=c"])


def test_images_that_are_not_given_are_named():
    with pytest.raises(UsageError, match="images is required"):
        parse(required=["--captions=c", "--output=o"])


@pytest.mark.parametrize(
    ("flags", "message_part"),
    [
        (["--table=t.csv"], "captions and table exclude each other"),
        (["--coco=c.json"], "captions and coco exclude each other"),
        (["--webdataset=*.tar"], "captions and webdataset exclude each other"),
        (["--dataset=d"], "captions and dataset exclude each other"),
        (["--caption_encoding=utf-99"], "caption_encoding must be a text encoding"),
        (["--caption_encoding=base64"], "caption_encoding must be a text encoding"),
        (["--caption_encoding=idna"], "caption_encoding must be a text encoding"),
        (["--table_delimiter=;"], "are for tables: leave them out with captions"),
        (["--table_quoting=none"], "are for tables: leave them out with captions"),
        (["--table_delimiter=;;"], "table_delimiter must be one character"),
        (["--table_delimiter="], "table_delimiter must be one character"),
        (['--table_delimiter="'], "table_delimiter must be one character"),
        ([f"--splits={'a' * 101}=1"], "up to 100 lower-case letters"),
    ],
)
def test_what_goes_ill_together_is_wrong_usage(flags, message_part):
    with pytest.raises(UsageError, match=message_part):
        parse(*flags)


@pytest.mark.parametrize("flag", ["--splits=a=0.5,b=0.5", "--split_by=folder"])
def test_a_column_of_splits_names_them_alone(flag):
    required = [f"--{name}={path}" for name, path in TABLE.items()]
    with pytest.raises(UsageError, match="split_column assigns the splits"):
        parse("--split_column=fold", flag, required=required)


@pytest.mark.parametrize("flag", ["--jpeg_quality=0", "--splits=a=0.5", "--workers=0"])
def test_a_value_out_of_range_is_wrong_usage(flag):
    with pytest.raises(UsageError):
        parse(flag)


def test_flags_are_not_abbreviated():
    _, rest = build_parser().parse_known_args([*REQUIRED, "--image=3", "--vocab=9"])
    assert rest == ["--image=3", "--vocab=9"]


def test_help_tells_every_flag_and_the_defaults(capsys):
    parser = build_parser()
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--help"])
    assert caught.value.code == 0
    page = capsys.readouterr().out
    assert all(flag in page for flag in flags_of(parser))
    for default in ("256", "90", "128MiB", "256MiB", "100000000", "10000", "1%", "10%"):
        assert f"({default})" in page
    # Percent signs in help texts are unescaped.
    assert "%%" not in page
    assert "%(" not in page


# Apache Beam's flags and unknown flags.


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--runner=FlinkRunner"],
        ["--runner", "DataflowRunner", "--project=p", "--region=r"],
        ["--temp_location=gs://b/tmp", "--num_workers=3"],
        ["--job_endpoint=localhost:8099", "--environment_type=LOOPBACK"],
    ],
)
def test_flags_of_beam_pass(args):
    check_beam_args(args, build_parser())


@pytest.mark.parametrize(
    ("args", "flag", "meant"),
    [
        (["--imagesize=3"], "--imagesize", "--image_size"),
        (["--jpeg_qualty=3"], "--jpeg_qualty", "--jpeg_quality"),
        (["--split=a=1"], "--split", "--splits"),
        (["--max_reject", "3"], "--max_reject", "--max_rejects"),
        (["--runer=FlinkRunner"], "--runer", "--runner"),
        (["--runner=FlinkRunner", "--num_shard=3"], "--num_shard", "--num_shards"),
        (["--temp_loc=x"], "--temp_loc", "--temp_location"),
    ],
)
def test_an_unknown_flag_is_refused_with_what_was_meant(args, flag, meant):
    with pytest.raises(UsageError) as caught:
        check_beam_args(args, build_parser())
    assert str(caught.value) == f"unknown flag {flag}: did you mean {meant}?"


@pytest.mark.parametrize("flag", ["--zzzzzz", "-x"])
def test_an_unknown_flag_that_is_like_no_other_points_to_the_help(flag):
    with pytest.raises(UsageError, match=f"unknown flag {flag}: see diptych build"):
        check_beam_args([flag], build_parser())


def test_a_stray_argument_is_refused():
    with pytest.raises(UsageError, match='unexpected argument "photos"'):
        check_beam_args(["photos"], build_parser())

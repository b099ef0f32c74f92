"""Tests the flags of `diptych layer`."""

import argparse
import dataclasses
import os

import pytest

from beam_jobs.cli.layer import add_parser, layer_config_from, name_to_read
from beam_jobs.config.layer_config import LayerConfig
from reader.console.parser import MainParser, underscored
from reader.contract.errors import UsageError

REQUIRED = ("--name=x", "--table=rows.csv", "--columns=score:float")


def layer_parser() -> argparse.ArgumentParser:
    main = MainParser("diptych", "", "0", ())
    add_parser(main.commands)
    return main.parsers["layer"]


def parse(*flags: str) -> LayerConfig:
    namespace = layer_parser().parse_args(["out", *underscored(list(flags))])
    return layer_config_from(namespace)


def test_every_field_has_a_flag_of_its_name_and_no_flag_lacks_a_field():
    fields = {f"--{field.name}" for field in dataclasses.fields(LayerConfig)}
    flags = {name for a in layer_parser()._actions for name in a.option_strings}
    assert flags | {"--dataset"} == fields | {"-h", "--help"}


def test_without_other_flags_the_configuration_is_the_default_one():
    config = parse(*REQUIRED)
    columns = config.columns
    assert [column.spec for column in columns] == ["score:float"]
    made = LayerConfig(dataset="out", name="x", table="rows.csv", columns=columns)
    assert config == made
    assert config.output == os.path.join("out", "layers", "x")


def test_home_folders_are_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = LayerConfig(
        dataset="~/out", name="x", retokenize=True, tokenizer="~/merges.txt"
    )
    assert config.output == "/home/me/out/layers/x"
    assert config.tokenizer_place == "/home/me/merges.txt"
    assert config.absolute() == config


@pytest.mark.parametrize(
    ("output", "name"),
    [
        ([], "x"),
        (["--output=out/layers/x/"], "x"),
        (["--output=ext"], "./ext"),
        (["--output=/data/ext"], "/data/ext"),
    ],
)
def test_the_name_to_read_a_layer_by(output, name):
    assert name_to_read(parse(*REQUIRED, *output)) == name


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--name=x", "--retokenize"], "retokenize needs tokenizer"),
        (["--name=x", "--caption_column=a"], "table is required"),
        ([*REQUIRED, "--tokenizer=bytes"], "tokenizer is for captions"),
        ([*REQUIRED, "--repair", "--overwrite"], "exclude each other"),
        ([*REQUIRED, "--max_rejects=half"], "a count or a percentage"),
    ],
)
def test_flags_that_do_not_go_together(flags, said):
    with pytest.raises(UsageError, match=said):
        parse(*flags)

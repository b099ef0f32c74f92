"""Carries over settings of the datasets that `--dataset` names to a new build of them.

A setting that was not passed has the value that the dataset was built with. The result
is a configuration like any other, so that no later stage needs the old settings.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from beam_jobs.config.columns import parse_column
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.settings import defaults_of, settings_of
from beam_jobs.config.source_datasets import source_manifests
from reader.contract.errors import UsageError
from reader.contract.manifest import Manifest

# Settings that a dataset has met already, or that are about the files of its source.
_NOT_CARRIED = ("split_column", "where", "where_columns", "max_image_bytes")
# Either of two settings replaces the other one too.
_TOGETHER = ("num_shards", "shard_size")
_SPLITS = ("splits", "split_by")
# What a vocabulary is counted with, if it is counted again.
_OF_BASIC = ("vocab_size", "min_count")


def with_carried(config: JobConfig) -> JobConfig:
    """Returns a configuration with the settings of its source datasets filled in.

    Other configurations, and those that are filled in already, are returned as they
    are.

    Raises:
        UsageError: The source is no finished dataset, or datasets of the source differ
            in a setting. The message names both values and the flag to pass.
    """
    if config.dataset is None or config.carried is not None:
        return config
    manifests = source_manifests(config)
    names = _names(config)
    built = [_settings_of(manifest) for manifest in manifests]
    if _differ(built, _SPLITS) and {*_SPLITS} <= names:
        # Each record keeps its split, whatever its dataset was split by.
        for settings in built:
            settings.update({name: _DEFAULTS[name] for name in _SPLITS})
    _check_equal(config, [{n: each[n] for n in names} for each in built], manifests)
    values = {name: built[0][name] for name in names}
    if "tokenizer" in names:
        values["tokenizer"] = config.paths("dataset")[0]
    of_captions = (name for manifest in manifests for name in manifest.caption_names)
    values["caption_names"] = tuple(dict.fromkeys(of_captions))
    return dataclasses.replace(config, **values, carried=frozenset(names))


_DEFAULTS = defaults_of(JobConfig)


def _names(config: JobConfig) -> set[str]:
    """Returns the names of the settings to carry over."""
    # A copy with another value was not passed that value.
    passed = {n for n, default in _DEFAULTS.items() if getattr(config, n) != default}
    passed |= config.given or set()
    names = {
        name
        for name, declared in settings_of(JobConfig).items()
        if declared.changes_output and not declared.reads_files
    }
    names -= {*passed, *_NOT_CARRIED}
    if passed & {*_TOGETHER}:
        names -= {*_TOGETHER}
    if config.split_column is not None:
        names -= {*_SPLITS}
    # Without `basic`, and with the tokenizer of a dataset, no words are counted.
    if config.tokenizer != "basic" or "tokenizer" in names:
        names -= {*_OF_BASIC}
    return names


def _settings_of(manifest: Manifest) -> dict[str, Any]:
    """Returns the settings that a dataset was built with; its tokenizer by its hash."""
    built = {**_DEFAULTS, **manifest.config}
    built["splits"] = {
        name: Fraction(share) for name, share in manifest.config["splits"]
    }
    built["columns"] = tuple(map(parse_column, manifest.config.get("columns", ())))
    # Two hashes that begin with these 64 bits are equal.
    tokenizer = manifest.tokenizer
    built["tokenizer"] = f"{tokenizer.kind} {tokenizer.sha256[:16]}…"
    return built


def _differ(built: Sequence[Mapping[str, Any]], names: Sequence[str]) -> bool:
    # Lists, because the order of splits is that of the dataset's shards.
    return any(
        [*_listed(each[name])] != [*_listed(built[0][name])]
        for each in built
        for name in names
    )


def _listed(value: Any) -> list[Any]:
    return [*value.items()] if isinstance(value, Mapping) else [value]


def _check_equal(
    config: JobConfig, built: Sequence[Mapping[str, Any]], manifests: Sequence[Manifest]
) -> None:
    """Checks that all datasets were built with the same settings.

    Raises:
        UsageError: They were not; the message lists all that differ.
    """
    folders = config.paths("dataset")
    for folder, settings in zip(folders[1:], built[1:], strict=True):
        names = [n for n in sorted(settings) if _differ((built[0], settings), (n,))]
        if names:
            values = "; ".join(
                f"{name} is {_shown(built[0][name])} and {_shown(settings[name])}"
                for name in names
            )
            raise UsageError(
                f"--dataset={folders[0]} and --dataset={folder} were built with "
                f"different settings: {values}. Pass "
                + ", ".join(f"--{name}" for name in names)
            )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{name}={share}" for name, share in value.items())
    if isinstance(value, tuple):
        return ",".join(column.spec for column in value) or "unset"
    return "unset" if value is None else str(value)

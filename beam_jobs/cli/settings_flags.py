"""Makes the flags of a command from the settings of its configuration.

Flags are written with underscores, like Beam's flags. Dashes are accepted too. Beam's
flags are passed to Beam. A flag that neither Diptych nor Beam knows is an error.
"""

import argparse
from collections.abc import Callable, Collection
from typing import Any

from beam_jobs.config.settings import GROUPS, Setting, defaults_of, settings_of
from reader.console.parser import CommandParser, check_given_once, flags_of
from reader.contract.checks import did_you_mean
from reader.contract.errors import UsageError


def add_flags(
    parser: argparse.ArgumentParser, config: type, without: Collection[str] = ()
) -> None:
    """Adds a flag for each field of a configuration.

    Args:
        parser: Parser of the command.
        config: Class of the configuration.
        without: Fields that get no flag.
    """
    declared = {f: s for f, s in settings_of(config).items() if f not in without}
    used = {setting.group for setting in declared.values()}
    groups = {
        title: parser.add_argument_group(title) for title in GROUPS if title in used
    }
    defaults = defaults_of(config)
    for field, setting in declared.items():
        _add_flag(groups[setting.group], field, defaults[field], setting)


def values_in(namespace: argparse.Namespace, config: type) -> dict[str, Any]:
    """Returns the values of the flags that are given, as `{field: value}`."""
    given = vars(namespace)
    return {field: given[field] for field in settings_of(config) if field in given}


def _add_flag(group: Any, field: str, default: Any, declared: Setting) -> None:
    """Adds the flag for a field."""
    # Only flags that are given are in the namespace, so the default is in the help.
    help_text = (declared.help % {"default": default}).replace("%", "%%")
    options: dict[str, Any] = {"help": help_text, "default": argparse.SUPPRESS}
    if isinstance(default, bool):
        options["action"] = "store_true"
    elif declared.choices:
        options["choices"] = declared.choices
    else:
        is_number = declared.parse in (int, float)
        options["metavar"] = declared.metavar or ("N" if is_number else None)
        options["type"] = declared.parse if is_number else _typed(declared.parse)
    if declared.several:
        options["action"] = "append"
    group.add_argument(f"--{field}", **options)


def _typed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Converts a `UsageError` to an error whose message argparse shows."""

    def typed(text: str) -> Any:
        try:
            return parse(text)
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return typed


def check_beam_args(args: list[str], ours: argparse.ArgumentParser) -> None:
    """Rejects flags that Beam does not know either, or that are given twice.

    Args:
        args: Flags that are not Diptych's.
        ours: Parser of Diptych's flags, used for suggestions.

    Raises:
        UsageError: A flag is unknown, and the message suggests a similar flag; or a
            flag is given twice.
    """
    from beam_jobs.storage.beam_internals import add_beam_flags

    beam = CommandParser(prog=ours.prog, allow_abbrev=False, conflict_handler="resolve")
    add_beam_flags(beam)
    _, unknown = beam.parse_known_args(args)
    if not unknown:
        check_given_once(args, beam)
        return
    flag = unknown[0].partition("=")[0]
    if not flag.startswith("-"):
        raise UsageError(f'unexpected argument "{flag}": write flags as --name=value')
    known = flags_of(ours), flags_of(beam)
    hint = did_you_mean(flag, *known, otherwise=f"see {beam.prog} --help")
    raise UsageError(f"unknown flag {flag}: {hint}")

"""Flags that are not ours: Apache Beam's, which pass through, and slips of the pen."""

import argparse

from reader.console.parser import did_you_mean, flags_of
from reader.contract.errors import UsageError


def check_beam_args(args: list[str], ours: argparse.ArgumentParser) -> None:
    """Refuses flags that Beam does not know either; Beam itself would only warn.

    Raises:
        UsageError: Names the flag, and the one that was probably meant.
    """
    from apache_beam.options.pipeline_options import PipelineOptions

    beam = argparse.ArgumentParser(allow_abbrev=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        # The hook that Beam documents for declaring options.
        options._add_argparse_args(beam)
    _, unknown = beam.parse_known_args(args)
    if not unknown:
        return
    flag = unknown[0].partition("=")[0]
    if not flag.startswith("-"):
        raise UsageError(
            f'unexpected argument "{flag}": flags are written --name=value'
        )
    known = [*flags_of(ours), *flags_of(beam)]
    hint = did_you_mean(flag, known, "see diptych build --help")
    raise UsageError(f"unknown flag {flag}: {hint}")

"""Command-line parsers with one-line errors and grouped help pages."""

import argparse
import collections
import itertools
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from reader.contract.checks import did_you_mean
from reader.contract.errors import UsageError

# Actions of which a second one replaces the first.
_ONCE = (
    argparse._StoreAction,
    argparse._StoreConstAction,
    argparse._StoreFalseAction,
    argparse._StoreTrueAction,
)


class CommandParser(argparse.ArgumentParser):
    """The parser of one command, which reports errors as one line without usage.

    Attributes:
        group: Heading on the main help page that lists the command.
    """

    group = ""

    def error(self, message: str) -> NoReturn:
        """Rejects a command line.

        Raises:
            UsageError: Always; the message names the help page.
        """
        raise UsageError(f"{message}: see {self.prog} --help")


class MainParser(CommandParser):
    """The main parser, whose help page lists the commands in groups.

    Attributes:
        commands: Subparsers action, to which `add_command` adds commands.
    """

    def __init__(
        self, prog: str, description: str, version: str, examples: Sequence[str]
    ) -> None:
        """Creates the parser.

        Args:
            prog: Name of the program.
            description: Description at the top of the help page.
            version: Version that `--version` prints.
            examples: Command lines shown at the end of the help page.
        """
        super().__init__(
            prog=prog,
            usage=f"{prog} COMMAND [--help] …",
            description=_filled(description),
            epilog=examples_text(examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        # `run_command` removes this flag before parsing, so it may appear anywhere.
        self.add_argument(
            "--traceback", action="store_true", help="show the traceback of an error"
        )
        self.add_argument("--version", action="version", version=f"diptych {version}")
        self.commands = self.add_subparsers(
            dest="command",
            prog=prog,
            help=argparse.SUPPRESS,
            parser_class=CommandParser,
        )

    @property
    def parsers(self) -> Mapping[str, CommandParser]:
        """Parsers by command, in the order in which they were added."""
        parsers: Mapping[str, CommandParser] = self.commands.choices
        return parsers

    def format_help(self) -> str:
        """Returns the help page, with the commands before the options."""
        before, options, after = super().format_help().partition("options:\n")
        groups: dict[str, list[str]] = {}
        for name, parser in self.parsers.items():
            text = " ".join((parser.description or "").split())
            first, *_ = text.partition(". ")
            line = f"  {name:<8}  {_lowered(first)}"
            groups.setdefault(parser.group, []).append(line)
        lines = []
        for title, commands in groups.items():
            lines += [f"{title}:", *commands, ""]
        return before + "\n".join([*lines, ""]) + options + after

    def suggest(self, args: Sequence[str]) -> None:
        """Checks that the command exists.

        Raises:
            UsageError: The command does not exist; the message suggests a similar one.
        """
        names = [arg for arg in args if not arg.startswith("-")]
        if names and names[0] not in self.parsers:
            hint = did_you_mean(
                names[0], self.parsers, otherwise=f"see {self.prog} --help"
            )
            raise UsageError(f"no command {names[0]}: {hint}")


def add_command(
    commands: Any,
    name: str,
    arguments: str,
    description: str,
    *,
    group: str,
    examples: Sequence[str] = (),
    more: str = "",
) -> CommandParser:
    """Adds a command without flags and returns its parser.

    Args:
        commands: `MainParser.commands`.
        name: The command's name.
        arguments: Usage line after the command's name; may omit flags.
        description: Description of the command; the first sentence is also shown on the
            main help page.
        group: Heading on the main help page that lists the command; groups appear in
            the order of their first command.
        examples: Command lines shown at the end of the command's help page.
        more: Paragraph below the examples.
    """
    parser: CommandParser = commands.add_parser(
        name,
        usage=f"%(prog)s {arguments}",
        description=_filled(description),
        epilog=examples_text(examples, more) if examples else None,
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    parser.group = group
    return parser


def _filled(text: str) -> str:
    """Returns text wrapped to the terminal, at most 79 columns."""
    return textwrap.fill(text, min(79, shutil.get_terminal_size().columns - 2))


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=26)


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


def examples_text(examples: Sequence[str], more: str = "") -> str:
    """Returns the examples at the end of a help page."""
    lines = ["examples:", *(f"  {example}" for example in examples)]
    return "\n".join([*lines, "", _filled(more)] if more else lines)


def not_empty(text: str) -> str:
    """Checks that an argument is not empty, as an unset shell variable would be.

    An empty path would mean the current folder.

    Raises:
        ArgumentTypeError: The argument is empty.
    """
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def check_given_once(args: Iterable[str], parser: argparse.ArgumentParser) -> None:
    """Checks that no flag is given twice, unless its values are collected.

    By default the last value would win without a word.

    Args:
        args: Command line, whose flags are known to the parser.
        parser: Parser of the flags.

    Raises:
        UsageError: A flag is given twice.
    """
    before_end = itertools.takewhile(lambda arg: arg != "--", args)
    counts = collections.Counter(arg.partition("=")[0] for arg in before_end)
    for action in parser._actions:
        given = sum(counts[flag] for flag in action.option_strings)
        if given > 1 and isinstance(action, _ONCE):
            flag = action.option_strings[0]
            times = "twice" if given == 2 else f"{given} times"
            raise UsageError(f"{flag} is given {times}: pass it once")


def flags_of(parser: argparse.ArgumentParser) -> list[str]:
    """Returns the flags of a parser."""
    return [flag for action in parser._actions for flag in action.option_strings]


def check_rest(rest: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Checks that a parser left no arguments over.

    Raises:
        UsageError: An argument is left over; the message suggests a similar flag.
    """
    if not rest:
        return
    flag = rest[0].partition("=")[0]
    if not flag.startswith("-"):
        raise UsageError(f'unexpected argument "{flag}": see {parser.prog} --help')
    if flag in flags_of(parser):
        raise UsageError(f"{flag} must follow the command: {parser.prog} … {flag}")
    hint = did_you_mean(flag, flags_of(parser), otherwise=f"see {parser.prog} --help")
    raise UsageError(f"unknown flag {flag}: {hint}")


def refuse_set(
    namespace: argparse.Namespace,
    parser: argparse.ArgumentParser,
    names: Iterable[str],
    why: str,
) -> None:
    """Rejects arguments that would have no effect.

    Args:
        namespace: Parsed arguments.
        parser: Parser of these arguments.
        names: Names of the arguments that must have their default values.
        why: End of the error message after the flag, such as `needs --step`.

    Raises:
        UsageError: An argument does not have its default; the message names its flag.
    """
    flags = {action.dest: action.option_strings for action in parser._actions}
    for name in names:
        if getattr(namespace, name) != parser.get_default(name):
            raise UsageError(f"{flags[name][0]} {why}")


def underscored(args: Iterable[str]) -> list[str]:
    """Replaces `-` in the names of flags by `_`, so `--image-size=9` is accepted.

    Arguments after `--` are not flags and stay unchanged.
    """
    left = list(args)
    end = left.index("--") if "--" in left else len(left)
    flags = [_underscored(arg) if arg.startswith("--") else arg for arg in left[:end]]
    return [*flags, *left[end:]]


def _underscored(arg: str) -> str:
    flag, equals, value = arg.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value

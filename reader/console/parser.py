"""Command lines: what both sides parse theirs with."""

import argparse
import difflib
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from reader.contract.errors import UsageError


class CommandParser(argparse.ArgumentParser):
    """The parser of one command; its errors are one line, not a page of usage.

    Attributes:
        group: Heading of the main help page that the command is listed under.
    """

    group = ""

    def error(self, message: str) -> NoReturn:
        """Refuses a command line.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"{message}: see {self.prog} --help")


class MainParser(CommandParser):
    """The parser of `diptych` itself, which shows its commands in groups."""

    def __init__(
        self, prog: str, description: str, version: str, examples: Sequence[str]
    ) -> None:
        """Takes what its page says; commands are added to `commands`."""
        super().__init__(
            prog=prog,
            usage=f"{prog} COMMAND [--help] …",
            description=_filled(description),
            epilog=examples_text(examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        # It is taken out before anything is parsed, so that it may stand anywhere.
        self.add_argument(
            "--traceback", action="store_true", help="show where an error comes from"
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
        """`{command: parser}`, in the order they were added."""
        parsers: Mapping[str, CommandParser] = self.commands.choices
        return parsers

    def format_help(self) -> str:
        """Returns the page of `--help`, with the commands before the options."""
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
        """Refuses a command that there is none of.

        Raises:
            UsageError: Names the one that was probably meant.
        """
        names = [arg for arg in args if not arg.startswith("-")]
        if names and names[0] not in self.parsers:
            hint = did_you_mean(names[0], self.parsers, f"see {self.prog} --help")
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
        arguments: Usage line after the command's name; need not list every flag.
        description: Its first sentence is shown on the main help page.
        group: Heading of the main help page to list the command under; groups appear
            in the order of their first command.
        examples: Command lines shown at the end of the help page.
        more: A last paragraph.
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
    """Returns lines that are easily read, and fit the terminal."""
    return textwrap.fill(text, min(79, shutil.get_terminal_size().columns - 2))


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=26)


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


def examples_text(examples: Sequence[str], more: str = "") -> str:
    """Returns the end of a page of help."""
    lines = ["examples:", *(f"  {example}" for example in examples)]
    return "\n".join([*lines, "", _filled(more)] if more else lines)


def not_empty(text: str) -> str:
    """Refuses an argument that is empty, as that of an unset variable is.

    Without this it would be the folder that one is in.
    """
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """Returns what was probably meant, or else where to look."""
    near = difflib.get_close_matches(word, [*known], n=1)
    return f"did you mean {near[0]}?" if near else otherwise


def flags_of(parser: argparse.ArgumentParser) -> list[str]:
    """Returns the flags that a parser knows."""
    return [flag for action in parser._actions for flag in action.option_strings]


def check_rest(rest: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Refuses what a parser left over.

    Raises:
        UsageError: There is something; names the flag that was probably meant.
    """
    if not rest:
        return
    flag = rest[0].partition("=")[0]
    if not flag.startswith("-"):
        raise UsageError(f'unexpected argument "{flag}": see {parser.prog} --help')
    if flag in flags_of(parser):
        raise UsageError(f"{flag} goes behind the command: {parser.prog} … {flag}")
    hint = did_you_mean(flag, flags_of(parser), f"see {parser.prog} --help")
    raise UsageError(f"unknown flag {flag}: {hint}")


def refuse_set(
    namespace: argparse.Namespace,
    parser: argparse.ArgumentParser,
    names: Iterable[str],
    why: str,
) -> None:
    """Refuses arguments that would have no effect.

    Args:
        namespace: What was parsed.
        parser: By this one.
        names: Of arguments that must have their defaults.
        why: Ends the message, such as `goes with --step`.

    Raises:
        UsageError: One has not; names its flag.
    """
    flags = {action.dest: action.option_strings for action in parser._actions}
    for name in names:
        if getattr(namespace, name) != parser.get_default(name):
            raise UsageError(f"{flags[name][0]} {why}")


def underscored(args: Iterable[str]) -> list[str]:
    """Returns arguments with flags spelled with underscores: `--image-size=9` too.

    Behind `--` there are no flags.
    """
    left = list(args)
    end = left.index("--") if "--" in left else len(left)
    flags = [_underscored(arg) if arg.startswith("--") else arg for arg in left[:end]]
    return [*flags, *left[end:]]


def _underscored(arg: str) -> str:
    flag, equals, value = arg.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value

"""Splits the text of a condition into tokens, and locates errors in it."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from reader.contract.errors import UsageError

OPERATORS = ("=", "==", "!=", "<>", "<", "<=", ">", ">=")

# Characters beyond ASCII are part of names: \w lacks the marks of combined letters.
_LETTER = r"[^\W\d]|[^\x00-\x7f\s‘’“”≠≤≥]"
_TOKEN = re.compile(
    rf"""\s*(?:
    (?P<number> [+-]? (?:[0-9]+\.?[0-9]*|\.[0-9]+) (?:[eE][+-]?[0-9]{{1,6}})?
        (?! [\w/.+-]))
    | (?P<malformed> [+-]? \.? [0-9] [\w/.+-]* | [+-] (?:nan|inf) \w*)
    | (?P<name> (?:{_LETTER}) (?:{_LETTER}|[\w/.-])*)
    | (?P<quoted> "(?:[^"]|"")*+")
    | (?P<string> '(?:[^']|'')*+')
    | (?P<operator> [=<>!]+)
    | (?P<mark> [(),])
    | (?P<end> \Z)
    | (?P<unknown> &&|\|\||.)
    )""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_ADVICE = {
    "&": "write and",
    "&&": "write and",
    "|": "write or",
    "||": "write or",
    "!": "write not",
    "‘": "write straight quotes, '…'",
    "’": "write straight quotes, '…'",
    "“": "write straight quotes, '…'",
    "”": "write straight quotes, '…'",
    "≠": "write !=",
    "≤": "write <=",
    "≥": "write >=",
    ";": "write a single condition",
}
NO_NAN = "is null also finds NaN"

# An error message shows so many characters of the text on each side of the place, and
# of a token.
_SHOWN = 24
_TOKEN_SHOWN = 40


class Token(NamedTuple):
    """A token of a condition.

    Attributes:
        kind: `number`, `name`, `quoted` (a name in double quotes), `string`,
            `operator`, `mark` (a parenthesis or comma) or `end`.
        source: Text of the token, with its quotes.
        at: Place of its first character, from 0.
    """

    kind: str
    source: str
    at: int

    @property
    def unquoted(self) -> str:
        """Text of a `quoted` or `string` token, without its quotes."""
        quote = self.source[0]
        return self.source[1:-1].replace(quote * 2, quote)


def tokens_of(text: str) -> Iterator[Token]:
    """Yields the tokens of a condition; the last one is the `end`.

    Raises:
        UsageError: Some text is not a token.
    """
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        token = Token(kind, match[kind], match.start(kind))
        _check(token, text)
        yield token
        if kind == "end":
            return


def _check(token: Token, text: str) -> None:
    kind, source, at = token
    if kind == "malformed":
        is_float = source.lower().lstrip("+-").startswith(("nan", "inf"))
        what = "constant" if is_float else "number"
        problem = f"{shortened(source)} is not a {what}"
        advice = NO_NAN if is_float else "write digits, or text in single quotes"
        raise located(text, at, problem, advice)
    if kind == "operator" and source not in OPERATORS:
        advice = _ADVICE.get(source, f"operators are {' '.join(OPERATORS)}")
        raise located(text, at, f"unknown operator {source}", advice)
    if kind == "unknown" and source in ("'", '"'):
        raise located(text, at, "the quote is not closed", f"add {source}")
    if kind == "unknown":
        raise located(text, at, f"unexpected {source}", _ADVICE.get(source, ""))


def located(text: str, at: int, problem: str, advice: str = "") -> UsageError:
    """Returns the error for a place in the text of a condition, in one line.

    Args:
        text: Text of the condition.
        at: Place of the character, from 0; messages count from 1.
        problem: What is wrong there.
        advice: What to write instead.
    """
    before, after = text[:at], text[at:]
    if len(before) > _SHOWN:
        before = "…" + before[-_SHOWN:]
    if len(after) > _SHOWN:
        after = after[:_SHOWN] + "…"
    message = f'where: {problem} at character {at + 1}, "{before}▸{after}"'
    return UsageError(_printable(f"{message}: {advice}" if advice else message))


def shortened(source: str) -> str:
    """Returns the text of a token as messages show it."""
    return source if len(source) <= _TOKEN_SHOWN else source[:_TOKEN_SHOWN] + "…"


def _printable(text: str) -> str:
    """Returns text in one line, safe for terminals."""
    return "".join(
        char
        if char.isprintable()
        else " "
        if char.isspace()
        else "\N{REPLACEMENT CHARACTER}"
        for char in text
    )

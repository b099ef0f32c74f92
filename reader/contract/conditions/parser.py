"""Parses the text of a condition by recursive descent."""

from collections.abc import Callable
from decimal import Decimal
from typing import NoReturn

from reader.contract.conditions.nodes import (
    AllOf,
    AnyOf,
    Column,
    Comparison,
    Condition,
    Constant,
    Not,
)
from reader.contract.conditions.tokens import (
    NO_NAN,
    Token,
    located,
    shortened,
    tokens_of,
)

# Python allows about 1000 nested calls, of which a level needs six.
MOST_NESTED = 50
# RE2 cannot compile much longer patterns.
MOST_PATTERN = 10_000

_KEYWORDS = {"and", "or", "not", "in", "is", "like", "between"}
_NO_CONSTANTS = {
    "null": ("null cannot be compared", "write is null or is not null"),
    "nan": ("nan is not a constant", NO_NAN),
    "inf": ("inf is not a constant", NO_NAN),
    "infinity": ("infinity is not a constant", NO_NAN),
    "true": ("no column holds true or false", "compare with 1"),
    "false": ("no column holds true or false", "compare with 0"),
}
# `5 < width` is `width > 5`.
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


class Parser:
    """Parser of a single text.

    Attributes:
        comparisons: Comparisons of the condition, in the order of the text.
    """

    def __init__(self, text: str) -> None:
        """Splits the text.

        Raises:
            UsageError: Some text is not a token.
        """
        self.comparisons: list[Comparison] = []
        self._text = text
        self._tokens = list(tokens_of(text))
        self._place = 0
        self._depth = 0

    def parse(self) -> Condition:
        """Returns the condition.

        Raises:
            UsageError: The text is not a condition.
        """
        condition = self._any()
        if self._token.kind != "end":
            # As in 1 < width < 5.
            is_chain = self._token.kind == "operator"
            advice = "join comparisons with and" if is_chain else ""
            self._expected("and, or, or the end", advice)
        return condition

    def _any(self) -> Condition:
        parts = self._joined("or", self._all)
        return AnyOf(parts) if len(parts) > 1 else parts[0]

    def _all(self) -> Condition:
        parts = self._joined("and", self._negation)
        return AllOf(parts) if len(parts) > 1 else parts[0]

    def _joined(
        self, word: str, parse: Callable[[], Condition]
    ) -> tuple[Condition, ...]:
        parts = [parse()]
        while self._take(word):
            parts.append(parse())
        return tuple(parts)

    def _negation(self) -> Condition:
        begin = self._token
        if self._take("not"):
            return Not(self._nested(begin, self._negation))
        if self._take("("):
            condition = self._nested(begin, self._any)
            self._close(begin, "and, or, or )")
            return condition
        return self._comparison()

    def _nested(self, begin: Token, parse: Callable[[], Condition]) -> Condition:
        if self._depth == MOST_NESTED:
            problem = f"not and parentheses are nested more than {MOST_NESTED} deep"
            self._fail(begin, problem)
        self._depth += 1
        condition = parse()
        self._depth -= 1
        return condition

    def _comparison(self) -> Condition:
        begin = self._token
        first = self._operand("a column")
        if isinstance(first, Constant):
            return self._flipped(first)
        if self._take("is"):
            negated = self._take("not")
            if not self._take("null"):
                self._expected("null", NO_NAN if self._is("nan") else "")
            return self._compared(first, "null", negated=negated)
        negated = self._take("not")
        if self._take("in"):
            return self._compared(first, "in", *self._list(), negated=negated)
        if self._take("like"):
            return self._compared(first, "like", self._pattern(), negated=negated)
        if self._take("between"):
            low = self._constant()
            if not self._take("and"):
                self._expected("and")
            return self._between(first, low, self._constant(), negated)
        if negated:
            self._expected("in, like or between")
        operator = self._operator(
            "an operator, in, like, between or is",
            "write names with spaces in double quotes" if self._is_name() else "",
        )
        second = self._token
        if begin.kind == "quoted" and second.kind == "name":
            # Probably text in the wrong quotes, as in "train" = split.
            self._operand("a constant")
            self._refuse_column(begin, first)
        constant = self._constant()
        return self._compared(first, operator, constant)

    def _flipped(self, constant: Constant) -> Condition:
        operator = self._operator("an operator", "write the column first")
        token = self._token
        column = self._operand("a column")
        if isinstance(column, Constant):
            self._fail(token, "two constants are compared", "compare with a column")
        return self._compared(column, _FLIPPED.get(operator, operator), constant)

    def _between(
        self, column: Column, low: Constant, high: Constant, negated: bool
    ) -> Condition:
        both = AllOf(
            (self._compared(column, ">=", low), self._compared(column, "<=", high))
        )
        return Not(both) if negated else both

    def _compared(
        self,
        column: Column,
        operator: str,
        *constants: Constant,
        negated: bool = False,
    ) -> Condition:
        if operator in ("=", "!="):
            negated = operator == "!="
            operator = "in"
        comparison = Comparison(column, operator, constants)
        self.comparisons.append(comparison)
        return Not(comparison) if negated else comparison

    def _operator(self, expected: str, advice: str = "") -> str:
        token = self._token
        if token.kind != "operator":
            self._expected(expected, advice)
        self._place += 1
        return {"==": "=", "<>": "!="}.get(token.source, token.source)

    def _operand(self, expected: str) -> Column | Constant:
        token = self._token
        word = token.source.lower()
        if word in _NO_CONSTANTS:
            self._fail(token, *_NO_CONSTANTS[word])
        if word in _KEYWORDS or token.kind in ("operator", "mark", "end"):
            self._expected(expected)
        self._place += 1
        if token.kind == "number":
            return Constant(Decimal(token.source), token.source, token.at)
        if token.kind == "string":
            self._check_utf8(token)
            return Constant(token.unquoted, token.source, token.at)
        name = token.unquoted if token.kind == "quoted" else token.source
        return Column(name, token.at)

    def _constant(self) -> Constant:
        token = self._token
        operand = self._operand("a constant")
        if isinstance(operand, Column):
            self._refuse_column(token, operand)
        return operand

    def _refuse_column(self, token: Token, column: Column) -> NoReturn:
        source = shortened(token.source)
        text = shortened(column.name.replace("'", "''"))
        problem = f"{source} is a column, and two columns cannot be compared"
        self._fail(token, problem, f"write text in single quotes, '{text}'")

    def _list(self) -> list[Constant]:
        begin = self._token
        if not self._take("("):
            self._expected("(")
        constants = [self._constant()]
        while self._take(","):
            constants.append(self._constant())
        self._close(begin, ", or )")
        return constants

    def _pattern(self) -> Constant:
        token = self._token
        pattern = self._constant()
        if not isinstance(pattern.value, str):
            advice = f"write it in single quotes, '{token.source}'"
            self._fail(token, "the pattern is not text", advice)
        if "%" in pattern.value and not set("*?") & set(pattern.value):
            # SQL's pattern, which would match nothing without a word.
            advice = "write * for any text, or = to compare whole values"
            self._fail(token, "the pattern has no * or ?, and % is itself", advice)
        if len(pattern.value) > MOST_PATTERN:
            problem = f"the pattern is longer than {MOST_PATTERN} characters"
            self._fail(token, problem)
        return pattern

    def _check_utf8(self, token: Token) -> None:
        try:
            token.source.encode()
        except UnicodeEncodeError:
            self._fail(token, "the text is not UTF-8")

    def _close(self, begin: Token, expected: str) -> None:
        if self._token.kind == "end":
            self._fail(begin, "( is not closed", "add )")
        if not self._take(")"):
            self._expected(expected)

    @property
    def _token(self) -> Token:
        return self._tokens[self._place]

    def _is(self, word: str) -> bool:
        # Sources include their quotes, so text is never taken for a keyword.
        return self._token.source.lower() == word

    def _is_name(self) -> bool:
        return self._token.kind == "name" and not self._is("and") and not self._is("or")

    def _take(self, word: str) -> bool:
        taken = self._is(word)
        self._place += taken
        return taken

    def _expected(self, expected: str, advice: str = "") -> NoReturn:
        got = shortened(self._token.source) or "the end"
        self._fail(self._token, f"expected {expected}, got {got}", advice)

    def _fail(self, token: Token, problem: str, advice: str = "") -> NoReturn:
        raise located(self._text, token.at, problem, advice)

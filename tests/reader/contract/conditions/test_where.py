"""Conditions, compared with a plain evaluator that computes with fractions."""

import copy
import dataclasses
import math
import pickle
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reader.contract.conditions.parser import MOST_NESTED, MOST_PATTERN
from reader.contract.conditions.where import SPLIT, Where, parse_where
from reader.contract.errors import UsageError
from reader.contract.samples import COLUMNS, ColumnType

INT64 = 2**63
TYPES = COLUMNS | {
    "extra/clip_score": ColumnType("float"),
    "extra/a-b.c": ColumnType("float"),
    "extra/my column": ColumnType("string"),
    "extra/count": ColumnType("int64"),
    "extra/vector": ColumnType("float", is_list=True, size=3),
    "extra/größe": ColumnType("int64"),
}


def kept(text: str, column: list, arrow_type: pa.DataType, name: str = "x") -> list:
    table = pa.table({name: pa.array(column, arrow_type)})
    return parse_where(text).keeps(table).tolist()


# The property: random conditions on random rows.

SCHEMA = {
    "width": pa.int32(),
    "length": pa.int64(),
    "extra/a-b.c": pa.float32(),
    "extra/double": pa.float64(),
    "key": pa.string(),
    'extra/my "own" column': pa.large_string(),
    SPLIT: pa.dictionary(pa.int32(), pa.string()),
    "größe/नमस्ते": pa.int64(),
}
# Few different values, so that rows and constants meet.
NUMBERS = [
    "0", "-0.0", "+1", "1.", ".5", "1.5", "-1.5", "0.3", "0.1", "1e2", "100", "-7E-1",
    "0.30000000000000000001", "16777217", "1e-400", "1e30", "1e300", "1e400",
    "2147483647", "2147483647.5", "2147483648", "-2147483648", "-2147483648.5",
    "9007199254740992", "9007199254740993", "9223372036854775807",
    "-1e99999", "9223372036854775808", "-9223372036854775808",
    "-9223372036854775809", "3.4028235e38", "3.5e38", "-3.5e38",
]  # fmt: skip
TEXTS = [
    "", "a", "A", "park/a", "park/b/c.jpg", "it's", 'a"b', "*", "a.b", "é", "😀",
    "\uffff",
]  # fmt: skip
PATTERNS = [
    "", "*", "park/*", "*a*", "?", "a?b", "*/?", "p*/*.jpg", "a.b", "[a]", "it's", "é"
]  # fmt: skip


def values_of(arrow_type):
    if pa.types.is_integer(arrow_type):
        info = np.iinfo(arrow_type.to_pandas_dtype())
        exact = [Fraction(n) for n in NUMBERS if abs(Fraction(n)) < INT64 * 2]
        known = [int(n) for n in exact if n.denominator == 1]
        known = [n for n in known if info.min <= n <= info.max]
        return st.none() | st.sampled_from(known) | st.integers(info.min, info.max)
    if pa.types.is_floating(arrow_type):
        width = 32 if arrow_type == pa.float32() else 64
        known = [rounded(n, arrow_type) for n in NUMBERS]
        return st.none() | st.sampled_from([*known, math.nan]) | st.floats(width=width)
    return st.none() | st.sampled_from(TEXTS) | st.text(max_size=3)


def rounded(text, arrow_type):
    with np.errstate(over="ignore"):
        return float(arrow_type.to_pandas_dtype()(float(text)))


def number_for(text, arrow_type):
    """The number that a constant is, compared with a column of a type."""
    if pa.types.is_floating(arrow_type) and math.isfinite(rounded(text, arrow_type)):
        return Fraction(rounded(text, arrow_type))
    return Fraction(text)


def is_like(text, pattern):
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(is_like(text[n:], pattern[1:]) for n in range(len(text) + 1))
    return (
        bool(text) and pattern[0] in ("?", text[0]) and is_like(text[1:], pattern[1:])
    )


TESTS = {
    "=": lambda a, b: a == b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "in": lambda a, *b: a in b,
    "between": lambda a, b, c: b <= a <= c,
    "like": is_like,
}
MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@st.composite
def comparisons(draw):
    """A comparison: its tokens, and its truth for a row."""
    name = draw(st.sampled_from(list(SCHEMA)))
    arrow_type = SCHEMA[name]
    is_text = not (pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type))
    operator = draw(st.sampled_from(["null", *TESTS]))
    if operator == "like" and not is_text:
        operator = "="
    count = {"null": 0, "between": 2, "in": draw(st.integers(1, 4))}.get(operator, 1)
    pool = PATTERNS if operator == "like" else TEXTS if is_text else NUMBERS
    constants = [draw(st.sampled_from(pool)) for _ in range(count)]
    shown = [quoted(c, "'") if is_text else c for c in constants]
    exact = [c if is_text else number_for(c, arrow_type) for c in constants]
    negated = operator in ("null", "in", "between", "like") and draw(st.booleans())

    def truth(row):
        value = row[name]
        missing = value is None or value != value
        if operator == "null":
            return missing != negated
        if missing:
            return None
        if not is_text and math.isfinite(value):
            value = Fraction(value)
        return TESTS[operator](value, *exact) != negated

    plain = name.replace("/", "").isidentifier() or name == "extra/a-b.c"
    plain = plain and not draw(st.booleans())
    column = name if plain else quoted(name, '"')
    if operator == "null":
        tokens = [column, "is", *["not"] * negated, "null"]
    elif operator == "in":
        listed = [token for c in shown for token in (",", c)][1:]
        tokens = [column, *["not"] * negated, "in", "(", *listed, ")"]
    elif operator == "between":
        low, high = shown
        tokens = [column, *["not"] * negated, "between", low, "and", high]
    elif operator == "like":
        tokens = [column, *["not"] * negated, "like", *shown]
    elif draw(st.booleans()):
        tokens = [*shown, MIRRORED.get(operator, operator), column]
    else:
        tokens = [column, operator, *shown]
    return tokens, truth, 3


def quoted(text, quote):
    return quote + text.replace(quote, quote * 2) + quote


def inside(part, binding):
    """The tokens of a part, in parentheses if it binds less than what is around it."""
    tokens, _, own = part
    return tokens if own > binding else ["(", *tokens, ")"]


def negation(part):
    truth = part[1]

    def negated(row):
        value = truth(row)
        return None if value is None else not value

    # `not not x` needs no parentheses.
    tokens = part[0] if part[2] == 2 else inside(part, 2)
    return ["not", *tokens], negated, 2


def joined(word, binding, decides):
    def join(parts):
        truths = [part[1] for part in parts]

        def truth(row):
            values = [truth(row) for truth in truths]
            if decides in values:
                return decides
            return None if None in values else not decides

        tokens = [token for part in parts for token in (word, *inside(part, binding))]
        return tokens[1:], truth, binding

    return join


def parenthesized(part):
    return ["(", *part[0], ")"], part[1], 3


CONDITIONS = st.recursive(
    comparisons(),
    lambda parts: (
        parts.map(negation)
        | parts.map(parenthesized)
        | st.lists(parts, min_size=2, max_size=3).map(joined("and", 1, False))
        | st.lists(parts, min_size=2, max_size=3).map(joined("or", 0, True))
    ),
    max_leaves=6,
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {name: values_of(arrow_type) for name, arrow_type in SCHEMA.items()}
    ),
    max_size=8,
)
KEYWORDS = {"and", "or", "not", "in", "is", "null", "like", "between"}


def is_of_name(char):
    return char.isalnum() or char > "\x7f" or char in tuple("_./-+")


def rendered(tokens, random):
    text = ""
    for token in tokens:
        if token in KEYWORDS:
            token = "".join(random.choice([c, c.upper()]) for c in token)
        spaces = [" ", "\n\t "]
        if not (is_of_name(text[-1:]) and is_of_name(token[0])):
            spaces += ["", ""]
        text += random.choice(spaces) + token
    return text + random.choice(["", " "])


@settings(max_examples=500)
@given(CONDITIONS, ROWS, st.randoms(use_true_random=False), st.integers(0, 8))
def test_records_are_kept_as_by_plain_python(condition, rows, random, cut):
    tokens, truth, _ = condition
    where = parse_where(rendered(tokens, random))
    chunks = [
        pa.table({n: pa.array([row[n] for row in part], t) for n, t in SCHEMA.items()})
        for part in (rows[:cut], rows[cut:])
    ]
    mask = where.keeps(pa.concat_tables(chunks, promote_options="permissive"))
    assert mask.dtype == np.bool_
    assert mask.tolist() == [truth(row) is True for row in rows]


# Values.


@pytest.mark.parametrize("arrow_type", [pa.float32(), pa.float64()], ids=str)
def test_a_constant_is_converted_to_the_floats_of_its_column(arrow_type):
    values = [0.3, np.nextafter(np.float32(0.3), np.float32(1)), None, math.nan]
    for text, want in {
        "x > 0.3": [False, True, False, False],
        "x <= 0.3": [True, False, False, False],
        "x = 0.3": [True, False, False, False],
        "x in (1, 0.3)": [True, False, False, False],
        "x between 0.3 and 0.3": [True, False, False, False],
        "not x > 0.3": [True, False, False, False],
        "x is null": [False, False, True, True],
        "x is not null": [True, True, False, False],
    }.items():
        assert kept(text, values, arrow_type) == want, text


def test_zero_equals_negative_zero():
    for text in ("x = 0", "x = -0.0", "x in (5, 0)", "x >= 0", "x <= -0.0"):
        assert kept(text, [0.0, -0.0], pa.float32()) == [True, True], text


def test_constants_above_the_largest_float_are_compared_exactly():
    largest = float(np.finfo(np.float32).max)
    values = [largest, math.inf, -largest, -math.inf, None]
    for text, want in {
        "x = 3.4028235e38": [True, False, False, False, False],  # Rounds to it.
        "x = 3.5e38": [False] * 5,
        "x < 3.5e38": [True, False, True, True, False],
        "x >= 1e999": [False, True, False, False, False],
        "x <= -3.5e38": [False, False, False, True, False],
        "x > -1e999": [True, True, True, False, False],
    }.items():
        assert kept(text, values, pa.float32()) == want, text


def test_large_integers_are_not_rounded():
    values = [2**53, 2**53 + 1, 2**63 - 1, -(2**63), None]
    for text, want in {
        "x = 9007199254740993": [False, True, False, False, False],
        "x > 9007199254740992": [False, True, True, False, False],
        "x < 9223372036854775807": [True, True, False, True, False],
        "x <= 9223372036854775806.9999": [True, True, False, True, False],
        "x < 9223372036854775808": [True, True, True, True, False],
        "x >= -9223372036854775808.5": [True, True, True, True, False],
        "x != 9223372036854775808": [True, True, True, True, False],
        "x > 1e30": [False] * 5,
        "x > -1e999999": [True, True, True, True, False],
    }.items():
        assert kept(text, values, pa.int64()) == want, text


def test_integers_are_compared_with_fractions():
    values = [1, 2, None]
    for text, want in {
        "x = 1.5": [False, False, False],
        "x != 1.5": [True, True, False],
        "x < 1.5": [True, False, False],
        "x >= 1.5": [False, True, False],
        "x in (1.5, 2.0)": [False, True, False],
        "1.5>x": [True, False, False],
        "x>-5": [True, True, False],
        "x=+1": [True, False, False],
    }.items():
        assert kept(text, values, pa.int32()) == want, text


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        ("park/*", ["park/", "park/a/b", "park/\n"], ["Park/a", "a/park/b", "park"]),
        ("?", ["a", "é", "😀", "\n"], ["", "ab", "e\u0301"]),
        ("a.b[c]_\\d$^", ["a.b[c]_\\d$^"], ["axb[c]_\\d$^", "a.bc_\\d$^"]),
        ("*.jpg", [".jpg", "a.jpg"], ["a.jpg\n", "a.JPG", "ajpg"]),
        ("a\0*", ["a\0b"], ["ab"]),
        ("it''s*", ["it's", "it's so"], ["its"]),
        ("", [""], ["a"]),
        ("50%*", ["50%", "50% off"], ["500"]),
    ],
)  # fmt: skip
def test_like_matches_whole_values(pattern, matched, others):
    values = [*matched, *others, None]
    want = [True] * len(matched) + [False] * (len(others) + 1)
    for arrow_type in (pa.string(), pa.large_string()):
        assert kept(f"x like '{pattern}'", values, arrow_type) == want
    want = [False] * len(matched) + [True] * len(others) + [False]
    assert kept(f"x not like '{pattern}'", values, pa.string()) == want


def test_the_longest_pattern_is_compiled():
    for char in "?*é":
        text = f"x like '{char * MOST_PATTERN}'"
        assert kept(text, ["é" * MOST_PATTERN, "a"], pa.string()) == [True, char == "*"]


def test_text_is_ordered_by_code_points():
    values = ["a", "Z", "é", "\uffff", "😀"]
    assert kept("x > '\uffff'", values, pa.string()) == [False] * 4 + [True]
    assert kept("x<'a'", values, pa.string()) == [False, True, False, False, False]


def test_a_table_without_rows_keeps_none():
    for column in (pa.array([], pa.float32()), pa.chunked_array([], pa.float32())):
        mask = parse_where("not (x > 1 or x is null)").keeps(pa.table({"x": column}))
        assert (mask.dtype, mask.shape) == (np.bool_, (0,))


def test_negation_binds_more_than_and_and_that_more_than_or():
    values = [1, 2, 3]
    assert kept("not x = 1 and x = 2", values, pa.int32()) == [False, True, False]
    assert kept("x=1 or x=2 and x=3", values, pa.int32()) == [True, False, False]
    assert kept("(x=1 or x=2) and x!=2", values, pa.int32()) == [True, False, False]
    assert kept("x between 1 and 2 and x=2", values, pa.int32()) == [False, True, False]


def test_thousands_of_comparisons_are_no_nesting():
    text = " or ".join(f"(x = {n} and not x = 1)" for n in range(1000))
    assert kept(text, [0, 1, 999, 1000], pa.int64()) == [True, False, True, False]
    listed = ", ".join(map(str, range(100_000)))
    assert kept(f"x in ({listed})", [99_999, 100_000], pa.int64()) == [True, False]


# The value.


def test_columns_are_listed_once_in_the_order_of_the_text():
    where = parse_where(
        """width > 5 or 'a' = "extra/x y" and 3 < height and width < 9"""
    )
    assert where.columns == ("width", "extra/x y", "height")


def test_it_is_a_frozen_value_with_the_equality_of_its_text():
    where = parse_where("not (width > 5 and key like 'a*')")
    assert where == parse_where(where.text) and hash(where) == hash(copy.copy(where))
    assert where != parse_where(where.text + " ")
    again = pickle.loads(pickle.dumps(where))
    assert isinstance(again, Where) and again == where
    table = pa.table({"width": [4, 6], "key": ["a", "a"]})
    assert again.keeps(table).tolist() == [True, False]
    with pytest.raises(dataclasses.FrozenInstanceError):
        where.text = ""


def test_parsing_loads_no_pyarrow():
    code = (
        "import sys; from reader.contract.conditions.where import parse_where; "
        "parse_where('a = 1').check; print('pyarrow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize(
    "text",
    [
        "extra/a-b.c > .5",
        "\"extra/my column\" = 'it''s'",
        "extra/größe>-5",
        "split IN ('train') AND Not width IS NULL",
        "'a' <> source and -1.5e-3 <= extra/clip_score",
        "offset between 1 and 9223372036854775808",
    ],
)
def test_a_fitting_condition_is_accepted(text):
    parse_where(text).check(TYPES)


# Errors.


def message_of(text: str, types: dict[str, ColumnType] = TYPES) -> str:
    with pytest.raises(UsageError) as caught:
        parse_where(text).check(types)
    return str(caught.value)


SEVERAL = "holds several values per record and cannot be compared"
SINGLE = "use a column of single values"
TWO = "is a column, and two columns cannot be compared"
DIGITS = "write digits, or text in single quotes"
NO_NAN = "is null also finds NaN"
IS_NULL = "write is null or is not null"
OPERATOR = "expected an operator, in, like, between or is, got"
# The place is marked in the text, as in messages.
ERRORS = [
    # Columns.
    ("▸clip_scor > 0.3", "no column clip_scor", "did you mean extra/clip_score?"),
    ("▸clip_score > 0.3", "no column clip_score", "did you mean extra/clip_score?"),
    ("▸WIDTH > 5", "no column WIDTH", "did you mean width?"),
    (
        '1 < width or ▸"extra/my colum" > 5',
        "no column extra/my colum",
        "did you mean extra/my column?",
    ),
    ("▸captions = 'a'", f"captions {SEVERAL}", SINGLE),
    ("▸num_tokens is null", f"num_tokens {SEVERAL}", SINGLE),
    ("not ▸extra/vector > 1", f"extra/vector {SEVERAL}", SINGLE),
    # Types.
    (
        "width = ▸'5'",
        "width holds numbers, and '5' is text",
        "write a number, without quotes",
    ),
    (
        "width in (1, ▸'5')",
        "width holds numbers, and '5' is text",
        "write a number, without quotes",
    ),
    ("▸5 < key", "key holds text, and 5 is a number", "write it in single quotes, '5'"),
    (
        "split between 'a' and ▸1.5",
        "split holds text, and 1.5 is a number",
        "write it in single quotes, '1.5'",
    ),
    (
        "width like ▸'5*'",
        "width holds numbers, and '5*' is text",
        "use like with a column of text",
    ),
    # Constants.
    ("width = ▸null", "null cannot be compared", IS_NULL),
    ("▸NULL != width", "null cannot be compared", IS_NULL),
    ("width in (1, ▸null)", "null cannot be compared", IS_NULL),
    ("extra/clip_score = ▸NaN", "nan is not a constant", NO_NAN),
    ("extra/clip_score < ▸inf", "inf is not a constant", NO_NAN),
    ("extra/clip_score > ▸-Infinity", "-Infinity is not a constant", NO_NAN),
    ("extra/clip_score is ▸nan", "expected null, got nan", NO_NAN),
    ("width = ▸true", "no column holds true or false", "compare with 1"),
    ("▸False", "no column holds true or false", "compare with 0"),
    ('split = ▸"train"', f'"train" {TWO}', "write text in single quotes, 'train'"),
    ('▸"train" = split', f'"train" {TWO}', "write text in single quotes, 'train'"),
    ('split in (▸"it\'s")', f'"it\'s" {TWO}', "write text in single quotes, 'it''s'"),
    ("width > ▸height", f"height {TWO}", "write text in single quotes, 'height'"),
    ('key like ▸"a*"', f'"a*" {TWO}', "write text in single quotes, 'a*'"),
    ("5 = ▸5", "two constants are compared", "compare with a column"),
    ("width = ▸1_000", "1_000 is not a number", DIGITS),
    ("width = ▸5-3", "5-3 is not a number", DIGITS),
    ("width = ▸1e9999999", "1e9999999 is not a number", DIGITS),
    ("key like ▸5", "the pattern is not text", "write it in single quotes, '5'"),
    (
        "key like ▸'park/%'",
        "the pattern has no * or ?, and % is itself",
        "write * for any text, or = to compare whole values",
    ),
    ("key = ▸'\udcff'", "the text is not UTF-8", ""),
    # Operators.
    ("width > 5 ▸&& height < 3", "unexpected &&", "write and"),
    ("width > 5 ▸|| height < 3", "unexpected ||", "write or"),
    ("▸!(width > 5)", "unknown operator !", "write not"),
    ("width ▸=> 5", "unknown operator =>", "operators are = == != <> < <= > >="),
    ("width ▸≥ 5", "unexpected ≥", "write >="),
    (
        "1 < width ▸< 5",
        "expected and, or, or the end, got <",
        "join comparisons with and",
    ),
    ("5 ▸in (1)", "expected an operator, got in", "write the column first"),
    ("width not ▸= 5", "expected in, like or between, got =", ""),
    ("width > ▸- 5", "unexpected -", ""),
    # Quotes and parentheses.
    ("key = ▸'a''b", "the quote is not closed", "add '"),
    ('▸"width = 5', "the quote is not closed", 'add "'),
    ("key = ▸‘a’", "unexpected ‘", "write straight quotes, '…'"),
    ("▸(width = 1 or (key > 2)", "( is not closed", "add )"),
    ("width in ▸(1, 2", "( is not closed", "add )"),
    ("width = 1▸)", "expected and, or, or the end, got )", ""),
    ("(width = 1 ▸height = 2)", "expected and, or, or ), got height", ""),
    ("width in (1 ▸2)", "expected , or ), got 2", ""),
    ("width in (▸)", "expected a constant, got )", ""),
    ("width in (1,▸)", "expected a constant, got )", ""),
    ("width in ▸1", "expected (, got 1", ""),
    ("(▸)", "expected a column, got )", ""),
    # What is missing.
    ("width▸", f"{OPERATOR} the end", ""),
    ("not width ▸and height = 1", f"{OPERATOR} and", ""),
    (
        "extra/my ▸column = 'a'",
        f"{OPERATOR} column",
        "write names with spaces in double quotes",
    ),
    ("width >▸", "expected a constant, got the end", ""),
    ("▸and", "expected a column, got and", ""),
    ("width = 1 or▸", "expected a column, got the end", ""),
    ("width between 1 ▸or 2", "expected and, got or", ""),
    ("width = 1▸; drop", "unexpected ;", "write a single condition"),
]


@pytest.mark.parametrize(("marked", "problem", "advice"), ERRORS)
def test_an_error_says_what_is_wrong_and_where(marked, problem, advice):
    at = marked.index("▸") + 1
    shown = marked.replace("\udcff", "\ufffd")
    want = f'where: {problem} at character {at}, "{shown}"'
    assert message_of(marked.replace("▸", "")) == (
        f"{want}: {advice}" if advice else want
    )


def test_a_long_text_is_shortened_around_the_place():
    text = (
        "key = '"
        + "a" * 500
        + "' and\nwidht\t> 5 or "
        + "width = 1 or " * 90
        + "1=width"
    )
    assert message_of(text) == (
        'where: no column widht at character 514, "…'
        + "a" * 18
        + "' and ▸widht > 5 or width = 1 o…\": did you mean width?"
    )


def test_a_long_constant_is_shortened():
    text = "'" + "a" * 500 + "'"
    assert message_of(f"width = {text}") == (
        f"where: width holds numbers, and '{'a' * 39}… is text at character 9, "
        f'"width = ▸\'{"a" * 23}…": write a number, without quotes'
    )


def test_a_message_is_printable():
    assert message_of("a\x1b[31m = 1") == (
        'where: unexpected \ufffd at character 2, "a▸\ufffd[31m = 1"'
    )


def test_a_column_is_suggested_without_its_prefix():
    message = message_of("ar > 1", {"extra/ar": ColumnType("float")})
    assert message.endswith('"▸ar > 1": did you mean extra/ar?')


def test_the_columns_are_listed_when_none_is_similar():
    assert message_of(
        "zzz = 1", {"width": TYPES["width"], "vec": TYPES["captions"]}
    ) == ('where: no column zzz at character 1, "▸zzz = 1": columns are width, split')
    many = {f"extra/{n}": ColumnType("string") for n in range(40)}
    assert message_of("zzz = 1", many).endswith("extra/28, extra/29, …")


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_text_is_an_error(text):
    with pytest.raises(UsageError, match="where is empty: write a condition"):
        parse_where(text)


@pytest.mark.parametrize("value", [None, 5, b"width = 1"])
def test_what_is_not_text_is_an_error(value):
    with pytest.raises(UsageError, match="where must be text, got"):
        parse_where(value)


@pytest.mark.parametrize(
    ("opening", "closing"), [("(", ")"), ("not ", ""), ("not(", ")"), ("(not\n", ")")]
)
def test_deep_nesting_is_an_error_and_not_a_crash(opening, closing):
    levels = (opening + closing).count("(") + opening.count("not")
    depth = MOST_NESTED // levels
    fine = opening * depth + "x = 1" + closing * depth
    assert kept(fine, [1, 1, None], pa.int32())[2] is False
    pickle.loads(pickle.dumps(parse_where(fine)))
    for text in (
        opening + fine + closing,
        opening * 10_000 + "x = 1",
        opening * 10_000,
    ):
        with pytest.raises(UsageError, match=f"nested more than {MOST_NESTED} deep"):
            parse_where(text)


def test_a_pattern_that_cannot_be_compiled_is_an_error():
    with pytest.raises(UsageError, match="longer than 10000 characters at character 8"):
        parse_where(f"x like '{'?' * (MOST_PATTERN + 1)}'")


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (pa.array(["a"]), "x holds text, and 1 is a number"),
        (pa.array([[1]]), "x holds several values per record"),
        (pa.array([True]), "x has the type bool and cannot be compared"),
        (None, "no column x"),
    ],
)
def test_a_table_of_other_types_is_an_error(column, problem):
    table = pa.table({"y": [1]} if column is None else {"x": column})
    with pytest.raises(UsageError, match=problem):
        parse_where("x = 1").keeps(table)

"""Pages, docstrings and messages use the words that people search for.

The first column was once the style of this project; the second is what other projects
of the field say, and what a reader looks up. Code in pages may differ.
"""

import ast
import re

import pytest
from pages import ROOT

DIALECT = {
    r"tells?|told": "report, state, show, detect, distinguish",
    r"(held|holds?|holding) ((it|them|all|what \w+ \w+) )?against": "check against",
    r"look(s|ed|ing)? at|looked for": "inspect, check, search",
    r"mend(s|ed|ing)?|remedied": "repair, fix",
    r"(?<!\.)books": "accounting",
    r"(go|goes|going|gone|went) on": "resume, continue",
    r"of others|others'|strangers?": "from other tools, of other projects",
    r"of (ours|theirs)": "of Diptych",
    r"what lies|(lies?|lay|lying) (there|in|on|below|behind|before|(in|out)side)": "is",
    r"there (is|are) none|what there is|(names|options) that there are": "exist",
    r"whoever|somebody|nobody": "anyone who, no one",
    r"for ever|as ever|anew|of before": "forever, again, earlier",
    r"pass(es|ed) over": "ignore, skip",
    r"dear|slips? of the pen|costs it|as it comes": "expensive, typo, by default",
    r"\w*(colour|catalogue|licence|honour|neighbour|behaviour)\w*|centre": "American",
    r"\w*(final|initial|normal|organ|optim|recogn|serial)is\w*|grey|learnt": "American",
}
PATTERNS = {
    re.compile(rf"\b(?:{words})\b", re.I): plain for words, plain in DIALECT.items()
}
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("docs/**/*.md"), ROOT / "README.md"]
)
ROOMS = sorted(
    str(path.relative_to(ROOT))
    for package in ("beam_jobs", "reader")
    for path in ROOT.glob(f"{package}/*")
    if path.suffix == ".py" or (path.is_dir() and list(path.glob("**/*.py")))
)


def prose_of(page: str) -> list[tuple[int, str]]:
    """Returns the numbered lines of a page, without code, comments and addresses."""
    text = (ROOT / page).read_text()
    code = r"```.*?^\s*```|<!--.*?-->|`[^`]*`|\]\([^)]*\)"

    def blank(found: re.Match[str]) -> str:
        return re.sub(r"[^\n]", "·", found[0])

    text = re.sub(code, blank, text, flags=re.S | re.M)
    return list(enumerate(text.splitlines(), 1))


def texts_of(path: str) -> list[tuple[int, str]]:
    """Returns the numbered lines of a module's strings: docstrings and messages."""
    lines = []
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = re.sub(r"`[^`]*`|\S*/\S*", "", node.value)
            # A JSON key or the name of a file is no prose.
            if " " in text:
                lines += list(enumerate(text.splitlines(), node.lineno))
    return lines


def dialect_in(name: str, lines: list[tuple[int, str]]) -> list[str]:
    return [
        f"{name}:{number}: {match[0]!r}: say {plain}"
        for number, line in lines
        for pattern, plain in PATTERNS.items()
        for match in pattern.finditer(line)
    ]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_in_plain_english(page):
    assert not dialect_in(page, prose_of(page))


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_and_messages_are_in_plain_english(room):
    root = ROOT / room
    modules = [root] if root.is_file() else sorted(root.glob("**/*.py"))
    names = [str(module.relative_to(ROOT)) for module in modules]
    found = [line for name in names for line in dialect_in(name, texts_of(name))]
    assert not found


def test_dialect_is_found_in_prose_and_not_in_code():
    assert dialect_in("a.md", [(7, "Nobody is told to go on")]) == [
        "a.md:7: 'told': say report, state, show, detect, distinguish",
        "a.md:7: 'go on': say resume, continue",
        "a.md:7: 'Nobody': say anyone who, no one",
    ]

"""Renders the HTML page.

jinja2 escapes every value. The Content Security Policy allows only the page's own style
and script, by their digests, and images embedded in the page.
"""

import base64
import hashlib
from importlib.resources import files
from typing import NamedTuple

from reader.config import defaults
from reader.contract.manifest import Manifest
from reader.contract.version import __version__
from reader.datasets.layers import ListedLayer
from reader.distributions.column_statistics import ColumnStatistics
from reader.selections.selection import Listed
from reader.tools.report.captions import Row, Spelling
from reader.tools.report.charts import charts_of, shards_chart
from reader.tools.report.columns import views_of
from reader.tools.report.display_text import (
    bytes_text,
    number_text,
    percent_text,
    shown,
)
from reader.tools.report.distributions import LongCaption, Statistics
from reader.tools.report.gallery import Example
from reader.tools.report.key_accounting import lines_of, reason_text
from reader.tools.report.rejects import Group, names_of
from reader.tools.report.token_counts import Vocabulary


class Contents(NamedTuple):
    """The contents of a page.

    Attributes:
        manifest: Manifest of the dataset.
        statistics: Statistics of all records.
        vocabulary: Token counts.
        spelling: Converts token ids to text.
        examples: Records to display.
        rejects: Keys that were not written, by reason.
        columns: Statistics of the columns carried through.
        selections: Selections in the dataset's folder.
        layers: Layers in the dataset's folder.
    """

    manifest: Manifest
    statistics: Statistics
    vocabulary: Vocabulary
    spelling: Spelling
    examples: tuple[Example, ...]
    rejects: tuple[Group, ...]
    columns: tuple[ColumnStatistics, ...] = ()
    selections: tuple[Listed, ...] = ()
    layers: tuple[ListedLayer, ...] = ()


def render(contents: Contents) -> str:
    """Returns the HTML page; the output is deterministic."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number_text,
        "percent": percent_text,
        "size": bytes_text,
        "shown": shown,
        "place": _place,
        "names": names_of,
        "reason": reason_text,
    }
    style, script = _resource("page.css"), _resource("filter.js")
    return environment.get_template("page.html").render(
        **contents._asdict() | {"columns": views_of(contents.columns)},
        style=style,
        script=script,
        policy=_policy(style, script),
        version=__version__,
        max_tokens=defaults.MAX_TOKENS,
        accounting=lines_of(contents.manifest.accounting),
        charts=charts_of(contents.statistics, contents.spelling.room),
        shards=shards_chart(contents.manifest),
        longest=_longest_cut(contents),
    )


def _longest_cut(contents: Contents) -> list[tuple[LongCaption, Row]]:
    """Returns the longest captions that the reader truncates, with their tokens."""
    spelling = contents.spelling
    return [
        (caption, spelling.row(spelling.tokenizer.encode(caption.text)))
        for caption in contents.statistics.longest
        if caption.num_tokens > spelling.room
    ]


def _policy(style: str, script: str) -> str:
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {_digest(style)}",
            f"script-src {_digest(script)}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _digest(text: str) -> str:
    """Returns the Content Security Policy source that allows exactly this text."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _resource(name: str) -> str:
    return files("reader.tools.report").joinpath(name).read_text(encoding="utf-8")


def _place(percent: float) -> str:
    """Returns a position or length for SVG."""
    return f"{percent:.2f}%"

"""A hook of MkDocs: search shows guides before, and maintainers' pages after others."""

from typing import Any

from mkdocs.structure.pages import Page

_GUIDES = "how-to/"
_FOR_MAINTAINERS = (
    "changelog.md",
    "comparison-sources.md",
    "contributing.md",
    "dependencies.md",
    "design.md",
    "extending.md",
    "performance-notes.md",
    "performance-notes-building.md",
)


def on_page_markdown(markdown: str, /, *, page: Page, **_: Any) -> None:
    """Weights the sections of a page, as Material's search knows it."""
    uri = page.file.src_uri
    if uri.startswith(_GUIDES) and uri != f"{_GUIDES}index.md":
        page.meta["search"] = {"boost": 2}
    elif uri in _FOR_MAINTAINERS:
        page.meta["search"] = {"boost": 0.5}

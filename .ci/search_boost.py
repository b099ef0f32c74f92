"""A hook of MkDocs: guides come before other pages when the site is searched."""

from typing import Any

from mkdocs.structure.pages import Page

_GUIDES = "how-to/"
_BOOST = 2


def on_page_markdown(markdown: str, /, *, page: Page, **_: Any) -> None:
    """Gives a guide's sections more weight, as Material's search knows it."""
    uri = page.file.src_uri
    if uri.startswith(_GUIDES) and uri != f"{_GUIDES}index.md":
        page.meta["search"] = {"boost": _BOOST}

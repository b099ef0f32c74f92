"""Tests the page in a browser: it runs no untrusted code and is accessible."""

from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest
from PIL import Image
from stand_ins.server import Server

from reader.tools.report.write import write_report

pytestmark = pytest.mark.browser

THEMES = ("light", "dark")
WIDTHS = (1440, 390, 320)

_CARDS = "return [...document.querySelectorAll('.card')].filter(c => !c.hidden)"

# Finds visible text with a contrast ratio below 4.5 (WCAG 2.2):
# https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
_LOW_CONTRAST = """
const channel = (value) => {
  value /= 255;
  return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
};
const parse = (color) => color.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) =>
  0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const background = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = parse(getComputedStyle(at).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
  return [255, 255, 255];
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const low = new Set();
let seen = 0;
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim()) continue;
  if (!element.checkVisibility() || element.closest("script, title")) continue;
  const style = getComputedStyle(element);
  const color = parse(element.closest("svg") ? style.fill : style.color);
  const [a, b] = [luminance(color), luminance(background(element))].sort();
  const [dark, light] = [Math.min(a, b), Math.max(a, b)];
  seen += 1;
  if ((light + 0.05) / (dark + 0.05) < 4.5) low.add(element.outerHTML.slice(0, 99));
}
return [seen, [...low]];
"""


@pytest.fixture(scope="module")
def plain_page(dataset, tmp_path_factory):
    page = tmp_path_factory.mktemp("plain_page") / "report.html"
    write_report(dataset, page)
    return page


def shown(chromium) -> list:
    return chromium.run(_CARDS)


def keys(chromium, *pressed: str) -> None:
    chromium.driver.switch_to.active_element.send_keys(*pressed)


def active(chromium, what: str) -> str:
    return chromium.run(f"return document.activeElement.{what}")


@pytest.mark.parametrize("theme", THEMES)
def test_hostile_text_runs_nothing_and_asks_nobody(chromium, naughty_page, theme):
    chromium.open(naughty_page, theme=theme)
    # Opens every `details` and triggers event handlers.
    chromium.run(
        """
        for (const details of document.querySelectorAll("details")) details.open = true;
        for (const element of document.querySelectorAll("*")) {
          for (const kind of ["mouseover", "focus", "click"]) {
            if (element.closest("a, summary, input, label")) continue;
            element.dispatchEvent(new Event(kind, { bubbles: true }));
          }
        }
        """
    )
    chromium.driver.find_element("id", "words").send_keys("<script>")
    assert shown(chromium)
    events = chromium.events()
    assert events.dialogs == []
    assert events.console == []
    assert events.requests == [naughty_page.as_uri()]
    assert chromium.driver.title == "<script>alert(30)</script> · dataset report"
    assert len(chromium.driver.window_handles) == 1


class _Handler(BaseHTTPRequestHandler):
    """Answers 404 to every request and records its path."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_error(404)

    def log_message(self, *args: object) -> None:
        pass


@pytest.mark.parametrize("has_policy", [True, False])
def test_the_pages_policy_stops_what_escaping_would_not(
    chromium, plain_page, tmp_path, has_policy
):
    html = plain_page.read_text(encoding="utf-8")
    page = tmp_path / "hole.html"
    _Handler.asked.clear()
    with Server(_Handler) as server:
        hole = (
            "<script>document.title = 'hacked'; console.error('hacked'); alert(1)"
            "</script>"
            f"<img src={server.url}/image onerror=\"document.title = 'hacked'\">"
            "<style>main { display: none }</style>"
            f"<link rel=stylesheet href={server.url}/style>"
            f"<script src={server.url}/script></script>"
        )
        html = html.replace("</main>", f"{hole}</main>")
        if not has_policy:
            html = html.replace("Content-Security-Policy", "no-policy")
        page.write_text(html, encoding="utf-8")
        chromium.open(page)
        events = chromium.events()
    visible = chromium.run("return document.querySelector('main').checkVisibility()")
    if has_policy:
        assert chromium.driver.title == "diptych · dataset report"
        assert visible
        assert not events.dialogs
        assert not _Handler.asked
        assert all("Content Security Policy" in line for line in events.console)
    else:
        # Only the policy blocks the attack: without it, all parts of it succeed.
        assert chromium.driver.title == "hacked"
        assert not visible
        assert events.dialogs == ["1"]
        assert sorted(_Handler.asked) == ["/image", "/script", "/style"]
        assert events.console


def test_every_picture_is_decoded(chromium, naughty_page):
    chromium.open(naughty_page)
    broken = chromium.run(
        "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    )
    assert broken == 0
    assert chromium.run("return document.images.length") > 40


def test_examples_are_filtered_by_split_and_by_words(chromium, plain_page):
    chromium.open(plain_page)
    find = chromium.driver.find_element
    assert len(shown(chromium)) == 60
    find("css selector", "input[value=validation]").send_keys(" ")
    cards = shown(chromium)
    assert {card.get_attribute("data-split") for card in cards} == {"validation"}
    assert len(cards) == 12
    words = find("id", "words")
    words.send_keys("RED  circle")
    cards = shown(chromium)
    assert 0 < len(cards) < 12
    texts = chromium.run("return arguments[0].map(c => c.textContent)", cards)
    assert all("red" in text and "circle" in text for text in texts)
    assert find("id", "count").text == f"{len(cards)} of 60"
    words.send_keys(" no such word")
    assert shown(chromium) == []
    assert find("id", "none").is_displayed()
    words.clear()
    words.send_keys(" ")
    assert len(shown(chromium)) == 12


def test_without_scripts_all_is_there_but_the_filter(chromium, plain_page):
    with chromium.without_scripts():
        chromium.open(plain_page)
    assert len(shown(chromium)) == 60
    find = chromium.driver.find_element
    assert not find("id", "words").is_displayed()
    tokens = find("class name", "tokens")
    assert tokens.is_displayed()
    find("id", "with-tokens").click()
    assert not tokens.is_displayed()
    others = find("class name", "others")
    caption = others.find_element("class name", "caption")
    assert not caption.is_displayed()
    others.find_element("tag name", "summary").click()
    assert caption.is_displayed()


@pytest.mark.parametrize("theme", THEMES)
def test_all_text_has_the_contrast_of_wcag_aa(chromium, naughty_page, theme):
    chromium.open(naughty_page, theme=theme)
    opened = "for (const d of document.querySelectorAll('details')) d.open = true;"
    seen, low = chromium.run(opened + _LOW_CONTRAST)
    assert seen > 500
    assert low == []


def test_the_theme_is_the_readers(chromium, plain_page):
    colors = []
    for theme in THEMES:
        chromium.open(plain_page, theme=theme)
        colors.append(
            chromium.run("return getComputedStyle(document.body).backgroundColor")
        )
    light, dark = (sum(map(int, c[4:-1].split(","))) for c in colors)
    assert light > 3 * 200
    assert dark < 3 * 50


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_screen(chromium, naughty_page, width):
    chromium.open(naughty_page, width=width)
    opened = "for (const d of document.querySelectorAll('details')) d.open = true;"
    chromium.run(opened)
    # Tables may be wider: each is in a box that scrolls.
    outside = chromium.run(
        """
        const widest = arguments[0] + 1;
        return [...document.querySelectorAll("body *")].filter((element) => {
          if (element.closest(".scroll, .hidden, .skip, svg")) return false;
          const box = element.getBoundingClientRect();
          return box.width && box.right > widest;
        }).map((element) => element.outerHTML.slice(0, 99));
        """,
        width,
    )
    assert outside == []
    assert chromium.run("return document.documentElement.scrollWidth") <= width


def test_text_twice_as_large_still_fits(chromium, naughty_page):
    chromium.open(naughty_page, width=360)
    chromium.run("document.documentElement.style.fontSize = '200%'")
    assert chromium.run("return document.documentElement.scrollWidth") <= 360


def test_a_page_that_is_printed_is_dark_on_light(chromium, plain_page):
    chromium.open(plain_page, theme="dark", media="print")
    ink, paper = chromium.run(
        "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    )
    assert sum(map(int, ink[4:-1].split(","))) < 3 * 50
    assert sum(map(int, paper[4:-1].split(","))) > 3 * 200
    assert not chromium.driver.find_element("class name", "filter").is_displayed()


def test_the_line_where_captions_are_cut_can_be_seen_before_any_bar(
    chromium, build, tmp_path
):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    captions = [" ".join(["word"] * length) for length in range(1, 130)]
    (tmp_path / "a.txt").write_text("\n".join(captions))
    made = build(tmp_path, tmp_path, tmp_path / "out", captions_per_file="lines")
    for theme in THEMES:
        chromium.open(Path(write_report(made).path), theme=theme)
        cut, halo, text, page = chromium.run(
            """
            const style = (selector) =>
              getComputedStyle(document.querySelector("#tokens " + selector));
            return [style(".cut:not(.halo)").stroke, style(".halo").stroke,
              style("svg text").stroke, getComputedStyle(
                document.body).backgroundColor];
            """
        )
        assert halo == text == page != cut


def test_pictures_keep_their_shape_on_every_screen(chromium, plain_page):
    for width in WIDTHS:
        chromium.open(plain_page, width=width)
        shapes = chromium.run(
            "return [...document.images].map("
            "i => [i.naturalWidth / i.naturalHeight, i.clientWidth / i.clientHeight])"
        )
        assert len(shapes) == 60
        for natural, drawn in shapes:
            assert drawn == pytest.approx(natural, rel=0.02)


def test_the_page_can_be_used_by_keyboard(chromium, plain_page):
    chromium.open(plain_page)
    keys(chromium, "\ue004")  # Tab
    assert active(chromium, "className") == "skip"
    reached = set()
    for _ in range(60):
        keys(chromium, "\ue004")
        reached.add(active(chromium, "id") or active(chromium, "tagName"))
    assert {"A", "SUMMARY", "INPUT", "words", "with-tokens"} <= reached
    chromium.run("document.querySelector('.others > summary').focus()")
    keys(chromium, "\ue007")  # Enter
    assert chromium.run("return document.querySelector('.others').open")

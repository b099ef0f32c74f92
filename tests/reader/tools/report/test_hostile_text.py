"""Tests that untrusted captions, keys and file names stay text on the page."""

import re
import unicodedata

import naughty
import pytest
from html_tree import parse_page

import reader
from reader.tools.report.display_text import shown

# All elements of a page.
_ELEMENTS = """
a b bdi body code dd details div dl dt fieldset figcaption figure footer h1 h2 h3 head
header html img input label legend li line link main meta nav ol output p path rect
script section span style summary svg table tbody td text th thead title tr ul
"""
ELEMENTS = set(_ELEMENTS.split())


@pytest.fixture(scope="module")
def tree(naughty_page):
    return parse_page(naughty_page.read_text(encoding="utf-8"))


def test_no_text_becomes_an_element(tree):
    found = {element.tag for element in tree.all()}
    assert found <= ELEMENTS
    for tag in ("script", "style", "link", "input"):
        assert len(list(tree.all(tag))) == (5 if tag == "input" else 1), tag


def test_no_text_becomes_a_script_or_an_address(tree):
    for element in tree.all():
        names = set(element.attributes)
        assert not [name for name in names if name.startswith("on") or name == "style"]
        assert re.match("#|$", element.attributes.get("href", "#")) or (
            element.tag == "link" and element.attributes["href"].startswith("data:")
        )
        source = element.attributes.get("src", "data:image/jpeg;base64,")
        assert re.fullmatch("data:image/jpeg;base64,[A-Za-z0-9+/=]*", source)


def test_the_script_and_the_style_hold_nothing_of_the_dataset(tree, dataset, page):
    other = page(dataset)
    for tag in ("script", "style"):
        assert tree.one(tag).text == other.one(tag).text


def test_every_caption_is_there_word_for_word(tree, naughty_dataset):
    texts = {
        element.words
        for class_ in ("caption", "clamp")
        for element in tree.all(class_=class_)
    }
    stored = [
        caption
        for split in ("train", "validation")
        for captions in reader.open(naughty_dataset, split=split, outputs=("caption",))
        for caption in captions
    ]
    assert len(stored) == len(naughty.CAPTIONS)
    for caption in stored:
        assert shown(caption, 500) in texts
    # Most of the texts are unchanged from the files; long ones are truncated.
    assert len(set(naughty.CAPTIONS) & texts) > 35


def test_every_key_is_there_and_nothing_in_it_is_hidden(tree):
    keys = {element.text for element in tree.all(class_="name")}
    assert "photo\\u202egpj.exe" in keys
    assert "line\\u000abreak\\u000dand\\u0009tab\\u001b[31m\\u0007" in keys
    assert "<script>alert(20)<" in keys
    for key in keys:
        assert not {unicodedata.category(c) for c in key} & {"Cc", "Cf", "Cs", "Zl"}


def test_names_in_rejects_are_text_too(tree):
    group = tree.one(id="reason-not_an_image")
    assert len(list(group.all("li"))) == 3
    assert all("damaged " in item.text for item in group.all("li"))


def test_the_name_of_the_dataset_is_text_too(tree):
    assert tree.one("h1").text == "<script>alert(30)</script>"


def test_naughty_strings_of_others_stay_text(shared_data, build, tmp_path, page):
    from PIL import Image

    lines = (shared_data / "text/blns.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line.strip() and not line.startswith("#\t")]
    source = tmp_path / "source"
    source.mkdir()
    # Five captions per image: the page shows at most five.
    for first in range(0, len(lines), 5):
        Image.new("RGB", (8, 8)).save(source / f"{first:03}.png")
        (source / f"{first:03}.txt").write_text("\n".join(lines[first : first + 5]))
    made = build(source, source, tmp_path / "out", captions_per_file="lines")
    tree = page(made, 500)
    assert {element.tag for element in tree.all()} <= ELEMENTS
    texts = {
        element.words
        for class_ in ("caption", "clamp")
        for element in tree.all(class_=class_)
    }
    captions = {
        c for row in reader.open(made).samples["captions"].to_pylist() for c in row
    }
    assert len(captions) > 400
    assert {" ".join(shown(caption, 500).split()) for caption in captions} <= texts

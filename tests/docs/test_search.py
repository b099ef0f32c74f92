"""The words that people search for find their page first on the built site.

Material for MkDocs searches in the browser by lunr.js, over the index that the build
writes. Here its Python port searches the same index with Material's settings: fields
and boosts as the index states them, no stemming, and words that may be unfinished.
"""

import json
import re
from pathlib import Path

import pytest
from lunr.builder import Builder
from lunr.stop_word_filter import stop_word_filter
from mkdocs.commands.build import build
from mkdocs.config import load_config
from pages import ROOT

# Reference pages that are about these words as well may come before.
AMONG_THREE = ("shuffle", "tfds")
FOUND = [
    ("accelerate", "how-to/accelerate"),
    ("add captions", "how-to/add_captions"),
    ("append", "how-to/grow_weekly"),
    ("azure", "how-to/object_stores"),
    ("checkpoint", "how-to/resume"),
    ("ddp", "how-to/ddp"),
    ("dedupe", "how-to/grow_weekly"),
    ("delete", "how-to/remove_samples"),
    ("distributeddataparallel", "how-to/ddp"),
    ("evaluate", "how-to/evaluate"),
    ("filter", "how-to/filter"),
    ("gcs", "how-to/object_stores"),
    ("change gpus", "how-to/change_gpus"),
    ("grain", "recipes/grain"),
    ("hugging face", "how-to/from_hugging_face"),
    ("imagefolder", "how-to/from_loose_files"),
    ("img2dataset", "how-to/from_img2dataset"),
    ("install", "start"),
    ("jax", "how-to/jax_hosts"),
    ("keras", "how-to/keras"),
    ("laion", "how-to/from_img2dataset"),
    ("lightning", "how-to/lightning"),
    ("memory", "training"),
    ("migrate", "how-to/from_webdataset"),
    ("mix", "how-to/mix_datasets"),
    ("preemption", "how-to/resume"),
    ("quickstart", "start"),
    ("remove", "how-to/remove_samples"),
    ("resume", "how-to/resume"),
    ("s3", "how-to/object_stores"),
    ("shuffle", "order"),
    ("slow", "how-to/slow_input"),
    ("state_dict", "how-to/resume"),
    ("tfds", "how-to/from_tfds"),
    ("change tokenizer", "how-to/change_tokenizer"),
    ("torchrun", "how-to/ddp"),
    ("webdataset", "how-to/from_webdataset"),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """The site's search index. API pages stay empty, which saves time."""
    site = tmp_path_factory.mktemp("site")
    settings = str(ROOT / ".mkdocs.yml")
    build(load_config(settings, site_dir=str(site), plugins=["search"], strict=False))
    return index_of(site / "search/search_index.json")


def index_of(path: Path):
    content = json.loads(path.read_text())
    builder = Builder()
    builder.ref("location")
    for name, options in content["config"]["fields"].items():
        builder.field(name, boost=options["boost"])
    assert content["config"]["pipeline"] == ["stopWordFilter"]
    builder.pipeline.add(stop_word_filter)
    for section in content["docs"]:
        text = re.sub("<[^>]*>", " ", section["text"])
        weight = {"boost": section.get("boost", 1)}
        builder.add({"tags": "", **section, "text": text}, weight)
    return builder.build()


def pages_found(index, words: str) -> list[str]:
    """Returns the pages that hold all words or beginnings of words, the best first."""
    terms = words.split()
    query = " ".join(f"+{word}" for word in [*terms[:-1], f"{terms[-1]}*"])
    refs = [result["ref"].split("#")[0] for result in index.search(query)]
    return [page.removesuffix(".html") for page in dict.fromkeys(refs)]


@pytest.mark.parametrize(("words", "page"), FOUND, ids=[words for words, _ in FOUND])
def test_a_word_finds_its_page(index, words, page):
    first = 3 if words in AMONG_THREE else 1
    assert page in pages_found(index, words)[:first]

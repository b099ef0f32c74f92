"""Every code block of the docs and of the README, run as a reader would."""

import os
import re
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify
from pages import ROOT, RUN, SHOWN, Block, blocks_of, check_unrun

PAGES = [
    "README.md",
    *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/**/*.md")),
]
# Its consumers cannot share a process: tests/interop/test_page.py runs its sections.
RUN_ELSEWHERE = ["docs/interchange.md"]
RUN_PAGES = [
    page
    for page in PAGES
    if page not in RUN_ELSEWHERE and any(b.runs for b in blocks_of(page))
]
# What is there when a page begins; the others begin with nothing.
BEGINS_WITH = {
    "docs/batches.md": ["demo"],
    "docs/cache.md": ["demo"],
    "docs/how-to/accelerate.md": ["demo"],
    "docs/how-to/add_captions.md": ["own_demo"],
    "docs/how-to/change_gpus.md": ["demo"],
    "docs/how-to/change_tokenizer.md": ["own_demo"],
    "docs/how-to/ddp.md": ["demo"],
    "docs/how-to/filter.md": ["own_demo"],
    "docs/how-to/from_hugging_face.md": ["hub_download"],
    "docs/how-to/from_img2dataset.md": ["tars"],
    "docs/how-to/from_loose_files.md": ["loose_files"],
    "docs/how-to/from_tfds.md": ["tfds_download"],
    "docs/how-to/from_webdataset.md": ["tars"],
    "docs/how-to/grow_weekly.md": ["own_demo"],
    "docs/how-to/jax_hosts.md": ["demo"],
    "docs/how-to/keras.md": ["demo"],
    "docs/how-to/lightning.md": ["demo"],
    "docs/how-to/mix_datasets.md": ["demo"],
    "docs/how-to/object_stores.md": ["s3_demo"],
    "docs/how-to/remove_samples.md": ["own_demo"],
    "docs/how-to/resume.md": ["demo"],
    "docs/how-to/slow_input.md": ["demo"],
    "docs/layers.md": ["own_folders"],
    "docs/order.md": ["datasets"],
    "docs/reading.md": ["datasets"],
    "docs/rebuilding.md": ["own_folders"],
    "docs/recipes/captioning.md": ["demo"],
    "docs/recipes/coco.md": ["coco_download"],
    "docs/recipes/flickr.md": ["flickr_download"],
    "docs/recipes/gpu_decoding.md": ["demo"],
    "docs/recipes/grain.md": ["demo"],
    "docs/recipes/hosts.md": ["demo"],
    "docs/recipes/jax.md": ["demo"],
    "docs/recipes/pytorch.md": ["demo"],
    "docs/recipes/retrieval.md": ["demo"],
    "docs/selections.md": ["own_folders"],
    "docs/sources.md": ["own_folders"],
    "docs/start.md": ["own_folders"],
    "docs/tables.md": ["own_folders"],
    "docs/tokenizers.md": ["own_folders"],
    "docs/training.md": ["datasets"],
    "docs/writing.md": ["own_folders"],
}
# Longer pages are split, since nobody reads them; but these two are looked up.
MOST_WORDS = 2000
LONG = ["docs/changelog.md", "docs/format.md"]
# Measured by hand, on an idle machine; what was measured is what these pages show.
MEASURED = [
    "docs/performance-notes-building.md",
    "docs/performance-notes.md",
    "docs/performance.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page):
    for block in blocks_of(page):
        if page in MEASURED and not block.language:
            continue
        assert block.language in (*RUN, *SHOWN), f"{block.where}: {block.language!r}"


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_PAGES)
def test_what_a_page_shows_works(page, run_page, tmp_path, request):
    for fixture in BEGINS_WITH.get(page, []):
        request.getfixturevalue(fixture)(tmp_path)
    done = run_page(page, tmp_path)
    assert done.wait() == 0, done.communicate()[1]


@pytest.mark.parametrize("page", PAGES)
def test_what_cannot_be_run_here_names_options_that_there_are(page):
    for block in blocks_of(page):
        if block.not_run:
            check_unrun(block)


@pytest.mark.parametrize("page", PAGES)
def test_reasons_for_not_running_stand_before_a_block(page):
    reasons = re.findall("^<!-- not run:", (ROOT / page).read_text(), re.M)
    assert len(reasons) == sum(bool(block.not_run) for block in blocks_of(page))


def source_of(script: str) -> str:
    """Returns the source of a script, or of the module or package after `-m`."""
    path = ROOT / script.removeprefix("-m ").removesuffix(".py").replace(".", "/")
    file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    return file.read_text()


@pytest.mark.parametrize("page", MEASURED)
def test_commands_of_measurements_name_what_is_there(page):
    text = "".join(block.text for block in blocks_of(page))
    commands = re.findall(r"^python (tests/\S+|-m \S+)(.*)", text, re.M)
    assert commands
    for script, arguments in commands:
        source = source_of(script)
        for flag in re.findall(r"--(\w+)", arguments):
            assert f"--{flag}" in source or f'"{flag}"' in source, (script, flag)


def sections_of(page: str) -> set[str]:
    """Returns the anchors of a page's titles."""
    titles = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.M)
    return {slugify(title, "-") for title in titles}


def test_code_names_sections_that_there_are():
    sources = [
        path
        for top in ("beam_jobs", "reader", "tests")
        for path in ROOT.glob(f"{top}/**/*.py")
    ]
    named = {
        name
        for path in sources
        for name in re.findall(r"(docs/[\w/-]+\.md)#([\w-]+)", path.read_text())
    }
    assert named
    assert [name for name in named if name[1] not in sections_of(name[0])] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages_and_sections_that_exist(page):
    links = re.findall(
        r"\]\(([\w./-]+\.md)?(?:#([\w-]+))?\)", (ROOT / page).read_text()
    )
    for target, section in links:
        path = os.path.normpath(Path(page).parent / target) if target else page
        assert (ROOT / path).exists(), target
        assert not section or section in sections_of(path), f"{target}#{section}"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_at_most_2000_words(page):
    # As `wc -w` counts them: code, tables and links as well.
    words = len((ROOT / page).read_text().split())
    assert words <= MOST_WORDS or page in LONG


def test_a_block_that_is_not_run_is_held_against_what_there_is():
    def block(language: str, text: str) -> Block:
        return Block("a.md", 1, language, text, "no such machine")

    check_unrun(block("sh", "diptych build … --runner=PrismRunner --threads=1"))
    for wrong in ("--thread=1", "--threads=0"):
        with pytest.raises(ValueError, match="thread"):
            check_unrun(block("sh", f"diptych build … {wrong}"))
    with pytest.raises(AssertionError, match="no extra gcs"):
        check_unrun(block("sh", "pip install 'diptych[gcs]'"))
    with pytest.raises(AssertionError, match=r"a.md:1: load: .* 'batches'"):
        check_unrun(block("python", "reader.load('gs://b/out', batches=3)"))

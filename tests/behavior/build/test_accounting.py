"""Every key is written or rejected, and the counts add up."""

import random
import re

from built_datasets import (
    ODD_NAMES,
    OF_OTHER_SOURCES,
    all_records,
    build,
    file_of,
    keys_below,
    manifest_of,
    paths_below,
    picture,
    put,
    put_pairs,
    rejects_of,
)

from reader.contract.rejects import REASONS
from reader.contract.schema import display_path


def test_every_reason_occurs_here(everything):
    assert set(everything.rejected) == set(REASONS) - OF_OTHER_SOURCES


def test_the_books_balance_and_tell_what_happened(everything):
    outcome = everything.result.outcome
    assert outcome.failures == ()
    found = keys_below(everything.source)
    rejected = {reason: len(keys) for reason, keys in everything.rejected.items()}
    assert outcome.accounting.found == len(found)
    assert outcome.accounting.not_written == rejected
    assert outcome.accounting.written == len(found) - sum(rejected.values())
    assert outcome.accounting.written == len(all_records(everything.output))
    assert manifest_of(everything.output)["books"] == {
        "found": len(found),
        "written": outcome.accounting.written,
        "not_written": rejected,
        "dropped_captions": 0,
    }
    assert outcome.accounting.written == 260 + len(ODD_NAMES) + 1


def test_what_was_to_be_left_out_counts_towards_no_limit(tmp_path):
    put_pairs(tmp_path / "in", 5)
    png = file_of(picture(random.Random(0), 3, 3), "PNG")
    for number in range(5):
        put(tmp_path / "in", f"small{number}.png", png)
        put(tmp_path / "in", f"small{number}.txt", "A small one.")
    result = build(tmp_path / "in", tmp_path / "out", min_image_size=4, max_rejects=0)
    assert result.outcome.failures == ()
    assert result.outcome.accounting.not_written == {"image_too_small": 5}
    assert result.outcome.accounting.written == 5


def test_each_reason_comes_with_examples_for_a_person(everything):
    examples = everything.result.outcome.examples
    assert set(examples) == set(REASONS) - OF_OTHER_SOURCES
    for reason, shown in examples.items():
        assert 1 <= len(shown) <= 3
        assert all(one.startswith(f"{reason}/") for one in shown)


def test_every_key_is_written_or_rejected_and_never_both(everything):
    written = [
        record.features["image/source_id"][0]
        for record in all_records(everything.output)
    ]
    assert len(set(written)) == len(written)
    rejected = [line["key"] for line in rejects_of(everything.output)]
    assert len(set(rejected)) == len(rejected)
    shown = [display_path(key) for key in written] + rejected
    assert sorted(shown) == sorted(map(display_path, keys_below(everything.source)))


STAGES = {
    "list": {"not_a_file"},
    "pair": {"unpaired_image", "unpaired_caption", "ambiguous_key"},
    "caption": {
        "caption_too_large",
        "undecodable_caption",
        "empty_caption",
        "caption_too_short",
    },
    "image": {
        "not_an_image",
        "unsupported_image",
        "damaged_image",
        "too_many_pixels",
        "image_file_too_large",
        "image_too_small",
        "aspect_ratio_too_large",
    },
}


def test_each_line_of_rejects_says_what_where_and_why(everything):
    lines = rejects_of(everything.output)
    reasons = {key: r for r, keys in everything.rejected.items() for key in keys}
    # In order of the keys' bytes.
    assert [line["key"] for line in lines] == list(map(display_path, sorted(reasons)))
    assert [line["reason"] for line in lines] == [
        reasons[key] for key in sorted(reasons)
    ]
    paths = {display_path(path) for path in paths_below(everything.source)}
    for line in lines:
        assert set(line) == {"key", "source", "stage", "reason", "detail"}
        assert line["source"]
        assert set(line["source"]) <= paths
        assert line["reason"] in STAGES[line["stage"]]
        assert line["detail"]


def test_an_ambiguous_key_lists_its_files(everything):
    lines = {line["key"]: line for line in rejects_of(everything.output)}
    two = lines["ambiguous_key/two"]["source"]
    assert sorted(two) == [
        f"ambiguous_key/two.{suffix}" for suffix in ("jpg", "png", "txt")
    ]
    assert len(lines["ambiguous_key/\u00e9"]["source"]) == 3


def test_no_detail_of_a_reject_depends_on_the_run(everything):
    for line in rejects_of(everything.output):
        assert not re.search("0x[0-9a-f]{6,}|object at", line["detail"])


def test_what_is_neither_image_nor_caption_is_counted(everything):
    assert everything.result.plan.ignored == {".md": 1, "hidden": 1}

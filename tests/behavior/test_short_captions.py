"""Captions of few tokens or none: counted, shown, and dropped if asked for."""

import json
import re
from pathlib import Path

import pytest
from built_datasets import all_records, contents, file_of, manifest_of, put, rejects_of
from PIL import Image

import reader
from beam_jobs.__main__ import main
from beam_jobs.planning.key_order import order_of
from reader.tools.report.write import write_report

# Lines of a caption file each. Of three keys, all lines are punctuation.
CAPTIONS = {
    "one": ["A red cat sits on a mat.", "?!", "Cat."],
    "two": ["...", "A dog.", "Two dogs run over the green grass today."],
    "three": ["!"],
    "four": ["– — …", "🍎🍎"],
    "five": ["Rare."],
    "six": ["A house stands by a tree."],
    "seven": ["' '"],
}


def words_of(text: str) -> list[str]:
    return re.findall("[a-z]+", text.lower())


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("short")
    for number, (key, lines) in enumerate(CAPTIONS.items()):
        image = Image.new("RGB", (8, 8), (number, 0, 0))
        put(folder, f"{key}.png", file_of(image, "PNG"))
        put(folder, f"{key}.txt", "\n".join(lines))
    return folder


def args(source: Path, output: Path, *more: str) -> list[str]:
    folders = [f"--images={source}", f"--captions={source}", f"--output={output}"]
    return ["build", *folders, "--captions_per_file=lines", "--workers=1", *more]


def texts_of(output: Path) -> dict[str, list[str]]:
    """Returns `{key: captions}` of the records."""
    return {
        record.features["image/source_id"][0].decode(): [
            text.decode() for text in record.features["image/caption"]
        ]
        for record in all_records(output)
    }


@pytest.fixture(scope="module")
def plain(source, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("plain") / "out"
    assert main(args(source, output, "--num_shards=2")) == 0
    return output


EMPTY = sum(not words_of(line) for lines in CAPTIONS.values() for line in lines)


def test_captions_without_a_token_are_stored_and_counted(plain):
    assert texts_of(plain) == CAPTIONS
    (split,) = manifest_of(plain)["splits"]
    assert split["statistics"]["no_token_captions"] == EMPTY == 6
    assert reader.verify(plain).problems == []


def test_a_build_warns_of_captions_without_a_token(source, tmp_path, capfd):
    assert main(args(source, tmp_path / "out")) == 0
    assert "warning: 6 captions of train have no token" in capfd.readouterr().err


def test_captions_without_a_token_are_shown(plain, tmp_path, capfd):
    assert main(["show", str(plain)]) == 0
    shown = capfd.readouterr().out
    assert "6 captions without a token" in shown
    assert "warning: 6 captions of train have no token" in shown
    page = tmp_path / "page.html"
    write_report(plain, page, 0)
    assert "<b>6 captions have no token</b> (50" in page.read_text(encoding="utf-8")


def test_a_manifest_of_before_they_were_counted_is_verified(plain):
    file = plain / "manifest.json"
    data = file.read_bytes()
    manifest = json.loads(data)
    del manifest["splits"][0]["statistics"]["no_token_captions"]
    file.write_text(json.dumps(manifest))
    try:
        assert reader.verify(plain).problems == []
    finally:
        file.write_bytes(data)


def test_a_wrong_count_in_the_manifest_is_found(plain):
    file = plain / "manifest.json"
    data = file.read_bytes()
    file.write_bytes(data.replace(b'"no_token_captions": 6', b'"no_token_captions": 5'))
    try:
        (problem,) = reader.verify(plain).problems
        assert "the statistics of train do not match" in str(problem)
    finally:
        file.write_bytes(data)


@pytest.mark.parametrize("least", [1, 2, 3, 99])
def test_captions_of_fewer_tokens_are_dropped_and_counted(source, tmp_path, least):
    output = tmp_path / "out"
    status = main(args(source, output, f"--min_tokens={least}", "--max_rejects=0"))
    kept = {
        key: [line for line in lines if len(words_of(line)) >= least]
        for key, lines in CAPTIONS.items()
    }
    written = {key: lines for key, lines in kept.items() if lines}
    if not written:
        assert status == 1  # No example could be written.
        return
    assert status == 0
    assert texts_of(output) == written
    manifest = manifest_of(output)
    assert manifest["books"] == {
        "found": len(CAPTIONS),
        "written": len(written),
        "not_written": {"caption_too_short": len(CAPTIONS) - len(written)},
        "dropped_captions": sum(
            len(CAPTIONS[key]) - len(lines) for key, lines in written.items()
        ),
    }
    assert "no_token_captions" not in manifest["splits"][0]["statistics"]
    assert manifest["config"]["min_tokens"] == least
    rejects = {line["key"]: line for line in rejects_of(output)}
    assert set(rejects) == set(CAPTIONS) - set(written)
    for key, line in rejects.items():
        most = max(len(words_of(text)) for text in CAPTIONS[key])
        assert (line["stage"], line["reason"]) == ("caption", "caption_too_short")
        assert line["detail"] == f"at most {most} tokens, fewer than {least}"
    assert reader.verify(output).problems == []


def test_the_vocabulary_is_of_the_captions_that_stay(source, tmp_path):
    assert main(args(source, tmp_path / "out", "--min_tokens=2")) == 0
    words = (tmp_path / "out/tokenizer/vocab.txt").read_text().split("\n")
    assert "rare" not in words
    counted = {w for lines in texts_of(tmp_path / "out").values() for w in lines}
    assert {word for text in counted for word in words_of(text)} < {*words}


@pytest.mark.parametrize(
    "file", ["bert/tokenizer.json", "sentencepiece/test_model.model", "bytes"]
)
def test_tokens_are_those_of_the_tokenizer(source, shared_data, tmp_path, file):
    tokenizer = file if file == "bytes" else str(shared_data / "tokenizers" / file)
    most = 6
    for name, least in (("all", 0), ("some", most)):
        flags = (f"--tokenizer={tokenizer}", f"--min_tokens={least}")
        assert main(args(source, tmp_path / name, *flags)) == 0
    expected: dict[str, list[str]] = {}
    for record in all_records(tmp_path / "all"):
        key = record.features["image/source_id"][0].decode()
        lengths = record.features["caption/lengths"]
        for text, length in zip(CAPTIONS[key], lengths, strict=True):
            if length >= most:
                expected.setdefault(key, []).append(text)
    assert expected != CAPTIONS
    assert texts_of(tmp_path / "some") == expected


def test_of_equal_images_one_with_a_long_caption_stays(tmp_path):
    png = file_of(Image.new("RGB", (8, 8)), "PNG")
    keys = sorted("abcd", key=lambda key: order_of(key.encode(), 0))
    for key in keys:
        put(tmp_path / "in", f"{key}.png", png)
        put(tmp_path / "in", f"{key}.txt", "One." if key == keys[0] else "One two.")
    flags = ("--dedupe=exact", "--min_tokens=2", "--tokenizer=basic")
    assert main(args(tmp_path / "in", tmp_path / "out", *flags)) == 0
    assert [*texts_of(tmp_path / "out")] == [keys[1]]
    assert {line["key"]: line["reason"] for line in rejects_of(tmp_path / "out")} == {
        keys[0]: "caption_too_short",
        keys[2]: "duplicate_of",
        keys[3]: "duplicate_of",
    }


@pytest.mark.parametrize("tokenizer", ["basic", "bytes"])
def test_a_damaged_shard_is_repaired_to_the_same_bytes(source, tmp_path, tokenizer):
    flags = (f"--tokenizer={tokenizer}", "--min_tokens=6")
    command = args(source, tmp_path / "out", *flags)
    assert main(command) == 0
    whole = contents(tmp_path / "out")
    (shard,) = (tmp_path / "out").glob("*.tfrecord")
    shard.write_bytes(shard.read_bytes()[:-20])
    assert main([*command, "--repair"]) == 0
    assert contents(tmp_path / "out") == whole


def test_another_least_number_is_another_dataset(source, plain, capfd):
    command = args(source, plain, "--num_shards=2")
    assert main([*command, "--min_tokens=0"]) == 0
    assert "complete already" in capfd.readouterr().out
    assert main([*command, "--min_tokens=1"]) == 1
    assert "min_tokens unset, not 1" in capfd.readouterr().err

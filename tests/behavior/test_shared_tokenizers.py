"""`--tokenizer=DATASET`: another dataset's tokenizer, so that both can be mixed."""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from forks import commits

import reader
from beam_jobs.__main__ import main
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.tokenizer_file import read_tokenizer_file
from beam_jobs.planning import count_words
from beam_jobs.sample_data import write_sample
from reader.contract.errors import UsageError

pytest.importorskip("tokenizers")
pytest.importorskip("sentencepiece")

KINDS = {
    "basic": "basic",
    "bytes": "bytes",
    "huggingface": "tokenizers/bert/tokenizer.json",
    "sentencepiece": "tokenizers/sentencepiece/test_model.model",
    "clip": "tokenizers/clip/bpe_simple_vocab_16e6.txt.gz",
}
# In none of the drawn captions, so an own vocabulary would have them.
NEW_WORDS = "zebra Quokka"


class Pair(NamedTuple):
    """A dataset, and one of other captions that took over its tokenizer."""

    one: Path
    other: Path


def arguments(
    source: Path, output: Path, *flags: str, num_shards: int = 8
) -> list[str]:
    folders = [f"--images={source}/images", f"--captions={source}/captions"]
    shards = f"--num_shards={num_shards}"
    return ["build", *folders, f"--output={output}", shards, *flags]


def captions_of(folder: Path) -> list[str]:
    batches = reader.load(folder, batch_size=1, outputs=("caption",), shuffle=False)
    return [caption[0].decode() for (caption,) in batches.as_numpy_iterator()]


def spec_of(folder: Path) -> dict[str, object]:
    spec: dict[str, object] = json.loads((folder / "manifest.json").read_text())[
        "tokenizer"
    ]
    return spec


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> tuple[Path, Path]:
    folders = (tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other"))
    for seed, folder in enumerate(folders):
        write_sample(str(folder), 40, seed=seed)
    for path in (folders[1] / "captions").iterdir():
        path.write_text(f"{path.read_text().strip()} {NEW_WORDS}")
    return folders


@pytest.fixture(scope="module", params=KINDS)
def pair(request, sources, tmp_path_factory) -> Pair:
    tokenizer = KINDS[request.param]
    if "/" in tokenizer:
        tokenizer = str(request.getfixturevalue("shared_data") / tokenizer)
    folder = tmp_path_factory.mktemp(request.param)
    made = Pair(folder / "one", folder / "other")
    flags = ["--vocab_size=20"] if tokenizer == "basic" else []
    assert (
        main(arguments(sources[0], made.one, f"--tokenizer={tokenizer}", *flags)) == 0
    )
    assert main(arguments(sources[1], made.other, f"--tokenizer={made.one}")) == 0
    return made


@pytest.fixture(scope="module")
def basic(sources, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("basic") / "out"
    assert main(arguments(sources[0], output, "--vocab_size=20")) == 0
    return output


def test_the_tokenizer_is_the_same_in_everything(pair):
    assert spec_of(pair.one) == spec_of(pair.other)
    assert files_of(pair.one / "tokenizer") == files_of(pair.other / "tokenizer")
    assert reader.verify(pair.other).problems == []


@pytest.mark.parametrize("mixed", [False, True], ids=["union", "mixture"])
def test_both_are_read_together_with_tokens(pair, mixed):
    pattern = {str(folder): 1.0 for folder in pair} if mixed else list(pair)
    batches = reader.load(
        pattern,
        batch_size=40,
        image_size=8,
        max_tokens=400,
        epochs=None if mixed else 1,
        outputs=("caption", "tokens", "length"),
    )
    tokenizer, new = reader.tokenizer(pair.one), set()
    for texts, tokens, lengths in batches.take(2).as_numpy_iterator():
        for text, row, length in zip(texts, tokens, lengths, strict=True):
            new.add(NEW_WORDS.encode() in text)
            spec = spec_of(pair.one)
            ids = [spec["start_id"], *tokenizer.encode(text.decode()), spec["end_id"]]
            assert row[:length].tolist() == ids
    assert new == {False, True}


def test_a_map_dataset_of_both_has_tokens(pair):
    both = reader.open(list(pair), outputs=("tokens", "caption"))
    assert len(both) == 80
    assert {len(both[0][0]), len(both[-1][0])} == {64}


def test_nothing_is_counted(sources, basic, tmp_path, monkeypatch):
    def refuse(text: str) -> list[str]:
        raise AssertionError("captions were read to be counted")

    monkeypatch.setattr(count_words, "split_words", refuse)
    assert main(arguments(sources[1], tmp_path / "o", f"--tokenizer={basic}")) == 0
    fields = json.loads((tmp_path / "o/manifest.json").read_text())["config"]
    assert fields["tokenizer_sha256"] == spec_of(basic)["sha256"]
    assert not {"vocab_size", "min_count"} & set(fields)


def test_every_way_of_naming_it_is_the_same_job(basic, tmp_path, monkeypatch):
    copy = shutil.copytree(basic / "tokenizer", tmp_path / "copied")
    renamed = shutil.copy(basic / "tokenizer/vocab.txt", tmp_path / "words.dat")
    monkeypatch.chdir(basic / "tokenizer")
    ways = (basic, f"{basic}/", f"{basic}/tokenizer", copy, renamed, "..", ".")
    found = {read_tokenizer_file(str(way)).identity for way in ways}
    assert found == {("basic", spec_of(basic)["sha256"])}


def test_the_own_vocabulary_would_have_been_another(sources, basic, tmp_path, capfd):
    """Without the flag, a union with tokens is refused, and says how to get one."""
    assert main(arguments(sources[1], tmp_path / "own")) == 0
    with pytest.raises(UsageError, match="different tokenizers") as caught:
        reader.load([basic, tmp_path / "own"], batch_size=4, image_size=8)
    said = str(caught.value)
    assert f"build --dataset={tmp_path}/own --tokenizer={basic} --output=…" in said


# Refused before any work.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "No such file"),
        (lambda folder: folder.mkdir(), "without a finished dataset"),
        (lambda folder: (folder / "_build").mkdir(parents=True), "has not finished"),
    ],
    ids=["missing", "empty", "unfinished"],
)
def test_another_folder_is_refused(sources, tmp_path, capsys, make, message):
    make(tmp_path / "folder")
    flag = f"--tokenizer={tmp_path}/folder"
    assert main(arguments(sources[1], tmp_path / "out", flag)) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "the folder of a dataset" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("named", ["", "/tokenizer"])
def test_a_tokenizer_that_is_not_the_datasets_is_refused(basic, tmp_path, named):
    folder = shutil.copytree(basic, tmp_path / "changed")
    with (folder / "tokenizer/vocab.txt").open("a") as file:
        file.write("more\n")
    with pytest.raises(UsageError, match=r"vocab\.txt has changed since"):
        read_tokenizer_file(f"{folder}{named}")
    (folder / "tokenizer/vocab.txt").unlink()
    with pytest.raises(UsageError, match=r"vocab\.txt is missing"):
        read_tokenizer_file(f"{folder}{named}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (b"a\nb", "has no line end"),
        (b"a\nb\na\n", "'a' is on 2 lines"),
        (b"a\n\xff\n", "not UTF-8 at byte 28"),
    ],
)
def test_a_vocabulary_that_is_none_is_refused(tmp_path, words, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(b"[PAD]\n[UNK]\n[START]\n[END]\n" + words)
    config = JobConfig(images="i", captions="c", output="o", tokenizer=str(path))
    with pytest.raises(UsageError, match=message):
        config.read_tokenizer()


@pytest.mark.parametrize("flag", ["--vocab_size=50", "--min_count=2"])
def test_limits_of_a_counted_vocabulary_are_refused(
    sources, basic, tmp_path, capsys, flag
):
    flags = (f"--tokenizer={basic}", flag)
    assert main(arguments(sources[1], tmp_path / "out", *flags)) == 2
    assert "applies only to the vocabulary that basic counts" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_output_cannot_be_replaced_by_its_own(sources, basic, tmp_path, capsys):
    folder = shutil.copytree(basic, tmp_path / "out")
    before = files_of(folder)
    for named in (folder, folder / "tokenizer", folder / "tokenizer/vocab.txt"):
        flags = (f"--tokenizer={named}", "--overwrite")
        assert main(arguments(sources[1], folder, *flags)) == 2
        assert "is in the output" in capsys.readouterr().err
    assert files_of(folder) == before
    # A folder that only begins with the same letters is another one.
    again = shutil.copytree(basic, tmp_path / "out2")
    flags = (f"--tokenizer={again}", "--overwrite")
    assert main(arguments(sources[1], folder, *flags)) == 0


# Resuming and repairing.


def test_a_killed_job_resumes_with_the_same_vocabulary_alone(
    forks, sources, basic, tmp_path
):
    output, taken = tmp_path / "out", shutil.copytree(basic, tmp_path / "taken")
    command = arguments(sources[1], output, num_shards=30)
    forks.kill_once([*command, f"--tokenizer={taken}"], lambda: commits(output) >= 2)
    assert main(command) == 1  # With a vocabulary of its own.
    shutil.rmtree(taken)
    # By content: another place is the same vocabulary.
    assert main([*command, f"--tokenizer={basic}"]) == 0
    assert reader.verify(output).problems == []
    whole = tmp_path / "whole"
    flag = f"--tokenizer={basic}"
    assert main(arguments(sources[1], whole, flag, num_shards=30)) == 0
    assert files_of(output) == files_of(whole)


def test_damage_is_repaired(sources, basic, tmp_path):
    output = tmp_path / "out"
    command = arguments(sources[1], output, f"--tokenizer={basic}")
    assert main(command) == 0
    before = files_of(output)
    for name in ("tokenizer/vocab.txt", "train-00003-of-00008.tfrecord"):
        data = bytearray(before[name])
        data[len(data) // 2] ^= 1
        (output / name).write_bytes(data)
    assert main([*command, "--repair"]) == 0
    assert files_of(output) == before
    # Its own copy is the same vocabulary, should the other dataset be gone.
    own = arguments(sources[1], output, f"--tokenizer={output}", "--repair")
    assert main(own) == 0
    assert files_of(output) == before


def test_the_words_it_lacks_are_unknown(sources, basic, tmp_path):
    output = tmp_path / "out"
    assert main(arguments(sources[1], output, f"--tokenizer={basic}")) == 0
    tokenizer = reader.tokenizer(basic)
    ids = [id_ for text in captions_of(output) for id_ in tokenizer.encode(text)]
    split = json.loads((output / "manifest.json").read_text())["splits"][0]
    unknown = int(np.count_nonzero(np.array(ids) == 1))
    assert split["statistics"]["unknown_tokens"] == unknown >= 80

"""Datasets of every kind of tokenizer: built, read, decoded, and not mixed up."""

import gzip
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from forks import commits

import reader
from beam_jobs.__main__ import main
from reader.contract.errors import DatasetError, UsageError

tokenizers = pytest.importorskip("tokenizers")
sentencepiece = pytest.importorskip("sentencepiece")


class Kind(NamedTuple):
    """A tokenizer as a user has it, and its ids as its own library gives them."""

    argument: str
    file: str
    ids: Callable[[str], list[int]]
    start: int | None
    end: int | None
    pad: int


def no_frame(folder: Path) -> Kind:
    """Returns a tokenizer that puts nothing before or after a text."""
    words = ["?", "[PAD]", "a", "the", "red", "blue", "green", "circle", "above"]
    model = tokenizers.models.WordLevel(
        {word: n for n, word in enumerate(words)}, unk_token="?"
    )
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    path = folder / "words.json"
    made.save(str(path))
    return Kind(
        str(path), "tokenizer.json", lambda t: made.encode(t).ids, None, None, 1
    )


def bert(folder: Path, shared_data: Path) -> Kind:
    path = shared_data / "tokenizers/bert/tokenizer.json"
    library = tokenizers.Tokenizer.from_file(str(path))
    return Kind(
        str(path),
        "tokenizer.json",
        lambda text: library.encode(text).ids[1:-1],
        101,
        102,
        0,
    )


def pieces(folder: Path, shared_data: Path) -> Kind:
    path = shared_data / "tokenizers/sentencepiece/test_model.model"
    library = sentencepiece.SentencePieceProcessor(model_file=str(path))
    return Kind(str(path), "sentencepiece.model", library.encode_as_ids, 1, 2, 0)


def clip(folder: Path, shared_data: Path) -> Kind:
    path = shared_data / "tokenizers/clip/bpe_simple_vocab_16e6.txt.gz"
    # Plain English sentences need no cleaning, and for them any BPE will do.
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1:48_895]
    merges = [tuple(line.split()) for line in lines]
    chars = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [*map(chr, chars), *(chr(256 + n) for n in range(256 - len(chars)))]
    vocab = [*letters, *(c + "</w>" for c in letters), *map("".join, merges)]
    library = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            {token: n for n, token in enumerate(vocab)},
            merges,
            end_of_word_suffix="</w>",
        )
    )
    library.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return Kind(
        str(path),
        "bpe_merges.txt.gz",
        lambda text: library.encode(text.lower()).ids,
        49_406,
        49_407,
        0,
    )


def byte_values(folder: Path) -> Kind:
    return Kind("bytes", "bytes.json", lambda t: [b + 4 for b in t.encode()], 2, 3, 0)


KINDS = {"bytes": byte_values, "words": no_frame}
REAL = {"bert": bert, "pieces": pieces, "clip": clip}


class Built(NamedTuple):
    kind: Kind
    folder: Path


@pytest.fixture(scope="module", params=[*KINDS, *REAL])
def built(request, sample, build, tmp_path_factory) -> Iterator[Built]:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param in REAL:
        kind = REAL[request.param](folder, request.getfixturevalue("shared_data"))
    else:
        kind = KINDS[request.param](folder)
    build(
        sample / "images",
        sample / "captions",
        folder / "out",
        tokenizer=kind.argument,
        captions_per_file="lines",
        num_shards=2,
    )
    yield Built(kind, folder / "out")


def examples(folder: Path) -> Iterator[tf.train.Example]:
    for path in sorted(folder.glob("*.tfrecord")):
        for record in tf.data.TFRecordDataset(str(path)):
            yield tf.train.Example.FromString(record.numpy())


def test_stored_ids_are_whole_and_the_librarys(built):
    seen = 0
    for example in examples(built.folder):
        feature = example.features.feature
        captions = [c.decode() for c in feature["image/caption"].bytes_list.value]
        expected = [built.kind.ids(caption) for caption in captions]
        ids = list(feature["caption/ids"].int64_list.value)
        assert ids == [id_ for row in expected for id_ in row]
        lengths = list(feature["caption/lengths"].int64_list.value)
        assert lengths == list(map(len, expected))
        seen += 1
    assert seen == 60


def test_the_file_is_copied_and_the_manifest_describes_it(built):
    kind, spec = built.kind, json.loads((built.folder / "manifest.json").read_text())
    spec = spec["tokenizer"]
    assert [path.name for path in (built.folder / "tokenizer").iterdir()] == [kind.file]
    assert (spec["file"], spec["pad_id"]) == (kind.file, kind.pad)
    assert (spec["start_id"], spec["end_id"]) == (kind.start, kind.end)
    if kind.argument != "bytes":
        copy = (built.folder / "tokenizer" / kind.file).read_bytes()
        assert copy == Path(kind.argument).read_bytes()


def test_the_manifest_holds_no_path(built):
    text = (built.folder / "manifest.json").read_text()
    assert str(built.folder.parent) not in text
    if built.kind.argument != "bytes":
        assert str(Path(built.kind.argument).parent) not in text


def test_verify_is_content_and_needs_no_library(built, monkeypatch):
    for library in ("tokenizers", "sentencepiece", "ftfy", "regex"):
        monkeypatch.setitem(sys.modules, library, None)
    assert reader.verify(built.folder).problems == []
    assert next(iter(reader.load(built.folder, batch_size=9, image_size=16)))


@pytest.mark.parametrize("max_tokens", [2, 5, 200])
def test_rows_are_start_ids_end_pad_as_far_as_there_are(built, max_tokens):
    kind = built.kind
    start, end = ([] if id_ is None else [id_] for id_ in (kind.start, kind.end))
    batches = reader.load(
        built.folder,
        batch_size=20,
        max_tokens=max_tokens,
        shuffle=False,
        outputs=("caption", "tokens", "mask", "length"),
    )
    for captions, tokens, mask, lengths in batches.as_numpy_iterator():
        rows = zip(captions, tokens.tolist(), mask.tolist(), lengths, strict=True)
        for caption, row, real, length in rows:
            ids = kind.ids(caption.decode())[: max_tokens - len(start) - len(end)]
            framed = [*start, *ids, *end]
            assert row == framed + [kind.pad] * (max_tokens - len(framed))
            assert length == len(framed) == sum(real)
            assert real == sorted(real, reverse=True)


def test_max_tokens_leaves_room_for_start_and_end(built):
    special = [id_ for id_ in (built.kind.start, built.kind.end) if id_ is not None]
    load = {"batch_size": 4, "outputs": ("tokens",), "max_tokens": 1}
    if len(special) > 1:
        with pytest.raises(UsageError, match="max_tokens must be at least 2"):
            reader.load(built.folder, **load)
    else:
        assert reader.load(built.folder, **load).element_spec[0].shape == (4, 1)
    bare = reader.load(built.folder, add_special_tokens=False, **load)
    assert bare.element_spec[0].shape == (4, 1)


def test_a_row_is_decoded_to_its_caption(built):
    tokenizer = reader.tokenizer(built.folder)
    batches = reader.load(
        built.folder, batch_size=60, max_tokens=300, outputs=("caption", "tokens")
    )
    for captions, tokens in batches.as_numpy_iterator():
        for caption, row in zip(captions, tokens, strict=True):
            text = caption.decode()
            assert tokenizer.encode(text) == built.kind.ids(text)
            decoded = tokenizer.decode(row)
            if built.kind.argument == "bytes":
                assert decoded == text
            elif not built.kind.argument.endswith("words.json"):
                letters = [c for c in text.lower() if c.isalnum()]
                assert [c for c in decoded.lower() if c.isalnum()] == letters
            else:
                known = text.replace(",", " ,").replace(".", " .").split()
                assert len(decoded.split()) == len(known)


def test_unknown_tokens_are_counted(built):
    manifest = json.loads((built.folder / "manifest.json").read_text())
    unknown = manifest["tokenizer"]["unknown_id"]
    statistics = manifest["splits"][0]["statistics"]
    rows = [
        built.kind.ids(caption)
        for path in (built.folder / "samples").iterdir()
        for captions in pq.read_table(path)["captions"].to_pylist()
        for caption in captions
    ]
    assert statistics["unknown_tokens"] == sum(row.count(unknown) for row in rows)
    assert statistics["one_token_captions"] == sum(len(row) == 1 for row in rows)
    assert statistics["caption_tokens"]["sum"] == sum(map(len, rows))


def test_the_versions_of_its_libraries_are_noted(built):
    versions = json.loads((built.folder / "manifest.json").read_text())["versions"]
    expected = {
        "bytes.json": set(),
        "tokenizer.json": {"tokenizers"},
        "sentencepiece.model": {"sentencepiece"},
        "bpe_merges.txt.gz": {"ftfy", "regex"},
    }
    libraries = {"tokenizers", "sentencepiece", "ftfy", "regex"}
    assert libraries & set(versions) == expected[built.kind.file]


def test_a_dataset_whose_tokenizer_was_altered_is_refused(built, tmp_path):
    ours = tmp_path / "out"
    shutil.copytree(built.folder, ours)
    with (ours / "tokenizer" / built.kind.file).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(DatasetError, match=rf"{built.kind.file} has changed"):
        reader.tokenizer(ours)
    (problem,) = reader.verify(ours).problems
    assert problem.path.endswith(f"tokenizer/{built.kind.file}")


# Another tokenizer than the output was begun or built with.


def arguments(sample: Path, output: Path, tokenizer: object) -> list[str]:
    folders = [f"--images={sample}/images", f"--captions={sample}/captions"]
    more = ["--captions_per_file=lines", "--num_shards=20"]
    return ["build", *folders, *more, f"--output={output}", f"--tokenizer={tokenizer}"]


@pytest.fixture
def words(tmp_path: Path) -> Path:
    return Path(no_frame(tmp_path).argument)


def test_a_dataset_is_not_taken_for_one_of_another_tokenizer(
    sample, words, tmp_path, capfd
):
    output = tmp_path / "out"
    assert main(arguments(sample, output, words)) == 0
    moved = words.rename(tmp_path / "moved.json")
    assert main(arguments(sample, output, moved)) == 0
    assert "nothing to do" in capfd.readouterr().out
    moved.write_text(moved.read_text().replace('"green"', '"grey"'))
    assert main(arguments(sample, output, moved)) == 1
    said = capfd.readouterr().err
    assert "holds a dataset built with other settings (tokenizer_sha256 " in said
    assert main(arguments(sample, output, "basic")) == 1
    assert "tokenizer huggingface, not basic" in capfd.readouterr().err
    assert main([*arguments(sample, output, "bytes"), "--overwrite"]) == 0
    assert [path.name for path in (output / "tokenizer").iterdir()] == ["bytes.json"]


def test_an_unfinished_job_is_not_resumed_with_a_changed_tokenizer(
    forks, sample, words, tmp_path, capfd
):
    output = tmp_path / "out"
    forks.kill_once(arguments(sample, output, words), lambda: commits(output) >= 2)
    original = words.read_text()
    words.write_text(original.replace('"green"', '"grey"'))
    assert main(arguments(sample, output, words)) == 1
    said = capfd.readouterr().err
    assert "holds an unfinished job begun with other settings" in said
    assert "tokenizer_sha256 " in said
    words.write_text(original)
    assert main(arguments(sample, output, words)) == 0
    assert reader.verify(output).problems == []


def test_two_worker_processes_write_the_same_bytes(sample, words, tmp_path):
    def built(name: str, *more: str) -> dict[str, bytes]:
        output = tmp_path / name
        assert main([*arguments(sample, output, words), *more]) == 0
        files = [path for path in output.rglob("*") if path.is_file()]
        return {str(p.relative_to(output)): p.read_bytes() for p in files}

    assert built("one") == built("two", "--workers=2", "--threads=1")


def test_planning_alone_takes_a_tokenizer_too(sample, words, tmp_path, capfd):
    output = tmp_path / "out"
    assert main([*arguments(sample, output, words), "--plan_only"]) == 0
    assert "60 keys found" in capfd.readouterr().out
    assert not output.exists()


def test_captions_are_counted_for_basic_alone(sample, tmp_path, monkeypatch):
    from beam_jobs.planning import count_words as vocabulary

    def refuse(*args: object, **more: object) -> list[str]:
        raise AssertionError("captions were read to be counted")

    monkeypatch.setattr(vocabulary, "split_words", refuse)
    assert main(arguments(sample, tmp_path / "out", "bytes")) == 0


def test_a_script_without_spaces_is_warned_of(sample, tmp_path, capfd):
    captions = tmp_path / "captions"
    captions.mkdir()
    for path in sorted((sample / "images").iterdir()):
        (captions / f"{path.stem}.txt").write_text("แมวสองตัวนั่งอยู่บนโต๊ะไม้")
    command = ["build", f"--images={sample}/images", f"--captions={captions}"]
    assert main([*command, f"--output={tmp_path}/basic"]) == 0
    said = capfd.readouterr().err
    assert "100% of the captions of train are a single token" in said
    assert main([*command, f"--output={tmp_path}/b", "--tokenizer=bytes"]) == 0
    assert "single token" not in capfd.readouterr().err

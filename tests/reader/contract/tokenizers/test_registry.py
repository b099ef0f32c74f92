"""Detecting the kind of a tokenizer's file, and checking that it has not changed."""

import dataclasses
import gzip
import json
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reader.contract.errors import DatasetError, UsageError
from reader.contract.manifest import TokenizerSpec
from reader.contract.tokenizers.byte_level import DESCRIPTION
from reader.contract.tokenizers.registry import (
    check_tokenizer,
    kind_of,
    load_tokenizer,
    make_spec,
)

FILES = {
    "huggingface": "bert/tokenizer.json",
    "sentencepiece": "sentencepiece/test_model.model",
    "clip": "clip/bpe_simple_vocab_16e6.txt.gz",
}
LIBRARIES = {
    "huggingface": ["tokenizers"],
    "sentencepiece": ["sentencepiece"],
    "clip": ["ftfy", "regex"],
}


def data_of(shared_data: Path, kind: str) -> bytes:
    return (shared_data / "tokenizers" / FILES[kind]).read_bytes()


@pytest.mark.parametrize("kind", FILES)
def test_the_kind_is_told_by_the_content(shared_data, kind):
    assert kind_of(data_of(shared_data, kind)) == kind


def test_files_of_our_own_are_known_too():
    assert kind_of(DESCRIPTION) == "bytes"
    assert kind_of(b"[PAD]\n[UNK]\n[START]\n[END]\na\n") == "basic"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[PAD]\n[UNK]\n",
        b"{",
        b"{}",
        b'{"model": 3}',
        b'{"vocab": {}, "model": "x"}',
        b"[]",
        b"\xff\xfe{",
        gzip.compress(b"words", mtime=0),
        gzip.compress(b"#version: 0.2\ni n\n", mtime=0)[:-9],
        b"\x1f\x8b",
        DESCRIPTION[:-1],
        b"[PAD]\r\n[UNK]\r\n[START]\r\n[END]\r\n",
        b"[PAD]\n[unused0]\n[unused1]\n",
    ],
)
def test_what_is_of_no_kind_is_told(data):
    assert kind_of(data) is None


@given(st.binary())
@example(b'{"a":' * 100_000)
def test_any_bytes_are_looked_at_in_peace(data):
    assert kind_of(data) in (None, *FILES)


@pytest.mark.parametrize("kind", FILES)
def test_a_tokenizer_is_loaded_from_its_spec_and_its_file(shared_data, kind):
    data = data_of(shared_data, kind)
    for library in LIBRARIES[kind]:
        pytest.importorskip(library)
    spec = make_spec(kind, data)
    assert spec.kind == kind
    tokenizer = load_tokenizer(spec, data)
    ids = tokenizer.encode("the sky is blue")
    assert max(ids) < tokenizer.vocab_size == spec.vocab_size
    framed = [spec.start_id, *ids, spec.end_id, spec.pad_id]
    assert tokenizer.decode(framed) == "the sky is blue"


# Tokens of one word, then the start token.
SPELLED = {
    "huggingface": ["una", "##ffa", "##ble", "[CLS]"],
    "sentencepiece": ["\N{LOWER ONE EIGHTH BLOCK}un", "a", "f", "f", "able", "<s>"],
    "clip": ["un", "aff", "able</w>", "<|startoftext|>"],
}


@pytest.mark.parametrize("kind", FILES)
def test_tokens_are_spelled_as_in_the_file(shared_data, kind):
    data = data_of(shared_data, kind)
    spec = make_spec(kind, data)
    tokenizer = load_tokenizer(spec, data)
    ids = [*tokenizer.encode("unaffable"), spec.start_id]
    assert [tokenizer.token(id_) for id_ in ids] == SPELLED[kind]
    with pytest.raises(UsageError, match=f"from 0 to {spec.vocab_size - 1}"):
        tokenizer.token(spec.vocab_size)


def test_a_byte_is_spelled_as_what_it_shows():
    tokenizer = load_tokenizer(make_spec("bytes", DESCRIPTION), DESCRIPTION)
    ids = [2, *tokenizer.encode("A é"), 3]
    expected = ["[START]", "A", "0x20", "0xC3", "0xA9", "[END]"]
    assert [tokenizer.token(id_) for id_ in ids] == expected


@pytest.mark.parametrize("kind", [*FILES, "bytes"])
def test_changed_bytes_are_refused_without_the_library(shared_data, kind, monkeypatch):
    data = DESCRIPTION if kind == "bytes" else data_of(shared_data, kind)
    spec = make_spec(kind, data)
    for library in LIBRARIES.get(kind, []):
        monkeypatch.setitem(sys.modules, library, None)
    check_tokenizer(spec, data)
    for changed in (data[:-1], data + b"\n", b""):
        with pytest.raises(DatasetError, match=r"has changed .*: restore it"):
            check_tokenizer(spec, changed)


def hide(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """Makes a library appear not installed."""
    monkeypatch.delitem(sys.modules, library, raising=False)

    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == library:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])


@pytest.mark.parametrize(
    ("kind", "library"),
    [(kind, library) for kind, libraries in LIBRARIES.items() for library in libraries],
)
def test_a_missing_library_is_named_with_what_to_install(
    shared_data, kind, library, monkeypatch
):
    data = data_of(shared_data, kind)
    spec = make_spec(kind, data)
    hide(monkeypatch, library)
    for act in (lambda: make_spec(kind, data), lambda: load_tokenizer(spec, data)):
        with pytest.raises(UsageError) as caught:
            act()
        assert str(caught.value).endswith(
            f"needs {library}, which is not installed: "
            "pip install 'diptych[tokenizers]'"
        )


def test_a_spec_of_a_later_kind_asks_for_an_upgrade():
    spec = dataclasses.replace(make_spec("bytes", DESCRIPTION), kind="later")
    with pytest.raises(DatasetError, match="'later': upgrade diptych"):
        load_tokenizer(spec, DESCRIPTION)


def test_a_file_that_matches_a_wrong_kind_is_a_dataset_error():
    pytest.importorskip("sentencepiece")
    bytes_spec = make_spec("bytes", DESCRIPTION)
    spec = dataclasses.replace(bytes_spec, kind="sentencepiece")
    with pytest.raises(DatasetError, match="not a SentencePiece model"):
        load_tokenizer(spec, DESCRIPTION)


def test_a_spec_is_plain_json():
    spec = make_spec("bytes", DESCRIPTION)
    again = json.loads(json.dumps(dataclasses.asdict(spec)))
    assert TokenizerSpec(**again) == spec

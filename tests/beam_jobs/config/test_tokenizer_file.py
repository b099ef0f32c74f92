"""Reading, detecting and rejecting the tokenizer named by `--tokenizer`."""

import gzip
import hashlib
import json
import pickle
import sys

import pytest

from beam_jobs.__main__ import main
from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.tokenizer_file import read_tokenizer_file
from beam_jobs.job.run import run
from reader.contract.errors import UsageError


def config(**more) -> JobConfig:
    return JobConfig(**{"images": "i", "captions": "c", "output": "o", **more})


@pytest.fixture
def words(tmp_path):
    """A `tokenizer.json` of three words, under an unrelated file name."""
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"?": 0, "a": 1, "red": 2}, unk_token="?")
    path = tmp_path / "vocabulary.dat"
    path.write_text(tokenizers.Tokenizer(model).to_str())
    return path


def test_basic_has_no_file_and_bytes_brings_its_own():
    assert read_tokenizer_file("basic") == ("basic", None)
    kind, data = read_tokenizer_file("bytes")
    assert kind == "bytes"
    assert json.loads(data)["kind"] == "bytes"
    assert config().read_tokenizer() is None


def test_the_kind_is_told_by_content_and_not_by_name(words, shared_data, tmp_path):
    assert read_tokenizer_file(str(words)).kind == "huggingface"
    merges = shared_data / "tokenizers/clip/bpe_simple_vocab_16e6.txt.gz"
    model = shared_data / "tokenizers/sentencepiece/test_model.model"
    for path, kind in ((merges, "clip"), (model, "sentencepiece")):
        renamed = tmp_path / "tokenizer.json"
        renamed.write_bytes(path.read_bytes())
        assert read_tokenizer_file(str(renamed)) == (kind, path.read_bytes())
    renamed.write_bytes(gzip.decompress(merges.read_bytes()))
    assert read_tokenizer_file(str(renamed)).kind == "clip"


def test_what_is_not_there_or_no_file_is_refused_with_what_is_accepted(tmp_path):
    for path, message in (
        (tmp_path / "no.json", "No such file"),
        (tmp_path, "Is a directory"),
        ("", "No such file"),
        ("byte", "No such file"),
        ("http://bucket/tokenizer.json", "use gs://, s3:// or az://"),
        ("a\0b", "null byte"),
    ):
        with pytest.raises(UsageError) as caught:
            config(tokenizer=str(path)).tokenizer_identity  # noqa: B018
        assert f'--tokenizer="{path}"' in str(caught.value)
        assert message in str(caught.value)
        assert "use basic, bytes" in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"just words", b'{"a": 1}', b"\x89PNG\r\n"])
def test_what_is_no_tokenizer_is_refused_with_what_was_found(tmp_path, data):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        config(tokenizer=str(path)).tokenizer_identity  # noqa: B018
    assert f"{len(data)} bytes that begin with {data!r}" in str(caught.value)
    assert "use basic, bytes" in str(caught.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(UsageError, match="1073741824 bytes, more than"):
        config(tokenizer=str(path)).tokenizer_identity  # noqa: B018


def test_a_tokenizer_that_breaks_off_is_refused_before_any_work(
    shared_data, tmp_path, capsys
):
    model = (shared_data / "tokenizers/sentencepiece/test_model.model").read_bytes()
    (tmp_path / "half.model").write_bytes(model[: len(model) // 2])
    (tmp_path / "images").mkdir()
    folders = [f"--{name}={tmp_path}/images" for name in ("images", "captions")]
    output = tmp_path / "out"
    command = ["build", *folders, f"--output={output}"]
    assert main([*command, f"--tokenizer={tmp_path}/half.model"]) == 2
    assert "half.model" in capsys.readouterr().err
    assert not output.exists()


def test_a_missing_library_is_named_before_any_work(words, monkeypatch):
    made = config(tokenizer=str(words))
    for name in [
        name for name in sys.modules if name.partition(".")[0] == "tokenizers"
    ]:
        monkeypatch.delitem(sys.modules, name)

    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == "tokenizers":
                raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    with pytest.raises(UsageError, match=r"pip install 'diptych\[tokenizers\]'"):
        made.read_tokenizer()


def test_a_file_that_changes_under_the_job_is_refused(words):
    made = config(tokenizer=str(words))
    assert made.tokenizer_kind == "huggingface"
    words.write_text(words.read_text() + "\n")
    with pytest.raises(UsageError, match="has changed: run again"):
        run(made)


def test_the_file_is_read_once_and_never_by_workers(words):
    made = config(tokenizer=str(words))
    assert made.read_tokenizer() == words.read_bytes()
    traveled = pickle.dumps(made)
    words.unlink()
    assert made.tokenizer_kind == "huggingface"
    assert pickle.loads(traveled).fingerprint == made.fingerprint


# The configuration.


def test_the_fingerprint_has_kind_and_sha256_and_no_path(words, tmp_path):
    made = config(tokenizer=str(words))
    fields = made.fingerprint_fields()
    sha256 = hashlib.sha256(words.read_bytes()).hexdigest()
    assert (fields["tokenizer"], fields["tokenizer_sha256"]) == ("huggingface", sha256)
    assert str(tmp_path) not in json.dumps(fields)
    elsewhere = tmp_path / "copy"
    elsewhere.write_bytes(words.read_bytes())
    assert config(tokenizer=str(elsewhere)).fingerprint == made.fingerprint
    elsewhere.write_bytes(words.read_bytes() + b"\n")
    assert config(tokenizer=str(elsewhere)).fingerprint != made.fingerprint


def test_basic_is_told_by_its_kind_alone():
    fields = config().fingerprint_fields()
    assert fields["tokenizer"] == "basic"
    assert not {"tokenizer_sha256", "tokenizer_kind"} & set(fields)
    assert not {"vocab_size", "min_count"} & set(
        config(tokenizer="bytes").fingerprint_fields()
    )


def test_workers_do_not_look_for_the_file(words):
    made = config(tokenizer=str(words))
    known = made.tokenizer_identity
    traveled = pickle.dumps(made)
    words.unlink()
    assert pickle.loads(traveled) == made
    assert pickle.loads(traveled).tokenizer_identity == known


def test_a_configuration_is_made_without_reading_the_file(tmp_path):
    made = config(tokenizer=str(tmp_path / "not-there-yet.json"))
    (tmp_path / "not-there-yet.json").write_text("{}")
    with pytest.raises(UsageError, match="not a supported tokenizer"):
        made.tokenizer_identity  # noqa: B018


@pytest.mark.parametrize("field", ["vocab_size", "min_count"])
def test_limits_of_the_vocabulary_go_with_basic_alone(field):
    with pytest.raises(UsageError, match=rf"{field} applies only .* basic .*, got 99"):
        config(tokenizer="bytes", **{field: 99})
    assert config(tokenizer="bytes", vocab_size=10_000, min_count=1)

"""Columns of halves, in every reader and in the tools."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from halved_columns import halve_columns

import reader

OUTPUTS = ("key", "extra/emb", "extra/score")


@pytest.fixture(scope="module")
def halved(with_columns, tmp_path_factory) -> Path:
    """A dataset with `emb:float16[2]` and `score:float16`."""
    folder = tmp_path_factory.mktemp("halved") / "out"
    shutil.copytree(with_columns.folder, folder)
    halve_columns(folder)
    return folder


@pytest.fixture(scope="module")
def expected(with_columns) -> dict[bytes, tuple[np.ndarray, np.float16]]:
    """The cells of the table as halves, by key."""
    cells = with_columns.cells
    nothing = [np.nan, np.nan]
    return {
        name.removesuffix(".png").encode(): (
            np.array(json.loads(emb) if emb else nothing, np.float16),
            np.float16(score or "nan"),
        )
        for name, emb, score in zip(
            cells["file_name"], cells["emb"], cells["score"], strict=True
        )
    }


def check(batches: Any, expected: dict[bytes, Any], convert: Any = np.asarray) -> None:
    num = 0
    for *_, keys, embs, scores in batches:
        embs, scores = convert(embs), convert(scores)
        assert (embs.dtype, scores.dtype) == (np.float16, np.float16)
        for key, emb, score in zip(np.asarray(keys), embs, scores, strict=True):
            np.testing.assert_array_equal(emb, expected[bytes(key)][0])
            np.testing.assert_array_equal(score, expected[bytes(key)][1])
            num += 1
    assert num == len(expected)


SETTINGS = {"batch_size": 24, "image_size": 4, "outputs": ("image", *OUTPUTS)}


@pytest.mark.parametrize(
    "more", [{}, {"workers": 0}, {"outputs": OUTPUTS}], ids=["workers", "tf", "texts"]
)
def test_load_returns_halves(halved, expected, more):
    batches = reader.load(halved, **{**SETTINGS, **more})
    assert [spec.dtype for spec in batches.element_spec][-2:] == [tf.float16] * 2
    assert [spec.shape for spec in batches.element_spec][-2:] == [(24, 2), (24,)]
    check(batches.as_numpy_iterator(), expected)


def test_streams_and_frameworks_return_halves(halved, expected):
    for read in (reader.load, reader.stream):
        check(reader.as_numpy(read(halved, **SETTINGS)), expected)
        check(reader.as_jax(read(halved, **SETTINGS)), expected)
        batches = reader.as_torch(read(halved, **SETTINGS))
        check(batches, expected, convert=lambda values: values.numpy())


def test_open_returns_halves(halved, expected):
    examples = list(reader.open(halved, outputs=OUTPUTS))
    assert type(examples[0][2]) is np.float16
    assert all(emb.flags.writeable for _, emb, _ in examples)
    check([[[k.encode()], [emb], [score]] for k, emb, score in examples], expected)


def test_the_tools_show_halves(halved, diptych, tmp_path):
    assert diptych("verify", halved).status == 0
    page = diptych("show", halved)
    assert "extra/emb           float16   2" in page.out
    found = diptych("find", halved, "007", "--json").json
    assert found["written"][0]["facts"]["extra/emb"] == [7.0, 0.5]
    report = tmp_path / "report.html"
    assert diptych("report", halved, f"--output={report}", "--samples=120").status == 0
    assert "118, 0.5" in report.read_text()


def test_a_record_with_other_halves_is_named(halved, diptych, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(halved, folder)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    (emb,) = (f for f in manifest["features"] if f["key"] == "extra/emb")
    emb["float16"] = [3]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for read in (
        lambda: list(reader.load(folder, **SETTINGS)),
        lambda: list(reader.load(folder, workers=0, **SETTINGS)),
        lambda: list(reader.stream(folder, **SETTINGS)),
        lambda: list(reader.open(folder, outputs=OUTPUTS)),
    ):
        with pytest.raises(reader.DatasetError, match=r"2 values of extra/emb, not 3"):
            read()
    done = diptych("verify", folder)
    assert "feature extra/emb does not match the manifest" in done.out + done.err

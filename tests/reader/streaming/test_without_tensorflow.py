"""Programs in which TensorFlow cannot be imported, and what their batches are."""

import hashlib
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from patience import PATIENCE_SECONDS

import reader

SETTINGS = {
    "split": "train",
    "batch_size": 6,
    "image_size": 24,
    "crop": "random_resized",
    "flip": True,
    "caption": "random",
    "outputs": None,
}

BEGIN = """
import hashlib, json, sys
sys.modules["tensorflow"] = None
import numpy as np
import reader

folder, settings = sys.argv[1], json.loads(sys.argv[2])
stream = reader.stream(folder, **settings)

def leaves(batch):
    if isinstance(batch, dict): batch = tuple(batch[name] for name in sorted(batch))
    if not isinstance(batch, tuple): return [np.ascontiguousarray(batch)]
    return [leaf for part in batch for leaf in leaves(part)]

def show(batches):
    digest = hashlib.sha256()
    for batch in batches:
        for leaf in leaves(batch): digest.update(leaf)
    print(digest.hexdigest())

"""


def leaves(batch: Any) -> list[np.ndarray]:
    if isinstance(batch, dict):
        batch = tuple(batch[name] for name in sorted(batch))
    if not isinstance(batch, tuple):
        return [np.ascontiguousarray(batch)]
    return [leaf for part in batch for leaf in leaves(part)]


def digest(batches: Any) -> str:
    made = hashlib.sha256()
    for batch in batches:
        for leaf in leaves(batch):
            made.update(leaf)
    return made.hexdigest()


@pytest.fixture(scope="module")
def expected(dataset) -> dict[str, str]:
    loaded = reader.load(dataset, **SETTINGS)
    return {
        "batches": digest(loaded.as_numpy_iterator()),
        "captioning": digest(
            reader.for_captioning(reader.load(dataset, **SETTINGS)).as_numpy_iterator()
        ),
        "retrieval": digest(
            reader.for_retrieval(reader.load(dataset, **SETTINGS)).as_numpy_iterator()
        ),
    }


def run(dataset: Any, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code, dataset, json.dumps(SETTINGS)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("show(stream)", "batches"),
        ("show(reader.as_numpy(stream))", "batches"),
        ("show(reader.as_torch(stream))", "batches"),
        ("show(reader.as_torch(stream, device='cpu'))", "batches"),
        ("show(reader.as_jax(stream))", "batches"),
        ("show(reader.progress(stream, disable=True))", "batches"),
        ("show(reader.for_captioning(stream))", "captioning"),
        ("show(reader.as_torch(reader.for_captioning(stream)))", "captioning"),
        ("show(reader.as_jax(reader.for_retrieval(stream)))", "retrieval"),
    ],
)
def test_batches_are_those_of_load(dataset, expected, code, name):
    assert run(dataset, code) == expected[name]


@pytest.mark.parametrize("adapter", ["as_torch", "as_jax"])
def test_kept_batches_stay_as_they_are(dataset, adapter):
    said = run(
        dataset,
        f"""
stream = reader.stream(folder, **{{**settings, "epochs": 6}})
kept, copies = [], []
for batch in reader.{adapter}(stream):
    kept.append(batch)
    copies.append([np.array(leaf) for leaf in leaves(batch)])
assert len(kept) == 48
for batch, copy in zip(kept, copies):
    for one, other in zip(leaves(batch), copy):
        np.testing.assert_array_equal(one, other)
""",
    )
    assert said == ""


def test_what_else_needs_no_tensorflow(dataset):
    said = run(
        dataset,
        """
batches = reader.for_captioning(stream)
tensors = iter(reader.as_torch(batches, device="cpu"))
for _ in range(3): next(tensors)
assert reader.state(batches, 3) == batches.state_dict() == stream.state_dict()
assert batches.state_dict()["step"] == 3
tokenizer = reader.tokenizer(folder)
assert tokenizer.decode(tokenizer.encode("a red circle")) == "a red circle"
assert reader.steps_per_epoch(folder, split="train", batch_size=6) == len(stream)
assert reader.coverage(folder, split="train", batch_size=6).problems == []
assert reader.open(folder, split="train")[0]["image"].dtype == "uint8"
""",
    )
    assert said == ""

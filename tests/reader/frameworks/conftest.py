"""Datasets of noise, and a run in another process that logs device initialization."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from framework_batches import As, run
from PIL import Image

import reader


@pytest.fixture(params=["as_numpy", "as_jax", "as_torch"])
def convert(request) -> As:
    return getattr(reader, request.param)


@pytest.fixture(scope="session")
def small(build, tmp_path_factory) -> Path:
    """48 pictures of 64 × 64 pixels, stored raw, with two captions each."""
    source = tmp_path_factory.mktemp("small")
    rng = np.random.default_rng(0)
    for number in range(48):
        noise = rng.integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(source / f"{number:02}.png")
        text = "word " * (number % 9) + f"of the other\nnumber {number}"
        (source / f"{number:02}.txt").write_text(text)
    return build(
        source,
        source,
        source / "out",
        resize="none",
        image_format="raw",
        num_shards=2,
        captions_per_file="lines",
    )


@pytest.fixture(scope="session")
def tiny(build, tmp_path_factory) -> Path:
    """16 pictures of 2 × 2 pixels, stored raw: decoding them takes almost no time."""
    source = tmp_path_factory.mktemp("tiny")
    for number in range(16):
        Image.new("RGB", (2, 2), (number, 9, 9)).save(source / f"{number:02}.png")
        (source / f"{number:02}.txt").write_text(f"number {number}")
    return build(
        source, source, source / "out", resize="none", image_format="raw", num_shards=1
    )


ASIDE = """
import json, multiprocessing, os, sys
from torch.utils.data import DataLoader
import reader
import tensorflow as tf
from tensorflow.python.eager.context import context

folder = sys.argv[1]
usual = {"batch_size": 8, "split": "train", "image_size": 16}
hidden = []
keep = tf.config.set_visible_devices
tf.config.set_visible_devices = lambda *args: (hidden.append(args), keep(*args))
begun = {}

def load(**more):
    return reader.load(folder, **{**usual, **more})

def note(name):
    begun[name] = bool(context()._initialized)

batches = load()
note("load")
load(bucket_by_length=True, caption="random", crop="random_resized", flip=True)
load(dtype="bfloat16", normalize="clip", ram_budget=1 << 30, num_threads=2)
load(remainder="pad", caption="all", outputs=("image", "tokens", "valid"))
note("load with more")
len(batches), reader.state(batches, 0), batches.losses
note("len and state")
tasks = [reader.for_captioning(batches), reader.for_retrieval(load())]
note("tasks")
made = reader.as_torch(tasks[0])
note("as_torch")
reader.as_jax(tasks[1])
note("as_jax")
reader.as_numpy(batches)
note("as_numpy")
reader.progress(made)
note("progress")
visible = context()._visible_device_list
kinds = sorted({device.device_type for device in visible})
# Only the first batch initializes the devices of TensorFlow.
num = sum(1 for _ in made)
note("iterated")

workers = {}
for method in ("fork", "spawn"):
    loader = DataLoader(
        made, batch_size=None, num_workers=2, multiprocessing_context=method
    )
    try:
        next(iter(loader))
    except Exception as error:
        workers[method] = (type(error).__name__, str(error))
found = {"begun": begun, "hidden": hidden, "kinds": kinds, "num": num}
print(json.dumps({**found, "workers": workers}), flush=True)
# Workers that were forked from a process with many threads may not exit.
for worker in multiprocessing.active_children():
    worker.kill()
os._exit(0)
"""


@pytest.fixture(scope="session")
def aside(small) -> dict[str, Any]:
    return run(ASIDE, small)

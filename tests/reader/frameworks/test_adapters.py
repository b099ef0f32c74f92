"""Batches as arrays of NumPy, JAX and PyTorch, against those of tf.data."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
import torch
from PIL import Image
from torch.utils.data import DataLoader

import reader
import reader.frameworks.adapters

STEPS = 6
EVERYTHING = (
    "image",
    "tokens",
    "mask",
    "length",
    "key",
    "caption",
    "height",
    "width",
    "valid",
)

As = Callable[..., Any]


def load(folder: Path, **settings: Any) -> tf.data.Dataset:
    usual = {"batch_size": 8, "split": "train"}
    return reader.load(folder, **{**usual, **settings})


def numpy_of(batch: Any) -> Any:
    """A batch of TensorFlow's, as arrays that nobody else holds."""
    return tf.nest.map_structure(lambda tensor: np.array(tensor.numpy()), batch)


def plain(values: Any) -> np.ndarray:
    """What a framework gave, as an array of the dtype that TensorFlow has."""
    if isinstance(values, torch.Tensor):
        if values.dtype == torch.bfloat16:
            return values.float().numpy().astype(jnp.bfloat16)
        return values.numpy()
    if isinstance(values, list):
        return np.array(values, object)
    return np.asarray(values)


def leaves(batch: Any) -> list[Any]:
    """Parts of a batch, in the order of names or places; lists of texts are one."""
    if isinstance(batch, dict):
        return [leaf for name in sorted(batch) for leaf in leaves(batch[name])]
    if isinstance(batch, tuple):
        return [leaf for part in batch for leaf in leaves(part)]
    return [batch]


def shape_of(batch: Any) -> Any:
    """The structure of a batch, without what is in it."""
    if isinstance(batch, dict):
        return {name: shape_of(part) for name, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(shape_of(part) for part in batch)
    return None


def check_same(made: Any, expected: Any) -> None:
    assert shape_of(made) == shape_of(expected)
    for one, other in zip(leaves(made), leaves(expected), strict=True):
        assert plain(one).dtype == other.dtype
        assert plain(one).shape == other.shape
        assert np.array_equal(plain(one), other)


def run(code: str, *args: object, **environment: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=["as_numpy", "as_jax", "as_torch"])
def convert(request) -> As:
    return getattr(reader, request.param)


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def tiny(build, tmp_path_factory) -> Path:
    """16 pictures of 2 × 2 pixels, stored raw: decoding them costs next to nothing."""
    source = tmp_path_factory.mktemp("tiny")
    for number in range(16):
        Image.new("RGB", (2, 2), (number, 9, 9)).save(source / f"{number:02}.png")
        (source / f"{number:02}.txt").write_text(f"number {number}")
    return build(
        source, source, source / "out", resize="none", image_format="raw", num_shards=1
    )


# The same batches.


@pytest.mark.parametrize(
    ("convert", "dtype", "outputs"),
    [
        (reader.as_numpy, "float32", None),
        (reader.as_numpy, "uint8", EVERYTHING),
        (reader.as_numpy, "bfloat16", EVERYTHING),
        (reader.as_jax, "float32", None),
        (reader.as_jax, "float32", EVERYTHING),
        (reader.as_jax, "uint8", EVERYTHING),
        (reader.as_jax, "bfloat16", EVERYTHING),
        (reader.as_torch, "float32", None),  # Tuples are written to, below.
    ],
)
def test_batches_are_those_of_tensorflow_in_each_epoch(small, convert, dtype, outputs):
    settings = {"dtype": dtype, "outputs": outputs, "remainder": "pad"}
    batches = load(small, batch_size=10, **settings)
    made = convert(load(small, batch_size=10, **settings))
    epochs = []
    for _ in range(2):
        expected = [numpy_of(batch) for batch in batches]
        epochs.append(expected)
        converted = list(made)  # All are held, and none is changed by those after it.
        assert len(made) == len(converted) == len(expected) == 5
        for one, other in zip(converted, expected, strict=True):
            check_same(one, other)
    first, second = (epoch[0] for epoch in epochs)
    assert any(map(np.any, map(np.not_equal, leaves(first), leaves(second))))


@pytest.mark.parametrize("convert", [reader.as_numpy, reader.as_jax])
@pytest.mark.parametrize("task", ["for_captioning", "for_retrieval"])
def test_nested_batches_of_a_task_keep_their_structure(small, convert, task):
    batches, made = (getattr(reader, task)(load(small)) for _ in range(2))
    for one, other in zip(convert(made), batches, strict=True):
        check_same(one, numpy_of(other))


def test_several_captions_sorted_by_length_keep_shapes_and_texts(small, convert):
    settings = {
        "batch_size": 2,
        "bucket_by_length": True,
        "caption": "all",
        "outputs": ("key", "tokens", "caption_valid", "caption"),
    }
    shapes = set()
    for one, other in zip(
        convert(load(small, **settings)), load(small, **settings), strict=True
    ):
        check_same(one, numpy_of(other))
        assert {type(text) for text in one[0]} == {bytes}
        shapes.add(tuple(one[1].shape))
    assert shapes == {(2, 2, 8), (2, 2, 16)}


def test_other_datasets_of_tensorflow_are_taken_too(convert):
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    made = convert(tf.data.Dataset.from_tensor_slices(values).batch(2))
    assert len(made) == 3
    assert [plain(batch).tolist() for batch in made] == values.reshape(3, 2, 2).tolist()


def test_endless_batches_have_no_length(small, convert):
    made = convert(load(small, epochs=None))
    with pytest.raises(TypeError, match="steps_per_epoch"):
        len(made)
    assert len(list(itertools.islice(made, 8))) == 8


def test_the_length_is_that_of_the_first_iterator(small, convert):
    made = convert(load(small, start_step=2, outputs=("length",)))
    assert [len(made), len(list(made)), len(list(made))] == [4, 4, 6]


@pytest.mark.parametrize("wrong", [None, [1], "out/train-*"])
def test_what_is_no_dataset_is_refused(convert, wrong):
    with pytest.raises(reader.UsageError, match=r"reader\.load.*got"):
        convert(wrong)


def test_batches_are_not_converted_twice(small, convert):
    made = convert(load(small))
    with pytest.raises(reader.UsageError, match=type(made).__name__):
        convert(made)


ALONE_OR_WITH_A_TASK = pytest.mark.parametrize(
    ("convert", "task"),
    [
        (reader.as_numpy, None),
        (reader.as_jax, None),
        (reader.as_torch, None),
        (reader.as_jax, "for_captioning"),
        (reader.as_torch, "for_retrieval"),
    ],
)


@ALONE_OR_WITH_A_TASK
def test_a_damaged_record_is_our_own_error(own_dataset, convert, task):
    shard = own_dataset / "train-00000-of-00003.tfrecord"
    data = bytearray(shard.read_bytes())
    data[5000] ^= 0xFF
    shard.write_bytes(data)
    batches = load(own_dataset, image_size=16)
    made = convert(getattr(reader, task)(batches) if task else batches)
    with pytest.raises(reader.DatasetError, match=f"{shard} at byte 3990"):
        list(made)


# Where a run stands.


@ALONE_OR_WITH_A_TASK
def test_a_run_goes_on_from_the_state_of_converted_batches(small, convert, task):
    everything = list(load(small, epochs=3, outputs=("key",)).as_numpy_iterator())
    batches = load(small)
    made = convert(getattr(reader, task)(batches) if task else batches)
    taken = len(list(made))
    taken += len(list(itertools.islice(made, 2)))
    state = reader.state(batches, taken)
    rest = list(load(small, resume=state, outputs=("key",)).as_numpy_iterator())
    assert len(rest) == 4
    check_same(rest[0], everything[8])


@pytest.mark.parametrize("left_at", [5])
def test_no_state_is_given_of_epochs_that_were_left_early(small, convert, left_at):
    batches = load(small, outputs=("length",))
    made = convert(batches)
    taken = len(list(itertools.islice(made, left_at)))
    taken += len(list(itertools.islice(made, 3)))
    with pytest.raises(reader.UsageError, match="left before its end"):
        reader.state(batches, taken)


def test_no_state_is_given_either_while_the_iterator_left_is_still_held(small, convert):
    batches = load(small, outputs=("length",))
    made = convert(batches)
    left = iter(made)
    taken = len(list(itertools.islice(left, STEPS - 1)))
    other = iter(made)
    taken += len(list(itertools.islice(other, 3)))
    with pytest.raises(reader.UsageError, match="left before its end"):
        reader.state(batches, taken)


# NumPy.


def test_numpy_arrays_cannot_be_written_to_and_copies_can(small):
    batch = next(iter(reader.as_numpy(load(small))))
    with pytest.raises(ValueError, match="read-only"):
        batch["image"][0] = 0
    batch["image"].copy()[0] = 0


# PyTorch.


def write_to(batch: Any) -> None:
    for tensor in leaves(batch):
        if isinstance(tensor, torch.Tensor):
            tensor.fill_(3 if tensor.dtype != torch.bool else True)


@pytest.mark.parametrize(
    ("image_size", "dtype"),
    [
        (4, "float32"),  # Copied. Larger ones are shared.
        (None, "float32"),
        (None, "uint8"),
        (None, "bfloat16"),
    ],
)
def test_writing_to_a_tensor_changes_no_other_batch(small, image_size, dtype):
    settings = {
        "image_size": image_size,
        "dtype": dtype,
        "outputs": EVERYTHING,
        "remainder": "pad",
    }
    batches, made = (load(small, **settings) for _ in range(2))
    made = reader.as_torch(made)
    for _ in range(2):
        held = list(made)
        expected = [numpy_of(batch) for batch in batches]
        for one, other in zip(held, expected, strict=True):
            check_same(one, other)
            write_to(one)
    for one, other in zip(made, batches, strict=True):  # While others are being made.
        check_same(one, numpy_of(other))
        write_to(one)


@pytest.mark.parametrize("task", ["for_captioning", "for_retrieval"])
def test_writing_to_tensors_of_a_task_changes_no_other_batch(small, task):
    make = getattr(reader, task)
    batches = make(load(small))
    made = reader.as_torch(make(load(small)))
    for _ in range(2):
        for one, other in zip(made, batches, strict=True):
            check_same(one, numpy_of(other))
            write_to(one)


def test_writing_to_labels_of_a_large_batch_changes_no_other_batch(tiny):
    batches = load(
        tiny, batch_size=1 << 14, remainder="pad", max_tokens=2, image_size=None
    )
    made = reader.as_torch(reader.for_retrieval(batches))
    for _ in range(2):
        ((_, labels, weights),) = list(made)
        assert labels.tolist() == list(range(1 << 14))
        assert weights.tolist() == [1.0] * 16 + [0.0] * ((1 << 14) - 16)
        labels.fill_(-1)
        weights.fill_(-1)


def test_writing_to_tensors_of_another_dataset_leaves_its_cache_alone():
    values = np.arange(1 << 16, dtype=np.float32).reshape(2, -1)
    made = reader.as_torch(tf.data.Dataset.from_tensor_slices(values).cache())
    for _ in range(2):
        for one, expected in zip(made, values, strict=True):
            assert (one.numpy() == expected).all()
            one.zero_()


def test_a_data_loader_without_workers_yields_the_same_batches(small):
    made = DataLoader(reader.as_torch(load(small)), batch_size=None, num_workers=0)
    assert len(made) == STEPS
    for one, other in zip(made, load(small), strict=True):
        check_same(one, numpy_of(other))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader_are_refused(aside, method):
    kind, said = aside["workers"][method]
    assert kind == "UsageError"
    for part in ("num_workers=0", "batch_size=None", "reader.open"):
        assert part in said


# JAX.


def test_a_jitted_step_consumes_batches(small):
    @jax.jit
    def step(weights: Any, batch: Any) -> Any:
        def loss(weights: Any) -> Any:
            logits = batch["image"].mean(axis=(1, 2)) @ weights
            return jnp.mean((logits - batch["mask"].sum(axis=1)) ** 2)

        value, slope = jax.value_and_grad(loss)(weights)
        return weights - 0.1 * slope, value

    weights, losses = jnp.zeros(3), []
    for batch in reader.as_jax(load(small, epochs=3)):
        weights, loss = step(weights, batch)
        losses.append(float(loss))
    assert len(losses) == 3 * STEPS
    assert sum(losses[-STEPS:]) < sum(losses[:STEPS])


@pytest.mark.parametrize("prefetch", [0, 100])
def test_batches_ahead_change_nothing_but_when(small, prefetch):
    batches = load(small)
    made = reader.as_jax(load(small), prefetch=prefetch)
    for _ in range(2):
        for one, other in zip(made, batches, strict=True):
            check_same(one, numpy_of(other))


@pytest.mark.parametrize("prefetch", [-1, 1.5, None, "2"])
def test_a_wrong_number_of_batches_ahead_is_refused(small, prefetch):
    with pytest.raises(reader.UsageError, match="prefetch"):
        reader.as_jax(load(small), prefetch=prefetch)


@pytest.mark.parametrize("wide", [2**31, -(2**31) - 1, 2**53 + 1])
def test_whole_numbers_that_jax_would_cut_are_refused(wide):
    numbers = np.array([[1, 2], [3, wide]])
    batches = tf.data.Dataset.from_tensor_slices({"extra/id": numbers})
    with pytest.raises(reader.UsageError, match=rf"{wide}.*jax_enable_x64"):
        list(reader.as_jax(batches))
    with jax.enable_x64(True):
        loaded = [batch["extra/id"] for batch in reader.as_jax(batches)]
        assert np.stack(loaded).tolist() == numbers.tolist()


def test_whole_numbers_that_fit_are_kept():
    numbers = np.array([[-(2**31), 2**31 - 1], [0, -1]])
    batches = tf.data.Dataset.from_tensor_slices(numbers)
    assert np.stack(list(reader.as_jax(batches))).tolist() == numbers.tolist()


@pytest.mark.parametrize("wrong", ["data", 2, ("data",)])
def test_a_wrong_sharding_is_refused_by_name(small, wrong):
    with pytest.raises(reader.UsageError, match="sharding"):
        reader.as_jax(load(small), wrong)


SHARDED = """
import json, sys
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
import reader

folder = sys.argv[1]
mesh = jax.make_mesh((2,), ("data",))
sharding = NamedSharding(mesh, PartitionSpec("data"))
names = ("image", "tokens", "mask", "key")

def load(**more):
    usual = {"batch_size": 8, "split": "train"}
    return reader.load(folder, **{**usual, **more})

def refused(**more):
    try:
        reader.as_jax(load(**more), sharding)
    except reader.UsageError as error:
        return str(error)

found = {"devices": jax.device_count(), "same": [], "sharded": [], "local": []}
plain = load(outputs=names).as_numpy_iterator()
for one, other in zip(reader.as_jax(load(outputs=names), sharding), plain, strict=True):
    for made, expected in zip(one, other, strict=True):
        found["same"].append(bool((np.asarray(made) == expected).all()))
        found["same"].append(made.shape == expected.shape)
    for made, expected in zip(one[:3], other):
        found["sharded"].append(made.sharding.is_equivalent_to(sharding, made.ndim))
        for part in made.addressable_shards:
            rows = slice(0, 4) if part.device == mesh.devices[0] else slice(4, 8)
            found["local"].append(bool((np.asarray(part.data) == expected[rows]).all()))
nested = next(iter(reader.as_jax(reader.for_retrieval(load()), sharding)))
found["nested"] = [len(leaf.addressable_shards) for leaf in jax.tree.leaves(nested)]
found["odd"] = refused(batch_size=7)
found["odd sorted"] = refused(
    batch_size=7, bucket_by_length=True, outputs=("tokens", "mask"), shuffle_bytes=1
)
step = jax.jit(lambda image: image.mean(axis=(1, 2, 3)))
batches = reader.as_jax(load(), sharding)
found["step"] = [bool(np.isfinite(step(batch["image"])).all()) for batch in batches]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def sharded(small) -> dict[str, Any]:
    two = "--xla_force_host_platform_device_count=2"
    return run(SHARDED, small, XLA_FLAGS=two, JAX_PLATFORMS="cpu")


def test_batches_are_laid_over_a_mesh_as_asked_for(sharded):
    assert sharded["devices"] == 2
    assert sharded["same"] == [True] * 8 * STEPS
    assert sharded["sharded"] == [True] * 3 * STEPS
    assert sharded["local"] == [True] * 6 * STEPS
    assert sharded["nested"] == [2] * 5
    assert sharded["step"] == [True] * STEPS


def test_a_batch_that_the_mesh_does_not_divide_is_refused_at_once(sharded):
    assert "batch_size" in sharded["odd"]
    assert "(7, " in sharded["odd"]


def test_a_batch_of_unknown_width_is_refused_at_once_too(sharded):
    assert sharded["odd sorted"] is not None
    assert "batch_size" in sharded["odd sorted"]


# Whose the accelerators are.


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
# It is only now that TensorFlow looks at what it may have.
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
# Forked from a process of many threads, workers may not end by themselves.
for worker in multiprocessing.active_children():
    worker.kill()
os._exit(0)
"""


@pytest.fixture(scope="module")
def aside(small) -> dict[str, Any]:
    return run(ASIDE, small)


def test_tensorflow_takes_no_device_before_the_first_batch(aside):
    found, begun = aside, dict(aside["begun"])
    assert begun.pop("iterated")
    assert begun == dict.fromkeys(begun, False)
    assert found["hidden"] == [[[], "GPU"]] * 2
    assert "GPU" not in found["kinds"]
    assert found["num"] == STEPS


@pytest.mark.parametrize("name", ["as_jax", "as_torch"])
def test_gpus_that_tensorflow_has_taken_are_warned_about(small, monkeypatch, name):
    batches = load(small)

    def refuse(devices: Any, kind: str) -> None:
        raise RuntimeError("Visible devices cannot be modified after initialization")

    monkeypatch.setattr(tf.config, "set_visible_devices", refuse)
    getattr(reader, name)(batches)  # There is none here, so there is no warning.
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: [kind])
    with pytest.warns(UserWarning, match="taken the GPUs already") as warned:
        getattr(reader, name)(batches)
    assert warned[0].filename == __file__


@pytest.mark.parametrize("name", ["as_numpy", "for_captioning", "for_retrieval"])
def test_who_trains_with_tensorflow_keeps_its_gpus(small, monkeypatch, name):
    hidden: list[Any] = []
    monkeypatch.setattr(
        tf.config, "set_visible_devices", lambda *args: hidden.append(args)
    )
    getattr(reader, name)(load(small))
    assert not hidden


# What is not installed.


ABSENT = """
import json, sys
sys.modules["jax"] = sys.modules["torch"] = None  # As if they were not installed.
from reader import *
import reader
batches = load(sys.argv[1], split="train", batch_size=8)
said = {}
for make in (as_jax, as_torch):
    try:
        make(batches)
    except reader.UsageError as error:
        said[make.__name__] = str(error)
said["num"] = len(list(as_numpy(for_captioning(batches))))
said["names"] = sorted(set(reader.__all__) & set(globals()))
print(json.dumps(said))
"""


def test_what_is_not_installed_is_named_when_it_is_asked_for(small):
    said = run(ABSENT, small)
    assert "pip install jax" in said["as_jax"]
    assert "pip install torch" in said["as_torch"]
    assert said["num"] == STEPS
    assert said["names"] == sorted(reader.__all__)

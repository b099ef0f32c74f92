"""Batches for Keras' `fit`, against NumPy, and training with Keras."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from patience import PATIENCE_SECONDS

import reader

STEPS, MAX_TOKENS = 6, 12


def load(folder: Path, **settings: Any) -> tf.data.Dataset:
    usual = {
        "batch_size": 8,
        "image_size": 8,
        "split": "train",
        "max_tokens": MAX_TOKENS,
    }
    return reader.load(folder, **{**usual, **settings})


def pairs(task: Any, folder: Path, **settings: Any) -> Any:
    """Returns the batches of a task with the dictionaries they are made from."""
    made = task(load(folder, **settings)).as_numpy_iterator()
    plain = load(folder, **settings).as_numpy_iterator()
    return list(zip(made, plain, strict=True))


def weight_of(batch: dict[str, np.ndarray]) -> np.ndarray:
    return batch.get("valid", np.ones(len(batch["image"]), bool)).astype(np.float32)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"remainder": "pad", "batch_size": 32},
        {"caption": "random"},
        {"max_tokens": 2},
        {"bucket_by_length": True, "max_tokens": 64},
    ],
    ids=repr,
)
def test_captioning_shows_a_caption_and_asks_for_the_next_token(dataset, settings):
    loaded = pairs(reader.for_captioning, dataset, **settings)
    for ((image, tokens_in), tokens_out, weights), batch in loaded:
        assert (image == batch["image"]).all()
        assert (tokens_in == batch["tokens"][:, :-1]).all()
        assert (tokens_out == batch["tokens"][:, 1:]).all()
        expected = batch["mask"][:, 1:] * weight_of(batch)[:, np.newaxis]
        assert weights.dtype == np.float32
        assert (weights == expected).all()
        assert ((weights == 0) | (tokens_out != 0)).all()
    assert len(loaded) == (2 if "remainder" in settings else STEPS)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"remainder": "pad", "batch_size": 32},
        {"caption": "random"},
        {"bucket_by_length": True},
    ],
    ids=repr,
)
def test_retrieval_pairs_each_image_with_its_own_caption(dataset, settings):
    loaded = pairs(reader.for_retrieval, dataset, **settings)
    for ((image, tokens, mask), labels, weights), batch in loaded:
        assert (image == batch["image"]).all()
        assert (tokens == batch["tokens"]).all()
        assert (mask == batch["mask"]).all()
        assert labels.dtype == np.int32
        assert labels.tolist() == list(range(len(image)))
        assert weights.dtype == np.float32
        assert (weights == weight_of(batch)).all()
    assert len(loaded) == (2 if "remainder" in settings else STEPS)


def test_places_without_an_example_weigh_nothing(dataset):
    settings = {"remainder": "pad", "batch_size": 32}
    captioning = list(reader.for_captioning(load(dataset, **settings)))
    retrieval = list(reader.for_retrieval(load(dataset, **settings)))
    rows = [np.any(weights, axis=1).sum() for *_, weights in captioning]
    assert rows == [np.sum(weights) for *_, weights in retrieval] == [32, 16]


def test_shapes_of_tasks_are_known_beforehand(dataset):
    image = tf.TensorSpec((8, 8, 8, 3), tf.float32)
    batches = load(dataset)
    assert reader.for_captioning(batches).element_spec == (
        (image, tf.TensorSpec((8, 11), tf.int32)),
        tf.TensorSpec((8, 11), tf.int32),
        tf.TensorSpec((8, 11), tf.float32),
    )
    assert reader.for_retrieval(batches).element_spec == (
        (image, tf.TensorSpec((8, 12), tf.int32), tf.TensorSpec((8, 12), tf.bool)),
        tf.TensorSpec((8,), tf.int32),
        tf.TensorSpec((8,), tf.float32),
    )


@pytest.mark.parametrize("name", ["for_captioning", "for_retrieval"])
def test_tasks_have_the_length_and_the_epochs_of_their_batches(dataset, name):
    task = getattr(reader, name)
    made = task(load(dataset, start_step=2))
    assert [len(made), len(list(made)), len(list(made))] == [4, 4, 6]
    with pytest.raises(TypeError, match="steps_per_epoch"):
        len(task(load(dataset, epochs=None)))


@pytest.mark.parametrize("name", ["for_captioning", "for_retrieval"])
def test_tasks_keep_what_was_set_for_reading(dataset, name):
    made = getattr(reader, name)(load(dataset, num_threads=2, ram_budget=1 << 30))
    options = made.options()
    assert options.threading.private_threadpool_size == 2
    assert options.autotune.enabled is False
    off = tf.data.experimental.AutoShardPolicy.OFF
    assert options.experimental_distribute.auto_shard_policy == off


@pytest.mark.parametrize("name", ["for_captioning", "for_retrieval"])
def test_other_datasets_of_dictionaries_are_taken_too(name):
    tokens = np.array([[2, 5, 3, 0], [2, 6, 7, 3]], np.int32)
    values = {"image": np.zeros((2, 1, 1, 3)), "tokens": tokens, "mask": tokens > 0}
    made = getattr(reader, name)(tf.data.Dataset.from_tensors(values))
    (((_, shown, *_), *_),) = made.as_numpy_iterator()
    assert (shown == (tokens if name == "for_retrieval" else tokens[:, :-1])).all()


@pytest.mark.parametrize("name", ["for_captioning", "for_retrieval"])
@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"outputs": ("image", "tokens", "mask")}, ["dictionaries", "without outputs"]),
        ({"caption": "all"}, ['caption="first"', '"random"', '"all"']),
    ],
    ids=repr,
)
def test_batches_that_do_not_fit_are_refused(dataset, name, settings, parts):
    with pytest.raises(reader.UsageError) as raised:
        getattr(reader, name)(load(dataset, **settings))
    for part in (name, *parts):
        assert part in str(raised.value)


@pytest.mark.parametrize("name", ["for_captioning", "for_retrieval"])
def test_what_is_missing_in_a_batch_is_named(dataset, name):
    def without_mask(batch: Any) -> Any:
        return {part: batch[part] for part in ("image", "tokens")}

    with pytest.raises(reader.UsageError, match="image, tokens, but no mask"):
        getattr(reader, name)(load(dataset).map(without_mask))


@pytest.mark.parametrize("name", ["for_captioning", "for_retrieval"])
def test_records_without_ids_have_no_task(tmp_path, name):
    picture = tf.io.encode_png(np.zeros((4, 4, 3), np.uint8)).numpy()
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture]))
    features = tf.train.Features(feature={"image/encoded": feature})
    with tf.io.TFRecordWriter(str(tmp_path / "x.record")) as writer:
        writer.write(tf.train.Example(features=features).SerializeToString())
    batches = reader.load(tmp_path / "x.record", batch_size=1, image_size=4)
    with pytest.raises(reader.UsageError, match=f"{name}.*no tokens"):
        getattr(reader, name)(batches)


@pytest.mark.parametrize(
    ("name", "convert"),
    [
        ("for_captioning", "as_numpy"),
        ("for_captioning", "as_jax"),
        ("for_retrieval", "as_torch"),
        ("for_retrieval", "progress"),
    ],
)
def test_tasks_come_before_other_frameworks(dataset, name, convert):
    made = getattr(reader, convert)(load(dataset))
    with pytest.raises(
        reader.UsageError, match=f"{name} needs batches from reader.load"
    ):
        getattr(reader, name)(made)


# Keras.


class Captioner(keras.Model):
    """Predicts each token from the previous token and the mean color."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embed = keras.layers.Embedding(vocab_size, 8)
        self.see, self.guess = (keras.layers.Dense(n) for n in (8, vocab_size))

    def call(self, inputs: Any) -> Any:
        image, tokens = inputs
        color = self.see(keras.ops.mean(image, axis=(1, 2)))
        return self.guess(self.embed(tokens) + color[:, None])


def test_keras_learns_from_batches_for_captioning(dataset):
    batches = reader.for_captioning(load(dataset))
    keras.utils.set_random_seed(1)
    model = Captioner(reader.tokenizer(dataset).vocab_size)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)
    history = model.fit(batches, epochs=3, verbose=0).history["loss"]
    assert model.optimizer.iterations == 3 * STEPS
    assert history[2] < history[0]
    assert reader.state(batches, 3 * STEPS)["examples"] == 3 * 48


def test_weights_of_padding_do_not_count_in_a_loss_of_keras(dataset):
    batches = load(dataset, remainder="pad", batch_size=32)
    vocab_size = reader.tokenizer(dataset).vocab_size
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    summed = sum(
        float(loss(labels, tf.zeros((*labels.shape, vocab_size)), weights))
        for _, labels, weights in reader.for_captioning(batches)
    )
    lengths = load(dataset, outputs=("length",)).as_numpy_iterator()
    # All tokens of a caption except the first are predicted, with uniform logits.
    num = sum((length - 1).sum() for (length,) in lengths)
    assert summed == pytest.approx(num * np.log(vocab_size), rel=1e-4)


FIT = """
import json, sys
import keras
import reader

batches = reader.load(
    sys.argv[1], split="train", batch_size=8, image_size=8, max_tokens=12,
    outputs=("image", "tokens"),
)
model = keras.Sequential([
    keras.layers.Flatten(), keras.layers.Dense(12 * 40), keras.layers.Reshape((12, 40))
])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
batches = batches.map(lambda image, tokens: (image, tokens % 40))
history = model.fit(batches, epochs=2, verbose=0).history["loss"]
steps = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
print(json.dumps([keras.backend.backend(), steps, history]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_keras_trains_on_batches_with_another_backend(dataset, backend):
    done = subprocess.run(
        [sys.executable, "-c", FIT, str(dataset)],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    used, steps, history = json.loads(done.stdout.splitlines()[-1])
    assert (used, steps) == (backend, 2 * STEPS)
    assert np.isfinite(history).all() and history[1] < history[0]

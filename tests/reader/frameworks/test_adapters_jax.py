"""Batches of JAX arrays: prefetching, 64-bit integers and shardings."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf
from framework_batches import STEPS, check_same, load, numpy_of, run

import reader


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

"""`reader.as_jax` over a stream in two processes that `jax.distributed` joins.

Expected values come from one process: its batches as NumPy arrays, and a training loop
in NumPy.
"""

import hashlib
import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import PATIENCE_SECONDS

import reader

PROCESSES, BATCH, STEPS, RATE = 2, 8, 5, 0.01
SETTINGS = {
    "split": "train",
    "batch_size": BATCH,
    "image_size": 16,
    "crop": "random_resized",
    "flip": True,
    "outputs": ("image", "tokens", "key"),
    "epochs": 2,
    "workers": 1,
}

SCRIPT = """
import hashlib, json, os, sys
sys.modules["tensorflow"] = None
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec
import reader

folder, out, address, process, processes, steps, rate, state, settings = sys.argv[1:]
jax.distributed.initialize(
    address, int(processes), int(process), coordinator_bind_address=address
)
index, count = jax.process_index(), jax.process_count()
assert (jax.device_count(), jax.local_device_count()) == (4, 2)
mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
over_devices = NamedSharding(mesh, PartitionSpec("data"))

def stream(**more):
    usual = {**json.loads(settings), "host_index": index, "host_count": count}
    return reader.stream(folder, **{**usual, **more})

@jax.jit
def train_step(weights, image, tokens):
    def loss_of(weights):
        return ((image.mean((1, 2)) @ weights - tokens.sum(1) / 1000) ** 2).mean()
    loss, slope = jax.value_and_grad(loss_of)(weights)
    return weights - float(rate) * slope, loss

def rows_of(image):
    return [part.data.shape[0] for part in image.addressable_shards]

def take(batches, num):
    weights = jax.device_put(jnp.zeros(3), NamedSharding(mesh, PartitionSpec()))
    taken = {"keys": [], "digests": [], "shapes": [], "local": [], "losses": []}
    for image, tokens, key in batches:
        weights, loss = train_step(weights, image, tokens)
        everywhere = multihost_utils.process_allgather((image, tokens), tiled=True)
        rows = [one.tobytes() + other.tobytes() for one, other in zip(*everywhere)]
        digests = [hashlib.sha256(row).hexdigest() for row in rows]
        taken["digests"].append(digests)
        taken["keys"].append([name.decode() for name in key])
        taken["shapes"].append([image.shape, tokens.shape])
        taken["local"].append(rows_of(image))
        taken["losses"].append(float(loss))
        if len(taken["keys"]) == num:
            break
    return {**taken, "weights": weights.tolist()}

def refused(batches, sharding):
    try:
        reader.as_jax(batches, sharding)
    except reader.UsageError as error:
        return str(error)

found = {}
first = stream()
found["length"] = len(reader.as_jax(first, over_devices))
found["first"] = take(reader.as_jax(first, over_devices), int(steps))
found["state"] = reader.state(first, int(steps))
found["same state"] = first.state_dict() == found["state"]
found["rest"] = take(reader.as_jax(stream(resume=found["state"]), over_devices), None)
found["resumed"] = take(
    reader.as_jax(stream(resume=json.loads(state)), over_devices), None
)

# Other meshes: of the devices of this process, and one whose processes hold the same.
own = jax.sharding.Mesh(jax.local_devices(), ("data",))
local = reader.as_jax(stream(), NamedSharding(own, PartitionSpec("data")))
image, _, _ = next(iter(local))
found["own"] = image.shape
pairs = jax.sharding.Mesh(np.reshape(jax.devices(), (2, 2)), ("model", "data"))
alike = NamedSharding(pairs, PartitionSpec("data"))
everything = stream(host_index=0, host_count=1)
image, _, _ = next(iter(reader.as_jax(everything, alike)))
found["alike"] = [image.shape, rows_of(image)]
found["refused"] = {
    "all in each": refused(stream(host_index=0, host_count=1), over_devices),
    "alike": refused(stream(), alike),
    "replicated": refused(stream(), NamedSharding(mesh, PartitionSpec())),
    "odd": refused(stream(batch_size=6), over_devices),
    "odd, own": refused(
        stream(batch_size=6), NamedSharding(own, PartitionSpec("data"))
    ),
}
with open(f"{out}/{process}.json", "w") as file:
    json.dump(found, file)
"""


def free_address() -> str:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture(scope="module")
def alone(dataset) -> list[tuple[Any, ...]]:
    """All batches of one process, as NumPy arrays."""
    return list(reader.stream(dataset, **SETTINGS))


@pytest.fixture(scope="module")
def state_of_one(dataset) -> dict[str, Any]:
    """The state of one process after seven steps."""
    stream = reader.stream(dataset, **SETTINGS)
    list(itertools.islice(stream, 7))
    return stream.state_dict()


@pytest.fixture(scope="module")
def joined(dataset, state_of_one, tmp_path_factory) -> list[dict[str, Any]]:
    """What each of two processes found."""
    out: Path = tmp_path_factory.mktemp("joined")
    script = out / "script.py"
    script.write_text(SCRIPT)
    two = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    environment = {**os.environ, **two, "JAX_PLATFORMS": "cpu"}
    address, words = free_address(), [json.dumps(state_of_one), json.dumps(SETTINGS)]
    processes = []
    for process in range(PROCESSES):
        numbers = map(str, (process, PROCESSES, STEPS, RATE))
        command = [sys.executable, script, dataset, out, address, *numbers, *words]
        with (out / f"{process}.log").open("w") as log:
            started = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, text=True
            )
        processes.append(started)
    try:
        codes = [process.wait(timeout=PATIENCE_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    logs = [(out / f"{process}.log").read_text() for process in range(PROCESSES)]
    assert codes == [0] * PROCESSES, "\n".join(logs)
    return [
        json.loads((out / f"{process}.json").read_text())
        for process in range(PROCESSES)
    ]


def digests_of(batches: list[tuple[Any, ...]]) -> list[dict[str, str]]:
    """Returns a digest of image and tokens by key, for each batch."""
    return [
        {
            key.decode(): hashlib.sha256(image.tobytes() + tokens.tobytes()).hexdigest()
            for image, tokens, key in zip(*batch, strict=True)
        }
        for batch in batches
    ]


def gathered(found: list[dict[str, Any]], name: str) -> list[dict[str, str]]:
    """Returns the digests by key that a process gathered, of the keys of all."""
    assert found[0][name]["digests"] == found[1][name]["digests"]
    steps = zip(*(told[name]["keys"] for told in found), strict=True)
    return [
        dict(zip(itertools.chain(*keys), digests, strict=True))
        for keys, digests in zip(steps, found[0][name]["digests"], strict=True)
    ]


def train(batches: list[tuple[Any, ...]]) -> tuple[list[float], list[float]]:
    """Returns the losses and the last weights of the same steps in plain NumPy."""
    weights, losses = np.zeros(3), []
    for image, tokens, _ in batches:
        inputs = image.astype(np.float64).mean((1, 2))
        errors = inputs @ weights - tokens.sum(1) / 1000
        losses.append(float((errors**2).mean()))
        weights = weights - RATE * 2 * inputs.T @ errors / len(errors)
    return losses, weights.tolist()


@pytest.mark.slow
def test_global_batches_hold_the_examples_of_one_process(joined, alone):
    expected = digests_of(alone)
    assert gathered(joined, "first") == expected[:STEPS]
    assert all(told["length"] == len(alone) == 12 for told in joined)
    for told in joined:
        shapes = [[BATCH, 16, 16, 3], [BATCH, 64]]
        assert told["first"]["shapes"] == [shapes] * STEPS
        assert told["first"]["local"] == [[BATCH // 4] * 2] * STEPS
    mine, theirs = (set(itertools.chain(*t["first"]["keys"])) for t in joined)
    assert mine and theirs and not mine & theirs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "part"), [("first", slice(5)), ("rest", slice(5, 12))]
)
def test_a_step_over_all_devices_gives_the_numbers_of_numpy(joined, alone, name, part):
    losses, weights = train(alone[part])
    one, other = (told[name] for told in joined)
    assert one["losses"] == other["losses"]
    assert one["weights"] == other["weights"]
    assert one["losses"] == pytest.approx(losses, rel=1e-5)
    assert one["weights"] == pytest.approx(weights, rel=1e-5)


@pytest.mark.slow
def test_states_are_those_of_one_process_and_go_on_anywhere(
    joined, alone, dataset, state_of_one
):
    states = [told["state"] for told in joined]
    assert states[0] == states[1]
    assert all(told["same state"] for told in joined)
    assert states[0] == reader.state(reader.stream(dataset, **SETTINGS), STEPS)
    assert gathered(joined, "rest") == digests_of(alone[STEPS:])
    assert gathered(joined, "resumed") == digests_of(alone[7:])
    going_on = reader.stream(dataset, **SETTINGS, resume=states[0])
    for found, expected in zip(going_on, alone[STEPS:], strict=True):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_meshes_of_one_process_and_of_processes_alike(joined):
    for told in joined:
        assert told["own"] == [BATCH // 2, 16, 16, 3]
        assert told["alike"] == [[BATCH, 16, 16, 3], [BATCH // 2] * 2]


@pytest.mark.slow
def test_another_number_of_hosts_than_the_mesh_joins_is_refused(joined):
    for told in joined:
        refused = told["refused"]
        assert "host_count=1: pass host_count=2" in refused["all in each"]
        assert "host_count=2: pass host_count=1" in refused["alike"]
        assert "host_count=2: pass host_count=1" in refused["replicated"]


@pytest.mark.slow
def test_a_batch_that_the_mesh_does_not_divide_is_refused_in_each_process(joined):
    for told in joined:
        assert "batch of shape (6,)" in told["refused"]["odd"]
        assert "batch of shape (3,)" in told["refused"]["odd, own"]

"""Trains CLIP-style towers in JAX, on a mesh of all devices.

    python docs/examples/clip_jax.py --data=out

cuts the CPU into two virtual devices, unless `XLA_FLAGS` says otherwise; on GPUs and
TPUs the mesh is that of the real ones. Each device has a part of a batch, and the loss
compares every image with every caption. Every `--save_every` steps, parameters, the
optimizer's state and the position in the data are saved; the same command resumes after
a kill.

Measured on 2 cores of an Intel Xeon at 2.6 GHz, without a GPU, beside other work: on
5,000 drawn scenes, 500 steps take 51 s of CPU time (249 s of wall time). The loss falls
from 4.16 (chance: 4.16) to 1.43, and recall@5 of 521 unseen images is 0.440 (chance:
0.010).
"""

import argparse
import json
import os
from functools import partial
from itertools import islice
from typing import Any

# Before JAX is imported.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import jax
import jax.numpy as jnp
import numpy as np
from jax.example_libraries import optimizers
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import reader

SIZE, MAX_TOKENS, WIDTH = 64, 25, 128

Params = dict[str, Any]
Batch = dict[str, jax.Array]

mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
over_devices = NamedSharding(mesh, PartitionSpec("data"))
everywhere = NamedSharding(mesh, PartitionSpec())
begin, update, params_of = optimizers.adam(1e-3)


@partial(jax.jit, static_argnums=0, out_shardings=everywhere)
def init(vocab_size: int) -> Any:
    """Returns Adam's first state, which has parameters and CLIP's temperature."""
    shapes = {
        "patches4": (4 * 4 * 3, WIDTH),
        "patches8": (2 * 2 * WIDTH, WIDTH),
        "patches16": (2 * 2 * WIDTH, WIDTH),
        "see": (4 * 4 * WIDTH, WIDTH),
        "words": (vocab_size, WIDTH),
        "phrases": (3 * WIDTH, WIDTH),
        "read": (WIDTH, WIDTH),
    }
    keys = jax.random.split(jax.random.key(0), len(shapes))
    params: Params = {
        name: jax.nn.initializers.he_normal()(key, shape)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    return begin({**params, "log_scale": jnp.float32(np.log(1 / 0.07))})


def patches(x: jax.Array, side: int) -> jax.Array:
    """Cuts [batch, height, width, n] into [batch, rows, columns, side * side * n]."""
    batch, height, width, _ = x.shape
    x = x.reshape(batch, height // side, side, width // side, side, -1)
    return x.swapaxes(2, 3).reshape(batch, height // side, width // side, -1)


@jax.jit
def embed(params: Params, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Returns float32[batch, WIDTH] of length 1, twice: of images, and captions."""
    x = batch["image"] * 2 - 1
    for name, side in (("patches4", 4), ("patches8", 2), ("patches16", 2)):
        x = jax.nn.relu(jax.nn.standardize(patches(x, side) @ params[name]))
    image = x.reshape(len(x), -1) @ params["see"]
    mask = batch["mask"][:, :, None]
    words = params["words"][batch["tokens"]] * mask
    # Three words at a time: "red star" and "star … red" differ.
    threes = [words[:, :-2], words[:, 1:-1], words[:, 2:]]
    phrases = jax.nn.relu(jnp.concatenate(threes, axis=-1) @ params["phrases"])
    caption = (phrases * mask[:, 1:-1]).sum(1) @ params["read"]
    unit = [x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in (image, caption)]
    return unit[0], unit[1]


def loss_of(params: Params, batch: Batch) -> jax.Array:
    """Returns the mean cross entropy of both directions, over the whole batch."""
    image, caption = embed(params, batch)
    logits = jnp.exp(params["log_scale"]).clip(max=100) * image @ caption.T
    each = [jnp.diagonal(jax.nn.log_softmax(x)).mean() for x in (logits, logits.T)]
    return -sum(each) / 2


@partial(jax.jit, out_shardings=everywhere)
def train_step(step: int, state: Any, batch: Batch) -> tuple[Any, jax.Array]:
    """Returns the next state, which has the parameters, and the loss."""
    loss, gradients = jax.value_and_grad(loss_of)(params_of(state), batch)
    return update(step, gradients, state), loss


def load(args: argparse.Namespace, split: str, **options: Any) -> Any:
    """Returns batches of NumPy arrays: those of this process."""
    return reader.stream(
        args.data,
        split=split,
        batch_size=args.batch_size,
        image_size=SIZE,
        crop="none",  # captions speak of what a crop would cut off
        max_tokens=MAX_TOKENS,
        **options,
    )


def save(path: str, step: int, state: Any, data: Any) -> None:
    """Writes a checkpoint at once: a kill leaves the last one whole."""
    with open(path + ".new", "wb") as file:
        np.savez(file, *jax.tree.leaves(state), step=step, data=json.dumps(data))
    os.replace(path + ".new", path)


def restore(path: str, state: Any) -> tuple[int, Any, Any]:
    """Returns the step, the optimizer's state and that of the data."""
    with np.load(path) as saved:
        leaves = [saved[f"arr_{i}"] for i in range(len(jax.tree.leaves(state)))]
        state = jax.tree.unflatten(jax.tree.structure(state), leaves)
        return int(saved["step"]), state, json.loads(str(saved["data"]))


def train(args: argparse.Namespace) -> Params:
    """Trains up to a step, from the checkpoint on if there is one."""
    done, data = 0, None
    state = init(reader.tokenizer(args.data).vocab_size)
    if os.path.exists(args.checkpoint):
        done, state, data = restore(args.checkpoint, state)
        state = jax.device_put(state, everywhere)
    stream = load(args, "train", caption="random", epochs=None, resume=data)
    batches = reader.as_jax(stream, over_devices)
    for step, batch in enumerate(islice(batches, max(0, args.steps - done)), done + 1):
        state, loss = train_step(step - 1, state, batch)
        if step % args.log_every == 0:
            print(f"step {step}: loss {loss:.4f}", flush=True)
        if step % args.save_every == 0:
            # as_jax reads ahead: the state of the data is that of the step.
            save(args.checkpoint, step, state, reader.state(stream, step))
    return params_of(state)


def recall(params: Params, args: argparse.Namespace, k: int) -> float:
    """Returns the share of unseen images whose own caption is among the k nearest."""
    images, captions = [], []
    for batch in load(args, "validation", shuffle=False, remainder="pad"):
        valid = batch.pop("valid")
        image, caption = embed(params, batch)
        images.append(np.asarray(image)[valid])
        captions.append(np.asarray(caption)[valid])
    cosines = np.concatenate(images) @ np.concatenate(captions).T
    nearer = (cosines > cosines.diagonal()[:, None]).sum(1)
    return float((nearer < k).mean())


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description="CLIP-style training in JAX")
    parser.add_argument("--data", default="out", help="folder of a dataset")
    parser.add_argument("--checkpoint", default="clip.npz")
    parser.add_argument("--batch_size", type=int, default=64, help="of all devices")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--save_every", type=int, default=100)
    parser.add_argument("--log_every", type=int, default=50)
    args = parser.parse_args()
    params = train(args)
    print(f"recall_at_5: {recall(params, args, 5):.3f}")


if __name__ == "__main__":
    main()

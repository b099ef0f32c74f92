"""DistributedDataParallel under torchrun, with any number of ranks."""

import json
import sys
from pathlib import Path

import pytest
from loaded_batches import NUM_TRAIN
from training_scripts import run_program

SCRIPT = """
import json, sys
sys.modules["tensorflow"] = None
import torch
import torch.distributed as dist
import reader

folder, out, state, steps = sys.argv[1:]
dist.init_process_group("gloo")
rank, ranks = dist.get_rank(), dist.get_world_size()
stream = reader.stream(
    folder,
    split="train",
    batch_size=2 * ranks,
    image_size=16,
    remainder="pad",
    data_format="channels_first",
    outputs=("image", "key", "valid"),
    workers=1,
    host_index=rank,
    host_count=ranks,
    resume=json.loads(state) or None,
)
batches = reader.as_torch(stream)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 4))
model = torch.nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.AdamW(model.parameters())
keys = []
for step, (image, names, valid) in enumerate(batches):
    if step == int(steps):
        break
    loss = model(image).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    keys.append([name.decode() for name, good in zip(names, valid) if good])
    state = batches.state_dict()
weights = torch.cat([p.detach().flatten() for p in model.parameters()])
others = [torch.empty_like(weights) for _ in range(ranks)]
dist.all_gather(others, weights)
assert all(torch.equal(weights, other) for other in others)
with open(f"{out}/{rank}.json", "w") as file:
    json.dump({"keys": keys, "state": state, "length": len(batches)}, file)
dist.destroy_process_group()
"""


def train(tmp_path: Path, dataset: Path, ranks: int, state: object, steps: int) -> list:
    """Trains for some steps; returns what each rank said."""
    out = tmp_path / f"{ranks}-{steps}"
    out.mkdir()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words += [f"--nproc_per_node={ranks}", script, dataset, out]
    words += [json.dumps(state), str(steps)]
    done = run_program(list(map(str, words)), patience=300)
    assert done.status == 0, done
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(ranks)]


@pytest.mark.slow
def test_ranks_share_an_epoch_and_go_on_as_another_number(dataset, tmp_path):
    first = train(tmp_path, dataset, 5, None, 3)
    states = [told["state"] for told in first]
    assert states == [states[0]] * 5
    second = train(tmp_path, dataset, 2, states[0], 10**6)
    assert len({len(told["keys"]) for told in second}) == 1
    taken = [key for told in first + second for keys in told["keys"] for key in keys]
    assert len(taken) == len(set(taken)) == NUM_TRAIN

"""DistributedDataParallel under torchrun, with any number of ranks."""

import json
import sys

import pytest
from loaded_batches import NUM_TRAIN
from training_scripts import run_program

# Torchrun's launcher: its processes are forks, which need not import PyTorch again.
SCRIPT = """
import json, sys
sys.modules["tensorflow"] = None
import torch
import torch._dynamo  # An optimizer would import it, in each fork.
import torch.distributed as dist
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
import reader

def train(state, steps):
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    stream = reader.stream(
        sys.argv[1],
        split="train",
        batch_size=2 * ranks,
        image_size=16,
        remainder="pad",
        data_format="channels_first",
        outputs=("image", "key", "valid"),
        workers=1,
        host_index=rank,
        host_count=ranks,
        resume=state,
    )
    batches = reader.as_torch(stream)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 4))
    model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters())
    keys = []
    for step, (image, names, valid) in enumerate(batches):
        if step == steps:
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
    dist.destroy_process_group()
    return {"keys": keys, "state": state}

def launch(ranks, *args):
    config = LaunchConfig(
        1, 1, ranks, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        run_id=str(ranks), start_method="fork", rdzv_configs={"heartbeat_timeout": 300},
    )
    said = elastic_launch(config, train)(*args)
    return [said[rank] for rank in range(ranks)]

first = launch(5, None, 3)
print(json.dumps([first, launch(2, first[0]["state"], None)]))
"""


@pytest.mark.slow
def test_ranks_share_an_epoch_and_go_on_as_another_number(dataset):
    done = run_program([sys.executable, "-c", SCRIPT, str(dataset)])
    assert done.status == 0, done
    first, second = json.loads(done.out.splitlines()[-1])
    assert (len(first), len(second)) == (5, 2)
    assert all(told["state"] == first[0]["state"] for told in first)
    assert len({len(told["keys"]) for told in second}) == 1
    taken = [key for told in first + second for keys in told["keys"] for key in keys]
    assert len(taken) == len(set(taken)) == NUM_TRAIN

"""Accelerate: processes share each step, and its checkpoints hold the position."""

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from loaded_batches import load_keys
from training_scripts import run_program

BATCH, STEPS, TAKEN = 12, 4, 6  # Half of three epochs of four steps.

SCRIPT = """
import json, sys
sys.modules["tensorflow"] = None
import accelerate
import torch
import reader

folder, checkpoint, out, batch_size, stop = sys.argv[1:6]


def train(resume):
    accelerator = accelerate.Accelerator(cpu=True)
    stream = reader.stream(
        folder,
        split="train",
        batch_size=int(batch_size),
        image_size=16,
        data_format="channels_first",
        outputs=("image", "key"),
        workers=1,
        host_index=accelerator.process_index,
        host_count=accelerator.num_processes,
    )
    batches = reader.as_torch(stream, device=accelerator.device)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model, optimizer = accelerator.prepare(model, optimizer)
    accelerator.register_for_checkpointing(batches)
    if resume:
        accelerator.load_state(checkpoint)
    epochs, taken = [], 0
    while taken < int(stop):
        epochs.append([])
        for image, keys in batches:
            accelerator.backward(model(image).square().mean())
            optimizer.step()
            optimizer.zero_grad()
            epochs[-1].append([key.decode() for key in keys])
            taken += 1
            if taken == int(stop):
                break
    if not resume:
        accelerator.save_state(checkpoint)
    ranks = accelerate.utils.gather_object([epochs])
    return {"ranks": ranks, "length": len(batches)}


found = [train(resume == "resume") for resume in sys.argv[6:]]
if accelerate.PartialState().is_main_process:
    with open(out, "w") as file:
        json.dump(found, file)
accelerate.PartialState().destroy_process_group()
"""


def train(
    tmp_path: Path, dataset: Path, ranks: int, *runs: str
) -> list[list[list[list[str]]]]:
    """Trains for `TAKEN` steps in each run; returns the keys by run, epoch and step."""
    script, out = tmp_path / "script.py", tmp_path / f"{ranks}.json"
    script.write_text(SCRIPT)
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words += [f"--nproc_per_node={ranks}", script, dataset, tmp_path / "checkpoint"]
    words += [out, BATCH, TAKEN, *runs]
    done = run_program(list(map(str, words)), cwd=tmp_path, patience=300)
    assert done.status == 0, done
    return [together(found) for found in json.loads(out.read_text())]


def together(found: dict[str, Any]) -> list[list[list[str]]]:
    """Returns the sorted keys of all ranks, by epoch and step."""
    assert found["length"] == STEPS
    return [
        [sorted(itertools.chain(*shares)) for shares in zip(*epoch, strict=True)]
        for epoch in zip(*found["ranks"], strict=True)
    ]


@pytest.mark.slow
def test_checkpoints_go_on_as_the_undisturbed_run_on_any_number_of_ranks(
    dataset, tmp_path
):
    keys = [key.decode() for key in load_keys(dataset, batch_size=BATCH, epochs=3)]
    steps = [sorted(keys[begin : begin + BATCH]) for begin in range(0, 144, BATCH)]
    rest = [steps[TAKEN : 2 * STEPS], steps[2 * STEPS :]]
    before, after = train(tmp_path, dataset, 2, "begin", "resume")
    assert before == [steps[:STEPS], steps[STEPS:TAKEN]]
    assert after == rest
    assert train(tmp_path, dataset, 1, "resume") == [rest]

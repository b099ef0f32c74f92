"""Lightning: its checkpoints hold the position, on one and on two processes."""

import itertools
import json
import sys
from pathlib import Path

import pytest
from loaded_batches import load_keys
from training_scripts import run_program

BATCH, EPOCHS = 12, 3  # Epochs of 4 steps.

SCRIPT = """
import json, sys
sys.modules["tensorflow"] = None
import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader
import reader

folder, out, kind, devices, batch_size = sys.argv[1:6]


class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)
        self.keys = []

    def training_step(self, batch, step):
        (keys,) = batch
        self.keys.append([k.decode() if isinstance(k, bytes) else k for k in keys])
        return self.linear(torch.ones(len(keys), 1)).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Streamed(lightning.LightningDataModule):
    def setup(self, stage):
        self.batches = reader.as_torch(
            reader.stream(
                folder,
                split="train",
                batch_size=int(batch_size),
                outputs=("key",),
                workers=1,
                host_index=self.trainer.global_rank,
                host_count=self.trainer.world_size,
            )
        )

    def train_dataloader(self):
        return self.batches

    def state_dict(self):
        return self.batches.state_dict()

    def load_state_dict(self, state_dict):
        self.batches.load_state_dict(state_dict)


class Sampled(lightning.LightningDataModule):
    def setup(self, stage):
        self.data = reader.open(folder, split="train", outputs=("key",))
        self.sampler = reader.sampler(
            self.data,
            batch_size=int(batch_size),
            host_index=self.trainer.global_rank,
            host_count=self.trainer.world_size,
        )

    def train_dataloader(self):
        return DataLoader(self.data, batch_sampler=self.sampler, num_workers=2)

    def state_dict(self):
        return reader.state(self.sampler, self.trainer.global_step)

    def load_state_dict(self, state_dict):
        self.sampler.load_state_dict(state_dict)


def fit(name, ckpt_path=None, callbacks=()):
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=int(devices),
        strategy="ddp" if int(devices) > 1 else "auto",
        use_distributed_sampler=False,
        max_epochs=3,
        logger=False,
        enable_checkpointing=bool(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
    )
    model = Model()
    data = Streamed() if kind == "stream" else Sampled()
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path)
    with open(f"{out}/{name}-{trainer.global_rank}.json", "w") as file:
        json.dump(model.keys, file)


if __name__ == "__main__":
    fit(
        "undisturbed",
        callbacks=[
            ModelCheckpoint(
                out,
                "step={step}",
                auto_insert_metric_name=False,
                every_n_train_steps=1,
                save_top_k=-1,
            ),
            ModelCheckpoint(
                out,
                "epoch={epoch}",
                auto_insert_metric_name=False,
                every_n_epochs=1,
                save_top_k=-1,
            ),
        ],
    )
    for name in sys.argv[6:]:
        fit(name, f"{out}/{name}.ckpt")
"""


def train(
    tmp_path: Path, dataset: Path, kind: str, devices: int, *names: str
) -> dict[str, list]:
    """Trains, and resumes from checkpoints; returns the keys of steps by rank."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    words = [sys.executable, script, dataset, tmp_path, kind, devices, BATCH, *names]
    done = run_program(list(map(str, words)), cwd=tmp_path, patience=300)
    assert done.status == 0, done
    return {
        name: [
            json.loads((tmp_path / f"{name}-{rank}.json").read_text())
            for rank in range(devices)
        ]
        for name in ("undisturbed", *names)
    }


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "devices"), [("stream", 2), ("sampler", 1)])
def test_checkpoints_go_on_as_the_undisturbed_run(dataset, tmp_path, kind, devices):
    names = {"step=2": 2, "step=4": 4, "epoch=0": 4, "step=7": 7}
    found = train(tmp_path, dataset, kind, devices, *names)
    keys = [key.decode() for key in load_keys(dataset, batch_size=BATCH, epochs=EPOCHS)]
    steps = [sorted(keys[begin : begin + BATCH]) for begin in range(0, 144, BATCH)]
    for name, taken in {"undisturbed": 0, **names}.items():
        shares = zip(*found[name], strict=True)
        assert [sorted(itertools.chain(*step)) for step in shares] == steps[taken:], (
            name
        )

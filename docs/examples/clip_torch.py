"""Trains CLIP-style towers in PyTorch with DistributedDataParallel.

    torchrun --standalone --nproc_per_node=2 docs/examples/clip_torch.py --data=out

Each rank embeds its share of a batch; embeddings are gathered, with their gradients,
so that the loss compares every image with the captions of all ranks. Every
`--save_every` steps, model, optimizer and the position in the data are saved. The same
command resumes after a kill, on any number of ranks.

Measured with two ranks on 2 cores of an Intel Xeon at 2.6 GHz, without a GPU, beside
other work: on 5,000 drawn scenes, 500 steps take 106 s of CPU time (273 s of wall
time). The loss falls from 4.16 (chance: 4.16) to 1.20, and recall@5 of 521 unseen
images is 0.516 (chance: 0.010).
"""

import argparse
import os
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

import reader

SIZE, MAX_TOKENS, WIDTH = 64, 25, 128


class Towers(nn.Module):
    """Embeds images and captions as vectors of length 1."""

    def __init__(self, vocab_size: int) -> None:
        """Makes the layers, and CLIP's temperature as a logarithm."""
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, 32), (32, 64), (64, WIDTH), (WIDTH, WIDTH)):
            layers.append(nn.Conv2d(before, after, 3, stride=2, padding=1))
            # Not BatchNorm: ranks would have means of their own.
            layers += [nn.GroupNorm(8, after), nn.ReLU()]
        flat = nn.Flatten()
        self.see = nn.Sequential(*layers, flat, nn.Linear(WIDTH * 4 * 4, WIDTH))
        self.words = nn.Embedding(vocab_size, WIDTH)
        self.read = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def forward(self, batch: dict[str, Any]) -> tuple[torch.Tensor, ...]:
        """Returns embeddings of images, those of captions, and the scale."""
        image = self.see(batch["image"] * 2 - 1)
        states, _ = self.read(self.words(batch["tokens"]))
        mask = batch["mask"][:, :, None]
        caption = (states * mask).sum(1) / mask.sum(1)
        scale = self.log_scale.exp().clamp(max=100)
        return functional.normalize(image), functional.normalize(caption), scale


class Gather(torch.autograd.Function):
    """Concatenates the rows of all ranks; gradients go back to the rows' ranks."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        """Gathers."""
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Sums over ranks, whose mean DistributedDataParallel takes later."""
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def contrastive_loss(
    image: torch.Tensor, caption: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Returns the mean cross entropy of both directions, over all ranks' rows."""
    logits = scale * Gather.apply(image) @ Gather.apply(caption).T
    own = torch.arange(len(logits))
    entropy = functional.cross_entropy
    return (entropy(logits, own) + entropy(logits.T, own)) / 2


def load(args: argparse.Namespace, split: str, **options: Any) -> Any:
    """Returns batches of tensors."""
    return reader.as_torch(
        reader.stream(
            args.data,
            split=split,
            batch_size=args.batch_size,  # of all ranks together
            image_size=SIZE,
            crop="none",  # captions speak of what a crop would cut off
            max_tokens=MAX_TOKENS,
            data_format="channels_first",
            **options,
        )
    )


def train(args: argparse.Namespace) -> Towers:
    """Trains up to a step, from the checkpoint on if there is one."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    workers = max(1, (os.cpu_count() or 1) // ranks)
    batches = load(
        args,
        "train",
        caption="random",
        epochs=None,
        host_index=rank,
        host_count=ranks,
        workers=workers,
    )
    towers = Towers(reader.tokenizer(args.data).vocab_size)
    model = DistributedDataParallel(towers)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    done = 0
    if os.path.exists(args.checkpoint):
        saved = torch.load(args.checkpoint, weights_only=True)
        towers.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        batches.load_state_dict(saved["data"])
        done = saved["step"]
    for step, batch in enumerate(islice(batches, max(0, args.steps - done)), done + 1):
        loss = contrastive_loss(*model(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if rank == 0 and step % args.log_every == 0:
            print(f"step {step}: loss {loss:.4f}", flush=True)
        if rank == 0 and step % args.save_every == 0:
            checkpoint = {
                "model": towers.state_dict(),
                "optimizer": optimizer.state_dict(),
                "data": batches.state_dict(),
                "step": step,
            }
            torch.save(checkpoint, args.checkpoint + ".new")
            # At once: a kill leaves the last checkpoint whole.
            os.replace(args.checkpoint + ".new", args.checkpoint)
    return towers


@torch.no_grad()
def recall(towers: Towers, args: argparse.Namespace, k: int) -> float:
    """Returns the share of unseen images whose own caption is among the k nearest."""
    images, captions = [], []
    for batch in load(args, "validation", shuffle=False, remainder="pad"):
        image, caption, _ = towers(batch)
        images.append(image[batch["valid"]])
        captions.append(caption[batch["valid"]])
    cosines = torch.cat(images) @ torch.cat(captions).T
    nearer = (cosines > cosines.diagonal()[:, None]).sum(1)
    return (nearer < k).double().mean().item()


def main() -> None:
    """Runs the example."""
    parser = argparse.ArgumentParser(description="CLIP-style training with DDP")
    parser.add_argument("--data", default="out", help="folder of a dataset")
    parser.add_argument("--checkpoint", default="clip.pt")
    parser.add_argument("--batch_size", type=int, default=64, help="of all ranks")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--save_every", type=int, default=100)
    parser.add_argument("--log_every", type=int, default=50)
    args = parser.parse_args()
    dist.init_process_group("gloo")  # "nccl" on GPUs
    torch.manual_seed(0)
    towers = train(args)
    if dist.get_rank() == 0:
        print(f"recall_at_5: {recall(towers, args, 5):.3f}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

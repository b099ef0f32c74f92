"""Lists the layers of a dataset, for `diptych show`."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from reader.console.terminal import Terminal, printable, shortened
from reader.datasets.layers import Layer, list_layers
from reader.datasets.manifest_dataset import ManifestDataset

_NAME = 16


def layer_lines(dataset: ManifestDataset, terminal: Terminal) -> Iterator[str]:
    """Yields lines of text about the layers; none if the dataset has no layers."""
    listed = list_layers(dataset)
    if listed:
        heading = f"{'layer':<{_NAME}}{'examples':>12}{'without':>12}"
        yield terminal.paint(heading, "bold", "cyan")
    for name, _, layer, problem in listed:
        shown = shortened(printable(name), _NAME)
        if layer is None:
            label = terminal.paint("unusable:", "bold", "yellow")
            yield f"{shown:<{_NAME}}{label} {printable(problem or '')}"
            continue
        counts = f"{layer.num_added:>12,}{layer.num_without:>12,}"
        yield f"{shown:<{_NAME}}{counts}  {printable(layer.adds)}"


def layer_fields(dataset: ManifestDataset) -> list[dict[str, Any]]:
    """Returns the layers as JSON values."""
    return [
        {
            "name": name,
            "path": path,
            "problem": problem,
            **(_fields(layer) if layer else {}),
        }
        for name, path, layer, problem in list_layers(dataset)
    ]


def _fields(layer: Layer) -> dict[str, Any]:
    manifest = layer.manifest
    tokenizer = manifest.tokenizer
    return {
        "num_examples": layer.num_added,
        "num_bytes": sum(shard.num_bytes for shard in manifest.shards),
        "features": [feature._asdict() for feature in manifest.features],
        "replaces": list(manifest.replaces),
        "tokenizer": tokenizer and dataclasses.asdict(tokenizer),
        "books": dataclasses.asdict(manifest.accounting),
    }

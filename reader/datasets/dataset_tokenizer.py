"""Loads the tokenizer of a dataset."""

from reader.contract.tokenizers.protocol import Tokenizer
from reader.datasets.layers import Layers, NamedLayers
from reader.datasets.manifest_dataset import open_dataset
from reader.storage.files import Pattern


def tokenizer(folder: Pattern, layers: Layers = None) -> Tokenizer:
    """Loads the tokenizer of a dataset, to encode queries and decode token ids.

        tokenizer = reader.tokenizer("out")
        tokenizer.encode("a red circle")        # [5, 9, 4]
        tokenizer.decode(batch["tokens"][0])    # "a red circle"

    Args:
        folder: Folder of the dataset.
        layers: Layers that are read with it, as in `load`. If one of them replaces the
            captions, its tokenizer is loaded.

    Returns:
        The tokenizer, with `encode`, `decode` and `vocab_size`.

    Raises:
        UsageError: A library that the tokenizer requires is not installed.
        DatasetError: The folder has no finished dataset, or the tokenizer file has
            changed since the dataset was built.
    """
    dataset, named = open_dataset(folder), NamedLayers(layers)
    found = [each for each in named.of(dataset) if each.manifest.replaces]
    named.check_used()
    of_layer = found[0].tokenizer() if found else None
    return dataset.tokenizer() if of_layer is None else of_layer

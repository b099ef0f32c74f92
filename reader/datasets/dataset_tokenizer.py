"""Loads the tokenizer of a dataset."""

from reader.contract.tokenizers.protocol import Tokenizer
from reader.datasets.manifest_dataset import open_dataset
from reader.storage.files import Pattern


def tokenizer(folder: Pattern) -> Tokenizer:
    """Loads the tokenizer of a dataset, to encode queries and decode token ids.

        tokenizer = reader.tokenizer("out")
        tokenizer.encode("a red circle")        # [5, 9, 4]
        tokenizer.decode(batch["tokens"][0])    # "a red circle"

    Args:
        folder: Folder of the dataset.

    Returns:
        The tokenizer, with `encode`, `decode` and `vocab_size`.

    Raises:
        UsageError: A library that the tokenizer requires is not installed.
        DatasetError: The folder has no finished dataset, or the tokenizer file has
            changed since the dataset was built.
    """
    return open_dataset(folder).tokenizer()

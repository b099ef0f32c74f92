"""A sentence about a dataset, for tools that will not do without."""

from reader.contract.manifest import Manifest


def described(manifest: Manifest) -> str:
    """Returns what its makers say a dataset is; otherwise how much it holds."""
    if manifest.about.description is not None:
        return manifest.about.description
    parts = [f"{split.num_examples:,} {split.name}" for split in manifest.splits]
    return f"{manifest.num_examples:,} images with captions: {', '.join(parts)}."

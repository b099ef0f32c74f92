"""Formats dataset facts for the output of commands."""

import json
from collections.abc import Mapping, Sequence

from reader.contract.additions.layer import LayerAccounting
from reader.contract.manifest import ImageSpec, KeyAccounting, Manifest, Split
from reader.contract.rejects import category_of


def size_text(num_bytes: float) -> str:
    """Returns a size in bytes with a binary unit: `1.5 MiB`."""
    size, units = float(num_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1000 and len(units) > 1:
        size, _ = size / 1024, units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"


def counted(num: int, noun: str) -> str:
    """Returns a number with its noun: `1 shard`, `1,204 shards`."""
    return f"{num:,} {noun}{'' if num == 1 else 's'}"


def splits_table(manifest: Manifest) -> list[str]:
    """Returns a heading and one line per split."""
    lines = [f"{'split':<16}{'examples':>12}{'shards':>8}{'size':>12}"]
    for split in manifest.splits:
        size = size_text(split.num_bytes)
        counts = f"{split.num_examples:>12,}{len(split.shards):>8,}"
        lines.append(f"{split.name:<16}{counts}{size:>12}")
    return lines


def accounting_table(accounting: KeyAccounting) -> list[str]:
    """Returns the lines of the accounting; the first is the sum of the others."""
    lines = [
        f"{accounting.found:>12,} keys found",
        f"{accounting.written:>12,} written",
    ]
    lines += not_written_lines(accounting)
    if accounting.dropped_captions:
        lines.append(
            f"{accounting.dropped_captions:>12,} captions dropped from written keys"
        )
    return lines


def not_written_lines(accounting: KeyAccounting | LayerAccounting) -> list[str]:
    """Returns a line for each category of keys that were not written."""
    return [
        f"{sum(counts.values()):>12,} {line}: {reasons_text(counts)}"
        for line, counts in by_line(accounting).items()
    ]


def by_line(accounting: KeyAccounting | LayerAccounting) -> dict[str, dict[str, int]]:
    """Returns the keys not written, `{category: {reason: number of keys}}`."""
    lines: dict[str, dict[str, int]] = {}
    for reason, count in sorted(accounting.not_written.items()):
        lines.setdefault(category_of(reason), {})[reason] = count
    return dict(sorted(lines.items()))


def reasons_text(counts: Mapping[str, int]) -> str:
    """Returns reasons with their counts: `2 damaged_image, 1 empty_caption`."""
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())


def loading_text(
    folder: str, split: Split, image: ImageSpec, layers: Sequence[str] = ()
) -> str:
    """Returns a `reader.load` call with sensible sizes for the dataset.

    Args:
        folder: Folder of the dataset.
        split: Split to read.
        image: Format and size of the stored images.
        layers: Names or folders of layers to read too.
    """
    pattern = f"{folder.rstrip('/')}/{split.name}-*.tfrecord"
    batch_size = usual_batch_size(split.num_examples)
    sizes = f"batch_size={batch_size}, image_size={usual_image_size(image)}"
    added = f", layers={json.dumps(layers)}" if layers else ""
    return f'reader.load("{pattern}", {sizes}{added})'


def usual_batch_size(num_examples: int) -> int:
    """Returns a default batch size: 64, or the number of examples if smaller."""
    return max(1, min(64, num_examples))


def usual_image_size(image: ImageSpec) -> int:
    """Returns the size for which `load`'s default crop needs no resampling."""
    return max(1, image.size * 7 // 8)

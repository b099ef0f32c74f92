"""What both sides print of a dataset."""

from reader.contract.manifest import Books, Manifest
from reader.contract.schema import REASONS


def size_text(num_bytes: float) -> str:
    """Returns a size for people: `1.5 MiB`."""
    size, units = float(num_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1000 and len(units) > 1:
        size, _ = size / 1024, units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"


def splits_table(manifest: Manifest) -> list[str]:
    """Returns a line per split, below a heading."""
    lines = [f"{'split':<16}{'examples':>12}{'shards':>8}{'size':>12}"]
    for split in manifest.splits:
        size = size_text(split.num_bytes)
        counts = f"{split.num_examples:>12,}{len(split.shards):>8,}"
        lines.append(f"{split.name:<16}{counts}{size:>12}")
    return lines


def books_table(books: Books) -> list[str]:
    """Returns the lines of the books: the first is the sum of those below it."""
    lines = [f"{books.found:>12,} keys found", f"{books.written:>12,} written"]
    by_line: dict[str, dict[str, int]] = {}
    for reason, count in books.not_written.items():
        by_line.setdefault(REASONS.get(reason, "rejected"), {})[reason] = count
    for line, counts in sorted(by_line.items()):
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
        lines.append(f"{sum(counts.values()):>12,} {line}: {reasons}")
    if books.dropped_captions:
        lines.append(f"{books.dropped_captions:>12,} captions dropped beside others")
    return lines

"""Formats the output of `diptych layer`."""

from collections.abc import Iterator

from beam_jobs.layers.layer_accounting import LayerOutcome
from reader.console.formatting import not_written_lines


def layer_page(outcome: LayerOutcome, *, is_written: bool) -> str:
    """Returns the counts of keys and records, with examples of rejects.

    Args:
        outcome: Outcome of the job.
        is_written: Whether the layer was written, and not only planned.
    """
    return "\n".join(_lines(outcome, is_written))


def _lines(outcome: LayerOutcome, is_written: bool) -> Iterator[str]:
    counts = outcome.accounting
    yield f"{counts.found:>12,} keys found"
    yield f"{counts.written:>12,} {'written' if is_written else 'match a record'}"
    yield from not_written_lines(counts)
    if counts.filled:
        yield f"{counts.filled:>12,} filled with the dataset's captions"
    if counts.records_without:
        yield f"{counts.records_without:>12,} without anything added"
    for reason, examples in outcome.examples.items():
        for example in examples:
            yield f"{reason}: {example}"

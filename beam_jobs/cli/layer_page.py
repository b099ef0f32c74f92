"""Formats the output of `diptych layer`."""

from beam_jobs.layers.layer_accounting import LayerOutcome
from reader.console.formatting import accounting_table
from reader.contract.manifest import KeyAccounting


def layer_page(outcome: LayerOutcome) -> str:
    """Returns the counts of keys and records, with examples of rejects."""
    counts = outcome.accounting
    keys = KeyAccounting(
        found=counts.found, written=counts.written, not_written=counts.not_written
    )
    lines = accounting_table(keys)
    if counts.filled:
        lines.append(f"{counts.filled:>12,} records with the dataset's captions")
    lines.append(f"{counts.records_without:>12,} records with nothing added")
    for reason, examples in outcome.examples.items():
        lines += [f"{reason}: {example}" for example in examples]
    return "\n".join(lines)

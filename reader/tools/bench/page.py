"""Formats measurements for `diptych bench`, as terminal text and as JSON."""

from collections.abc import Iterator, Sequence
from typing import Any

from reader.console.formatting import size_text
from reader.console.terminal import Terminal
from reader.tools.bench.advice import Gain, Stored
from reader.tools.bench.stages import Measured, Stage

_BAR = 20


def bench_page(
    measured: Measured, stored: Stored, advice: Sequence[str], terminal: Terminal
) -> Iterator[str]:
    """Yields lines of text: a table of the stages, then the advice.

    Args:
        measured: Measurements of reading the dataset.
        stored: Storage settings of the dataset.
        advice: Sentences from `advise`.
        terminal: Output terminal, for its colors.
    """
    settings = measured.settings
    shown = ", ".join(f"{k}={v}" for k, v in settings.items() if v is not None)
    yield f"reader.load(…, {shown})"
    yield _stored_line(stored)
    yield ""
    heading = f"{'stage':<8}{'CPU µs/image':>13}{'images/s per core':>19}"
    yield terminal.paint(f"{heading}{'images/s so far':>17}", "bold", "cyan")
    total = sum(stage.cpu_us for stage in measured.stages)
    for stage in measured.stages:
        yield _stage_line(stage, total, terminal)
    rate = terminal.paint(f"{measured.per_second:,.0f} images/s", "bold")
    yield ""
    yield (
        f"{rate} on {measured.cores_used:.1f} of {measured.num_cores} cores, "
        f"{measured.per_core:,.0f} per CPU-second"
    )
    if measured.from_cache is not None:
        yield f"cache: {measured.from_cache:.0%} of bytes"
    yield ""
    if not advice:
        yield terminal.paint("no changes recommended", "green")
    for line in advice:
        yield f"{terminal.paint('·', 'bold', 'yellow')} {line}"


def _stored_line(stored: Stored) -> str:
    quality = "" if stored.quality is None else f", quality {stored.quality}"
    side = "" if stored.shorter_side is None else f", {stored.shorter_side} px"
    size = size_text(stored.record_bytes)
    return f"stored: {stored.format or 'images'}{quality}{side}, {size} per record"


def _stage_line(stage: Stage, total: float, terminal: Terminal) -> str:
    share = stage.cpu_us / total if total else 0.0
    per_core = "" if stage.per_core is None else f"{stage.per_core:,.0f}"
    so_far = "" if stage.per_second is None else f"{stage.per_second:,.0f}"
    bar = terminal.bar(share, _BAR, "cyan").rstrip()
    cost = f"{stage.cpu_us:,.1f}" if stage.cpu_us else "within noise"
    columns = f"{cost:>13}{per_core:>19}{so_far:>17}"
    return f"{stage.name:<8}{columns}  {bar} {share:.0%}"


def bench_fields(
    measured: Measured, stored: Stored, gains: Sequence[Gain], advice: Sequence[str]
) -> dict[str, Any]:
    """Returns the measurements, trials and advice as JSON values."""
    return {
        "settings": dict(measured.settings),
        "images_per_second": measured.per_second,
        "images_per_core_second": measured.per_core,
        "cores_used": measured.cores_used,
        "waiting_for_store": measured.store_share,
        "from_cache": measured.from_cache,
        "num_cores": measured.num_cores,
        "stages": [stage._asdict() for stage in measured.stages],
        "stored": stored._asdict(),
        "trials": [gain._asdict() for gain in gains],
        "advice": [*advice],
    }

"""What to change, from what was measured: arithmetic on figures, and words for it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from reader.config import defaults
from reader.console.formatting import size_text
from reader.shuffle.order import NUM_STREAMS

# What is told: less is within the noise, or not worth a rebuild.
_MIN_SPEEDUP = 1.1
_MAX_SIZE = 0.8
# Above this, JPEG stores noise that no model needs.
USUAL_QUALITY = 90
# Smaller reads than of so many neighbours cost more than their bytes.
_MIN_NEIGHBOURS = 4
# Of what threads could use: below it, they wait for something else.
_BUSY = 0.7
_MIN_CAST_SHARE = 0.15


class Stored(NamedTuple):
    """How a dataset is stored.

    Attributes:
        format: `jpeg`, `png`, `raw`; None if each image has its own.
        quality: Of JPEG; None if it is not known.
        shorter_side: Of most images, in pixels; None if it is not known.
        record_bytes: Mean of a record.
        remote: Whether it lies in a bucket.
    """

    format: str | None
    quality: int | None
    shorter_side: int | None
    record_bytes: float
    remote: bool


class Figures(NamedTuple):
    """What was measured that advice rests on.

    Attributes:
        per_second: Images a second, all in all.
        per_second_uint8: Without the cast; None if there is none.
        per_second_read: Images a second that are read and no more.
        cast_share: Of the CPU time.
        cores_used: CPU time by wall time.
        num_cores: There are.
        load: Processes that wanted a core, before.
    """

    per_second: float
    per_second_uint8: float | None
    per_second_read: float
    cast_share: float
    cores_used: float
    num_cores: int
    load: float


def wanted_side(image_size: int, crop_fraction: float) -> int:
    """Returns the shorter side of which `image_size` is cut without resampling."""
    return round(image_size / crop_fraction)


def worth_storing(stored: Stored, wanted: int | None) -> dict[str, tuple[int, int]]:
    """Returns `{flags: (shorter side, quality)}` of what may be read faster.

    Args:
        stored: How images are stored.
        wanted: Their shorter side for the size that is asked for; None if any will do.
    """
    ways: dict[str, tuple[int, int]] = {}
    side, quality = stored.shorter_side, stored.quality or USUAL_QUALITY
    if side is None:
        return ways
    if wanted is not None and side > wanted:
        flags = f"--image_size={wanted}"
        ways[flags] = (wanted, min(quality, USUAL_QUALITY))
    if stored.format in ("png", "raw"):
        ways["--image_format=jpeg"] = (side, USUAL_QUALITY)
    elif stored.format == "jpeg" and quality > USUAL_QUALITY:
        ways[f"--jpeg_quality={USUAL_QUALITY}"] = (side, USUAL_QUALITY)
    return ways


class Gain(NamedTuple):
    """What was measured of a way to store images.

    Attributes:
        flags: Of `diptych build`.
        speedup: Images per CPU-second, by those of the images as they are.
        size: Bytes of an image, likewise.
        num: Images that were tried.
    """

    flags: str
    speedup: float
    size: float
    num: int


def advise(
    figures: Figures,
    stored: Stored,
    gains: Sequence[Gain],
    settings: Mapping[str, Any],
) -> Iterator[str]:
    """Yields what to change, a sentence each; nothing if all is well."""
    for gain in gains:
        if gain.speedup >= _MIN_SPEEDUP or gain.size <= _MAX_SIZE:
            yield _rebuild(gain, stored, settings)
    yield from _threads(figures, settings)
    yield from _waiting(figures, stored, settings)
    yield from _window(figures, stored, settings)
    yield from _cast(figures)


def _rebuild(gain: Gain, stored: Stored, settings: Mapping[str, Any]) -> str:
    what = stored.format or "images"
    if "size" in gain.flags:
        what = f"{stored.shorter_side} px for {settings['image_size']}"
    elif "quality" in gain.flags:
        what = f"with quality {stored.quality}"
    return (
        f"stored {what}: rebuilt with {gain.flags}, an image takes {gain.size:.2f} of "
        f"its bytes and a core reads {gain.speedup:.1f} × as many (measured on "
        f"{gain.num} of them)"
    )


def _threads(figures: Figures, settings: Mapping[str, Any]) -> Iterator[str]:
    threads = settings.get("num_threads")
    if threads is not None and threads < figures.num_cores:
        yield (
            f"num_threads={threads} leaves {figures.num_cores - threads} of "
            f"{figures.num_cores} cores to others: leave it out to use all"
        )


def _waiting(
    figures: Figures, stored: Stored, settings: Mapping[str, Any]
) -> Iterator[str]:
    threads = min(figures.num_cores, settings.get("num_threads") or figures.num_cores)
    if figures.cores_used >= _BUSY * threads:
        return
    if figures.load > figures.num_cores:
        yield (
            f"others use this machine (its load was {figures.load:.1f}): measure again "
            "without them, or read the column of a core alone"
        )
        return
    waits = f"{figures.cores_used:.1f} of {threads} cores are at work"
    if stored.remote:
        yield f"{waits}: pass cache=FOLDER, a local disk that shards are copied to"
    elif figures.per_second_read < 2 * figures.per_second:
        rate = size_text(figures.per_second_read * stored.record_bytes)
        yield f"{waits}: the disk gives {rate}/s; copy the dataset to a faster one"
    else:
        yield (
            f"{waits}, and it is not the disk that they wait for: others use the "
            "machine, or batches are too small to keep them busy"
        )


def _window(
    figures: Figures, stored: Stored, settings: Mapping[str, Any]
) -> Iterator[str]:
    if not stored.remote and figures.per_second_read > 2 * figures.per_second:
        return
    shuffle_bytes = settings.get("shuffle_bytes", defaults.SHUFFLE_BYTES)
    neighbours = shuffle_bytes / stored.record_bytes / NUM_STREAMS
    if settings.get("shuffle", True) and neighbours < _MIN_NEIGHBOURS:
        enough = _MIN_NEIGHBOURS * NUM_STREAMS * stored.record_bytes
        mebibytes = -(-int(enough) // (1 << 20))
        yield (
            f"shuffle_bytes holds {max(1, int(neighbours))} records of each of "
            f"{NUM_STREAMS} streams, which are read so many at a time: "
            f"shuffle_bytes={mebibytes} << 20 reads larger pieces"
        )


def _cast(figures: Figures) -> Iterator[str]:
    if figures.per_second_uint8 and figures.cast_share >= _MIN_CAST_SHARE:
        yield (
            f"the cast takes {figures.cast_share:.0%} of the time: "
            f'dtype="uint8" reads {figures.per_second_uint8:,.0f} images/s; divide by '
            "255 on the accelerator"
        )

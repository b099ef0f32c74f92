"""Derives advice from the measurements of `diptych bench`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from reader.config import defaults
from reader.console.formatting import size_text

# Thresholds for advice: a smaller gain is within the noise or not worth a rebuild.
_MIN_SPEEDUP = 1.1
_MAX_SIZE = 0.8
# Above this, JPEG stores noise that no model needs.
USUAL_QUALITY = 90
# Reads of fewer adjacent records than this are dominated by the cost per read.
_MIN_NEIGHBORS = 4
# Share of the available CPU time; below it, threads wait for something else.
_BUSY = 0.7
_MIN_CAST_SHARE = 0.15
# Share of the time from which on waiting for a store is reported.
_WAITS = 0.1


class Stored(NamedTuple):
    """The storage settings of a dataset.

    Attributes:
        format: Image format: `jpeg`, `png` or `raw`; None if it varies by image.
        quality: JPEG quality; None if unknown.
        shorter_side: Shorter side of most images in pixels; None if unknown.
        record_bytes: Mean size of a record in bytes.
        remote: Whether the dataset is in a bucket.
    """

    format: str | None
    quality: int | None
    shorter_side: int | None
    record_bytes: float
    remote: bool


class Figures(NamedTuple):
    """The measurements that the advice depends on.

    Attributes:
        per_second: Images per second, all stages together.
        per_second_uint8: Images per second without the cast; None if there is no cast.
        per_second_read: Images per second if records are only read and checksummed.
        cast_share: Share of the cast in the CPU time.
        cores_used: CPU time divided by wall time.
        num_cores: Number of cores available.
        load: Load average of the machine before the measurement.
        store_share: Share of the time that batches waited for an object store.
    """

    per_second: float
    per_second_uint8: float | None
    per_second_read: float
    cast_share: float
    cores_used: float
    num_cores: int
    load: float
    store_share: float = 0.0


def wanted_side(image_size: int, crop_fraction: float) -> int:
    """Returns the stored shorter side that gives `image_size` without resampling."""
    return round(image_size / crop_fraction)


def worth_storing(stored: Stored, wanted: int | None) -> dict[str, tuple[int, int]]:
    """Returns `{flags: (shorter side, quality)}` of settings that may read faster.

    Args:
        stored: Storage settings of the dataset.
        wanted: Smallest shorter side in pixels that gives the requested image size;
            None if any size is acceptable.
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
    """The measured gain of other storage settings.

    Attributes:
        flags: Flags of `diptych build`.
        speedup: Images per CPU-second, as a ratio (trial ÷ current settings).
        size: Bytes per image, as a ratio (trial ÷ current settings).
        num: Number of images in the trial.
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
    """Yields recommended changes, one sentence each.

    Args:
        figures: Measurements.
        stored: Storage settings of the dataset.
        gains: Results of the trials.
        settings: Arguments of `load` that were measured.
    """
    for gain in gains:
        if gain.speedup >= _MIN_SPEEDUP or gain.size <= _MAX_SIZE:
            yield _rebuild(gain, stored, settings)
    yield from _threads(figures, settings)
    yield from _waiting(figures, stored, settings)
    yield from _window(figures, stored, settings)
    yield from _cast(figures)


def _rebuild(gain: Gain, stored: Stored, settings: Mapping[str, Any]) -> str:
    what = f"as {stored.format}"
    if "size" in gain.flags:
        what = f"at {stored.shorter_side} px, read at {settings['image_size']} px"
    elif "quality" in gain.flags:
        what = f"with quality {stored.quality}"
    return (
        f"images are stored {what}: rebuild with {gain.flags} for "
        f"{gain.size:.2f} × the bytes and {gain.speedup:.1f} × the images per "
        f"CPU-second (measured on {gain.num} images)"
    )


def _threads(figures: Figures, settings: Mapping[str, Any]) -> Iterator[str]:
    threads = settings.get("num_threads")
    if threads is not None and threads < figures.num_cores:
        yield (
            f"num_threads={threads} leaves {figures.num_cores - threads} of "
            f"{figures.num_cores} cores unused: remove it to use all cores"
        )


def _waiting(
    figures: Figures, stored: Stored, settings: Mapping[str, Any]
) -> Iterator[str]:
    threads = min(figures.num_cores, settings.get("num_threads") or figures.num_cores)
    if figures.cores_used >= _BUSY * threads:
        return
    if figures.load > figures.num_cores:
        yield (
            f"other processes use this machine (load was {figures.load:.1f}): measure "
            'again without them, or compare only "images/s per core"'
        )
        return
    busy = f"{figures.cores_used:.1f} of {threads} cores are busy"
    if stored.remote and figures.store_share >= _WAITS:
        rate = size_text(figures.per_second * stored.record_bytes)
        yield (
            f"{busy}: the store is slower than this machine, {rate}/s, and batches "
            f"waited for it {figures.store_share:.0%} of the time: pass cache=FOLDER "
            "(with cache_bytes, if the dataset is larger than the disk) to keep it on "
            "a local disk, or read from a bucket in this machine's region"
        )
    elif not stored.remote and figures.per_second_read < 2 * figures.per_second:
        rate = size_text(figures.per_second_read * stored.record_bytes)
        yield f"{busy}: the disk reads {rate}/s; copy the dataset to a faster disk"
    else:
        yield (
            f"{busy} and the {'store' if stored.remote else 'disk'} is not the "
            "bottleneck: other processes use the machine, or batches are too small to "
            "keep the cores busy"
        )


def _window(
    figures: Figures, stored: Stored, settings: Mapping[str, Any]
) -> Iterator[str]:
    if not stored.remote and figures.per_second_read > 2 * figures.per_second:
        return
    shuffle_bytes = settings.get("shuffle_bytes", defaults.SHUFFLE_BYTES)
    streams = settings.get("streams", defaults.STREAMS)
    neighbors = shuffle_bytes / stored.record_bytes / streams
    if settings.get("shuffle", True) and neighbors < _MIN_NEIGHBORS:
        enough = _MIN_NEIGHBORS * streams * stored.record_bytes
        mebibytes = -(-int(enough) // (1 << 20))
        yield (
            f"reads are small, {max(1, int(neighbors))} records each, because "
            f"shuffle_bytes is divided among {streams} streams: "
            f"shuffle_bytes={mebibytes} << 20 makes reads larger"
        )


def _cast(figures: Figures) -> Iterator[str]:
    # On a busy machine the share may be noise: then leaving the cast out gains nothing.
    gains = (figures.per_second_uint8 or 0) > figures.per_second
    if gains and figures.cast_share >= _MIN_CAST_SHARE:
        yield (
            f"the cast takes {figures.cast_share:.0%} of the CPU time: "
            f'dtype="uint8" reads {figures.per_second_uint8:,.0f} images/s; divide by '
            "255 on the accelerator"
        )

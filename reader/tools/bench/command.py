"""Command line of `diptych bench`: measures reading speed and prints advice."""

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from reader.console.main import import_tensorflow, print_json
from reader.console.parser import add_command, not_empty
from reader.console.terminal import terminal_of
from reader.contract.checks import is_positive
from reader.contract.errors import UsageError
from reader.tools.flags import add_json, add_load_flags, add_pattern

if TYPE_CHECKING:
    from reader.contract.manifest import ImageSpec
    from reader.datasets.record_source import RecordSource
    from reader.tools.bench.advice import Gain, Stored
    from reader.tools.bench.stages import Measured

_EXAMPLES = (
    "diptych bench out",
    "diptych bench out --split=train --batch_size=256 --image_size=224 --seconds=30",
    "diptych bench out --dtype=uint8 --num_threads=4 --json",
)
# Share of the time for trials of other storage settings.
_TRIALS = 0.3


def add_parser(commands: Any) -> None:
    """Adds the command `bench`."""
    parser = add_command(
        commands,
        "bench",
        "OUT [--seconds=S] [--image_size=N …] [--json]",
        "Measures how fast a dataset is read, stage by stage. Reports where the time "
        "goes and what to change: it stores some images with other settings in a "
        "temporary folder and measures the gain. The dataset is not modified.",
        group="maintain a dataset",
        examples=_EXAMPLES,
    )
    add_pattern(parser)
    parser.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        default=10.0,
        help="approximate duration in seconds (%(default)s)",
    )
    add_json(parser)
    load = parser.add_argument_group("arguments of reader.load")
    load.add_argument("--split", metavar="NAME", help="(the first with examples)")
    load.add_argument(
        "--batch_size", type=int, metavar="N", default=64, help="(%(default)s)"
    )
    load.add_argument(
        "--image_size", type=int, metavar="N", help="(7/8 of the stored size)"
    )
    add_load_flags(load, "crop", "crop_fraction", "dtype")
    load.add_argument("--normalize", metavar="NAME", help="imagenet or clip")
    add_load_flags(load, "shuffle_bytes", "streams")
    load.add_argument("--num_threads", type=int, metavar="N", help="(one per core)")
    load.add_argument(
        "--cache", metavar="FOLDER", type=not_empty, help="for a dataset in a bucket"
    )
    load.add_argument(
        "--cache_bytes", type=int, metavar="N", help="(whole shards are copied)"
    )
    parser.set_defaults(run=_run)


_SETTINGS = (
    "crop",
    "crop_fraction",
    "dtype",
    "normalize",
    "shuffle_bytes",
    "streams",
    "num_threads",
    "cache",
    "cache_bytes",
)


def _run(namespace: argparse.Namespace) -> int:
    if not is_positive(namespace.seconds):
        raise UsageError(f"seconds must be a positive number, got {namespace.seconds}")
    load, *_ = os.getloadavg()
    import_tensorflow("diptych bench")
    from reader.datasets.open_sources import open_one_record_source
    from reader.tools.bench.page import bench_fields, bench_page
    from reader.tools.bench.stages import bench

    split = namespace.split or _first_split(namespace.pattern)
    source = open_one_record_source(namespace.pattern, split, None)
    stored = _stored(namespace.pattern, source)
    settings = {name: getattr(namespace, name) for name in _SETTINGS}
    image_size = namespace.image_size
    if image_size is None:
        image_size = _usual_size(stored)
    measured = bench(
        namespace.pattern,
        split=split,
        batch_size=namespace.batch_size,
        image_size=image_size,
        seconds=namespace.seconds * (1 - _TRIALS),
        **settings,
    )
    gains = _gains(namespace, stored, measured)
    advice = _advice(measured, stored, gains, load)
    if namespace.json:
        print_json(bench_fields(measured, stored, gains, advice))
    else:
        print("\n".join(bench_page(measured, stored, advice, terminal_of(sys.stdout))))
    return 0


def _first_split(pattern: str) -> str | None:
    """Returns the first split that holds examples; None for a glob."""
    from reader.datasets.manifest_dataset import open_dataset
    from reader.storage.files import is_folder

    if not is_folder(pattern):
        return None
    splits = open_dataset(pattern).manifest.splits
    return next((split.name for split in splits if split.num_examples), None)


def _stored(pattern: str, source: "RecordSource") -> "Stored":
    from reader.datasets.manifest_dataset import find_place
    from reader.storage.files import is_remote
    from reader.tools.bench.advice import Stored

    record_schema, side = source.record_schema, None
    place = find_place(pattern)
    image = None if place.manifest is None else place.dataset().manifest.image
    if record_schema.width is not None and record_schema.height is not None:
        means = (
            tally.sum / max(1, tally.count)
            for tally in (record_schema.width, record_schema.height)
        )
        side = round(min(means))
        if image is not None:
            side = _shorter_side(image, side)
    return Stored(
        format=record_schema.image_format,
        quality=image.quality
        if image and record_schema.image_format == "jpeg"
        else None,
        shorter_side=side,
        record_bytes=source.num_bytes / max(1, source.num_examples),
        remote=is_remote(pattern),
    )


def _shorter_side(image: "ImageSpec", mean: int) -> int:
    """Returns the shorter side in pixels: exact if the resize mode fixes it."""
    exact = image.resize in ("shorter_side", "crop", "stretch", "pad")
    return min(mean, image.size) if exact else mean


def _usual_size(stored: "Stored") -> int:
    if stored.shorter_side is None:
        raise UsageError("the stored image size is unknown: pass --image_size")
    return max(1, stored.shorter_side * 7 // 8)


def _gains(
    namespace: argparse.Namespace, stored: "Stored", measured: "Measured"
) -> list["Gain"]:
    """Measures the storage settings that may be faster."""
    from reader.tools.bench.advice import Gain, wanted_side, worth_storing
    from reader.tools.bench.trials import Storage, try_storages

    settings = dict(measured.settings)
    wanted = wanted_side(settings["image_size"], namespace.crop_fraction)
    ways = worth_storing(stored, wanted)
    trials = try_storages(
        namespace.pattern,
        [Storage(*way) for way in ways.values()],
        settings,
        namespace.seconds * _TRIALS,
    )
    return [
        Gain(flags, trial.speedup, trial.size, trial.num)
        for flags, trial in zip(ways, trials, strict=True)
    ]


def _advice(
    measured: "Measured", stored: "Stored", gains: list["Gain"], load: float
) -> list[str]:
    from reader.tools.bench.advice import Figures, advise

    by_name = {stage.name: stage for stage in measured.stages}
    total = sum(stage.cpu_us for stage in measured.stages)
    cast = by_name["cast"].cpu_us if "cast" in by_name else 0.0
    figures = Figures(
        per_second=measured.per_second,
        per_second_uint8=measured.as_uint8,
        per_second_read=by_name["CRC"].per_second or 0.0,
        cast_share=cast / total if total else 0.0,
        cores_used=measured.cores_used,
        num_cores=measured.num_cores,
        load=load,
        store_share=measured.store_share,
    )
    return [*advise(figures, stored, gains, measured.settings)]

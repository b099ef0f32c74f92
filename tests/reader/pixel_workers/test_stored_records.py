"""Records that workers read from files: their rows, and the records without images."""

import io
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from reader.config.image_config import ImageConfig
from reader.contract.record import frame_record, parse_example, serialize_example
from reader.pixel_workers.stored_records import StoredRecords, _together
from reader.pixel_workers.worker_pool import PixelWorkers
from reader.pixels.engine import PixelEngine
from reader.pixels.errors import PixelWorkerError

SIZE = ("h", "w")
NUM = 50
NO_DRAWS = np.empty((NUM, 0))


def features(number: int, form: str = "raw") -> dict:
    """Features of a record: noise of 8 × 9 to 14 × 19 pixels, and some text."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 256, (8 + number % 7, 9 + number % 11, 3), np.uint8)
    data = pixels.tobytes()
    if form != "raw":
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, form)
        data = file.getvalue()
    return {
        "a": ("bytes", [b"text " * (number % 5), b""]),
        "h": ("int64", [pixels.shape[0]]),
        "image": ("bytes", [data]),
        "n": ("int64", [number, -number]),
        "w": ("int64", [pixels.shape[1]]),
    }


class Shards(NamedTuple):
    paths: tuple[str, ...]
    places: np.ndarray


def write(folder: Path, records: list[bytes], num_shards: int = 3) -> Shards:
    paths = tuple(str(folder / f"{shard}.tfrecord") for shard in range(num_shards))
    files, places = [bytearray() for _ in paths], []
    for number, record in enumerate(records):
        data = files[number % num_shards]
        begin, (head, foot) = len(data), frame_record(record)
        data += head + record + foot
        places.append((number % num_shards, begin, len(data)))
    for path, data in zip(paths, files, strict=True):
        Path(path).write_bytes(data)
    return Shards(paths, np.array(places))


def examples(form: str = "raw", **more) -> list[bytes]:
    return [serialize_example(features(number, form) | more) for number in range(NUM)]


def middle(number: int) -> np.ndarray:
    """The middle 8 × 8 pixels, by NumPy."""
    made = features(number)
    (height,), (width,) = made["h"][1], made["w"][1]
    pixels = np.frombuffer(made["image"][1][0], np.uint8).reshape(height, width, 3)
    top, left = (height - 8) // 2, (width - 8) // 2
    return pixels[top : top + 8, left : left + 8]


def is_square(number: int) -> bool:
    """Whether the middle of an image is cut and not resampled."""
    made = features(number)
    return min(made["h"][1][0], made["w"][1][0]) == 8


ENGINE = PixelEngine(ImageConfig(size=(8, 8), fraction=1.0, dtype="uint8"), "raw")


@pytest.fixture
def pool():
    made = []

    def pool(shards: Shards, num_workers: int, engine=ENGINE, size=SIZE):
        stored = StoredRecords(shards.paths, "image", size)
        made.append(PixelWorkers(engine, num_workers, records=stored))
        return made[-1]

    yield pool
    for workers in made:
        workers.close()


def read(workers: PixelWorkers, places: np.ndarray, draws: np.ndarray):
    """The rows, and what is left of each record."""
    rows, parts = workers.read(places, draws)
    return rows, [rest for part in parts for rest in part]


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_rows_and_rests_are_those_of_a_plain_loop(pool, tmp_path, num_workers):
    shards = write(tmp_path, examples())
    rows, rests = read(pool(shards, num_workers), shards.places, NO_DRAWS)
    assert (rows.dtype, rows.shape) == (np.uint8, (NUM, 8, 8, 3))
    assert sum(map(is_square, range(NUM))) > 5
    for number, rest in enumerate(rests):
        if is_square(number):
            assert np.array_equal(rows[number], middle(number))
        expected = {key: values for key, (_, values) in features(number).items()}
        del expected["image"]
        assert parse_example(rest) == expected


@pytest.mark.parametrize("settings", [{"crop": "random_resized", "flip": True}, {}])
def test_any_number_of_workers_gives_the_same_bits(pool, tmp_path, settings):
    shards = write(tmp_path, examples())
    config = ImageConfig(size=(12, 10), dtype="float32", **settings)
    draws = np.random.default_rng(0).random((NUM, sum(config.num_draws.values())))
    engine = PixelEngine(config, "raw")
    each = [read(pool(shards, n, engine), shards.places, draws) for n in (0, 1, 2, 5)]
    for rows, rests in each[1:]:
        assert np.array_equal(rows, each[0][0])
        assert rests == each[0][1]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_records_may_be_longer_than_there_is_room(pool, tmp_path, num_workers):
    records = examples()
    for number, length in ((7, 3000), (40, 300_000)):
        more = {"z": ("bytes", [b"long" * length])}
        records[number] = serialize_example(features(number) | more)
    shards = write(tmp_path, records)
    workers = pool(shards, num_workers)
    for _ in range(3):
        _, rests = read(workers, shards.places, NO_DRAWS)
        assert len(parse_example(rests[7])["z"][0]) == 12_000
        assert len(parse_example(rests[40])["z"][0]) == 1_200_000
        assert parse_example(rests[8])["n"] == [8, -8]


@pytest.mark.parametrize("form", ["jpeg", "png"])
def test_encoded_images_are_read_alike(pool, tmp_path, form):
    shards = write(tmp_path, examples(form))
    encoded = [features(number, form)["image"][1][0] for number in range(NUM)]
    engine = PixelEngine(ENGINE.images, None)
    workers = pool(shards, 2, engine, size=None)
    rows, _ = read(workers, shards.places, NO_DRAWS)
    assert np.array_equal(rows, workers.make(encoded, None, NO_DRAWS))


def spoil(path: str, place: int) -> None:
    data = bytearray(Path(path).read_bytes())
    data[place] ^= 1
    Path(path).write_bytes(data)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("byte", [0, 7, 9, 12, 60, -5, -1])
def test_a_damaged_record_is_missing_and_no_other(pool, tmp_path, num_workers, byte):
    shards = write(tmp_path, examples())
    workers = pool(shards, num_workers)
    rows, rests = read(workers, shards.places, NO_DRAWS)
    for lost in (0, 23, NUM - 1):
        shard, begin, end = shards.places[lost]
        spoil(shards.paths[shard], (begin if byte >= 0 else end) + byte)
        rests[lost] = None
    found, found_rests = read(workers, shards.places, NO_DRAWS)
    assert found_rests == rests
    left = [number for number, rest in enumerate(rests) if rest is not None]
    assert np.array_equal(found[left], rows[left])


USELESS = {
    "no image": {"image": ("int64", [1])},
    "two images": {"image": ("bytes", [b"a", b"b"])},
    "no height": {"h": ("int64", [])},
    "two heights": {"h": ("int64", [8, 8])},
    "a height of another type": {"h": ("bytes", [b"8"])},
    "no rows": {"h": ("int64", [0]), "image": ("bytes", [b""])},
    "negative": {"h": ("int64", [-8]), "w": ("int64", [-8])},
    "huge": {"h": ("int64", [2**62]), "w": ("int64", [2**62])},
    "too few pixels": {"image": ("bytes", [b"123"])},
    "too many pixels": {"h": ("int64", [1]), "w": ("int64", [1])},
}


@pytest.mark.parametrize("case", USELESS)
def test_a_record_that_cannot_be_used_is_missing_and_no_other(pool, tmp_path, case):
    records = examples()
    records[20] = serialize_example(features(20) | USELESS[case])
    shards = write(tmp_path, records)
    workers = pool(shards, 2)
    rows, rests = read(workers, shards.places, NO_DRAWS)
    assert [number for number, rest in enumerate(rests) if rest is None] == [20]
    assert np.array_equal(rows[14], middle(14))
    stored = StoredRecords(shards.paths, "image", SIZE)
    with pytest.raises(ValueError, match=r"feature|image|tag"):
        stored.make_one(ENGINE, records[20], NO_DRAWS[:1], np.empty((1, 8, 8, 3)))


def test_one_record_is_made_as_all_are(pool, tmp_path):
    shards = write(tmp_path, examples())
    rows, rests = read(pool(shards, 1), shards.places, NO_DRAWS)
    row = np.empty((1, 8, 8, 3), np.uint8)
    stored = StoredRecords((), "image", SIZE)
    rest = stored.make_one(ENGINE, examples()[9], NO_DRAWS[:1], row)
    assert rest == rests[9] and np.array_equal(row[0], rows[9])


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("how", ["gone", "cut", "empty", "a folder"])
def test_what_a_file_lacks_is_missing(pool, tmp_path, how, num_workers):
    shards = write(tmp_path, examples())
    path, kept = Path(shards.paths[1]), []
    if how == "cut":
        begin = shards.places[25, 1]
        path.write_bytes(path.read_bytes()[: begin + 100])
        kept = [number for number in range(1, 25, 3)]
    else:
        path.unlink()
        if how == "empty":
            path.write_bytes(b"")
        if how == "a folder":
            path.mkdir()
    _, rests = read(pool(shards, num_workers), shards.places, NO_DRAWS)
    for number, rest in enumerate(rests):
        assert (rest is not None) == (number % 3 != 1 or number in kept)


def test_files_may_be_more_than_may_be_open(pool, tmp_path):
    shards = write(tmp_path, examples())
    paths = [str(tmp_path / f"copy-{number}") for number in range(200)]
    for path in paths:
        shutil.copy(shards.paths[0], path)
    _, begin, end = shards.places[0]
    places = np.array([(number, begin, end) for number in range(200)] * 2)
    many = Shards(tuple(paths), places)
    _, rests = read(pool(many, 1), places, np.empty((400, 0)))
    assert {bytes(rest) for rest in rests} == {rests[0]}


def test_no_records_are_no_rows(pool, tmp_path):
    shards = write(tmp_path, examples())
    rows, rests = pool(shards, 1).read(shards.places[:0], NO_DRAWS[:0])
    assert rows.shape == (0, 8, 8, 3) and rests == []


@pytest.mark.parametrize("num_workers", [0, 1])
def test_workers_without_files_read_none(num_workers):
    workers = PixelWorkers(ENGINE, num_workers)
    with pytest.raises((ValueError, PixelWorkerError), match="read no records"):
        workers.read(np.zeros((1, 3), np.int64), NO_DRAWS[:1])
    workers.close()


@pytest.mark.parametrize("lengths", [[], [5], [1 << 23] * 3, [1 << 21] * 5, [9] * 100])
def test_records_are_read_some_at_a_time(lengths):
    parts = list(_together(np.array(lengths, np.int64)))
    assert [n for begin, end in parts for n in range(begin, end)] == [
        *range(len(lengths))
    ]
    for begin, end in parts:
        assert end == begin + 1 or sum(lengths[begin:end]) <= 1 << 22

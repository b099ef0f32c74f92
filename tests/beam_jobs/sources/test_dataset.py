"""Source `dataset`: entries of samples tables, and images of records."""

import re
import shutil
from pathlib import Path
from random import Random

import pytest
from built_datasets import build, file_of, picture, put, records_of

from beam_jobs.config.carried import with_carried
from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import BadInput, Entry, Pair
from beam_jobs.planning.pair_entries import pair_entries
from beam_jobs.sources.registry import list_entries, list_tasks
from beam_jobs.sources.source_files import SourceFiles
from beam_jobs.workspace.element_lines import dump_pair, load_pair
from reader.contract.errors import BuildError

# The text of the first key in tables is that of the second.
KEYS = [b"caf\xe9", b"caf%E9", "é".encode(), b"a/b"]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    rng = Random(0)
    for number, key in enumerate(KEYS):
        put(folder / "in", key + b".png", file_of(picture(rng), "PNG"))
        put(folder / "in", key + b".txt", f"Picture {number}")
    build(folder / "in", folder / "out", num_shards=2)
    return folder / "out"


def config_of(folder: Path) -> JobConfig:
    return with_carried(JobConfig(dataset=str(folder), output="new"))


def listed(config: JobConfig) -> list[Entry]:
    entries = []
    for task in list_tasks(config):
        entries += [e for e in list_entries(task, config) if isinstance(e, Entry)]
    return entries


def pairs_of(folder: Path) -> dict[bytes, Pair]:
    config = config_of(folder)
    pairs, rejects = pair_entries(listed(config), config)
    assert len(pairs) + len(rejects) == len(KEYS)
    return {pair.key: load_pair(dump_pair(pair)) for pair in pairs}


def test_keys_are_those_of_records_where_their_text_is_ambiguous(made):
    assert sorted(pairs_of(made)) == sorted(KEYS)


def test_images_and_captions_are_those_of_the_records(made):
    records = [r for path in made.glob("*.tfrecord") for r in records_of(path)]
    files = SourceFiles(config_of(made))
    pairs = pairs_of(made)
    for record in records:
        (key,) = record.features["image/source_id"]
        pair = pairs[key]
        assert files.image(pair) == record.features["image/encoded"][0]
        texts = [text.encode() for text in files.captions(pair).texts]
        assert texts == record.features["image/caption"]
        stored = pair.image.stored
        assert stored is not None
        assert stored.sha256.encode() == record.features["image/key/sha256"][0]
        assert (stored.source_format, stored.format) == ("png", "jpeg")
    assert len(records) == len(pairs) == len(KEYS)


@pytest.mark.parametrize(
    ("place", "said"),
    [(3, "no record begins there"), (11, "checksum"), (200, "checksum"), (-1, "check")],
)
def test_damage_anywhere_in_a_record_is_found(made, tmp_path, place, said):
    shutil.copytree(made, tmp_path / "copy")
    pair = pairs_of(tmp_path / "copy")[b"a/b"]
    shard = tmp_path / "copy" / pair.image.archive.decode()
    data = bytearray(shard.read_bytes())
    data[pair.image.offset + place % pair.image.size] ^= 1
    shard.write_bytes(data)
    pair = pairs_of(tmp_path / "copy")[b"a/b"]
    with pytest.raises(BadInput, match=said):
        SourceFiles(config_of(tmp_path / "copy")).image(pair)
    # Where another record is, the key differs.
    if place == 3:
        other = next(p for p in pairs_of(made).values() if p.key != pair.key)
        with pytest.raises(BadInput, match="another key"):
            SourceFiles(config_of(made)).image(other._replace(key=b"a/b"))


def test_a_cut_shard_has_damaged_records_and_a_missing_one_stops_the_job(
    made, tmp_path
):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    pair = pairs_of(copy)[b"a/b"]
    shard = copy / pair.image.archive.decode()
    shard.write_bytes(shard.read_bytes()[: pair.image.offset + 20])
    pair = pairs_of(copy)[b"a/b"]
    with pytest.raises(BadInput, match="truncated"):
        SourceFiles(config_of(copy)).image(pair)
    shard.unlink()
    with pytest.raises(BuildError, match=re.escape(f"{shard} is missing: repair")):
        listed(config_of(copy))


def test_listing_reads_no_image(made, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    for shard in copy.glob("*.tfrecord"):
        size = shard.stat().st_size
        shard.write_bytes(bytes(size))
    entries = {entry.key: entry for entry in listed(config_of(copy))}
    # But for keys whose bytes are in the record alone.
    assert entries[b"a/b"].flaw is None
    flaws = [entry.flaw[0] for entry in entries.values() if entry.flaw is not None]
    assert flaws == ["damaged_record"] * 2
    assert len(entries) == len(KEYS)

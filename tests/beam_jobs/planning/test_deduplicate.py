"""Tests deduplication and splits by content against a plain loop with hashlib."""

import hashlib
import io
import json
import pickle
import random
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from beam_jobs.config.job_config import JobConfig
from beam_jobs.config.values import parse_splits
from beam_jobs.elements import KeyRange, Pair, SourceFile
from beam_jobs.engines.options import engine_options
from beam_jobs.job.run import run
from beam_jobs.planning.deduplicate import _Duplicate, _RejectDuplicatesFn
from beam_jobs.planning.key_order import order_of, split_of
from beam_jobs.planning.pair_lists import read_pairs, read_rejects, write_lists
from beam_jobs.workspace.lease import leased
from beam_jobs.workspace.workspace import Workspace
from beam_jobs.writing.outcome import Outcome
from reader.contract.record import parse_example

SPLITS = "train=0.6,validation=0.2,test=0.2"


class Built(NamedTuple):
    source: Path
    output: Path
    outcome: Outcome

    def rejects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.output / "rejects.jsonl").open()]

    def splits(self) -> dict[str, str]:
        """Returns {key: split} of all records, read with a plain loop."""
        found = {}
        for path in self.output.glob("*.tfrecord"):
            data, place = path.read_bytes(), 0
            while place < len(data):
                length = int.from_bytes(data[place : place + 8], "little")
                record = parse_example(data[place + 12 : place + 12 + length])
                key = record["image/source_id"][0].decode()
                assert key not in found
                found[key] = path.name.partition("-")[0]
                place += length + 16
        return found


def jpeg(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = random.Random(seed).randbytes(8 * 8 * 3)
    Image.frombytes("RGB", (8, 8), pixels).save(file, "JPEG")
    return file.getvalue()


def draw(source: Path, copies: int = 3, num: int = 30) -> None:
    """Draws images and writes each under several keys in several folders."""
    for number in range(num):
        data = jpeg(number)
        for copy in range(1 + number % copies):
            folder = source / f"f{(number + copy) % 5}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}-{copy}.jpg").write_bytes(data)
            (folder / f"{number}-{copy}.txt").write_text(f"caption {number} {copy}")


def build(source: Path, output: Path, **more: Any) -> Built:
    config = JobConfig(
        images=str(source),
        captions=str(source),
        output=str(output),
        tokenizer="bytes",
        workers=1,
        threads=2,
        **more,
    )
    result = run(config, engine_options(config, []))
    assert result is not None and result.outcome is not None
    return Built(source, output, result.outcome)


def hashes_of(source: Path) -> dict[str, str]:
    return {
        str(path.relative_to(source).with_suffix("")): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in source.rglob("*.jpg")
    }


def first_of_each(source: Path, seed: int, without: set[str]) -> dict[str, str]:
    """Returns {sha256: key that is kept}."""
    kept: dict[str, str] = {}
    for key, sha256 in hashes_of(source).items():
        if key not in without:
            held = kept.get(sha256)
            if held is None or order(key, seed) < order(held, seed):
                kept[sha256] = key
    return kept


def order(key: str, seed: int) -> tuple[int, bytes]:
    return order_of(key.encode(), seed), key.encode()


@pytest.mark.parametrize("seed", [0, 7])
def test_of_equal_images_the_first_in_order_stays(tmp_path, seed):
    draw(tmp_path / "s")
    built = build(tmp_path / "s", tmp_path / "o", dedupe="exact", seed=seed)
    hashes = hashes_of(built.source)
    kept = first_of_each(built.source, seed, set())
    assert set(built.splits()) == set(kept.values())
    dropped = {key: kept[hashes[key]] for key in set(hashes) - set(kept.values())}
    assert len(dropped) > 20
    assert {one["key"] for one in built.rejects()} == set(dropped)
    for one in built.rejects():
        assert one["reason"] == "duplicate_of"
        assert f"that of {dropped[one['key']]}, which stays" in one["detail"]
    # Duplicates do not count towards the limit of 1 % rejects.
    accounting = built.outcome.accounting
    assert accounting.not_written == {"duplicate_of": len(dropped)}
    assert accounting.found == len(hashes) == accounting.written + len(dropped)


def test_a_key_without_a_caption_of_use_never_stands_in(tmp_path):
    draw(tmp_path / "s")
    kept = first_of_each(tmp_path / "s", 0, set())
    # The keys that would be kept get an empty caption or no caption.
    unusable = sorted(kept.values())[::2]
    for place, key in enumerate(unusable):
        caption = tmp_path / "s" / f"{key}.txt"
        caption.write_bytes(b" ") if place % 2 else caption.unlink()
    built = build(
        tmp_path / "s", tmp_path / "o", dedupe="exact", max_rejects=99, max_unpaired=99
    )
    rest = first_of_each(tmp_path / "s", 0, set(unusable))
    assert set(built.splits()) == set(rest.values())
    reasons = {one["key"]: one["reason"] for one in built.rejects()}
    for place, key in enumerate(unusable):
        assert reasons[key] == ("empty_caption" if place % 2 else "unpaired_image")
    assert len(reasons) + len(rest) == len(hashes_of(built.source))


def test_of_damaged_twins_one_is_told_as_damaged(tmp_path):
    draw(tmp_path / "s", num=10)
    for name in "abc":
        (tmp_path / "s" / f"{name}.jpg").write_bytes(jpeg(99)[:-40])
        (tmp_path / "s" / f"{name}.txt").write_text("cut short")
    built = build(tmp_path / "s", tmp_path / "o", dedupe="exact", max_rejects=1)
    reasons = [one["reason"] for one in built.rejects() if one["key"] in "abc"]
    assert sorted(reasons) == ["damaged_image", "duplicate_of", "duplicate_of"]


@pytest.mark.parametrize("dedupe", ["none", "exact"])
def test_one_content_is_in_one_split(tmp_path, dedupe):
    draw(tmp_path / "s", num=60)
    more = {"splits": parse_splits(SPLITS), "dedupe": dedupe}
    built = build(tmp_path / "s", tmp_path / "o", split_by="content", **more)
    shares = parse_splits(SPLITS)
    hashes = hashes_of(built.source)
    found = built.splits()
    assert found == {key: split_of(hashes[key].encode(), 0, shares) for key in found}
    assert len({(hashes[key], split) for key, split in found.items()}) == 60
    assert set(found.values()) == set(shares)
    # With splits by key, equal images end up in several splits.
    by_key = build(tmp_path / "s", tmp_path / "k", splits=shares).splits()
    assert len({(hashes[key], split) for key, split in by_key.items()}) > 60


def test_one_folder_is_in_one_split(tmp_path):
    draw(tmp_path / "s")
    (tmp_path / "s" / "top.jpg").write_bytes(jpeg(1))
    (tmp_path / "s" / "top.txt").write_text("at the top")
    shares = parse_splits("train=0.5,test=0.5")
    built = build(tmp_path / "s", tmp_path / "o", split_by="folder", splits=shares)
    folders = {key: key.rpartition("/")[0] for key in hashes_of(built.source)}
    expected = {k: split_of(f.encode(), 0, shares) for k, f in folders.items()}
    assert built.splits() == expected
    assert set(expected.values()) == {"train", "test"}


def test_nothing_that_is_compared_depends_on_how_it_ran(tmp_path):
    draw(tmp_path / "s")
    more = {"dedupe": "exact", "split_by": "content", "splits": parse_splits(SPLITS)}
    for name in ("one", "two"):
        build(tmp_path / "s", tmp_path / name, **more)
    one, two = (
        {p.relative_to(tmp_path / n): p.read_bytes() for p in files}
        for n in ("one", "two")
        for files in [[p for p in (tmp_path / n).rglob("*") if p.is_file()]]
    )
    assert one == two


def test_images_too_large_to_be_read_are_not_compared(tmp_path):
    draw(tmp_path / "s", num=12)
    for name in "ab":
        (tmp_path / "s" / f"{name}.jpg").write_bytes(jpeg(5) + bytes(5000))
        (tmp_path / "s" / f"{name}.txt").write_text("large")
    more = {"dedupe": "exact", "max_image_bytes": 4000, "max_rejects": 2}
    built = build(tmp_path / "s", tmp_path / "o", **more)
    reasons = [one["reason"] for one in built.rejects() if one["key"] in "ab"]
    assert reasons == ["image_file_too_large"] * 2


def test_a_worker_killed_between_two_lists_loses_no_key(tmp_path, monkeypatch):
    """The engine retries the element after the first try wrote one of two lists."""
    config = JobConfig(images="i", captions="c", output=str(tmp_path / "out"))
    workspace = Workspace(config.output)
    Path(workspace.build).mkdir(parents=True)
    pairs = [
        Pair(key, "train", SourceFile(key, 1), SourceFile(key, 1))
        for key in (b"a", b"b")
    ]
    with leased(workspace, take_over=False) as lease:
        lists = write_lists(config, lease, 7, pairs, [])
        key_range = KeyRange(7, 2, {}, (), "0" * 64, **lists._asdict())
        packs = [pickle.dumps(key_range), pickle.dumps([_Duplicate(b"b", b"a")])]
        publish, published = Workspace.publish, []

        def publish_one(self: Workspace, *arguments: Any, **more: Any) -> None:
            if published:
                raise KeyboardInterrupt
            published.append(arguments[0])
            publish(self, *arguments, **more)

        drop = _RejectDuplicatesFn(config, lease)
        with monkeypatch.context() as patch:
            patch.setattr(Workspace, "publish", publish_one)
            with pytest.raises(KeyboardInterrupt):
                list(drop.process((7, packs)))
        (found,) = drop.process((7, packs))
    assert [pair.key for pair in read_pairs(workspace, 7)] == [b"a"]
    assert [reject.key for reject in read_rejects(workspace, 7)] == [b"b"]
    assert (found.pairs, found.rejects) == ({"train": 1}, {"duplicate_of": 1})

"""A bounded cache: its bound, what it keeps, and what happens when things fail."""

import contextlib
import dataclasses
import errno
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import cached_plans
import pytest
from cached_plans import Reader, Records, space_of
from small_disks import small_disk

from reader.contract.errors import UsageError
from reader.datasets.record_index import RecordIndex
from reader.range_cache import hits
from reader.range_cache.range_cache import RangeCache

MB = 1 << 20
# What the ledger and the folders take, and may take meanwhile.
OVERHEAD = 3 * MB


@pytest.fixture(scope="module")
def records() -> Records:
    return Records()


def bound(records: Records, share: float) -> int:
    return int(share * records.num_bytes) + OVERHEAD


def is_consistent(folder: Path) -> None:
    """Checks that each file is in the ledger, and its space in the sum."""
    ledger = sqlite3.connect(folder / "ranges/ledger")
    blocks = dict(ledger.execute("SELECT id, bytes FROM blocks"))
    files = {
        int(path.name, 16): path.stat().st_blocks * 512
        for path in folder.glob("ranges/blocks/*/*")
    }
    assert files.keys() == {block for block, space in blocks.items() if space}
    assert all(blocks[block] >= space for block, space in files.items())
    assert ledger.execute("SELECT count(*) FROM reserved").fetchone() == (0,)
    assert ledger.execute("SELECT bytes FROM total").fetchone()[0] == sum(
        blocks.values()
    )
    ledger.close()


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_hits_are_nearly_as_many_as_there_can_be_and_space_is_bounded(
    records, tmp_path, share
):
    most, reader = (
        bound(records, share),
        Reader(records, tmp_path, bound(records, share)),
    )
    seen = []
    rates = [
        reader.read(epoch, lambda: seen.append(space_of(tmp_path)))
        for epoch in (0, 1, 2)
    ]
    reader.cache.close()
    assert max(seen) <= most
    assert max(seen) > most - 2 * MB
    # Each record is read once an epoch, so no more than the cache holds can be hit.
    assert rates[0] == 0
    assert all(share - 0.04 < rate < share + 0.06 for rate in rates[1:])
    is_consistent(tmp_path)


def test_what_was_used_longest_ago_goes_first_without_a_plan(records, tmp_path):
    planned = Reader(records, tmp_path / "a", bound(records, 0.3))
    unplanned = Reader(records, tmp_path / "b", bound(records, 0.3), planned=False)
    for epoch in (0, 1):
        rates = planned.read(epoch), unplanned.read(epoch)
        assert space_of(tmp_path / "b") <= bound(records, 0.3)
    assert rates[0] > 1.2 * rates[1] > 0
    for clock, pieces in list(unplanned.windows(2))[:3]:
        unplanned.window(clock, pieces)
        assert None not in unplanned.cache.load(pieces)


def test_a_cache_that_holds_everything_is_filled_once(records, tmp_path):
    reader = Reader(records, tmp_path, 2 * records.num_bytes)
    reader.read(0)
    # Batches that are not full are dropped, and so are blocks of the last ones.
    assert reader.read(1) > 0.99
    reader.cache.close()
    again = Reader(records, tmp_path, 2 * records.num_bytes, seed=5)
    assert again.read(0) > 0.98


def test_hosts_of_a_machine_keep_what_any_of_them_needs(records, tmp_path):
    hosts = [
        Reader(records, tmp_path, bound(records, 0.4), host=host, hosts=4)
        for host in range(4)
    ]
    rates = []
    for epoch in (0, 1):
        windows = zip(*(host.windows(epoch) for host in hosts), strict=True)
        before = sum(host.fetched for host in hosts)
        for several in windows:
            for host, (clock, pieces) in zip(hosts, several, strict=True):
                host.window(clock, pieces)
            assert space_of(tmp_path) <= bound(records, 0.4)
        rates.append(sum(host.fetched for host in hosts) - before)
    assert rates[1] < 0.63 * rates[0]


def test_a_run_takes_the_place_of_one_that_has_ended(records, tmp_path):
    other = Records((1000,), name="b")
    first = Reader(other, tmp_path, bound(records, 0.2))
    first.read(0)
    first.cache.close()
    reader = Reader(records, tmp_path, bound(records, 0.2))
    reader.read(0)
    assert reader.read(1) > 0.15
    # Two that are both alive share the space.
    second = Reader(other, tmp_path, bound(records, 0.2))
    for mine, theirs in zip(reader.windows(2), second.windows(0), strict=False):
        reader.window(*mine)
        second.window(*theirs)
        assert space_of(tmp_path) <= bound(records, 0.2)


def test_damage_is_found_named_and_fetched_again(records, tmp_path, caplog):
    reader = Reader(records, tmp_path, 2 * records.num_bytes)
    reader.read(0)
    files = sorted(tmp_path.glob("ranges/blocks/*/*"))
    rng = random.Random(0)
    for path in rng.sample(files, 12):
        data = bytearray(path.read_bytes())
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
    files[0].write_bytes(files[0].read_bytes()[:100])
    files[1].unlink()
    files[2].write_bytes(bytes(files[2].stat().st_size))
    reader.read(1)  # Checks every byte.
    assert reader.cache.damaged >= 12
    assert "are damaged in the cache" in caplog.text
    assert "s3://bucket/a-" in caplog.text
    reader.read(2)  # Of what was damaged, this epoch fetches what was before it.
    assert reader.read(3) > 0.98
    assert space_of(tmp_path) <= 2 * records.num_bytes


def test_processes_killed_at_any_moment_leave_a_cache_that_is_in_order(
    records, tmp_path
):
    most, rng = bound(records, 0.25), random.Random(1)
    worst, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            worst.append(space_of(tmp_path))

    watching = threading.Thread(target=watch)
    watching.start()
    script = [sys.executable, cached_plans.__file__, str(tmp_path), str(most)]
    for _ in range(3):
        processes = [
            subprocess.Popen(
                [*script, *map(str, numbers)], stdout=subprocess.PIPE, text=True
            )
            for numbers in ((0, 0, 2), (0, 1, 2), (7, 0, 1))
        ]
        for process in processes:
            assert process.stdout.readline() == "reading\n"
        time.sleep(0.4)
        for process in processes:
            time.sleep(0.2 * rng.random())
            assert process.poll() is None
            process.kill()
            assert process.wait() == -signal.SIGKILL
            process.stdout.close()
    stop.set()
    watching.join()
    reader = Reader(records, tmp_path, most)
    reader.cache.close()
    is_consistent(tmp_path)
    reader = Reader(records, tmp_path, most)
    assert reader.read(0) > 0.1  # What they left is used.
    assert reader.cache.damaged == 0
    assert max(worst) <= most


def test_a_forked_process_goes_on_with_the_cache(records, tmp_path):
    reader = Reader(records, tmp_path, 2 * records.num_bytes)
    windows = list(reader.windows(0))
    for clock, pieces in windows[:10]:
        reader.window(clock, pieces)
    child = os.fork()
    if not child:
        status = 1
        with contextlib.suppress(BaseException):
            before = hits.snapshot()
            for clock, pieces in windows[:20]:
                reader.window(clock, pieces)
            status = 0 if hits.snapshot().share_since(before) else 2
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    for clock, pieces in windows[10:20]:
        assert None not in reader.cache.load(pieces, clock)
    assert reader.cache.damaged == 0


def test_a_full_disk_ends_storing_with_one_warning(records, tmp_path, caplog):
    with small_disk(tmp_path / "disk", 12 * MB) as disk:
        reader = Reader(records, disk / "cache", records.num_bytes)
        reader.read(0)
        rate = reader.read(1)
        assert caplog.text.count("cannot be used as a cache") == 1
        assert os.strerror(errno.ENOSPC) in caplog.text or "full" in caplog.text
        # What there is stays.
        assert rate > 0.1
        reader.cache.close()
        caplog.clear()
        # With a bound below the size of the disk, it goes on.
        again = Reader(records, disk / "cache", 8 * MB)
        again.read(0)
        assert not caplog.text
        assert space_of(disk / "cache") <= 8 * MB
        again.cache.close()


def test_a_folder_that_cannot_be_made_is_one_warning(records, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    reader = Reader(records, tmp_path / "file/cache", 10 * MB)
    assert reader.read(0) == 0
    assert caplog.text.count("cannot be used as a cache") == 1


def test_a_cache_with_a_damaged_ledger_starts_empty(records, tmp_path, caplog):
    reader = Reader(records, tmp_path, bound(records, 0.3))
    reader.read(0)
    reader.cache.close()
    (tmp_path / "ranges/ledger").write_bytes(b"no ledger" * 5000)
    reader = Reader(records, tmp_path, bound(records, 0.3))
    assert "starts empty" in caplog.text
    assert reader.read(0) == 0
    assert space_of(tmp_path) <= bound(records, 0.3)
    reader.cache.close()
    is_consistent(tmp_path)


def test_after_a_crash_of_the_machine_files_are_compared_with_the_ledger(
    records, tmp_path
):
    reader = Reader(records, tmp_path, bound(records, 0.3))
    reader.read(0)
    reader.cache.close()
    files = sorted(tmp_path.glob("ranges/blocks/*/*"))
    files[0].unlink()
    (tmp_path / "ranges/blocks/00/ffff00").write_bytes(bytes(5000))
    ledger = sqlite3.connect(tmp_path / "ranges/ledger")
    ledger.execute("UPDATE about SET boot = 'another'")
    ledger.execute("UPDATE blocks SET bytes = 0 WHERE id % 3 = 0")
    ledger.commit()
    ledger.close()
    reader = Reader(records, tmp_path, bound(records, 0.3))
    is_consistent(tmp_path)
    assert reader.read(1) > 0.2


def test_another_host_and_a_later_version_are_refused(records, tmp_path):
    reader = Reader(records, tmp_path, 10 * MB)
    ledger = sqlite3.connect(tmp_path / "ranges/ledger")
    ledger.execute("UPDATE about SET boot = 'another'")
    ledger.commit()
    with pytest.raises(UsageError, match=r"another host .* this host's own"):
        Reader(records, tmp_path, 10 * MB)
    reader.cache.close()
    ledger.execute("UPDATE about SET version = 2")
    ledger.commit()
    ledger.close()
    with pytest.raises(UsageError, match="version 2"):
        Reader(records, tmp_path, 10 * MB)


def test_files_without_a_manifest_are_refused(records, tmp_path):
    shard = records.index.shards[0]
    bare = dataclasses.replace(shard, has_manifest=False)
    index = RecordIndex([bare], shard.offsets()[:-1:64])
    with pytest.raises(UsageError, match=r"s3://bucket/a-0 has no manifest"):
        RangeCache(str(tmp_path), 10 * MB, index)

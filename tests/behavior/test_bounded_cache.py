"""Reading from a bucket through a bounded cache: the same batches, and fewer bytes."""

import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cached_plans import space_of
from small_disks import small_disk
from stand_ins.faulty import faulty
from written_layers import write_layer

import reader
from beam_jobs.__main__ import main
from beam_jobs.sample_data import write_sample

MOST = 8 << 20
NUM = 200
SETTINGS: dict[str, Any] = {
    "batch_size": 20,
    "image_size": 32,
    "outputs": ("image", "key", "tokens"),
    "crop": "random",
    "flip": True,
    "shuffle_bytes": 2 << 20,
    "streams": 8,
    "seed": 3,
}


@pytest.fixture(scope="module")
def raw(build, tmp_path_factory) -> Path:
    """Raw pixels, 25 MB of them, four times what the smallest cache has space for."""
    folder = tmp_path_factory.mktemp("bounded")
    write_sample(str(folder / "s"), NUM)
    images, captions = folder / "s/images", folder / "s/captions"
    shape = {"image_format": "raw", "resize": "crop", "image_size": 200}
    return build(images, captions, folder / "out", num_shards=4, **shape)


@pytest.fixture(scope="module")
def address(s3_store, raw) -> str:
    return s3_store.upload(raw, "bounded")


@pytest.fixture
def proxy(s3_store, monkeypatch) -> Iterator[Any]:
    """A store that counts."""
    with faulty(s3_store, monkeypatch) as proxy:
        yield proxy


def check(batches: Any, expected: Any) -> None:
    count = 0
    for batch, wanted in zip(batches, expected, strict=True):
        for name in SETTINGS["outputs"]:
            assert np.array_equal(np.asarray(batch[name]), np.asarray(wanted[name]))
        count += 1
    assert count == NUM // 20


def own_bytes(raw: Path) -> int:
    return sum(path.stat().st_size for path in raw.glob("*.tfrecord"))


def as_dictionaries(batches: Any) -> Iterator[dict[str, Any]]:
    for batch in batches:
        yield dict(zip(SETTINGS["outputs"], batch, strict=True))


@pytest.mark.parametrize("way", ["stream", "load"])
def test_batches_are_the_same_and_bytes_are_fewer(raw, address, proxy, tmp_path, way):
    cached = {**SETTINGS, "cache": tmp_path, "cache_bytes": MOST}
    here = reader.stream(str(raw), **SETTINGS, workers=0)
    if way == "stream":
        there = reader.stream(address, **cached)
    else:
        there = reader.load(address, **cached)
    fetched = []
    for _ in range(3 if way == "stream" else 2):
        before = proxy.counts().bytes
        bar = batches = reader.progress(there, disable=True)
        if way == "load":
            batches = there.as_numpy_iterator()
        check(as_dictionaries(batches), as_dictionaries(here))
        fetched.append(proxy.counts().bytes - before)
        assert space_of(tmp_path) <= MOST
    own = own_bytes(raw)
    assert fetched[0] > 0.9 * own
    assert max(fetched[1:]) < 0.85 * own
    if way == "stream":
        assert 0 < bar.from_cache < 1
        assert re.search(r"waiting .*, cache: \d+% of bytes$", str(bar))


@pytest.mark.parametrize("what", ["layer", "selection"])
def test_layers_and_selections_go_through_the_cache(
    dataset, s3_store, proxy, tmp_path, what
):
    here = tmp_path / "out"
    shutil.copytree(dataset, here)
    settings: dict[str, Any] = {"batch_size": 4, "split": "train", "workers": 0}
    settings["remainder"] = "pad"  # Each epoch reads all records.
    keys = [key for (key,) in reader.open(here, split="train", outputs=("key",))]
    if what == "layer":
        rows = {key.encode(): {"score": n / 4} for n, key in enumerate(keys) if n % 5}
        write_layer(here, "clip", {"score": ("float32", ())}, rows)
        settings |= {"layers": "clip", "outputs": ("key", "tokens", "clip/score")}
    else:
        (tmp_path / "keys").write_text("\n".join(keys[::2]))
        flags = [f"--keys={tmp_path / 'keys'}", "--name=half"]
        assert main(["select", str(here), *flags]) == 0
        settings |= {"select": "half", "outputs": ("key", "tokens")}
    there = s3_store.upload(here, f"bounded_{what}")
    cached = {"cache": tmp_path / "c", "cache_bytes": MOST}
    local = reader.stream(here, **settings)
    remote = reader.stream(there, **settings, **cached)
    for epoch in range(2):
        proxy.reset()
        for found, wanted in zip(remote, local, strict=True):
            for left, right in zip(found, wanted, strict=True):
                assert np.array_equal(left, right)
        assert proxy.counts().requests == 0 if epoch else proxy.counts().requests > 0
        assert space_of(tmp_path / "c") <= MOST


def test_a_cache_that_was_left_is_used_by_the_next_run(raw, address, proxy, tmp_path):
    cached = {**SETTINGS, "cache": tmp_path, "cache_bytes": 128 << 20}
    check(
        as_dictionaries(reader.stream(address, **cached)),
        as_dictionaries(reader.stream(str(raw), **SETTINGS)),
    )
    before = proxy.counts().bytes
    other = {"seed": 8, "workers": 0}
    check(
        as_dictionaries(reader.stream(address, **{**cached, **other})),
        as_dictionaries(reader.stream(str(raw), **{**SETTINGS, **other})),
    )
    assert proxy.counts().bytes - before < 0.1 * own_bytes(raw)


def test_killed_runs_on_one_cache_leave_one_that_is_in_order(
    raw, address, proxy, tmp_path
):
    code = f"""
        import reader
        stream = reader.stream(
            {address!r}, cache={str(tmp_path / "c")!r}, cache_bytes={MOST}, epochs=None,
            **{SETTINGS!r})
        for number, _ in enumerate(stream):
            if number == 12:
                print("reading", flush=True)
    """
    script = [sys.executable, "-c", textwrap.dedent(code)]
    with open(tmp_path / "errors", "w") as errors:
        runs = [
            subprocess.Popen(script, stdout=subprocess.PIPE, stderr=errors, text=True)
            for _ in range(2)
        ]
    for run in runs:
        started = run.stdout.readline()
        assert started == "reading\n", (tmp_path / "errors").read_text()
        assert space_of(tmp_path / "c") <= MOST
    for run in runs:
        run.kill()
        assert run.wait() == -signal.SIGKILL
        run.stdout.close()
    for path in sorted(tmp_path.glob("c/ranges/blocks/*/*"))[:3]:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    cached = {**SETTINGS, "cache": tmp_path / "c", "cache_bytes": MOST}
    before = -1
    while before != proxy.counts().bytes:  # The store still answers the killed ones.
        before = proxy.counts().bytes
        time.sleep(0.5)
    check(
        as_dictionaries(reader.stream(address, **cached)),
        as_dictionaries(reader.stream(str(raw), **SETTINGS)),
    )
    assert proxy.counts().bytes - before < 0.95 * own_bytes(raw)
    assert space_of(tmp_path / "c") <= MOST


def test_a_full_disk_does_not_end_the_run(raw, address, proxy, tmp_path, caplog):
    with small_disk(tmp_path / "disk", 8 << 20) as disk:
        cached = {**SETTINGS, "cache": disk / "c", "cache_bytes": 20 << 20}
        there = reader.stream(address, **cached)
        check(
            as_dictionaries(there),
            as_dictionaries(reader.stream(str(raw), **SETTINGS)),
        )
        assert caplog.text.count("cannot be used as a cache") == 1
        del there


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"cache_bytes": 1 << 30}, ["without cache", "1073741824"]),
        ({"cache": "c", "cache_bytes": 5}, ["cache_bytes", "at least 8388608", "5"]),
        ({"cache": "c", "cache_bytes": "1G"}, ["cache_bytes", "'1G'"]),
    ],
)
def test_wrong_values_are_refused_by_name(raw, settings, parts):
    with pytest.raises(reader.UsageError) as raised:
        reader.stream(str(raw), batch_size=7, image_size=64, **settings)
    for part in parts:
        assert part in str(raised.value)

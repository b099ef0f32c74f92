"""Sources of many objects, which are listed by ranges of names."""

import bisect
import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from beam_jobs.config.job_config import JobConfig
from beam_jobs.elements import Aside, Entry
from beam_jobs.sources.listing_digest import digest_of_sources
from beam_jobs.sources.registry import list_entries, list_tasks
from beam_jobs.storage.name_ranges import PAGE_NAMES, ranges_between, split_names
from beam_jobs.storage.wide_scan import scan_all

NUM = 40_000


def hashed(number: int) -> str:
    return hashlib.md5(b"%d" % number).hexdigest()


LAYOUTS = {
    "numbers": lambda n: f"{n:09}.jpg",
    "two folders": lambda n: f"{('captions', 'images')[n % 2]}/{n:09}",
    "shards": lambda n: f"{n // 100:05}/{n:09}.jpg",
    "classes": lambda n: (
        f"train/n{n % 40 * 377_777:08}/n{n % 40 * 377_777:08}_{n}.JPEG"
    ),
    "hashes": lambda n: f"{hashed(n)[:2]}/{hashed(n)}.jpg",
    "dates": lambda n: f"{2020 + n % 5}/{1 + n % 12:02}/{1 + n % 28:02}/IMG_{n}.jpg",
    "other letters": lambda n: f"фото/снимок-{n:07}.jpg",
    "deep": lambda n: f"a/b/c/d/e/f/data set (1)/x_{n}.png",
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_large_folder_is_divided_by_few_requests(layout):
    names = sorted(map(LAYOUTS[layout], range(NUM)))
    requests = []

    def page(after: str) -> list[str]:
        requests.append(after)
        begin = bisect.bisect_right(names, after)
        return names[begin : begin + PAGE_NAMES]

    with ThreadPoolExecutor(4) as pool:
        ranges = ranges_between(split_names(page, pool))
    sizes = [
        bisect.bisect_right(names, until or "\U0010ffff")
        - bisect.bisect_right(names, after)
        for after, until in ranges
    ]
    assert sum(sizes) == NUM
    assert min(sizes) >= 0
    # Eight are listed at the same time, so one should not be much over an eighth.
    assert max(sizes) <= NUM / 5
    assert len(requests) < 1000


def test_a_store_that_does_not_sort_is_listed_in_one_range():
    names = [f"{hashed(n)}.jpg" for n in range(3 * PAGE_NAMES)]

    def page(after: str) -> list[str]:
        return [name for name in names if name > after][:PAGE_NAMES]

    with ThreadPoolExecutor(4) as pool:
        assert ranges_between(split_names(page, pool)) == [("", "")]


@pytest.fixture(scope="module")
def many_files(tmp_path_factory) -> Path:
    """1,200 pairs of tiny files in 30 folders, hidden folders and others."""
    folder = tmp_path_factory.mktemp("many")
    pairs = [f"in/{n % 30:02}/{n:05}" for n in range(1200)]
    names = [f"{pair}.{kind}" for pair in pairs for kind in ("jpg", "txt")]
    names += [f"in/.hidden/{n:04}.jpg" for n in range(1100)]
    names += [f"in/03/.hidden/{n:04}.jpg" for n in range(30)]
    names += ["in/é/ü.jpg", "in/é/ü.txt", "in/a b.jpg", "in/a b.txt", "in/notes.doc"]
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"tiny")
    return folder


@pytest.fixture
def listed_there(bucket_store, many_files, monkeypatch) -> JobConfig:
    for name, value in bucket_store.environment.items():
        monkeypatch.setenv(name, value)
    if not bucket_store.names("gs://bucket/wide/in"):
        bucket_store.upload(many_files, "wide")
    address = "gs://bucket/wide/in"
    return JobConfig(images=address, captions=address, output="gs://bucket/wide/out")


def found_in(config: JobConfig) -> tuple[list[tuple[bytes, str]], Counter[str]]:
    """Returns what the tasks list, and counts of what is ignored."""
    found = [one for task in list_tasks(config) for one in list_entries(task, config)]
    return (
        sorted((one.key, one.origin) for one in found if isinstance(one, Entry)),
        Counter(one.counted_as for one in found if isinstance(one, Aside)),
    )


def test_ranges_find_what_is_found_on_a_disk(listed_there, many_files, tmp_path):
    here = str(many_files / "in")
    config = JobConfig(images=here, captions=here, output=str(tmp_path))
    assert sum(len(task.ranges) for task in list_tasks(listed_there)) > 3
    assert found_in(listed_there) == found_in(config)
    assert digest_of_sources(listed_there) == digest_of_sources(config)


def test_each_task_lists_several_folders_of_azure(azure_store, tmp_path, monkeypatch):
    for name, value in azure_store.environment.items():
        monkeypatch.setenv(name, value)
    here = tmp_path / "in"
    names = [f"{n:02}/{kind}.{kind}" for n in range(10) for kind in ("jpg", "txt")]
    for name in (*names, "a.jpg", "03/x/b.jpg", "03/.hidden/c.jpg", ".hidden/d.jpg"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(b"tiny")
    there = azure_store.upload(here, "folders/in")
    listed, expected = (
        JobConfig(images=str(place), captions=str(place), output=str(tmp_path / "out"))
        for place in (there, here)
    )
    assert [len(task.subfolders) for task in list_tasks(listed)] == [0, 6, 5]
    assert found_in(listed) == found_in(expected)


def test_a_glob_finds_each_file_once(listed_there, bucket_store):
    names = Counter(listed.name for listed in scan_all("gs://bucket/wide/in"))
    assert names == Counter(bucket_store.names("gs://bucket/wide/in"))

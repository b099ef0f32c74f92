"""docs/format.md, held against what the job writes."""

import hashlib
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pages import ROOT, blocks_of, compile_block

from beam_jobs.planning.key_order import order_of, shard_of
from reader.contract.record import parse_example

PAGE = "docs/format.md"
_ROW = re.compile(r" *(\d+)  ((?:[0-9a-f]{2} )*[0-9a-f]{2})(?:  .*)?")


@pytest.fixture(scope="module")
def folder(run_page, tmp_path_factory):
    """Where the page was followed."""
    folder = tmp_path_factory.mktemp("format")
    done = run_page(PAGE, folder)
    assert done.wait() == 0, done.communicate()[1]
    return folder


def test_the_bytes_shown_are_those_written(folder):
    (dump,) = (b for b in blocks_of(PAGE) if "masked CRC-32C of the data" in b.text)
    shown = b""
    for line in dump.text.splitlines():
        row = _ROW.fullmatch(line)
        assert row, line
        assert int(row[1]) == len(shown), line
        shown += bytes.fromhex(row[2])
    assert shown == (folder / "out/train-00000-of-00001.tfrecord").read_bytes()
    example = parse_example(shown[12:-4])
    image = (folder / "tiny/cat.bmp").read_bytes()
    assert example["image/key/sha256"] == [hashlib.sha256(image).hexdigest().encode()]


def test_the_index_is_as_the_page_says(folder):
    index = folder / "out/index"
    shard = "train-00000-of-00001.tfrecord"
    assert (index / f"{shard}.idx").read_text() == "0 313\n"
    assert (index / "blocks.bin").read_bytes() == bytes(8)
    assert (index / "lengths.bin").read_bytes() == (313).to_bytes(4, "little")


def test_the_table_of_samples_has_the_columns_that_the_page_says(folder):
    schema = pq.read_schema(folder / "out/samples/train-00000-of-00001.parquet")
    page = (ROOT / PAGE).read_text().split("| column | Parquet type | |")[1]
    said = []
    for names, kind in re.findall(r"^\| (`.*?`) \| (\S.*?) \| ", page, re.M):
        said += [(name, kind) for name in re.findall(r"`(\w+)`", names)]
    told = [(field.name, _told(field.type)) for field in schema]
    assert said[: len(told)] == told


def _told(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"list of {kind.value_type}"
    return str(kind)


@pytest.mark.parametrize("key", ["park/0042", "a", "é/1"])
def test_the_page_puts_keys_into_the_shards_that_the_job_does(key):
    (block,) = (b for b in blocks_of(PAGE) if "def hash64" in b.text)
    names: dict = {}
    exec(compile_block(block), names)
    order = names["hash64"]("order", key, seed=3)
    assert order == order_of(key.encode(), 3)
    assert order * 64 >> 64 == shard_of(order, 64)

"""Tests `diptych select`: compares what it chooses with what plain Python chose."""

import csv
import io
import json
import math
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from forks import distinct
from html_tree import parse_page
from PIL import Image
from pyarrow import parquet

import reader
from reader.contract.additions.selection import BITS, SELECTION, WEIGHTS
from reader.selections.selection import open_selection, write_selection


class Rows(NamedTuple):
    """A dataset of a test's own, and its records in the order written."""

    out: Path
    rows: list[dict[str, Any]]

    def keys(self, keep=lambda row: True) -> list[str]:
        return [row["key"] for row in self.rows if keep(row)]


@pytest.fixture
def scored(with_columns, tmp_path) -> Rows:
    """A copy of `with_columns`, and what its table held: None for an empty cell."""
    out = Path(shutil.copytree(with_columns.folder, tmp_path / "out"))
    cells = with_columns.cells
    table = {
        name.removesuffix(".png"): {
            "key": name.removesuffix(".png"),
            "source": name,
            "score": np.float32(score) if score else None,
            "stars": int(stars),
            "license": license_,
        }
        for name, score, stars, license_ in zip(
            *(cells[name] for name in ("file_name", "score", "stars", "license")),
            strict=True,
        )
    }
    order = [key for (key,) in reader.open(out, outputs=("key",))]
    assert sorted(order) == sorted(table)
    return Rows(out, [table[key] for key in order])


@pytest.fixture
def select(diptych, scored):
    """`select("--where=…")` selects, and returns the keys and the JSON printed."""

    def select(*flags: object) -> tuple[list[str], dict[str, Any]]:
        path = scored.out.parent / "the selection"
        where = (f"--output={path}", "--overwrite", "--json")
        done = diptych("select", scored.out, *flags, *where)
        assert done.status == 0, done.err
        opened = reader.open(scored.out, select=path, outputs=("key",))
        return [key for (key,) in opened], done.json

    return select


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def check_books(printed: dict[str, Any], num_selected: int) -> None:
    """Each record is selected, or left out for one reason."""
    books = printed["books"]
    left_out = {k: v for k, v in books.items() if k.startswith("left_out_by_")}
    assert books["selected"] == num_selected
    assert books["examples"] == num_selected + sum(left_out.values())
    assert sum(s["num_selected"] for s in printed["splits"]) == num_selected
    assert sum(s["num_examples"] for s in printed["splits"]) == books["examples"]


def above(limit: float):
    return lambda row: row["score"] is not None and row["score"] > np.float32(limit)


CONDITIONS = {
    "extra/score > 0.3": above(0.3),
    "not extra/score > 0.3": lambda r: r["score"] is not None and not above(0.3)(r),
    "extra/score is null or extra/stars = 5": lambda r: (
        r["score"] is None or r["stars"] == 5
    ),
    "extra/license in ('CC0', 'x') and extra/stars between 2 and 4": lambda r: (
        r["license"] == "CC0" and 2 <= r["stars"] <= 4
    ),
    "source like '?1*.png' and split = 'train'": lambda r: r["source"][1] == "1",
    "key >= '042' and not (key = '050' or key = '051')": lambda r: (
        r["key"] >= "042" and r["key"] not in ("050", "051")
    ),
    "width = 9": lambda r: False,
}


@pytest.mark.parametrize("where", CONDITIONS)
def test_a_condition_keeps_what_python_keeps(scored, select, where):
    keys, printed = select(f"--where={where}")
    assert keys == scored.keys(CONDITIONS[where])
    assert printed["books"]["left_out_by_where"] == len(scored.rows) - len(keys)
    check_books(printed, len(keys))


def test_what_was_left_out_adds_up_in_each_order_of_flags(scored, select, tmp_path):
    (tmp_path / "list.csv").write_text(
        "key,mine\n" + "".join(f"{n:03},{n % 9}\n" for n in range(10, 110))
    )
    diptych_flags = [
        f"--keys={tmp_path}/list.csv",
        "--where=extra/stars >= 2 and mine != 4",
        "--top=1/2",
        "--by=extra/score",
        "--weight=mine",
    ]
    listed = [r for r in scored.rows if 10 <= int(r["key"]) < 110]
    met = [r for r in listed if r["stars"] >= 2 and int(r["key"]) % 9 != 4]
    known = [r for r in met if r["score"] is not None]
    ranked = sorted(known, key=lambda r: -r["score"])[: round(len(known) / 2)]
    best = {r["key"] for r in ranked if int(r["key"]) % 9}
    for flags in (diptych_flags, diptych_flags[::-1]):
        keys, printed = select(*flags)
        assert keys == scored.keys(lambda r: r["key"] in best)
        check_books(printed, len(keys))
        books = printed["books"]
        assert books["left_out_by_keys"] == 20
        assert books["left_out_by_where"] == len(listed) - len(met)
        assert books["left_out_by_missing"] == len(met) - len(known) > 0
        assert books["left_out_by_top"] == len(known) - len(ranked)
        assert books["left_out_by_weight"] == len(ranked) - len(best) > 0


KEYS = [f"{n:03}" for n in range(3, 120, 7)]


def _csv(**settings: Any) -> bytes:
    text = io.StringIO()
    rows = [["score", "key"], *([n, key] for n, key in enumerate(KEYS))]
    csv.writer(text, **settings).writerows(rows)
    return text.getvalue().encode()


def _parquet(type_: pa.DataType) -> bytes:
    keys = [k.encode() for k in KEYS] if pa.types.is_binary(type_) else KEYS
    table = pa.table({"key": pa.array(keys).cast(type_), "n": range(len(KEYS))})
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    return sink.getvalue().to_pybytes()


LISTS = {
    "list.txt": "\n".join(KEYS).encode(),
    "crlf.txt": b"\xef\xbb\xbf" + "\r\n".join([*KEYS, "", ""]).encode(),
    "no_extension": "\n".join(KEYS).encode() + b"\n\n",
    "list.csv": _csv(lineterminator="\n"),
    "crlf.CSV": b"\xef\xbb\xbf" + _csv(lineterminator="\r\n"),
    "quoted.csv": _csv(quoting=csv.QUOTE_ALL),
    "list.tsv": _csv(delimiter="\t"),
    "list.parquet": _parquet(pa.string()),
    "large.parquet": _parquet(pa.large_string()),
    "binary.parquet": _parquet(pa.binary()),
    "words.pq": _parquet(pa.dictionary(pa.int32(), pa.string())),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_of_all_kinds_name_the_same_records(scored, select, tmp_path, name):
    (tmp_path / name).write_bytes(LISTS[name])
    keys, printed = select(f"--keys={tmp_path / name}")
    assert keys == scored.keys(lambda r: r["key"] in KEYS)
    check_books(printed, len(KEYS))
    assert printed["books"]["keys"] == len(KEYS)
    assert printed["books"]["keys_unknown"] == printed["books"]["keys_repeated"] == 0


def test_keys_come_from_standard_input(scored, select, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(LISTS["crlf.txt"])))
    keys, _ = select("--keys=-")
    assert keys == scored.keys(lambda r: r["key"] in KEYS)


def test_text_in_parquet_that_is_not_utf_8_is_unknown_and_shown(select, tmp_path):
    ends, text = np.array([0, 4, 7], np.int32), b"caf\xe9100"
    keys = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(ends), pa.py_buffer(text)]
    )
    parquet.write_table(pa.table({"key": keys}), tmp_path / "n.parquet")
    keys, printed = select(f"--keys={tmp_path}/n.parquet")
    assert sorted(keys) == ["100"]
    assert printed["unknown_keys"] == ["caf%E9"]


def test_numbers_in_parquet_are_keys_without_leading_zeros(scored, select, tmp_path):
    parquet.write_table(pa.table({"key": [7, 100, 119]}), tmp_path / "n.parquet")
    keys, printed = select(f"--keys={tmp_path}/n.parquet")
    assert sorted(keys) == ["100", "119"]
    assert printed["unknown_keys"] == ["7"]


def test_the_order_of_a_list_does_not_matter(scored, select, tmp_path):
    path, found = tmp_path / "list.txt", []
    for keys in (KEYS, KEYS[::-1]):
        path.write_text("\n".join(keys))
        select(f"--keys={path}")
        found.append(files_of(tmp_path / "the selection"))
    assert found[0] == found[1]


def test_unknown_and_repeated_keys_are_counted_and_the_first_named(
    diptych, scored, select, tmp_path
):
    path = tmp_path / "list.csv"
    path.write_text(
        "key,score\n007,1\nzero,5\n007,9\n7,1\n042,\n,3\nlast,1\nx\x1b[2J,1\n"
    )
    keys, printed = select(f"--keys={path}", "--top=5", "--by=score")
    assert keys == ["007"]  # The first line of a key counts, and 042 has no score.
    books = printed["books"]
    assert (books["keys"], books["keys_unknown"], books["keys_repeated"]) == (6, 4, 1)
    assert printed["unknown_keys"] == ["zero", "7", "last"]
    shown = diptych("select", scored.out, f"--keys={path}").out
    assert "4 of them unknown: zero, 7, last" in shown
    assert "1 repetition of keys" in shown
    path.write_text("key\nx\x1b[2J\n000\n")
    assert "\x1b" not in diptych("select", scored.out, f"--keys={path}").out


def test_paths_of_images_are_matched_when_asked_for(diptych, scored, select, tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("file,score\n" + "".join(f"{key}.png,1\n" for key in KEYS))
    flags = (f"--keys={path}", "--key_column=file")
    keys, printed = select(*flags, "--match=source")
    assert keys == scored.keys(lambda r: r["key"] in KEYS)
    assert printed["books"]["keys_unknown"] == 0
    missed = diptych("select", scored.out, *flags)
    assert missed.status == 0
    first = scored.rows[0]["key"]
    assert f"are such as {first}; pass --match=source" in missed.out
    path.write_text("\n".join(["file", *KEYS]))
    missed = diptych("select", scored.out, *flags, "--match=source")
    assert f"are such as {first}.png; pass --match=key" in missed.out


def test_odd_keys_are_found_in_lists(diptych, build, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    names = [b"bad\xff", b"NA", b"nan", b"1e5", b"with,comma", b'quo"te', b" lead"]
    names += ["été".encode(), b"bad%FF.", b"trailing "]
    for name in names:
        with open(bytes(source) + b"/" + name + b".png", "wb") as file:
            Image.new("RGB", (8, 8)).save(file, "PNG")
        with open(bytes(source) + b"/" + name + b".txt", "wb") as file:
            file.write(b"a picture")
    out = build(source, source, tmp_path / "out", num_shards=1)
    keys = [key for (key,) in reader.open(out, outputs=("key",))]
    assert "bad%FF" in keys
    with (tmp_path / "shown.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["key"], *([key] for key in keys)])
    with (tmp_path / "raw.csv").open("wb") as raw:
        raw.write(b'key\n"' + b'"\n"'.join(n.replace(b'"', b'""') for n in names))
        raw.write(b'"\n')
    (tmp_path / "raw.txt").write_bytes(b"\n".join(names))
    parquet.write_table(pa.table({"key": names}), tmp_path / "raw.parquet")
    for name in ("shown.csv", "raw.csv", "raw.txt", "raw.parquet"):
        done = diptych("select", out, f"--keys={tmp_path / name}", "--json")
        assert done.json["books"]["selected"] == len(names) == len(keys), name
        assert done.json["unknown_keys"] == []


@pytest.mark.parametrize(
    "top", ["1", "7", "50", "500", "1/3", "0.25", ".9", "999/1000"]
)
def test_the_largest_are_kept_and_of_equal_ones_the_first(scored, select, top):
    keys, printed = select(f"--top={top}", "--by=extra/stars")
    num = len(scored.rows)
    wanted = int(top) if top.isdigit() else round(Fraction(top) * num)
    ranked = sorted(scored.rows, key=lambda row: -row["stars"])  # It is stable.
    best = {row["key"] for row in ranked[:wanted]}
    assert keys == scored.keys(lambda row: row["key"] in best)
    assert printed["books"]["left_out_by_missing"] == 0
    check_books(printed, min(wanted, num))


def test_a_share_is_of_the_records_that_have_a_value(diptych, scored, select):
    keys, printed = select("--top=1/3", "--by=extra/score")
    known = [row for row in scored.rows if row["score"] is not None]
    ranked = sorted(known, key=lambda row: -row["score"])
    best = {row["key"] for row in ranked[: round(len(known) / 3)]}
    assert keys == scored.keys(lambda row: row["key"] in best)
    num = len(scored.rows) - len(known)
    assert printed["books"]["left_out_by_missing"] == num > 0
    flags = ("--top=1/3", "--by=extra/score")
    shown = diptych("select", scored.out, *flags).out
    assert f"{num} without a value of --by" in shown


def test_large_and_missing_numbers_of_a_list_are_ranked(scored, select, tmp_path):
    numbers = ["18446744073709551615", "nan", "", "inf", "-inf", "9e99", "1", "-1"]
    rows = "".join(f"{n:03},{x}\n" for n, x in enumerate(numbers))
    (tmp_path / "list.csv").write_text(f"key,x\n{rows}")
    order = ["003", "005", "000", "006", "007", "004"]
    for num in range(1, 7):
        keys, _ = select(f"--keys={tmp_path}/list.csv", f"--top={num}", "--by=x")
        assert sorted(keys) == sorted(order[:num])
    most = pa.array([2**64 - 1, 2**64 - 2, 5, 0], pa.uint64())
    table = pa.table({"key": KEYS[:4], "x": most})
    parquet.write_table(table, tmp_path / "list.parquet")
    flags = (f"--keys={tmp_path}/list.parquet",)
    assert sorted(select(*flags, "--where=x > 9")[0]) == KEYS[:2]
    assert sorted(select(*flags, "--top=3", "--by=x")[0]) == KEYS[:3]


def test_weights_are_rounded_and_summed(diptych, scored, select, tmp_path):
    weights = {"000": 2.0, "001": 0.5, "002": 0.001, "003": 0.0, "005": 255.0}
    rows = "".join(f"{key},{weight}\n" for key, weight in weights.items())
    path = tmp_path / "weights.csv"
    path.write_text(f"key,w\n{rows}004,\n006,nan\n")
    keys, printed = select(f"--keys={path}", "--weight=w")
    assert sorted(keys) == ["000", "001", "005"]
    check_books(printed, 3)
    assert printed["books"]["left_out_by_weight"] == 4
    assert printed["sum_of_weights"] == 2 + 0.5 + 255
    stored = np.fromfile(tmp_path / "the selection" / WEIGHTS, "<u2")
    assert stored.tolist() == [
        round(256 * weights.get(row["key"], 0)) for row in scored.rows
    ]
    shown = diptych("select", scored.out, f"--keys={path}", "--weight=w").out
    assert "257 examples in an epoch of all splits, by weight" in shown


@pytest.mark.parametrize("wrong", ["-0.5", "255.5", "1e30", "inf", "-inf"])
def test_a_wrong_weight_is_named_unless_its_record_is_left_out(
    diptych, scored, select, tmp_path, wrong
):
    path = tmp_path / "weights.csv"
    path.write_text(f"key,w\n000,1\n001,{wrong}\n002,2\n")
    done = diptych("select", scored.out, f"--keys={path}", "--weight=w")
    assert done.status == 2
    assert f"from 0 to 255, got {float(wrong):g}" in done.err
    keys, _ = select(f"--keys={path}", "--weight=w", "--where=key != '001'")
    assert sorted(keys) == ["000", "002"]


def test_selections_are_joined_and_taken_away(diptych, scored, select, tmp_path):
    wholes = {"good": above(0.4), "five": lambda r: r["stars"] == 5}
    for name, where in (("good", "extra/score > 0.4"), ("five", "extra/stars = 5")):
        flags = (f"--name={name}", f"--where={where}")
        assert diptych("select", scored.out, *flags).status == 0
    good, five = wholes.values()
    copied = shutil.copytree(scored.out / "selections/five", tmp_path / "copied")
    for flags, keep in {
        ("--and=good",): good,
        ("--not=good",): lambda r: not good(r),
        ("--and=good", f"--not={copied}"): lambda r: good(r) and not five(r),
        ("--and=good", "--and=five"): lambda r: good(r) and five(r),
        ("--not=good", "--not=five"): lambda r: not good(r) and not five(r),
        ("--and=good", "--and=good"): good,
        ("--and=good", "--not=good"): lambda r: False,
        ("--not=five", "--where=extra/stars < 3"): lambda r: r["stars"] < 3,
    }.items():
        keys, printed = select(*flags)
        assert keys == scored.keys(keep), flags
        check_books(printed, len(keys))


def test_a_selection_comes_before_a_folder_of_its_name(
    diptych, scored, tmp_path, monkeypatch
):
    flags = ("--name=good", "--where=extra/stars = 5")
    assert diptych("select", scored.out, *flags).status == 0
    (tmp_path / "here/good").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    wanted = scored.keys(lambda row: row["stars"] == 5)
    done = diptych("select", scored.out, "--and=good", "--json")
    assert done.json["books"]["selected"] == len(wanted)
    opened = reader.open(scored.out, select="good", outputs=("key",))
    assert [key for (key,) in opened] == wanted


def test_a_selection_of_another_dataset_is_refused(diptych, scored, dataset, tmp_path):
    path = tmp_path / "other"
    flags = (f"--output={path}", "--where=width > 0")
    assert diptych("select", dataset, *flags).status == 0
    done = diptych("select", scored.out, f"--and={path}")
    assert done.status == 2
    assert "another" in done.err
    done = diptych("select", scored.out, "--and=goood")
    assert done.status == 2
    assert "there is no selection goood" in done.err


def test_nothing_is_written_without_a_name(diptych, scored):
    before = sorted(scored.out.rglob("*"))
    done = diptych("select", scored.out, "--where=extra/stars = 5")
    assert done.status == 0
    assert "nothing written: pass --name" in done.out
    assert sorted(scored.out.rglob("*")) == before
    num = len(scored.keys(lambda row: row["stars"] == 5))
    assert done.out.startswith(f"{num} of {len(scored.rows)} examples selected")


def test_the_printed_call_reads_the_selection(diptych, dataset, tmp_path):
    for split, other in (("train", "validation"), ("validation", "train")):
        path = tmp_path / split
        flags = (f"--output={path}", f"--where=split = '{split}'")
        done = diptych("select", dataset, *flags)
        call = re.search(r'reader\.load\("(.*)", select="(.*)", …\)', done.out)
        assert call is not None
        opened = reader.open(call[1], select=call[2], outputs=("key",))
        wanted = reader.open(f"{dataset}/{split}-*", outputs=("key",))
        assert list(opened) == list(wanted)
        assert len(reader.open(f"{dataset}/{other}-*", select=path)) == 0
        title, *lines = done.out.splitlines()
        num = len(wanted)
        assert title.startswith(f"{num} of 60 examples selected")
        counts = {line.split()[0]: line.split()[1] for line in lines[:2]}
        assert counts == {split: str(num), other: "0"}


def test_an_empty_selection_is_written_with_a_warning(diptych, scored):
    done = diptych("select", scored.out, "--name=none", "--where=width > 999")
    assert done.status == 0
    assert "warning: nothing is selected" in done.out
    opened = reader.open(scored.out, select="none")
    assert len(opened) == 0


def test_the_same_choice_gives_the_same_bytes(diptych, scored):
    flags = ("--where=extra/score > 0.2", "--weight=extra/stars")
    for name in ("one", "two"):
        assert diptych("select", scored.out, f"--name={name}", *flags).status == 0
    one, two = (files_of(scored.out / "selections" / name) for name in ("one", "two"))
    assert one == two
    assert one.keys() == {BITS, WEIGHTS, SELECTION}
    kept = json.loads(one[SELECTION])
    assert kept["made_by"]["where"] == "extra/score > 0.2"
    again = diptych("select", scored.out, "--name=one", *flags)
    assert (again.status, "is this selection already" in again.out) == (0, True)


def test_another_selection_is_replaced_only_when_asked(diptych, scored):
    path = scored.out / "selections/good"
    assert diptych("select", scored.out, "--name=good", "--top=5", "--by=width")
    before = files_of(path)
    flags = ("--name=good", "--where=extra/stars = 5")
    done = diptych("select", scored.out, *flags)
    assert done.status == 2
    assert "pass --overwrite" in done.err
    assert files_of(path) == before
    assert diptych("select", scored.out, *flags, "--overwrite").status == 0
    keys = [key for (key,) in reader.open(scored.out, select="good", outputs=("key",))]
    assert keys == scored.keys(lambda row: row["stars"] == 5)
    assert [p.name for p in path.parent.iterdir()] == ["good"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "no_bits", "no_json", "empty"])
def test_a_damaged_selection_is_written_again(diptych, scored, damage):
    path, flags = scored.out / "selections/good", ("--name=good", "--where=width > 0")
    flags = (*flags, "--weight=extra/stars")
    assert diptych("select", scored.out, *flags).status == 0
    intact = files_of(path)
    if damage == "flipped":
        (path / WEIGHTS).write_bytes(bytes(len(intact[WEIGHTS])))
    elif damage == "cut":
        (path / SELECTION).write_bytes(intact[SELECTION][:-9])
    elif damage == "empty":
        shutil.rmtree(path)
        path.mkdir()
    else:
        (path / {"no_bits": BITS, "no_json": SELECTION}[damage]).unlink()
    assert diptych("verify", scored.out).status == 1
    assert diptych("select", scored.out, *flags).status == 2
    assert diptych("select", scored.out, *flags, "--overwrite").status == 0
    assert files_of(path) == intact
    assert diptych("verify", scored.out).status == 0


def test_what_is_no_selection_is_never_replaced(diptych, scored, tmp_path):
    folder, file = tmp_path / "photos", tmp_path / "notes.txt"
    folder.mkdir()
    file.write_text("mine")
    (folder / "a.png").write_text("mine")
    made = tmp_path / "made"
    assert diptych("select", scored.out, f"--output={made}", "--where=width > 0")
    (made / "notes.txt").write_text("mine")  # A folder that is used for more.
    (tmp_path / "link").symlink_to(folder)
    before = sorted(tmp_path.rglob("*"))
    for path in (folder, file, made, tmp_path / "link", tmp_path):
        for flags in ((), ("--overwrite",)):
            done = diptych("select", scored.out, f"--output={path}", *flags)
            assert done.status == 2
            assert "is not a selection" in done.err
            assert "--overwrite" not in done.err
    for inside in ("", "/good", "/samples", "/samples/good", "/selections"):
        path = f"{scored.out}{inside}"
        done = diptych("select", scored.out, f"--output={path}", "--overwrite")
        assert (done.status, "--name=NAME" in done.err) == (2, True)
    assert sorted(tmp_path.rglob("*")) == before
    assert file.read_text() == (folder / "a.png").read_text() == "mine"


def test_a_killed_process_leaves_a_whole_selection_or_none(scored, forks):
    path = scored.out / "selections/good"
    new = ["select", str(scored.out), "--name=good", "--weight=extra/stars"]
    old = [*new[:3], "--where=extra/stars = 5"]
    done = forks.run(new)
    wanted, num = files_of(path), len(done.steps)
    assert num >= 4  # Three files are synced, and a folder is renamed.
    for step in range(num):
        shutil.rmtree(path.parent)
        assert forks.run(new, kill_at=step).status == -9
        assert not path.exists() or files_of(path) == wanted
        assert forks.run(new).status == 0
        assert [p.name for p in path.parent.iterdir()] == ["good"]
        assert files_of(path) == wanted
    shutil.rmtree(path)
    forks.run(old)
    former = files_of(path)
    assert former != wanted
    steps = forks.run([*new, "--overwrite"]).steps
    for step in distinct(steps):
        assert forks.run([*old, "--overwrite"]).status == 0
        assert forks.run([*new, "--overwrite"], kill_at=step).status == -9
        assert not path.exists() or files_of(path) in (former, wanted)
        assert forks.run([*new, "--overwrite"]).status == 0
        assert files_of(path) == wanted
        assert [p.name for p in path.parent.iterdir()] == ["good"]


def test_many_writers_of_one_name_leave_a_whole_selection(diptych, scored, tmp_path):
    made = []
    for name, where in (("one", "extra/stars = 1"), ("two", "extra/stars = 2")):
        flags = (f"--name={name}", f"--where={where}")
        assert diptych("select", scored.out, *flags).status == 0
        path = scored.out / "selections" / name
        contents = {BITS: (path / BITS).read_bytes()}
        made.append((open_selection(str(path)).manifest, contents))
    path = tmp_path / "shared/good"

    def write(number: int) -> bool:
        manifest, contents = made[number % 2]
        return write_selection(str(path), manifest, contents, overwrite=True)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            assert any(list(pool.map(write, range(8))))
            assert open_selection(str(path)).manifest in [each for each, _ in made]
            assert [p.name for p in path.parent.iterdir()] == ["good"]


def test_other_commands_mention_selections(diptych, scored, dataset, tmp_path):
    out, (first, *_) = scored.out, scored.rows
    wheres = {"mine": f"key = '{first['key']}'", "rest": f"key != '{first['key']}'"}
    for name, where in wheres.items():
        flags = (f"--name={name}", f"--where={where}", "--weight=extra/stars")
        assert diptych("select", out, *flags).status == 0
    assert diptych("verify", out).status == 0
    shown = diptych("show", out).out
    for name, num in (("mine", 1), ("rest", len(scored.rows) - 1)):
        (line,) = [line for line in shown.splitlines() if line.startswith(name)]
        assert line.split()[1] == str(num)
        assert line.endswith(f"{wheres[name]}; weight extra/stars")
    listed = diptych("show", out, "--json").json["selections"]
    found = {s["name"]: (s["num_examples"], s["made_by"]["where"]) for s in listed}
    assert found == {
        "mine": (1, wheres["mine"]),
        "rest": (len(scored.rows) - 1, wheres["rest"]),
    }
    for row, name in ((first, "mine"), (scored.rows[-1], "rest")):
        found = diptych("find", out, row["key"], "--json").json["written"]
        assert [each["selections"] for each in found] == [[name]]
        assert re.search(
            f"selected +{name}$", diptych("find", out, row["key"]).out, re.M
        )
    page = tmp_path / "report.html"
    assert diptych("report", out, f"--output={page}").status == 0
    text = parse_page(page.read_text()).one("section", id="selections").words
    for name, where in wheres.items():
        assert name in text
        assert where in text
    assert "weight extra/stars" in text


def test_unusable_selections_are_reported_and_do_no_harm(
    diptych, scored, dataset, tmp_path
):
    out, folder = scored.out, scored.out / "selections"
    for name in ("good", "flipped", "cut"):
        flags = (f"--name={name}", "--where=extra/stars > 2")
        assert diptych("select", out, *flags).status == 0
    foreign = tmp_path / "foreign"
    flags = (f"--output={foreign}", "--where=width > 0")
    assert diptych("select", dataset, *flags).status == 0
    shutil.copytree(foreign, folder / "foreign")
    bits = bytearray((folder / "flipped" / BITS).read_bytes())
    bits[0] ^= 1
    (folder / "flipped" / BITS).write_bytes(bits)
    (folder / "cut" / SELECTION).unlink()
    bad = {"flipped", "cut", "foreign"}
    checked = diptych("verify", out)
    assert checked.status == 1
    assert {path.name for path in folder.iterdir() if f"{path}: " in checked.err} == bad
    for name in bad:
        command = f"diptych select {out} … --output={folder / name} --overwrite"
        assert command in checked.err
    shown = diptych("show", out)
    assert shown.status == 0
    unusable = re.findall(r"^(\w+) +unusable:", shown.out, re.M)
    assert {*unusable} == bad
    fields = diptych("show", out, "--json").json["selections"]
    assert {f["name"] for f in fields if f["problem"]} == bad
    key = scored.keys(lambda row: row["stars"] > 2)[0]
    (found,) = diptych("find", out, key, "--json").json["written"]
    assert found["selections"] == ["good"]
    page = tmp_path / "report.html"
    assert diptych("report", out, f"--output={page}").status == 0
    assert "bits.bin is damaged" in page.read_text()
    for name in bad:
        for command in (
            ("show", out, "--step=0", "--batch_size=4", f"--select={name}"),
            ("verify", out, "--epoch=0", "--batch_size=4", f"--select={name}"),
            ("select", out, f"--and={name}"),
        ):
            done = diptych(*command)
            assert done.status in (1, 2)
            assert len(done.err.splitlines()) == 1
            assert name in done.err


def test_a_step_and_an_epoch_of_a_selection_are_shown(diptych, scored):
    out, wanted = scored.out, scored.keys(lambda row: row["stars"] > 2)
    flags = ("--name=good", "--where=extra/stars > 2")
    assert diptych("select", out, *flags).status == 0
    plan = ("--batch_size=4", "--select=good", "--seed=3")
    seen = []
    for step in range(len(wanted) // 4):
        shown = diptych("show", out, f"--step={step}", *plan, "--json").json
        seen += [place["key"] for place in shown["places"]]
    assert len({*seen}) == len(seen) == len(wanted) // 4 * 4
    assert {*seen} <= {*wanted}
    checked = diptych("verify", out, "--epoch=0", *plan)
    assert checked.status == 0
    num = len(wanted)
    assert f"of {num} examples, {num // 4 * 4} are read once" in checked.out
    for command in ("show", "verify"):
        assert diptych(command, out, "--select=good").status == 2


# Wrong flags, and a part of the message.
WRONG = {
    "--top=0 --by=width": "argument --top",
    "--top=-1 --by=width": "argument --top",
    "--top=1.5 --by=width": "argument --top",
    "--top=1.0 --by=width": "share of less than 1",
    "--top=3/3 --by=width": "share of less than 1",
    "--top=1/0 --by=width": "argument --top",
    "--top=1e999999999 --by=width": "argument --top",
    "--top=nan --by=width": "argument --top",
    "--top=5": "--top and --by",
    "--by=width": "--top and --by",
    "--top=5 --by=key": "column of numbers, and key holds",
    "--top=5 --by=captions": "captions holds lists",
    "--top=5 --by=scor": "did you mean extra/score?",
    "--weight=nothing": "--weight: no column nothing: columns are key",
    "--weight=extra/license": "column of numbers",
    "--match=source": "--match needs --keys",
    "--match=name --keys=-": "argument --match",
    "--key_column=name": "--key_column needs --keys",
    "--keys=": "argument --keys",
    "--keys=missing.csv": "missing.csv cannot be read (No such file",
    "--name=..": "argument --name",
    "--name=a/b": "argument --name",
    "--name=": "argument --name",
    "--name=a --output=b": "pass one",
    "--output=": "argument --output",
    "--output=gs://bucket/good": "local folder",
    "--overwrite": "--overwrite needs --name or --output",
    "--and=nothing": "there is no selection nothing",
    "--not=a/b/c": "there is no selection a/b/c",
    "--where=": "where is empty",
    "--where=extra/scor>1": "did you mean extra/score?",
    "--where=width>": "expected a constant",
    "--where=width>'x'": "width holds numbers",
    "--where=key=1": "key holds text",
    "--where=width>height": "two columns",
    "--where=captions='x'": "several values",
    "--where=(width>1": "not closed",
    "--what=1": "--what",
    "more": "more",
}


@pytest.mark.parametrize("flags", WRONG)
def test_wrong_usage_is_one_line_before_any_work(diptych, scored, flags):
    shutil.rmtree(scored.out / "samples")
    before = sorted(scored.out.rglob("*"))
    done = diptych("select", scored.out, *flags.split())
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert WRONG[flags] in line
    assert done.out == ""
    assert sorted(scored.out.rglob("*")) == before


LISTS_WITH_FAULTS = {
    "semicolons.csv": (b"key;score\n000;1\n", "separate cells with commas"),
    "commas.tsv": (b"key,score\n000,1\n", "tabs in .tsv"),
    "other.csv": (b"name,score\n000,1\n", "has no column key, but name, score"),
    "twice.csv": (b"key,score,score\n000,1,2\n", "two columns score"),
    "ragged.csv": (b"key,score\n000,1,2\n", "is not a table"),
    "empty.csv": (b"", "is not a table"),
    "text.csv": (b"key,score\n000,high\n", "score holds values of type string"),
    "width.csv": (b"key,score,width\n000,1,2\n", "width is a column of the dataset"),
    "text.parquet": (b"key,score\n000,1\n", "is not a Parquet file"),
}


@pytest.mark.parametrize("name", LISTS_WITH_FAULTS)
def test_a_faulty_list_is_refused(diptych, scored, tmp_path, name):
    data, message = LISTS_WITH_FAULTS[name]
    (tmp_path / name).write_bytes(data)
    by = "width" if name == "width.csv" else "score"
    flags = (f"--keys={tmp_path / name}", "--top=1", f"--by={by}")
    done = diptych("select", scored.out, *flags)
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert message in line


def test_damaged_samples_are_named(diptych, scored):
    path = sorted((scored.out / "samples").iterdir())[1]
    intact = path.read_bytes()
    flags = ("--name=good", "--where=width > 1")
    for data in (intact[:300], None):
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)
        done = diptych("select", scored.out, *flags)
        assert done.status == 1
        assert path.name in done.err
        assert not (scored.out / "selections").exists()


def test_a_column_of_a_list_is_used_in_a_condition(scored, select, tmp_path):
    rows = [(f"{n:03}", "" if n % 3 == 0 else n / 100) for n in range(0, 120, 2)]
    path = tmp_path / "list.csv"
    path.write_text("key,clip\n" + "".join(f"{key},{x}\n" for key, x in rows))
    keys, printed = select(f"--keys={path}", "--where=clip > 0.5 and extra/stars != 2")
    kept = {key for key, x in rows if x != "" and math.isfinite(x) and x > 0.5}
    assert keys == scored.keys(lambda r: r["key"] in kept and r["stars"] != 2)
    assert printed["books"]["left_out_by_keys"] == 60


def test_the_help_names_each_flag_of_the_docs(diptych, capsys):
    text = (Path(__file__).parents[4] / "docs/selections.md").read_text()
    of_others = {"--images", "--table", "--columns", "--where_columns"}
    of_others |= {"--step", "--epoch"}
    with pytest.raises(SystemExit):
        diptych("select", "--help")
    shown = capsys.readouterr().out
    named = {*re.findall(r"--[a-z_]+", text)} - of_others
    assert {"--where", "--keys", "--top", "--weight", "--not"} < named
    assert [flag for flag in named if f" {flag} " not in shown] == []

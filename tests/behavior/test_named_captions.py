"""Captions with names: built from every source, and drawn by weights as a loop does."""

import csv
import dataclasses
import io
import itertools
import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from built_datasets import all_records, file_of, manifest_of, put, rejects_of
from PIL import Image
from plain_order import plain_key, splitmix64
from written_layers import KEY, Captions, write_layer

import reader
from beam_jobs.__main__ import main
from reader.contract.errors import UsageError
from reader.contract.manifest import TokenizerSpec

NUM, BATCH, SEED = 60, 15, 5
NAMES = ["alt", "recap"]
WEIGHTS = {"recap": 0.75, "alt": 0.25}

Named = list[tuple[str, str]]


def captions_of(number: int) -> Named:
    """Captions of a key, some of them without a name, as (name, text)."""
    captions = [("", f"plain {number}")] if number % 4 == 0 else []
    if number % 3:
        captions.append(("alt", f"alt text of {number}"))
    if number % 5:
        captions += [("recap", f"recap {place} {number}") for place in range(1, 4)]
    return captions


def item(name: str, text: str) -> Any:
    return {"name": name, "text": text} if name else text


def key_of(number: int) -> str:
    return f"{number:03}"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(NUM):
        image = Image.new("RGB", (8, 8), (4 * number, 0, 0))
        put(folder, f"{key_of(number)}.png", file_of(image, "PNG"))
    return folder


def build(output: Path, *flags: str) -> Path:
    shape = ["--image_format=png", "--resize=none", "--num_shards=2", "--workers=1"]
    shape += ["--max_unpaired=100%", "--max_rejects=100%", f"--output={output}"]
    assert main(["build", *flags, *shape]) == 0
    return output


@pytest.fixture(scope="module")
def named(images, tmp_path_factory) -> Path:
    """Captions with names in JSONL; records 0, 15, 30 and 45 have no name alone."""
    table = tmp_path_factory.mktemp("named") / "t.jsonl"
    rows = [
        {"image": f"{key_of(n)}.png", "captions": [item(*each) for each in captions]}
        for n in range(NUM)
        if (captions := captions_of(n) or [("", f"plain {n}")])
    ]
    table.write_text("\n".join(map(json.dumps, rows)))
    flags = (f"--table={table}", f"--images={images}", "--caption_names=alt,recap")
    return build(table.parent / "out", *flags)


def named_by_key(output: Path) -> dict[str, Named]:
    """Returns `{key: [(name, caption)]}` of the records."""
    return {
        record.features["image/source_id"][0].decode(): list(
            zip(
                (name.decode() for name in record.features["caption/names"]),
                (text.decode() for text in record.features["image/caption"]),
                strict=True,
            )
        )
        for record in all_records(output)
    }


# Writing.

EXPECTED = {key_of(n): captions_of(n) for n in range(NUM) if captions_of(n)}
# Without captions that have no name.
ONLY_NAMED = {
    key: kept
    for key, captions in EXPECTED.items()
    if (kept := [each for each in captions if each[0]])
}


def test_captions_in_json_keep_their_names(named):
    found = named_by_key(named)
    assert {key: found[key] for key in EXPECTED} == EXPECTED
    manifest = manifest_of(named)
    assert manifest["caption_names"] == NAMES
    assert manifest["features"][9]["key"] == "caption/names"
    table = reader.open(named).samples
    assert table.column_names[-1] == "caption_names"
    rows = table.select(["key", "caption_names", "captions"]).to_pylist()
    assert len(rows) == NUM
    for row in rows:
        pairs = zip(row["caption_names"], row["captions"], strict=True)
        assert list(pairs) == found[row["key"]]


def columns(number: int) -> dict[str, list[str]]:
    captions = captions_of(number)
    return {name: [text for other, text in captions if other == name] for name in NAMES}


def write_table(kind: str, path: Path) -> str:
    """Writes a table with columns alt and recap; returns further flags."""
    rows = [{"image": f"{key_of(n)}.png", **columns(n)} for n in range(NUM)]
    flags = "--caption_columns=alt,recap"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "by_name":
        cells = [{"image": row.pop("image"), "captions": row} for row in rows]
        path.write_text("\n".join(map(json.dumps, cells)))
        flags = "--caption_names=alt,recap"
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:  # A cell of a CSV is one caption, so a key has several rows.
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "short", "long one"])
            for row in rows:
                cells = itertools.zip_longest(row["alt"], row["recap"], fillvalue="")
                writer.writerows([row["image"], *both] for both in cells)
        flags = "--caption_columns=short,long one"
    return flags


@pytest.mark.parametrize("kind", ["jsonl", "by_name", "parquet", "csv"])
def test_columns_name_their_captions(kind, images, tmp_path):
    suffix = {"by_name": "jsonl"}.get(kind, kind)
    flags = [write_table(kind, tmp_path / f"t.{suffix}")]
    flags += ["--caption_names=alt,recap"] if kind == "csv" else []
    table = f"--table={tmp_path}/t.{suffix}"
    output = build(tmp_path / "out", table, f"--images={images}", *flags)
    assert named_by_key(output) == ONLY_NAMED
    assert manifest_of(output)["books"]["dropped_captions"] == 0
    assert {reject["reason"] for reject in rejects_of(output)} == {"unpaired_image"} - (
        {"unpaired_image"} if kind == "csv" else set()
    )


def put_files(folder: Path, images: Path) -> None:
    for n in range(NUM):
        put(folder, f"{key_of(n)}.png", (images / f"{key_of(n)}.png").read_bytes())
        for name, suffix in (("alt", ".txt"), ("recap", ".recap.txt")):
            if texts := columns(n)[name]:
                put(folder, f"{key_of(n)}{suffix}", "\n".join(texts))


@pytest.mark.parametrize("source", ["folders", "webdataset"])
def test_files_are_named_by_their_longest_suffix(source, images, tmp_path):
    put_files(tmp_path / "in", images)
    put(tmp_path / "in", "009.recap.txt", b"\xff\xff")  # The other one is kept.
    put(tmp_path / "in", "007.caption", "ignored")
    flags = [f"--images={tmp_path}/in", f"--captions={tmp_path}/in"]
    if source == "webdataset":
        with tarfile.open(tmp_path / "t.tar", "w") as tar:
            for path in sorted((tmp_path / "in").iterdir()):
                tar.add(path, path.name)
        flags = [f"--webdataset={tmp_path}/t.tar"]
    files = "--caption_files=alt:.txt,recap:.recap.txt"
    output = build(tmp_path / "out", *flags, files, "--captions_per_file=lines")
    found = {key.removeprefix("t/"): each for key, each in named_by_key(output).items()}
    without = {key: value for key, value in ONLY_NAMED.items() if key != "009"}
    assert {key: found[key] for key in without} == without
    assert {*found} == {*without}


def test_json_of_webdataset_has_columns_with_names(images, tmp_path):
    with tarfile.open(tmp_path / "t.tar", "w") as tar:

        def add(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

        for n in range(4):
            add(f"{n}.png", (images / f"{key_of(n)}.png").read_bytes())
            add(f"{n}.txt", b"not used")
            texts = {"alt": f"alt {n}", "recap": None if n == 2 else [f"recap {n}"]}
            add(f"{n}.json", json.dumps(texts).encode())
    source = f"--webdataset={tmp_path}/t.tar"
    output = build(tmp_path / "out", source, "--caption_columns=recap,alt")
    assert named_by_key(output) == {
        f"t/{n}": [*([("recap", f"recap {n}")] if n != 2 else []), ("alt", f"alt {n}")]
        for n in range(4)
    }
    assert manifest_of(output)["caption_names"] == ["recap", "alt"]
    args = [source, f"--output={tmp_path}/no", "--caption_columns=alt,recup"]
    assert main(["build", *args]) == 2


def test_short_captions_are_dropped_with_their_names(images, tmp_path):
    rows = [
        {"image": "001.png", "captions": {"alt": "one", "recap": ["two words", "one"]}},
        {"image": "002.png", "captions": [item("recap", "a b c"), "one", "two words"]},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = (f"--table={tmp_path}/t.jsonl", f"--images={images}")
    flags = ("--caption_names=alt,recap", "--min_tokens=2")
    output = build(tmp_path / "out", *source, *flags)
    assert named_by_key(output) == {
        "001": [("recap", "two words")],
        "002": [("recap", "a b c"), ("", "two words")],
    }
    assert manifest_of(output)["books"]["dropped_captions"] == 3


def test_names_that_were_not_declared_reject_their_key(images, tmp_path):
    rows = [
        {"image": "001.png", "captions": {"alt": "one", "odd": "two"}},
        {"image": "002.png", "captions": [{"name": 7, "text": "one"}]},
        {"image": "003.png", "captions": [{"name": "alt", "text": {"a": "b"}}]},
        {"image": "004.png", "captions": [{"name": "alt", "text": "good"}]},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = (f"--table={tmp_path}/t.jsonl", f"--images={images}")
    output = build(tmp_path / "out", *source, "--caption_names=alt,recap")
    assert named_by_key(output) == {"004": [("alt", "good")]}
    rejected = {each["key"]: each for each in rejects_of(output)}
    assert {each["reason"] for each in rejected.values()} == {"bad_value"}
    assert "alt, recap" in rejected["001"]["detail"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--caption_columns=alt,base"], '"base" cannot be the name of a caption'),
        (["--caption_columns=alt,all"], '"all" cannot be the name of a caption'),
        (["--caption_columns=alt,long one"], "give each column a name"),
        (["--caption_columns=alt,alt"], "caption_columns has alt twice"),
        (["--caption_columns=a,b", "--caption_names=c"], "1 names and 2 columns"),
        (["--caption_columns=alt", "--caption_column=alt"], "exclude each other"),
        (["--caption_columns=alt,gone"], 'no column "gone" among image, alt'),
        (["--caption_files=alt:.txt"], "caption_files does not apply to tables: pass"),
        (["--caption_files=alt"], "write the suffix of each name once"),
        (["--caption_files=alt:txt"], "must be like .txt or .recap.txt"),
        (["--caption_files=a:.txt,b:.TXT"], "two names in caption_files"),
    ],
)
def test_wrong_names_are_refused_before_any_work(flags, message, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("image,alt\na.png,text\n")
    args = [f"--table={tmp_path}/t.csv", f"--output={tmp_path}/out", *flags]
    assert main(["build", *args]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_commands_know_the_names(named, diptych, tmp_path):
    key, ((name, text), *_) = next(iter(ONLY_NAMED.items()))
    assert (
        f'{text}" ({len(text.split())} tokens, {name})'
        in diptych("find", named, key).out
    )
    page = diptych("show", named).out
    assert "names: alt, recap\n" in page
    assert f"  {name}: " in page
    shown = json.loads(diptych("show", named, "--json").out)
    assert shown["caption_names"] == NAMES
    example = shown["examples"][0]
    pairs = zip(example["caption_names"], example["captions"], strict=True)
    assert [(n, t) for n, t in pairs if n != "base"] == [
        each for each in named_by_key(named)[example["key"]] if each[0]
    ]
    assert diptych("verify", named).status == 0
    assert diptych("report", named, f"--output={tmp_path}/r.html").status == 0
    names = Counter(
        n or "base" for each in named_by_key(named).values() for n, _ in each
    )
    counts = (f"<code>{n}</code> {names[n]}" for n in sorted(names))
    assert f"By name: {', '.join(counts)}." in (tmp_path / "r.html").read_text()


# Reading.


class Taken(NamedTuple):
    caption: str
    name: str
    tokens: list[int]


OUTPUTS = ("key", "caption", "caption_name", "tokens", "length", "caption_valid")


def rows_of(batches: Any) -> Iterator[tuple[str, Taken]]:
    """Yields (key, what was taken of it)."""
    for key, caption, name, tokens, length, valid in reader.as_numpy(batches):
        assert valid.tolist() == (name != b"").tolist() == (caption != b"").tolist()
        for one in zip(key, caption, name, tokens, length, strict=True):
            taken = Taken(one[1].decode(), one[2].decode(), one[3][: one[4]].tolist())
            yield one[0].decode(), taken


def read(kind: str, folder: Path, **more: Any) -> Any:
    usual = {"batch_size": BATCH, "seed": SEED, "outputs": OUTPUTS, "max_tokens": 9}
    usual |= {"caption": WEIGHTS, "workers": 0}
    return getattr(reader, kind)(f"{folder}/train-*.tfrecord", **usual | more)


def uniform(use: str, epoch: int) -> list[float]:
    bits = splitmix64(plain_key(use, SEED, epoch), NUM)
    return [(each >> 11) * 2.0**-53 for each in bits]


def drawn(
    folder: Path,
    epoch: int,
    weights: dict[str, float],
    found_by_key: dict[str, Named] | None = None,
) -> dict[str, Taken]:
    """What a plain loop draws of each record."""
    tokenizer = reader.tokenizer(folder)
    names, captions = uniform("caption_name", epoch), uniform("caption", epoch)
    found_by_key = found_by_key or named_by_key(folder)
    taken = {}
    for number, (key, found) in enumerate(found_by_key.items()):
        texts: dict[str, list[str]] = {}
        for name, text in found:
            texts.setdefault(name or "base", []).append(text)
        there = sorted(name for name in weights if name in texts)
        at = names[number] * sum(weights[name] for name in there)
        taken[key] = Taken("", "", [])
        for name in there:
            if at < weights[name]:
                text = texts[name][int(captions[number] * len(texts[name]))]
                ids = [2, *tokenizer.encode(text), 3]
                taken[key] = Taken(text, name, ids)
                break
            at -= weights[name]
    return taken


def missing(folder: Path, epochs: int, weights: dict[str, float]) -> dict[str, int]:
    lacks = [
        {name for name in weights if name not in {each or "base" for each, _ in found}}
        for found in named_by_key(folder).values()
    ]
    counts = {name: sum(name in each for each in lacks) for name in weights}
    counts["*"] = sum(len(each) == len(weights) for each in lacks)
    return {name: epochs * count for name, count in counts.items()}


@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("load", WEIGHTS),
        ("stream", WEIGHTS),
        ("stream", {"base": 1, "recap": 2}),
        ("stream", {"alt": 3}),
    ],
)
def test_captions_are_those_of_a_plain_loop(named, kind, weights):
    batches = read(kind, named, epochs=2, caption=weights)
    rows = list(rows_of(batches))
    for epoch in range(2):
        expected = drawn(named, epoch, weights)
        assert dict(rows[epoch * NUM : (epoch + 1) * NUM]) == expected
    assert batches.missing_captions == missing(named, 2, weights)


def opened(folder: Path, epoch: int, **more: Any) -> dict[str, Taken]:
    """What `reader.open` takes of each record in an epoch."""
    names = ("key", "caption", "caption_name", "tokens", "mask", "length")
    usual = {"outputs": names, "seed": SEED, "max_tokens": 9, "caption": WEIGHTS}
    data = reader.open(f"{folder}/train-*.tfrecord", **usual | more)
    data.set_epoch(epoch)
    rows = {}
    for key, caption, name, tokens, mask, length in data:
        assert mask.tolist() == [True] * length + [False] * (9 - length)
        rows[key] = Taken(caption, name, tokens[mask].tolist())
    return rows


@pytest.mark.parametrize("weights", [WEIGHTS, {"base": 1, "recap": 2}, {"alt": 3}])
def test_open_draws_the_captions_of_a_plain_loop(named, weights):
    for epoch in range(2):
        expected = drawn(named, epoch, weights)
        assert opened(named, epoch, caption=weights) == expected


def test_open_draws_random_captions_as_stream_does(named):
    more = {"caption": "random", "outputs": OUTPUTS[:-1], "epochs": 2}
    batches = reader.as_numpy(read("stream", named, **more))
    rows = [row for batch in batches for row in zip(*batch, strict=True)]
    for epoch in range(2):
        assert opened(named, epoch, caption="random") == {
            key.decode(): Taken(caption.decode(), name.decode(), ids[:num].tolist())
            for key, caption, name, ids, num in rows[epoch * NUM : (epoch + 1) * NUM]
        }


def test_some_captions_differ_between_epochs_and_each_name_is_drawn(named):
    first, second = (drawn(named, epoch, WEIGHTS) for epoch in range(2))
    assert first != second
    assert {taken.name for taken in first.values()} == {"alt", "recap", ""}


@pytest.mark.parametrize("num", [3, 5])
def test_hosts_share_the_captions_of_one(named, num):
    alone = list(rows_of(read("stream", named)))
    hosts = [
        list(rows_of(read("stream", named, host_index=host, host_count=num)))
        for host in range(num)
    ]
    share = BATCH // num
    steps = range(NUM // BATCH)
    together = [
        row
        for n in steps
        for host in hosts
        for row in host[n * share : (n + 1) * share]
    ]
    assert sorted(together) == sorted(alone)
    for step in steps:
        part = slice(step * BATCH, (step + 1) * BATCH)
        assert sorted(together[part]) == sorted(alone[part])


SETTINGS = {
    "sorted": {"bucket_by_length": True, "shuffle_bytes": 20_000},
    "padded": {"remainder": "pad", "batch_size": 14},
    "images": {"outputs": ("image", *OUTPUTS), "workers": 1},
    "random": {"caption": "random", "outputs": ("caption", "caption_name", "key")},
    "all": {"caption": "all", "outputs": ("caption_name", "caption", "caption_valid")},
    "names": {"outputs": ("caption_name",)},
    "lengths": {"outputs": ("length",)},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
def test_load_and_stream_return_the_same_bits(named, settings):
    both = [read(kind, named, epochs=2, **settings) for kind in ("load", "stream")]
    loaded, streamed = (list(reader.as_numpy(batches)) for batches in both)
    assert len(loaded) == len(streamed) > 0
    for mine, theirs in zip(loaded, streamed, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    assert both[0].missing_captions == both[1].missing_captions


def test_a_resumed_run_draws_the_same_captions(named):
    whole = list(rows_of(read("load", named, epochs=3)))
    state = json.dumps(reader.state(read("load", named, epochs=3), 5))
    rest = list(rows_of(read("stream", named, epochs=3, resume=state)))
    assert rest == whole[5 * BATCH :]


def test_names_of_all_captions(named):
    batches = read(
        "stream",
        named,
        **SETTINGS["all"] | {"outputs": ("key", "caption", "caption_name")},
    )
    found = named_by_key(named)
    for key, caption, names in batches:
        for row, texts, own in zip(key, caption.tolist(), names.tolist(), strict=True):
            pairs = [(n or "base", text) for n, text in found[row.decode()]]
            shown = zip(own, texts, strict=True)
            assert [(n.decode(), t.decode()) for n, t in shown if t] == pairs
    one = reader.open(named, outputs=("key", "caption_name", "caption_names"))
    for key, first, names in one:
        assert names == [name or "base" for name, _ in found[key]]
        assert first == names[0]


def test_one_name_of_all_captions_is_a_random_caption(images, tmp_path):
    """The second draw is that of `caption="random"`."""
    rows = [
        {"image": f"{key_of(n)}.png", "alt": [f"a{n}", f"b{n}", f"c{n}"]}
        for n in range(20)
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = (f"--table={tmp_path}/t.jsonl", f"--images={images}")
    output = build(tmp_path / "out", *source, "--caption_columns=alt")
    usual = {"outputs": ("key", "caption"), "batch_size": 5}
    by_name, by_chance = (
        [
            each.tolist()
            for batch in read("stream", output, **usual, caption=caption)
            for each in batch
        ]
        for caption in ({"alt": 7}, "random")
    )
    assert by_name == by_chance


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"caption": {}}, "must not be an empty dictionary"),
        ({"caption": {"alt": 0}}, "must be a positive number, got 0 for alt"),
        ({"caption": {"alt": float("nan")}}, "positive number, got nan"),
        ({"caption": {"alt": float("inf")}}, "positive number, got inf"),
        ({"caption": {"alt": True}}, "positive number, got True"),
        ({"caption": {3: 1.0}}, "got the name 3"),
        ({"caption": {"recup": 1}}, "alt, recap, base: did you mean recap?"),
        ({"max_captions": 2}, 'max_captions needs caption="all"'),
    ],
)
@pytest.mark.parametrize("kind", ["load", "stream", "open"])
def test_wrong_weights_are_refused(named, kind, more, message):
    if kind == "open" and "max_captions" in more:
        more, message = {"caption": "all"}, 'pass outputs=("captions", …)'
    with pytest.raises(UsageError) as caught:
        opened(named, 0, **more) if kind == "open" else read(kind, named, **more)
    assert message in str(caught.value)


def test_captions_without_names_say_how_to_name_them(dataset):
    for more in ({}, {"caption": "first", "outputs": ("caption_name",)}):
        with pytest.raises(UsageError, match="build the dataset with --caption_col"):
            read("stream", dataset, **more)
    with pytest.raises(UsageError, match="have no names"):
        reader.open(dataset, split="train", outputs=("caption_names",))


def test_a_union_with_a_dataset_without_names_is_refused(named, dataset):
    patterns = [f"{named}/train-*", f"{dataset}/train-*"]
    with pytest.raises(UsageError, match="have no names"):
        reader.stream(
            patterns, batch_size=5, caption={"alt": 1}, outputs=("caption", "key")
        )


# Layers.

RECAPS = {
    key_of(n).encode(): [f"layer {place} of {n}" for place in range(n % 3 + 1)]
    for n in range(NUM)
    if n % 7
}


@pytest.fixture(scope="module")
def plain_names(images, tmp_path_factory) -> Path:
    """A caption without a name for each image."""
    table = tmp_path_factory.mktemp("plain") / "t.csv"
    lines = [f"{key_of(n)}.png,plain {n}" for n in range(NUM)]
    table.write_text("\n".join(["image,caption", *lines]))
    return build(table.parent / "out", f"--table={table}", f"--images={images}")


def write_recaps(
    dataset: Path, folder: Path, *, tokens: int = 0, replaces: bool = False
) -> str:
    """Writes RECAPS as a layer with the dataset's tokenizer; returns its folder.

    With `tokens`, it claims to have been made by another tokenizer.
    """
    spec = TokenizerSpec(**manifest_of(dataset)["tokenizer"])
    file = (dataset / "tokenizer" / spec.file).read_bytes()
    if tokens:
        spec = dataclasses.replace(spec, sha256=f"{tokens:064x}")
    encode = reader.tokenizer(dataset).encode
    texts = RECAPS
    if replaces:
        texts = {key_of(n).encode(): [f"instead {n}"] for n in range(NUM)}
    captions = Captions(texts, encode, spec, file, replaces)
    write_layer(dataset, "recap-v2", captions=captions, folder=folder)
    return str(folder)


@pytest.mark.parametrize("base", ["plain_names", "named"])
def test_captions_of_layers_take_part_by_the_name_of_the_layer(base, request, tmp_path):
    dataset = request.getfixturevalue(base)
    layer = write_recaps(dataset, tmp_path / "recap-v2")
    found = {
        record.features["image/source_id"][0].decode(): [
            *((name.decode(), text.decode()) for name, text in own_captions(record)),
            *(("recap-v2", t) for t in RECAPS.get(record.features[KEY][0], [])),
        ]
        for record in all_records(dataset)
    }
    weights = {"recap-v2": 2.0, "base" if base == "plain_names" else "recap": 1.0}
    expected = drawn(dataset, 0, weights, found)
    assert {taken.name for taken in expected.values()} >= {*weights}
    settings = {"caption": weights, "layers": layer}
    for kind in ("load", "stream"):
        assert dict(rows_of(read(kind, dataset, **settings))) == expected
    assert opened(dataset, 0, **settings) == expected
    both = [
        list(reader.as_numpy(read(kind, dataset, **settings, **SETTINGS["sorted"])))
        for kind in ("load", "stream")
    ]
    for mine, theirs in zip(*both, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one, other)
    (first, *_) = read(
        "stream", dataset, layers=layer, caption="all", outputs=("caption",)
    )
    assert not any(b"layer" in text for text in first[0].ravel())


def own_captions(record: Any) -> Iterator[tuple[bytes, bytes]]:
    texts = record.features["image/caption"]
    names = record.features.get("caption/names", [b""] * len(texts))
    return zip(names, texts, strict=True)


def test_captions_of_another_tokenizer_have_no_tokens_in_common(plain_names, tmp_path):
    layer = write_recaps(plain_names, tmp_path / "recap-v2", tokens=1)
    settings = {"caption": {"base": 1, "recap-v2": 1}, "layers": layer}
    with pytest.raises(UsageError, match="recap-v2, whose captions were tokenized by"):
        read("stream", plain_names, **settings)
    (first, *_) = read("stream", plain_names, **settings, outputs=("caption_name",))
    assert {*first[0].tolist()} == {b"base", b"recap-v2"}


def test_captions_that_replace_those_of_the_dataset_have_the_name_of_the_layer(
    named, tmp_path
):
    layer = write_recaps(named, tmp_path / "recap-v2", replaces=True)
    rows = dict(rows_of(read("stream", named, layers=layer, caption={"recap-v2": 1})))
    texts = {key: taken.caption for key, taken in rows.items()}
    assert texts == {key_of(n): f"instead {n}" for n in range(NUM)}
    with pytest.raises(UsageError, match='"alt", but the captions are named recap-v2'):
        read("stream", named, layers=layer, caption={"alt": 1})

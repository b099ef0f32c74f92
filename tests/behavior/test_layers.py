"""Layers: features added to the records of a finished dataset, read with them."""

import json
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from damaged_shards import soon
from record_access import flip, stored, texts
from written_layers import Captions, write_layer

import reader
from beam_jobs.config.values import parse_splits
from reader.contract.errors import DatasetError, UsageError
from reader.contract.manifest import parse_manifest
from reader.storage.open_files import OpenFiles

SPLIT, BATCH, FRAMING = "train", 15, 16
COLUMNS = {"score": ("float32", ()), "name": ("bytes", ()), "vector": ("float32", (2,))}
ADDED = ("clip/score", "clip/name", "clip/vector", "clip/present")
TEXT = ("key", "caption", "tokens", "length", *ADDED)
LAYERS = ["clip", "recap"]


class Layered(NamedTuple):
    """A dataset with layers, and what was put into them.

    Attributes:
        folder: Folder of the dataset.
        rows: Columns of the layer `clip`, of two thirds of the records.
        texts: Captions of the layer `recap`, one to three of a record.
        encode: Function of the captions' tokenizer.
    """

    folder: Path
    rows: dict[bytes, dict[str, Any]]
    texts: dict[bytes, list[str]]
    encode: Callable[[str], list[int]]

    def check(self, example: dict[str, Any]) -> None:
        """Compares an example of `TEXT` with the dictionaries."""
        nothing = {"score": 0, "name": "", "vector": [0, 0]}
        key = example["key"]
        row = self.rows.get(key, nothing)
        assert example["clip/present"] == (key in self.rows)
        assert example["clip/score"] == np.float32(row["score"])
        assert example["clip/name"] == row["name"].encode()
        assert example["clip/vector"].tolist() == row["vector"]
        assert example["caption"].decode() in self.texts[key]
        ids = self.encode(example["caption"].decode())
        stored = example["tokens"][1 : example["length"] - 1]  # Of start and end.
        assert stored.tolist() == ids[:62]


@pytest.fixture(scope="module")
def raw(sample, build, tmp_path_factory) -> Path:
    """Raw pixels, and captions in bytes."""
    return build(
        sample / "images",
        sample / "captions",
        tmp_path_factory.mktemp("raw") / "out",
        splits=parse_splits("train=0.8,validation=0.2"),
        num_shards=4,
        captions_per_file="lines",
        image_format="raw",
        image_size=16,
        tokenizer="bytes",
    )


def add_layers(folder: Path, raw: Path, **more: Any) -> Layered:
    """Writes `clip` and `recap`, the latter with the tokenizer of `raw`."""
    keys = [
        features["image/source_id"].bytes_list.value[0]
        for features in stored(folder, "*.tfrecord")
    ]
    rows = {
        key: {"score": n / 100, "name": f"näme {n}", "vector": [n / 2, -1.0]}
        for n, key in enumerate(keys)
        if n % 3
    }
    recaptions = {
        key: [
            f"{key.decode()} again, {'ü' * (n % 9)}{each}" for each in range(n % 3 + 1)
        ]
        for n, key in enumerate(keys)
    }
    spec = parse_manifest((raw / "manifest.json").read_bytes(), str(raw)).tokenizer
    data, encode = (raw / "tokenizer" / spec.file).read_bytes(), reader.tokenizer(raw)
    captions = Captions(recaptions, encode.encode, spec, data)
    write_layer(folder, "clip", COLUMNS, rows)
    write_layer(folder, "recap", captions=captions)
    write_layer(folder, "more", captions=captions._replace(replaces=False))
    return Layered(folder, rows, recaptions, encode.encode)


@pytest.fixture(scope="module")
def layered(dataset, raw, tmp_path_factory) -> Layered:
    folder = tmp_path_factory.mktemp("layered") / "out"
    return add_layers(shutil.copytree(dataset, folder), raw)


@pytest.fixture
def own(layered, tmp_path) -> Layered:
    """A copy of `layered`, for one test to change."""
    folder = shutil.copytree(layered.folder, tmp_path / "out")
    return layered._replace(folder=folder)


def batches_of(read: Callable[..., Any], folder: Path, **more: Any) -> list[Any]:
    """Batches as tuples of NumPy arrays."""
    usual = {"split": SPLIT, "batch_size": BATCH, "workers": 0, "layers": LAYERS}
    batches = read(str(folder), **{**usual, "outputs": TEXT, **more})
    if read is reader.load:
        return soon(lambda: list(batches.as_numpy_iterator()))
    return list(batches)


def examples_of(batches: list[Any], names: tuple[str, ...] = TEXT) -> Iterator[Any]:
    for batch in batches:
        for values in zip(*batch, strict=True):
            yield dict(zip(names, values, strict=True))


def assert_equal(some: list[Any], others: list[Any]) -> None:
    assert len(some) == len(others) > 0
    for one, other in zip(some, others, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert mine.dtype == theirs.dtype
            assert np.array_equal(mine, theirs)


IMAGES = {
    "outputs": ("image", *TEXT),
    "image_size": 8,
    "crop": "random",
    "caption": "random",
}


def test_batches_hold_what_layers_add_and_replace(layered):
    streamed = batches_of(reader.stream, layered.folder, caption="random")
    loaded = batches_of(reader.load, layered.folder, caption="random")
    assert_equal(streamed, loaded)  # Read by TensorFlow.
    for example in examples_of(streamed):
        layered.check(example)


@pytest.mark.parametrize("stored_as", ["jpeg", "raw"])
def test_workers_join_layers_to_records(layered, raw, tmp_path, stored_as):
    made = layered
    if stored_as == "raw":  # Whose files the workers map.
        made = add_layers(shutil.copytree(raw, tmp_path / "out"), raw)
    streamed = batches_of(reader.stream, made.folder, workers=1, **IMAGES)
    assert_equal(streamed, batches_of(reader.load, made.folder, workers=1, **IMAGES))
    assert_equal(streamed, batches_of(reader.load, made.folder, **IMAGES))
    for example in examples_of(streamed, IMAGES["outputs"]):
        made.check(example)
    images = {**IMAGES, "layers": None, "outputs": ("image", "key")}
    without = batches_of(reader.stream, made.folder, **images)
    assert_equal([batch[:2] for batch in streamed], without)


def test_order_and_hosts_do_not_depend_on_layers(layered):
    steps = batches_of(reader.stream, layered.folder, layers=None, outputs=("key",))
    for num in (1, 3, 5):
        hosts = [
            batches_of(reader.stream, layered.folder, host_index=host, host_count=num)
            for host in range(num)
        ]
        for (expected,), shares in zip(steps, zip(*hosts, strict=True), strict=True):
            keys = [key for share in shares for key in share[0].tolist()]
            assert sorted(keys) == sorted(expected.tolist())
            for example in examples_of(list(shares)):
                layered.check(example)


def test_a_host_reads_its_own_records_of_a_layer_only(layered, monkeypatch):
    read, original = [], OpenFiles.read

    def note(self: OpenFiles, path: str, offset: int, length: int) -> bytes:
        read.append((path, offset, length))
        return original(self, path, offset, length)

    monkeypatch.setattr(OpenFiles, "read", note)
    host = {"host_index": 1, "host_count": 3, "layers": "clip", "workers": 0}
    batches = batches_of(reader.stream, layered.folder, outputs=("key",), **host)
    keys = {key for (keys,) in batches for key in keys.tolist()}
    lengths = {}
    for shard in sorted(layered.folder.glob("train-*.tfrecord")):
        of_layer = stored(layered.folder / "layers/clip", shard.name)
        of_base = stored(layered.folder, shard.name)
        for base, layer in zip(of_base, of_layer, strict=True):
            (key,) = texts(base, "image/source_id")
            lengths[key.encode()] = bool(layer)
    folder = str(layered.folder / "layers/clip")
    in_layer = [each for each in read if each[0].startswith(folder)]
    assert len(in_layer) == len({*in_layer}) == len(keys) == BATCH // 3 * len(batches)
    assert sum(length > FRAMING for *_, length in in_layer) == sum(
        map(lengths.get, keys)
    )


def test_sorting_by_length_takes_the_captions_of_the_layer(layered):
    settings = {"bucket_by_length": True, "shuffle_bytes": 1 << 14, "streams": 15}
    streamed = batches_of(reader.stream, layered.folder, **settings)
    assert_equal(streamed, batches_of(reader.load, layered.folder, **settings))
    for example in examples_of(streamed):
        layered.check(example)
    mine, own = (
        reader.stream(
            str(layered.folder),
            split=SPLIT,
            batch_size=BATCH,
            image_size=8,
            layers=layers,
            **settings,
        )
        for layers in ("recap", None)
    )
    state = reader.state(mine, 1)
    with pytest.raises(UsageError, match=r"sorted by other captions .* same layers"):
        own.load_state_dict(state)
    assert "layers" not in reader.state(own, 1)
    mine.load_state_dict(state)


def test_a_state_is_the_same_with_layers(layered):
    arguments = {"split": SPLIT, "batch_size": BATCH, "image_size": 8}
    mine, own = (
        reader.stream(str(layered.folder), layers=layers, **arguments)
        for layers in (LAYERS, None)
    )
    assert reader.state(mine, 1) == reader.state(own, 1)


def test_open_joins_layers(layered):
    names = ("key", "caption", "captions", "tokens", "mask", *ADDED, "more/caption")
    opened = reader.open(
        str(layered.folder), split=SPLIT, layers=[*LAYERS, "more"], outputs=names
    )
    for dataset in (opened, pickle.loads(pickle.dumps(opened))):
        for values in dataset:
            example = dict(zip(names, values, strict=True))
            key = example["key"].encode()
            assert example["captions"] == example["more/caption"] == layered.texts[key]
            layered.check(
                {
                    **example,
                    "key": key,
                    "caption": example["caption"].encode(),
                    "clip/name": example["clip/name"].encode(),
                    "length": example["mask"].sum(),
                }
            )
    column = opened.samples.column("clip/score").to_pylist()
    keys = [key.encode() for key in opened.samples.column("key").to_pylist()]
    scores = [layered.rows.get(key, {}).get("score") for key in keys]
    assert column == pytest.approx(scores)
    sampler = reader.sampler(opened, batch_size=BATCH)
    steps = batches_of(reader.stream, layered.folder, layers=None, outputs=("key",))
    for numbers, (expected,) in zip(sampler, steps, strict=True):
        assert [opened[n][0].encode() for n in numbers] == expected.tolist()


def test_all_captions_of_a_layer_and_its_tokenizer(layered, raw):
    (first, *_) = batches_of(
        reader.stream,
        layered.folder,
        layers="recap",
        caption="all",
        outputs=("key", "caption"),
    )
    for key, found in zip(*first, strict=True):
        wanted = [text.encode() for text in layered.texts[key]]
        assert found.tolist() == wanted + [b""] * (3 - len(wanted))
    own = reader.tokenizer(layered.folder).encode("a red circle")
    replaced = reader.tokenizer(layered.folder, layers=["clip", "recap"])
    assert replaced.encode("a red circle") == layered.encode("a red circle") != own


def test_a_padded_batch_has_no_captions_of_layers_at_its_end(layered):
    batches = reader.load(
        str(layered.folder),
        split=SPLIT,
        batch_size=BATCH,
        layers="more",
        remainder="pad",
        epochs=1,
        outputs=("key", "more/caption"),
    )
    read = [
        pair
        for key, texts in soon(lambda: list(batches))
        for pair in zip(key.numpy(), texts.to_list(), strict=True)
    ]
    num_blank = sum(key == b"" for key, _ in read)
    assert 0 < num_blank < BATCH
    for key, found in read:
        assert found == [text.encode() for text in layered.texts.get(key, ())]


@pytest.mark.parametrize("layer", ["clip", "more"])
def test_conditions_tell_what_layers_lack(layered, layer):
    opened = reader.open(
        str(layered.folder),
        split=SPLIT,
        outputs=("key",),
        layers=layer,
        where=f"{layer}/present = 0",
    )
    own = layered.rows if layer == "clip" else layered.texts
    found = {key.encode() for (key,) in opened}
    every = reader.open(str(layered.folder), split=SPLIT, outputs=("key",))
    assert found == {key.encode() for (key,) in every} - {*own}


@pytest.mark.parametrize("read", [reader.load, reader.stream])
def test_conditions_name_columns_of_layers(layered, read):
    where = '"clip/score" >= 0.3 and width > 1 or "clip/score" is null'
    wanted = {
        key
        for key in layered.texts
        if layered.rows.get(key, {"score": 1})["score"] >= 0.3
    }
    arguments = {"where": where, "remainder": "pad", "outputs": (*TEXT, "valid")}
    batches = batches_of(read, layered.folder, **arguments)
    examples = list(examples_of(batches, arguments["outputs"]))
    found = {example["key"] for example in examples if example["valid"]}
    trained = {
        text.encode()
        for features in stored(layered.folder)
        for text in texts(features, "image/source_id")
    }
    assert found == wanted & trained
    opened = reader.open(str(layered.folder), split=SPLIT, layers="clip", where=where)
    assert len(opened) == len(found)
    counted = reader.coverage(
        str(layered.folder), split=SPLIT, batch_size=5, layers="clip", where=where
    )
    assert counted.num_examples == len(found)
    with pytest.raises(UsageError, match="clip/score"):
        read(str(layered.folder), split=SPLIT, batch_size=1, where=where)


def test_a_cache_holds_layers_too(layered, tmp_path):
    cached = batches_of(reader.stream, layered.folder, cache=tmp_path)
    assert_equal(cached, batches_of(reader.stream, layered.folder))
    names = [path.name for path in tmp_path.rglob("train-*.tfrecord")]
    assert len(names) == 3 * len({*names})


# Damage.


def damage(layered: Layered, layer: str) -> tuple[bytes, str]:
    """Damages a record of a layer; returns its key and how messages name it."""
    shard = sorted(layered.folder.glob("train-*.tfrecord"))[1]
    path = layered.folder / "layers" / layer / shard.name
    index = (path.parent / "index" / f"{shard.name}.idx").read_text()
    spans = [tuple(map(int, line.split())) for line in index.splitlines()]
    place = next(n for n, (_, length) in enumerate(spans) if length > FRAMING)
    offset, length = spans[place]
    (key,) = texts(stored(layered.folder, shard.name)[place], "image/source_id")
    flip(path, offset + length - FRAMING)
    return key.encode(), f'{path} at byte {offset} (key "{key}")'


READS: dict[str, dict[str, Any]] = {
    "stream": {"read": reader.stream},
    "load by TensorFlow": {"read": reader.load},
    "load by workers": {
        "read": reader.load,
        "workers": 1,
        "image_size": 8,
        "outputs": ("image", *TEXT),
    },
}


@pytest.mark.parametrize("how", READS)
def test_damage_in_a_layer_is_named_or_replaced(own, how):
    key, named = damage(own, "clip")
    settings = {"outputs": TEXT, **READS[how], "folder": own.folder, "batch_size": 12}
    with pytest.raises(DatasetError) as raised:
        batches_of(**settings)
    assert f"corrupt record (checksum of its data differs) in {named}" in str(
        raised.value
    )
    names = (*settings.pop("outputs"), "valid")
    batches = batches_of(**settings, on_corrupt="skip", outputs=names)
    examples = list(examples_of(batches, names))
    assert key not in [example["key"] for example in examples]
    assert [example["valid"] for example in examples].count(False) == 1
    for example in examples:
        own.check(example)  # The neighbor brings what its layers add.


@pytest.mark.parametrize("how", READS)
def test_a_record_that_is_not_what_its_layer_states_is_named(own, how):
    path = own.folder / "layers/clip/layer.json"
    stated = json.loads(path.read_text())
    (vector,) = [each for each in stated["features"] if each["shape"] == [2]]
    vector["shape"] = [3]
    path.write_text(json.dumps(stated))
    settings = {"outputs": TEXT, **READS[how], "folder": own.folder, "batch_size": 12}
    with pytest.raises(DatasetError) as raised:
        batches_of(**settings)
    said = str(raised.value)
    assert "holds 2 values of clip/vector, not 3" in said
    assert f"in {own.folder}/layers/clip/train-" in said
    assert "its checksum is right" in said


def test_open_names_damage_in_a_layer(own):
    key, named = damage(own, "recap")
    opened = reader.open(str(own.folder), split=SPLIT, layers="recap")
    with pytest.raises(DatasetError) as raised:
        opened.by_key(key)
    assert named in str(raised.value)


def test_a_shard_of_a_layer_is_missing_or_cut(own):
    (path, *_) = sorted((own.folder / "layers/clip").glob("train-*.tfrecord"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetError, match=r"bytes, not .* as layer.json says"):
        batches_of(reader.stream, own.folder)
    path.unlink()
    with pytest.raises(DatasetError, match="missing: restore it or make the layer"):
        batches_of(reader.stream, own.folder)
    batches_of(reader.stream, own.folder, layers="recap", outputs=("caption",))


# Several datasets.


@pytest.fixture
def other(raw, tmp_path) -> Layered:
    """Another dataset, of the same pictures, with layers."""
    return add_layers(shutil.copytree(raw, tmp_path / "other"), raw)


def test_unions_and_mixtures_read_the_layers_of_all_parts(layered, other):
    pattern = [f"{each.folder}/train-*" for each in (layered, other)]
    union = list(
        reader.stream(pattern, batch_size=BATCH, layers=LAYERS, outputs=TEXT, workers=0)
    )
    for example in examples_of(union):
        layered.check(example)  # Both hold the same rows.
    mixture = reader.load(
        dict.fromkeys(pattern, 1),
        batch_size=BATCH,
        epochs=None,
        layers=LAYERS,
        outputs=TEXT,
    )
    for example in examples_of(list(mixture.take(4).as_numpy_iterator())):
        layered.check(example)
    paths = [f"{each.folder}/layers/clip" for each in (layered, other)]
    read = reader.stream(
        pattern, batch_size=BATCH, layers=paths, outputs=("clip/score",), workers=0
    )
    assert len(list(read)) == len(union)


def test_parts_with_unlike_layers_are_refused(layered, other):
    pattern = [f"{each.folder}/train-*" for each in (layered, other)]
    only = f"{layered.folder}/layers/clip"
    with pytest.raises(UsageError, match=f"{other.folder}.*without the layer clip"):
        reader.stream(pattern, batch_size=BATCH, layers=only)
    shutil.rmtree(other.folder / "layers/clip")
    for each in (pattern, dict.fromkeys(pattern, 1)):
        with pytest.raises(
            UsageError, match=f"diptych layer {other.folder} --name=clip"
        ):
            reader.load(each, batch_size=BATCH, layers="clip", epochs=None)
    write_layer(other.folder, "clip", {"score": ("int64", ())}, {})
    with pytest.raises(UsageError, match="differ in their features"):
        reader.open(pattern, layers="clip")


# What is refused.


def refused(error: type[Exception], match: str, layered: Layered, **more: Any) -> None:
    for read in (reader.stream, reader.load):
        with pytest.raises(error, match=match):
            read(
                **{
                    "pattern": str(layered.folder),
                    "split": SPLIT,
                    "batch_size": 1,
                    **more,
                }
            )


def test_layers_that_cannot_be_read_are_refused(own, other, tmp_path):
    refused(
        UsageError, r"has no layer clap \(did you mean clip\?\)", own, layers="clap"
    )
    refused(UsageError, "must not be an empty list", own, layers=[])
    refused(UsageError, "must be names or paths, got 7", own, layers=[7])
    refused(UsageError, "names clip twice", own, layers=["clip", "clip"])
    refused(UsageError, "outputs names clip/none", own, outputs=("clip/none",))
    refused(UsageError, "pass layers='clip' too", own, outputs=("clip/score",))
    foreign = f"{other.folder}/layers/clip"
    refused(UsageError, "is a layer of another build", own, layers=foreign)
    shutil.copytree(own.folder / "layers/recap", own.folder / "layers/second")
    refused(UsageError, "holds the layer recap: rename", own, layers="second")
    moved = own.folder / "layers/second/layer.json"
    fields = json.loads(moved.read_bytes().replace(b"recap", b"second"))
    moved.write_text(json.dumps(fields))
    refused(UsageError, "both replace the captions", own, layers=["recap", "second"])
    for name in ("image", "a/b"):
        shutil.copytree(own.folder / "layers/clip", tmp_path / "odd")
        text = (tmp_path / "odd/layer.json").read_text()
        (tmp_path / "odd/layer.json").write_text(text.replace('"clip', f'"{name}'))
        refused(UsageError, "name of a layer", own, layers=f"{tmp_path}/odd")
        shutil.rmtree(tmp_path / "odd")
    (own.folder / "layers/clip/layer.json").unlink()
    refused(DatasetError, "not a finished layer", own, layers="clip")


def test_a_layer_is_no_dataset(layered):
    for pattern in ("layers/clip", "layers/clip/train-*.tfrecord"):
        with pytest.raises(DatasetError, match=r'is a layer.* layers="clip"'):
            reader.open(f"{layered.folder}/{pattern}")


def test_only_datasets_have_layers(layered, tmp_path):
    shard = next(layered.folder.glob("train-*.tfrecord"))
    shutil.copy(shard, tmp_path / "foreign.tfrecord")
    for layers in ("clip", f"{layered.folder}/layers/clip"):
        with pytest.raises(UsageError, match="only Diptych datasets have layers"):
            reader.open(f"{tmp_path}/foreign.tfrecord", layers=layers)

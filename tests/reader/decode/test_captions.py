"""First, random and all captions, against plain loops over the records."""

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import reader
from reader.contract.record import parse_example, serialize_example
from reader.storage.tfrecord_file import read_shard

# Equal numbers of images with 1, 2 … 5 captions.
N, MOST, STREAMS = 420, 5, 192
PAD, START, END = 0, 2, 3
NAMES = ("key", "caption", "tokens", "length", "mask")
WORDS = [*"abcdefghijk"]

# Captions by key, as (text, token ids).
Captions = dict[bytes, list[tuple[bytes, list[int]]]]


@pytest.fixture(scope="module")
def varied(build, tmp_path_factory) -> Path:
    """420 pictures in three shards, with 1 to 5 captions of 1 to 40 words."""
    source = tmp_path_factory.mktemp("varied")
    rng = np.random.default_rng(3)
    for number in range(N):
        noise = rng.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(noise).save(source / f"{number:03}.png")
        lines = []
        for place in range(1 + number % MOST):
            num = min(40, 1 + int(rng.exponential(9)))
            lines.append(f"n{number}x{place} " + " ".join(rng.choice(WORDS, num - 1)))
        (source / f"{number:03}.txt").write_text("\n".join(map(str.strip, lines)))
    return build(
        source,
        source,
        source / "out",
        resize="none",
        num_shards=3,
        captions_per_file="lines",
    )


@pytest.fixture(scope="module")
def stored(varied: Path) -> Captions:
    captions: Captions = {}
    for shard in sorted(varied.glob("train-*.tfrecord")):
        for record in read_shard(str(shard)):
            example = parse_example(record.data)
            ids = iter(example["caption/ids"])
            rows = [[*itertools.islice(ids, n)] for n in example["caption/lengths"]]
            texts = example["image/caption"]
            captions[example["image/source_id"][0]] = [*zip(texts, rows, strict=True)]
    assert Counter(map(len, captions.values())) == dict.fromkeys(range(1, 6), N // MOST)
    return captions


def load(pattern: Any, **settings: Any) -> Any:
    usual = {"batch_size": 60, "image_size": 4, "outputs": NAMES}
    return reader.load(pattern, **{**usual, **settings})


def examples(pattern: Any, **settings: Any) -> Iterator[tuple[Any, ...]]:
    """Yields the examples of one iterator, as tuples of outputs."""
    for batch in load(pattern, **settings).as_numpy_iterator():
        yield from zip(*(values.tolist() for values in batch), strict=True)


def row(
    ids: list[int],
    max_tokens: int,
    start: int | None = START,
    end: int | None = END,
    pad: int = PAD,
) -> tuple[list[int], int, list[bool]]:
    """Returns the expected tokens, length and mask of a caption."""
    before = [] if start is None else [start]
    after = [] if end is None else [end]
    framed = before + ids[: max_tokens - len(before) - len(after)] + after
    more = max_tokens - len(framed)
    return framed + [pad] * more, len(framed), [True] * len(framed) + [False] * more


def with_tokenizer(varied: Path, folder: Path, **ids: int | None) -> Path:
    """Copies the dataset, with other ids for start, end and pad."""
    copied = Path(shutil.copytree(varied, folder / "out"))
    manifest = json.loads((copied / "manifest.json").read_text())
    assert {*ids} <= {*manifest["tokenizer"]}
    manifest["tokenizer"] |= ids
    (copied / "manifest.json").write_text(json.dumps(manifest))
    return copied


# Token rows.


@pytest.mark.parametrize("max_tokens", [2, 11, 300])
def test_the_first_caption_is_taken_whole_or_cut_between_start_and_end(
    varied, stored, max_tokens
):
    loaded = list(examples(varied, max_tokens=max_tokens))
    assert {key for key, *_ in loaded} == {*stored}
    for key, caption, *made in loaded:
        text, ids = stored[key][0]
        assert (caption, *made) == (text, *row(ids, max_tokens))


@pytest.mark.parametrize("max_tokens", [1, 7])
def test_without_special_tokens_a_row_holds_words_alone(varied, stored, max_tokens):
    settings = {"max_tokens": max_tokens, "add_special_tokens": False}
    for key, caption, *made in examples(varied, caption="random", **settings):
        ids = dict(stored[key])[caption]
        assert tuple(made) == row(ids, max_tokens, None, None)


@pytest.mark.parametrize("max_tokens", [9, 64])
def test_a_random_caption_comes_with_its_own_tokens_and_length(
    varied, stored, max_tokens
):
    for key, caption, *made in examples(
        varied, caption="random", max_tokens=max_tokens
    ):
        ids = dict(stored[key])[caption]  # A caption of this image.
        assert tuple(made) == row(ids, max_tokens)


@pytest.mark.parametrize(
    ("max_captions", "max_tokens"),
    [(None, 64), (1, 9), (3, 9), (8, 2)],
)
def test_all_captions_are_those_stored_as_far_as_there_is_room(
    varied, stored, max_captions, max_tokens
):
    loaded = examples(
        varied,
        caption="all",
        max_captions=max_captions,
        max_tokens=max_tokens,
        outputs=(*NAMES, "caption_valid"),
    )
    room = max_captions or MOST
    for key, texts, tokens, lengths, masks, valid in loaded:
        pairs = stored[key][:room]
        more = room - len(pairs)
        assert texts == [text for text, _ in pairs] + [b""] * more
        assert valid == [True] * len(pairs) + [False] * more
        rows = [row(ids, max_tokens) for _, ids in pairs]
        rows += [([PAD] * max_tokens, 0, [False] * max_tokens)] * more
        assert list(zip(tokens, lengths, masks, strict=True)) == rows


def test_shapes_with_all_captions_are_known_beforehand(varied):
    spec = load(varied, caption="all", max_tokens=9, outputs=None).element_spec
    assert spec == {
        "image": tf.TensorSpec((60, 4, 4, 3), tf.float32),
        "tokens": tf.TensorSpec((60, MOST, 9), tf.int32),
        "mask": tf.TensorSpec((60, MOST, 9), tf.bool),
        "caption_valid": tf.TensorSpec((60, MOST), tf.bool),
    }
    lengths = load(varied, caption="all", max_captions=2, outputs=("length", "caption"))
    assert lengths.element_spec == (
        tf.TensorSpec((60, 2), tf.int32),
        tf.TensorSpec((60, 2), tf.string),
    )


@pytest.mark.parametrize("caption", ["random", "all"])
def test_what_an_output_holds_does_not_depend_on_what_else_is_asked_for(
    varied, caption
):
    names = (*NAMES, "caption_valid") if caption == "all" else NAMES
    together = next(load(varied, caption=caption, outputs=names).as_numpy_iterator())
    for name, values in zip(names, together, strict=True):
        (alone,) = next(
            load(varied, caption=caption, outputs=(name,)).as_numpy_iterator()
        )
        assert np.array_equal(alone, values), name


@pytest.mark.parametrize(
    ("start", "end", "pad", "caption"),
    [
        (None, None, 0, "random"),
        (None, None, 9, "all"),
        (7, None, 0, "all"),
        (None, 8, 9, "random"),
        (None, 8, 9, "all"),
        (7, 8, 9, "all"),
    ],
)
def test_a_tokenizer_without_start_or_end_gives_rows_without(
    varied, stored, tmp_path, start, end, pad, caption
):
    copied = with_tokenizer(varied, tmp_path, start_id=start, end_id=end, pad_id=pad)
    max_tokens = 6
    loaded = examples(copied, caption=caption, max_tokens=max_tokens)
    nothing = ([pad] * max_tokens, 0, [False] * max_tokens)
    for key, texts, *made in loaded:
        rows = (texts, *made)
        for text, *one in zip(*rows, strict=True) if caption == "all" else [rows]:
            ids = dict(stored[key]).get(text)
            expected = nothing if ids is None else row(ids, max_tokens, start, end, pad)
            assert tuple(one) == expected


@pytest.mark.parametrize(
    ("ids", "at_least"),
    [
        ({}, 2),
        ({"start_id": None}, 1),
        ({"end_id": None}, 1),
        ({"start_id": None, "end_id": None}, 1),
    ],
)
def test_fewer_tokens_than_the_special_ones_are_refused(
    varied, tmp_path, ids, at_least
):
    copied = with_tokenizer(varied, tmp_path, **ids)
    assert len(load(copied, max_tokens=at_least)) == 7
    with pytest.raises(reader.UsageError, match="max_tokens"):
        load(copied, max_tokens=at_least - 1)


# Random captions.


@pytest.fixture(scope="module")
def drawn(varied) -> list[dict[bytes, bytes]]:
    """The caption of each key in each of 24 epochs."""
    line = examples(
        varied, caption="random", epochs=24, seed=4, outputs=("key", "caption")
    )
    epochs = [dict(itertools.islice(line, N)) for _ in range(24)]
    assert all(len(epoch) == N for epoch in epochs)
    return epochs


def test_each_caption_of_an_image_is_drawn_about_equally_often(stored, drawn):
    for num in range(2, MOST + 1):
        images = {key: pairs for key, pairs in stored.items() if len(pairs) == num}
        places = Counter(
            [text for text, _ in pairs].index(epoch[key])
            for key, pairs in images.items()
            for epoch in drawn
        )
        expected = len(images) * len(drawn) / num
        assert len(places) == num
        chi2 = sum((places[place] - expected) ** 2 / expected for place in range(num))
        assert chi2 < 20  # At most 4 degrees of freedom: p < 0.0005.


def test_an_image_shows_all_of_its_captions_sooner_or_later(stored, drawn):
    shown = {key: {epoch[key] for epoch in drawn} for key in stored}
    whole = sum(len(shown[key]) == len(pairs) for key, pairs in stored.items())
    # For 2.3 % of images with five captions, 24 draws miss one caption.
    assert whole > 0.96 * N


def test_each_epoch_draws_anew(stored, drawn):
    for one, other in itertools.pairwise(drawn):
        for num in range(2, MOST + 1):
            same = [one[k] == other[k] for k, v in stored.items() if len(v) == num]
            # Five standard deviations for 84 images.
            assert abs(np.mean(same) - 1 / num) < 5 * (0.25 / len(same)) ** 0.5


def test_images_draw_independently_of_each_other(varied, stored, drawn):
    order = [key for key in stored if len(stored[key]) == 2]
    for epoch in drawn:
        second = np.array([epoch[key] == stored[key][1][0] for key in order])
        same = np.mean(second[1:] == second[:-1])
        assert abs(same - 0.5) < 5 * (0.25 / len(order)) ** 0.5


def test_another_seed_draws_other_captions(varied, stored, drawn):
    other = dict(examples(varied, caption="random", seed=5, outputs=("key", "caption")))
    of_two = [key for key, pairs in stored.items() if len(pairs) == 2]
    assert 0.2 < np.mean([drawn[0][key] == other[key] for key in of_two]) < 0.8


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 1},
        {"batch_size": 28},
        {"shuffle": False},
        {"shuffle_bytes": 1},
        {"bucket_by_length": True},
        {"prefetch": 0, "num_threads": 1},
    ],
    ids=repr,
)
def test_draws_do_not_depend_on_how_examples_are_dealt(varied, drawn, settings):
    usual = {"caption": "random", "epochs": 2, "seed": 4, "outputs": ("key", "caption")}
    line = list(examples(varied, **{**usual, **settings}))
    assert dict(line[:N]) == drawn[0]
    assert dict(line[N:]) == drawn[1]


@pytest.mark.parametrize("host_count", [4])
def test_hosts_draw_what_one_host_draws(varied, drawn, host_count):
    line: list[Any] = []
    for host in range(host_count):
        line += examples(
            varied,
            caption="random",
            seed=4,
            host_index=host,
            host_count=host_count,
            outputs=("key", "caption"),
        )
    assert len(line) == N
    assert dict(line) == drawn[0]


@pytest.mark.parametrize("batch_size", [12, 35])
def test_a_run_that_goes_on_draws_what_it_would_have_drawn(varied, drawn, batch_size):
    usual = {"caption": "random", "epochs": 3, "seed": 4, "outputs": ("key", "caption")}
    batches = load(varied, **usual)
    taken = sum(len(key) for key, _ in itertools.islice(iter(batches), 9))
    state = json.loads(json.dumps(reader.state(batches, 9)))
    rest = list(examples(varied, **usual, resume=state, batch_size=batch_size))
    left = 2 * N - taken
    dropped = left % batch_size
    assert {*rest[: left - dropped]} <= {*drawn[1].items()}
    assert dict(rest[left - dropped :]) == drawn[2]


# Each example and caption once.


def test_padded_batches_hold_each_image_and_caption_exactly_once(
    varied, stored, tmp_path
):
    copied = with_tokenizer(varied, tmp_path, pad_id=9)
    names = (*NAMES, "caption_valid", "valid", "image")
    pairs: Counter[tuple[bytes, bytes]] = Counter()
    keys: Counter[bytes] = Counter()
    num_blank = 0
    for key, texts, tokens, lengths, masks, there, valid, image in examples(
        copied,
        caption="all",
        remainder="pad",
        batch_size=32,
        max_tokens=5,
        outputs=names,
    ):
        if valid:
            keys[key] += 1
            pairs.update((key, text) for text, v in zip(texts, there, strict=True) if v)
            continue
        num_blank += 1
        assert (key, texts, there) == (b"", [b""] * MOST, [False] * MOST)
        assert (tokens, lengths) == ([[9] * 5] * MOST, [0] * MOST)
        assert not np.any(masks) and not np.any(image)
    assert num_blank == -N % 32
    assert keys == dict.fromkeys(stored, 1)
    assert pairs == {(k, text): 1 for k, texts in stored.items() for text, _ in texts}


# Sorting by length.


def longest(caption: str, lengths: Any) -> int:
    return max(lengths) if caption == "all" else lengths


@pytest.mark.parametrize(
    ("caption", "max_captions"),
    [("first", None), ("random", None), ("all", None), ("all", 2)],
)
def test_streams_are_sorted_by_the_longest_caption_taken(
    varied, stored, caption, max_captions
):
    settings = {"caption": caption, "max_captions": max_captions}
    (batch,) = load(
        varied,
        batch_size=N,
        bucket_by_length=True,
        outputs=("key", "length"),
        **settings,
    ).as_numpy_iterator()
    keys, lengths = (values.tolist() for values in batch)
    assert sorted(keys) == sorted(stored)
    num_risen = 0
    for stream in range(STREAMS):
        taken = [longest(caption, each) for each in lengths[stream::STREAMS]]
        assert taken == sorted(taken)
        num_risen += taken[0] < taken[-1]
    assert num_risen > STREAMS / 2


@pytest.mark.parametrize("caption", ["first", "random", "all"])
def test_narrow_batches_hold_all_captions_whole(varied, stored, caption):
    widths = set()
    line = Counter()
    for keys, texts, tokens, lengths, mask in load(
        varied, caption=caption, bucket_by_length=True, batch_size=30
    ).as_numpy_iterator():
        width = tokens.shape[-1]
        assert width == -(-lengths.max() // 8) * 8
        assert mask.shape == tokens.shape
        widths.add(width)
        line.update(keys.tolist())
        several = [values.reshape(-1) for values in (texts, lengths)]
        rows = [values.reshape(-1, width) for values in (tokens, mask)]
        owners = np.repeat(keys, texts.size // len(keys)).tolist()
        for key, text, length, ids, real in zip(owners, *several, *rows, strict=True):
            if not text:
                assert length == 0 and not real.any()
                continue
            expected = row(dict(stored[key])[text], width)
            assert (ids.tolist(), length, real.tolist()) == expected
    assert line == dict.fromkeys(stored, 1)
    assert len(widths) > 1


@pytest.mark.parametrize("caption", ["random", "all"])
def test_hosts_together_hold_the_sorted_step_of_one_host(varied, caption):
    settings = {"caption": caption, "bucket_by_length": True, "batch_size": 60}
    names = {"outputs": ("key", "caption")}
    steps: list[set[Any]] = [set() for _ in range(7)]
    for host in range(2):
        batches = load(varied, **settings, **names, host_index=host, host_count=2)
        for step, (keys, texts) in zip(steps, batches.as_numpy_iterator(), strict=True):
            step.update(zip(keys.tolist(), map(str, texts.tolist()), strict=True))
    alone = load(varied, **settings, **names).as_numpy_iterator()
    for step, (keys, texts) in zip(steps, alone, strict=True):
        assert step == {*zip(keys.tolist(), map(str, texts.tolist()), strict=True)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"caption": "first"}, {"caption": "random"}),
        ({"caption": "first"}, {"caption": "all"}),
        ({"caption": "all"}, {"caption": "all", "max_captions": 1}),
    ],
    ids=repr,
)
def test_a_sorted_run_does_not_go_on_with_captions_that_sort_otherwise(
    varied, before, after
):
    usual = {"bucket_by_length": True, "outputs": ("key",)}
    one, other = (list(examples(varied, **usual, **each)) for each in (before, after))
    assert one != other
    state = reader.state(load(varied, **usual, **before), 3)
    with pytest.raises(reader.UsageError, match="caption"):
        load(varied, **usual, **after, resume=state)


# TFRecords from other tools.


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for values in rows:
            record = {
                name: ("int64" if name == "caption/ids" else "bytes", value)
                for name, value in values.items()
            }
            writer.write(serialize_example(record))
    return path


def of_others(number: int, with_ids: bool) -> dict[str, Any]:
    texts = [b"%d of %d" % (place, number) for place in range(number % 4)]
    ids = {"caption/ids": [*range(10, 10 + number)]} if with_ids else {}
    return {"image/source_id": [b"%d" % number], "image/caption": texts, **ids}


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> Path:
    """12 records with 0 to 3 captions, the first with one; no ids."""
    path = tmp_path_factory.mktemp("several") / "several"
    return write(path, [of_others(number, False) for number in range(1, 13)])


@pytest.fixture(scope="module")
def with_ids(tmp_path_factory) -> Path:
    """12 records with 1 to 12 ids, without lengths, and 0 to 3 texts."""
    path = tmp_path_factory.mktemp("ids") / "ids"
    return write(path, [of_others(number, True) for number in range(1, 13)])


def texts_of(key: bytes) -> list[bytes]:
    return of_others(int(key), False)["image/caption"]


def test_captions_of_others_need_no_ids(several):
    settings = {"batch_size": 4, "outputs": ("key", "caption")}
    for key, text in examples(several, **settings):
        assert text == (texts_of(key) or [b""])[0]
    shown: dict[bytes, set[bytes]] = {}
    for key, text in examples(several, caption="random", epochs=40, **settings):
        shown.setdefault(key, set()).add(text)
    assert shown == {key: {*texts_of(key)} or {b""} for key in shown}
    assert len(shown) == 12


@pytest.mark.parametrize("max_captions", [1, 5])
def test_all_captions_of_others_are_taken_as_far_as_there_is_room(
    several, max_captions
):
    loaded = examples(
        several,
        caption="all",
        max_captions=max_captions,
        batch_size=5,
        remainder="pad",
        outputs=("key", "caption", "caption_valid", "valid"),
    )
    seen = []
    for key, texts, there, valid in loaded:
        expected = texts_of(key)[:max_captions] if valid else []
        more = max_captions - len(expected)
        assert texts == expected + [b""] * more
        assert there == [True] * len(expected) + [False] * more
        seen += [key] * valid
    assert sorted(seen) == sorted(b"%d" % number for number in range(1, 13))


@pytest.mark.parametrize(
    ("caption", "max_tokens"),
    [("first", 5), ("first", 1), ("first", 30)],
)
def test_ids_of_others_are_one_caption_without_start_and_end(
    with_ids, caption, max_tokens
):
    names = ("key", "tokens", "length", "mask")
    for key, *made in examples(
        with_ids, caption=caption, max_tokens=max_tokens, batch_size=4, outputs=names
    ):
        ids = of_others(int(key), True)["caption/ids"]
        assert tuple(made) == row(ids, max_tokens, None, None)


def test_all_captions_with_ids_of_others_are_one(with_ids):
    names = ("key", "tokens", "length", "mask", "caption_valid")
    settings = {"caption": "all", "max_captions": 2, "max_tokens": 4}
    for key, *made, there in examples(
        with_ids, **settings, batch_size=4, outputs=names
    ):
        ids = of_others(int(key), True)["caption/ids"]
        rows = list(zip(*made, strict=True))
        assert rows == [row(ids, 4, None, None), ([0] * 4, 0, [False] * 4)]
        assert there == [True, False]


@pytest.mark.parametrize("caption", ["first", "random", "all"])
def test_ids_of_others_are_sorted_by_length(with_ids, caption):
    more = {"max_captions": 2} if caption == "all" else {}
    (batch,) = load(
        with_ids,
        caption=caption,
        bucket_by_length=True,
        batch_size=12,
        outputs=("key", "length", "tokens"),
        **more,
    ).as_numpy_iterator()
    keys, lengths, tokens = batch
    assert sorted(keys.tolist()) == sorted(b"%d" % n for n in range(1, 13))
    taken = [longest(caption, each) for each in lengths.tolist()]
    assert taken == [int(key) for key in keys]
    assert tokens.shape[-1] == 16


def test_an_image_without_captions_has_an_empty_row(tmp_path):
    rows = [of_others(1, True), {**of_others(2, True), "caption/ids": []}]
    path = write(tmp_path / "some", rows)
    loaded = list(
        examples(
            path,
            shuffle=False,
            batch_size=2,
            max_tokens=3,
            outputs=("tokens", "length", "mask"),
        )
    )
    assert loaded == [row([10], 3, None, None), row([], 3, None, None)]

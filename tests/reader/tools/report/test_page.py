"""Compares the contents of the page with the dataset."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reader
from beam_jobs.__main__ import main
from beam_jobs.config.values import parse_splits
from reader.contract.manifest import parse_manifest
from reader.tools.report.write import write_report

SPLITS = ("train", "validation")
GOLDEN = Path(__file__).parents[3] / "golden/v0/dataset"


def number_of(text: str) -> float:
    return float(re.sub(r"[^0-9.]", "", text))


def rows_of(dataset: Path) -> list[dict]:
    return [
        row
        for split in SPLITS
        for row in reader.open(dataset, split=split).samples.to_pylist()
    ]


def table_of(tree, name: str) -> dict[str, float]:
    rows = tree.one("figure", id=name).one("tbody").all("tr")
    return {row.one("th").text: number_of(row.one("td").text) for row in rows}


def facts_of(tree, name: str) -> dict[str, str]:
    facts = tree.one("figure", id=name).one(class_="facts")
    return {item.one("dt").text: item.one("dd").text for item in facts.all("div")}


@pytest.fixture(scope="module")
def flawed(sample, build, tmp_path_factory) -> Path:
    """Dataset with a duplicate, two damaged, three unpaired and one small image."""
    folder = tmp_path_factory.mktemp("flawed")
    images, captions = folder / "images", folder / "captions"
    shutil.copytree(sample / "images", images)
    shutil.copytree(sample / "captions", captions)
    some = sorted(images.iterdir())
    some[0].write_bytes(some[1].read_bytes())
    for damaged in some[2:4]:
        damaged.write_bytes(damaged.read_bytes()[:-200])
    for alone in some[4:7]:
        alone.unlink()
    Image.new("RGB", (9, 9)).save(some[7])
    return build(
        images,
        captions,
        folder / "out",
        captions_per_file="lines",
        dedupe="exact",
        min_image_size=10,
        max_rejects="50%",
        max_unpaired="50%",
    )


@pytest.fixture
def own_flawed(flawed, tmp_path) -> Path:
    """Copy of `flawed` that a test may change."""
    return Path(shutil.copytree(flawed, tmp_path / "out"))


def test_the_books_are_those_of_the_manifest_and_add_up(flawed, page):
    tree = page(flawed)
    legend = tree.one("ul", class_="legend")
    counts = {
        item.one("b").text: number_of(next(item.all(class_="number")).text)
        for item in legend.all("li")
    }
    assert counts == {
        "Written": 53,
        "Rejected": 2,
        "Filtered": 1,
        "Duplicates": 1,
        "Unpaired": 3,
    }
    assert tree.one(class_="sum").words.startswith("60 found = 53 written + 2 rejected")
    parts = list(tree.one(class_="ledger").all("rect"))
    widths = [number_of(part.attributes["width"]) for part in parts]
    assert sum(widths) == pytest.approx(100, abs=0.1)
    assert widths[0] == pytest.approx(100 * 53 / 60, abs=0.1)
    assert [part.attributes["class"] for part in parts] == [
        "written",
        "rejected",
        "filtered",
        "duplicates",
        "unpaired",
    ]


def test_each_reason_has_its_number_and_examples(flawed, page):
    lines = (flawed / "rejects.jsonl").read_text().splitlines()
    rejects = [json.loads(line) for line in lines]
    counts = Counter(reject["reason"] for reject in rejects)
    tree = page(flawed)
    assert len(list(tree.all(class_="group"))) == len(counts) == 4
    for reason, count in counts.items():
        group = tree.one(id=f"reason-{reason}")
        assert number_of(group.one(class_="soft").text) == count
        items = [item.words for item in group.all("li")]
        assert len(items) == min(3, count)
        expected = [r for r in rejects if r["reason"] == reason][:3]
        for item, reject in zip(items, expected, strict=True):
            assert reject["source"][0] in item
            assert reject["detail"] in item


def test_rejected_rows_of_a_table_are_told_apart(tmp_path, page):
    rows = []
    for key, caption in (("sound", "a cat"), ("first", ""), ("second", " ")):
        Image.new("RGB", (9, 9)).save(tmp_path / f"{key}.png")
        rows.append(json.dumps({"image": f"{key}.png", "caption": caption}))
    (tmp_path / "t.jsonl").write_text("\n".join(rows))
    out = tmp_path / "out"
    source = [f"--table={tmp_path / 't.jsonl'}", f"--images={tmp_path}"]
    assert main(["build", *source, "--max_rejects=100%", f"--output={out}"]) == 0
    group = page(out).one(id="reason-empty_caption")
    names = [[n.text for n in item.all(class_="name")] for item in group.all("li")]
    assert names == [["first", "t.jsonl"], ["second", "t.jsonl"]]


def test_examples_are_spread_over_each_split_and_decoded(dataset, page):
    cards = list(page(dataset, 12).all(class_="card"))
    splits = Counter(card.attributes["data-split"] for card in cards)
    # The splits have 48 and 12 records; shares are proportional to square roots.
    assert splits == {"train": 8, "validation": 4}
    for card in cards:
        split = card.attributes["data-split"]
        opened = reader.open(
            dataset, split=split, outputs=("image", "key", "captions", "tokens")
        )
        key = card.one(class_="name").text
        image, _, captions, _ = opened.by_key(key)
        picture = card.one("img")
        data = base64.b64decode(picture.attributes["src"].partition(",")[2])
        thumbnail = Image.open(io.BytesIO(data))
        size = (picture.attributes["width"], picture.attributes["height"])
        assert tuple(map(int, size)) == thumbnail.size
        height, width, _ = image.shape
        assert thumbnail.width / thumbnail.height == pytest.approx(width / height, 0.02)
        expected = Image.fromarray(image).resize(thumbnail.size, Image.Resampling.BOX)
        difference = np.asarray(thumbnail, int) - np.asarray(expected, int)
        assert np.abs(difference).mean() < 6
        assert [c.words for c in card.all(class_="caption")] == captions
        assert picture.attributes["alt"] == captions[0]


def test_tokens_are_those_that_the_reader_gives(dataset, page):
    opened = reader.open(dataset, split="train", outputs=("key", "tokens", "length"))
    tokens_by_key = {key: tokens[:length].tolist() for key, tokens, length in opened}
    cards = [
        card
        for card in page(dataset).all(class_="card")
        if card.attributes["data-split"] == "train"
    ]
    assert cards
    vocabulary = (dataset / "tokenizer/vocab.txt").read_text().splitlines()
    for card in cards:
        chips = list(next(card.all(class_="tokens")).all("li"))
        ids = [int(chip.attributes["title"]) for chip in chips]
        assert ids == tokens_by_key[card.one(class_="name").text][: len(ids)]
        assert [chip.text for chip in chips] == [vocabulary[id_] for id_ in ids]


@pytest.mark.parametrize("name", ["width", "height"])
def test_bars_of_sizes_count_every_image_where_it_belongs(dataset, page, name):
    tree = page(dataset)
    values = [row[name] for row in rows_of(dataset)]
    facts = {what: number_of(value) for what, value in facts_of(tree, name).items()}
    assert facts["smallest"] == min(values)
    assert facts["largest"] == max(values)
    assert facts["median"] == sorted(values)[(len(values) - 1) // 2]
    bars = table_of(tree, name)
    assert sum(bars.values()) == len(values)
    for label, count in bars.items():
        low, _, high = label.partition("–")
        within = [v for v in values if number_of(low) <= v <= number_of(high or low)]
        assert len(within) == count, label


def test_bars_of_lengths_shapes_and_bytes_count_everything(dataset, page):
    tree, rows = page(dataset), rows_of(dataset)
    lengths = [length for row in rows for length in row["num_tokens"]]
    assert sum(table_of(tree, "tokens").values()) == len(lengths)
    assert number_of(facts_of(tree, "tokens")["largest"]) == max(lengths)
    for name in ("aspect", "bytes"):
        assert sum(table_of(tree, name).values()) == len(rows)
    widest = max(row["width"] / row["height"] for row in rows)
    one, other = facts_of(tree, "aspect")["largest"].split(":")
    assert float(one) / float(other) == pytest.approx(widest, abs=0.005)


def test_shards_are_as_large_as_their_files(dataset, page):
    table = table_of(page(dataset), "shards")
    sizes = {path.stem: path.stat().st_size for path in dataset.glob("*.tfrecord")}
    assert set(table) == set(sizes)
    for name, size in sizes.items():
        assert table[name] == pytest.approx(size / 1024, abs=0.05)


def test_tokens_are_counted_and_the_rarest_are_the_rarest(dataset, page):
    tokenizer = reader.tokenizer(dataset)
    vocabulary = (dataset / "tokenizer/vocab.txt").read_text().splitlines()
    counts = Counter(
        vocabulary[id_]
        for row in rows_of(dataset)
        for caption in row["captions"]
        for id_ in tokenizer.encode(caption)
    )
    tree = page(dataset)
    frequent = [
        (item.one("bdi").text, number_of(item.one("span").text))
        for item in tree.one(class_="frequent").all("li")
    ]
    rare = [
        (item.one("bdi").text, number_of(item.one("span").text))
        for item in tree.one(class_="rare").all("li")
    ]
    assert dict(frequent + rare).items() <= counts.items()
    falling = sorted(counts.values(), reverse=True)
    assert [count for _, count in frequent] == falling[: len(frequent)]
    assert [count for _, count in rare] == falling[::-1][: len(rare)]


def test_captions_that_the_reader_cuts_are_counted_and_shown(build, tmp_path, page):
    for number, words in enumerate((3, 62, 63, 200)):
        Image.new("RGB", (9, 9)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(" ".join(["word"] * words))
    made = build(tmp_path, tmp_path, tmp_path / "out")
    tree = page(made)
    verdict = tree.one("section", id="captions").one(class_="verdict").words
    # Start and end tokens take two of 64.
    assert verdict.startswith("2 of 4 captions are truncated (50 %) at max_tokens=64")
    assert verdict.endswith("max_tokens=202 keeps all captions complete.")
    longest = list(tree.one(class_="longest").all(class_="meta"))
    assert "200 tokens, 138 truncated" in longest[0].words
    batches = reader.load(made, batch_size=4, shuffle=False, outputs=("length",))
    lengths = sorted(int(n) for (batch,) in batches for n in batch)
    assert lengths == [5, 64, 64, 64]


def test_without_long_captions_nothing_is_cut(dataset, page):
    verdict = page(dataset).one("section", id="captions").one(class_="verdict").words
    assert verdict.startswith("No caption is truncated at max_tokens=64")


def test_the_page_is_the_same_for_the_same_dataset(dataset, own_dataset, tmp_path):
    one = write_report(dataset, tmp_path / "one.html")
    other = write_report(own_dataset)
    assert other.path == str(own_dataset / "report.html")
    assert Path(one.path).read_bytes() == Path(other.path).read_bytes()
    assert str(own_dataset) not in Path(other.path).read_text(encoding="utf-8")


def test_a_dataset_with_its_page_in_it_is_still_whole(own_dataset):
    write_report(own_dataset)
    assert reader.verify(own_dataset).problems == []


def test_a_dataset_built_anew_has_no_page_of_the_one_before(sample, build, tmp_path):
    folders = sample / "images", sample / "captions"
    made = build(*folders, tmp_path / "out")
    write_report(made)
    build(*folders, made)
    assert (made / "report.html").exists()  # A complete dataset is not built again.
    (made / "mine.html").touch()
    build(*folders, made, image_size=16, overwrite=True)
    assert not (made / "report.html").exists()
    assert (made / "mine.html").exists()


def test_a_page_of_noise_and_long_text_stays_small(build, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(60):
        noise = rng.integers(0, 256, (256, 256, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
        lines = ("\n".join(["\"&<'>" * 9 + " word" * 2000] * 7), str(number))
        (tmp_path / f"{number}.txt").write_text("\n".join(lines))
    made = build(tmp_path, tmp_path, tmp_path / "out", captions_per_file="lines")
    written = write_report(made)
    assert written.num_shown == 60
    assert written.num_bytes == Path(written.path).stat().st_size < 5_000_000


def test_a_damaged_record_is_named_and_the_others_are_shown(own_dataset, page):
    shard = sorted(own_dataset.glob("train-*.tfrecord"))[0]
    data = bytearray(shard.read_bytes())
    data[2000] ^= 1
    shard.write_bytes(data)
    tree = page(own_dataset)
    (problem,) = tree.all(class_="problem")
    assert f"{shard.name} at byte" in problem.words
    assert str(own_dataset) not in problem.words
    assert "diptych verify" in problem.words
    assert len(list(tree.all("img"))) == 59


@pytest.mark.parametrize(
    "file", ["rejects.jsonl", "samples/train-00000-of-00001.parquet", "manifest.json"]
)
def test_a_missing_file_is_named_and_nothing_is_written(own_flawed, file):
    (own_flawed / file).unlink()
    with pytest.raises(reader.DatasetError, match=re.escape(file)):
        write_report(own_flawed)
    assert not list(own_flawed.glob("*.html*"))


@pytest.mark.parametrize("cut", [20, 500])
def test_rejects_that_were_cut_short_are_told(own_flawed, cut):
    path = own_flawed / "rejects.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(reader.DatasetError, match=r"rejects\.jsonl (is damaged|has)"):
        write_report(own_flawed)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("page.txt", "must be a file that ends in .html"),
        ("manifest.json", "must be a file that ends in .html"),
        ("none/page.html", "must be in an existing folder"),
        ("gs://bucket/page.html", "must be a local file"),
    ],
)
def test_a_wrong_output_is_told_before_any_work(tmp_path, output, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(reader.UsageError, match=re.escape(message)):
        write_report("there is no dataset here", output)


def test_a_place_that_cannot_be_written_is_named(dataset, capsys):
    # Even root cannot create files in /proc.
    assert main(["report", str(dataset), "--output=/proc/page.html"]) == 1
    err = capsys.readouterr().err
    assert err.endswith(
        "(use --output=FILE to write to another path): /proc/page.html\n"
    )
    assert "Traceback" not in err


def test_a_dataset_in_a_bucket_needs_a_file_here():
    with pytest.raises(reader.UsageError, match=r"--output=report\.html"):
        write_report("gs://bucket/out")


@pytest.mark.parametrize("library", ["jinja2", "PIL", "pyarrow"])
def test_a_missing_library_is_named_with_all_to_install(dataset, tmp_path, library):
    code = (
        f"import sys; sys.modules[{library!r}] = None\n"
        "from reader.__main__ import main\n"
        f"sys.exit(main(['report', {str(dataset)!r}, '--output=page.html']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"needs {library}, which is not installed" in done.stderr
    assert done.stderr.endswith("pip install jinja2 pillow pyarrow\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("num", [-1, 501])
def test_a_wrong_number_of_samples_is_told(dataset, tmp_path, num):
    with pytest.raises(reader.UsageError, match=f"samples must be at .*, got {num}"):
        write_report(dataset, tmp_path / "page.html", num)


@pytest.mark.parametrize("num", [0, 1, 500])
def test_as_many_examples_are_shown_as_were_asked_for(dataset, page, num):
    assert len(list(page(dataset, num).all(class_="card"))) == min(num, 60)


def test_datasets_of_earlier_versions_are_reported_on(page):
    manifest = parse_manifest((GOLDEN / "manifest.json").read_bytes(), "golden")
    assert len(list(page(GOLDEN).all("img"))) == manifest.num_examples


@pytest.mark.parametrize(
    "settings",
    [
        {"tokenizer": "bytes", "image_format": "png"},
        {"image_format": "raw", "image_size": 16},
        {"image_size": 1, "resize": "stretch"},
        {"image_size": 1},
        {"tokenizer": "bytes", "splits": parse_splits("train=0.5,test=0.5")},
    ],
)
def test_one_record_of_any_kind_makes_a_page(build, tmp_path, page, settings):
    Image.new("RGB", (4000, 2)).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a cat")
    tree = page(build(tmp_path, tmp_path, tmp_path / "out", **settings))
    assert sum(table_of(tree, "width").values()) == 1
    assert tree.one("img").attributes["alt"] == "a cat"


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((640, 480), "4:3"),
        ((1080, 1920), "9:16"),
        ((1000, 730), "1.37:1"),
        ((1220, 1000), "1.22:1"),
        ((400, 820), "1:2.05"),
        ((9000, 2), "4\u202f500:1"),
        ((1, 4000), "1:4\u202f000"),
    ],
)
def test_shapes_are_said_as_people_say_them(build, tmp_path, page, size, shape):
    Image.new("RGB", size).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a cat")
    tree = page(build(tmp_path, tmp_path, tmp_path / "out", resize="none"))
    assert facts_of(tree, "aspect")["smallest"] == shape


def test_columns_are_shown_with_their_values(tmp_path, page):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    row = {"image": "a.png", "caption": "a cat", "score": 0.25, "url": "<b>x</b>"}
    (tmp_path / "t.jsonl").write_text(json.dumps({**row, "emb": list(range(9))}))
    source = [f"--table={tmp_path / 't.jsonl'}", f"--images={tmp_path}"]
    columns = "--columns=score:float,url:str,emb:float[9]"
    assert main(["build", *source, columns, f"--output={tmp_path / 'out'}"]) == 0
    shown = page(tmp_path / "out").one(class_="columns")
    assert {item.one("dt").text: item.one("dd").text for item in shown.all("div")} == {
        "score": "0.25",
        "url": "<b>x</b>",
        "emb": "0, 1, 2, 3, … (5 more)",
    }


def test_every_picture_and_chart_has_a_text(dataset, page):
    tree = page(dataset)
    assert all(image.attributes["alt"] for image in tree.all("img"))
    for picture in tree.all("svg", role="img"):
        assert picture.attributes["aria-label"]
    labels = [e.text.strip() or e.attributes.get("aria-label") for e in tree.all("a")]
    assert all(labels)
    ids = [
        element.attributes["id"] for element in tree.all() if "id" in element.attributes
    ]
    assert len(ids) == len(set(ids))
    targets = {link.attributes["href"][1:] for link in tree.all("a")}
    assert targets <= set(ids)


def test_the_command_says_where_the_page_is_and_loads_no_engine(dataset, tmp_path):
    output = tmp_path / "page.html"
    code = (
        "import sys; from reader.__main__ import main; "
        f"status = main(['report', {str(dataset)!r}, '--output={output}', "
        "'--samples=5']); "
        "assert not {'tensorflow', 'apache_beam'} & set(sys.modules); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{output}: ")
    assert done.stdout.endswith(" with 5 of 60 examples\n")

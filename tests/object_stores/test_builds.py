"""Datasets built of and into buckets: the same bytes as on a disk."""

import csv
import io
import json
import random
import tarfile
from pathlib import Path

import pytest
from built_datasets import file_of, picture
from hub_tables import write_table

import reader
from beam_jobs.__main__ import main

pytestmark = pytest.mark.parametrize("session_store", ["gs", "s3"], indirect=True)


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def folders(address: object) -> dict[str, str]:
    return {"images": f"{address}/images", "captions": f"{address}/captions"}


def test_from_a_bucket_into_a_bucket(store, uploaded, output, run_build, local):
    assert run_build(*store.flags, **folders(uploaded), output=output) == 0
    assert store.download(output) == local


def test_from_a_bucket_into_a_folder(store, uploaded, run_build, local, tmp_path):
    out = tmp_path / "out"
    assert run_build(*store.flags, **folders(uploaded), output=out) == 0
    assert files_below(out) == local


def test_from_a_folder_into_a_bucket(store, source, output, run_build, local):
    assert run_build(*store.flags, **folders(source), output=output) == 0
    assert store.download(output) == local


def test_worker_processes_know_the_store_too(store, uploaded, output, run_build, local):
    flags = (*store.flags, "--workers=2", "--threads=2")
    # Slashes at the end mean nothing.
    slashed = {name: f"{path}/" for name, path in folders(uploaded).items()}
    assert run_build(*flags, **slashed, output=f"{output}/") == 0
    assert store.download(output) == local


@pytest.fixture(scope="module")
def of_nine_words(source, run_build, tmp_path_factory) -> Path:
    """A dataset whose tokenizer has a small vocabulary."""
    output = tmp_path_factory.mktemp("nine") / "out"
    assert run_build("--vocab_size=9", **folders(source), output=output) == 0
    return output


@pytest.mark.parametrize("named", ["", "/", "/tokenizer", "/tokenizer/vocab.txt"])
def test_a_tokenizer_is_taken_over_from_a_bucket(
    store, source, uploaded, of_nine_words, run_build, tmp_path, named
):
    other = tmp_path / "other"
    address = store.upload(of_nine_words, f"{tmp_path.name}/one")
    taken = {"tokenizer": f"{address}{named}", "output": other}
    assert run_build(*store.flags, **folders(source), **taken) == 0
    tokenizers = [folder / "tokenizer" for folder in (of_nine_words, other)]
    assert files_below(tokenizers[0]) == files_below(tokenizers[1])


def test_a_tokenizer_that_is_not_there_is_refused(
    store, source, uploaded, run_build, tmp_path, capsys
):
    taken = {"tokenizer": f"{uploaded}/images", "output": tmp_path / "none"}
    assert run_build(*store.flags, **folders(source), **taken) == 2
    assert "without a finished dataset" in capsys.readouterr().err


def test_a_dataset_in_a_bucket_is_a_source(store, local, output, run_build, tmp_path):
    for name, data in local.items():
        (tmp_path / "one" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "one" / name).write_bytes(data)
    (tmp_path / "one/keys.txt").write_text("nowhere")
    address = store.upload(tmp_path / "one", f"{tmp_path.name}/one")
    flags = (*store.flags, f"--exclude_keys={address}/keys.txt")
    assert run_build(*flags, dataset=f"{address}/", output=output) == 0
    again = store.download(output)
    # What was rejected before is in the dataset no more.
    differing = {name for name in local if local[name] != again[name]}
    assert differing == {"manifest.json", "rejects.jsonl"}
    assert again.keys() == local.keys()


def test_contents_are_compared_in_buckets(store, uploaded, source, run_build, tmp_path):
    flags = (*store.flags, "--dedupe=exact", "--max_rejects=50%")
    assert run_build(*flags, **folders(source), output=tmp_path / "here") == 0
    assert run_build(*flags, **folders(uploaded), output=tmp_path / "there") == 0
    assert files_below(tmp_path / "here") == files_below(tmp_path / "there")


def test_a_finished_dataset_is_not_built_again(
    store, uploaded, output, run_build, local, capsys
):
    paths = folders(uploaded) | {"output": output}
    assert run_build(*store.flags, **paths) == 0
    capsys.readouterr()
    assert run_build(*store.flags, **paths) == 0
    assert f"{output} is complete already" in capsys.readouterr().out
    assert run_build(*store.flags, "--jpeg_quality=50", **paths) == 1
    assert "jpeg_quality 90, not 50" in capsys.readouterr().err
    assert run_build(*store.flags, "--jpeg_quality=50", "--overwrite", **paths) == 0
    assert store.download(output).keys() == local.keys()
    assert store.download(output) != local


def test_a_changed_source_is_noticed(store, uploaded, output, run_build, capsys):
    paths = folders(uploaded) | {"output": output}
    assert run_build(*store.flags, **paths) == 0
    store.put(f"{uploaded.split('/', 3)[3]}/captions/new.txt", b"one more")
    assert run_build(*store.flags, **paths) == 1
    assert "built from other files" in capsys.readouterr().err


def test_what_is_there_already_is_not_buried(
    store, uploaded, output, run_build, capsys
):
    store.put(f"{output.split('/', 3)[3]}/thesis.doc", b"years of work")
    assert run_build(*store.flags, **folders(uploaded), output=output) == 1
    assert "holds no dataset (thesis.doc)" in capsys.readouterr().err
    assert store.download(output) == {"thesis.doc": b"years of work"}


@pytest.mark.parametrize("what", ["images", "captions"])
def test_a_folder_that_is_not_there_is_told_in_one_line(
    store, uploaded, output, run_build, capsys, what
):
    paths = folders(uploaded) | {what: f"{uploaded}/none"}
    assert run_build(*store.flags, **paths, output=output) == 2
    said = capsys.readouterr().err
    assert f"--{what}={uploaded}/none: no object has this prefix" in said
    assert len(said.splitlines()) == 1
    assert store.download(output) == {}


def test_a_bucket_that_is_not_there_is_told_in_one_line(
    store, uploaded, run_build, capsys
):
    scheme = uploaded.partition("://")[0]
    output = f"{scheme}://no-such-bucket/out"
    assert run_build(*store.flags, **folders(uploaded), output=output) == 1
    said = capsys.readouterr().err
    assert f"No such bucket: create it, or correct the address: {scheme}:" in said
    assert len(said.splitlines()) == 1


def test_the_output_may_not_be_the_source(store, uploaded, run_build, capsys):
    paths = folders(uploaded) | {"output": f"{uploaded}/images/"}
    assert run_build(*store.flags, **paths) == 2
    assert "is the same folder as --images" in capsys.readouterr().err


def test_an_output_within_the_source_is_passed_over(store, uploaded, run_build, local):
    paths = folders(uploaded) | {"output": f"{uploaded}/images/out"}
    assert run_build(*store.flags, **paths) == 0
    assert store.download(paths["output"]) == local
    # And so once more, with a whole dataset below the images.
    assert run_build(*store.flags, **paths) == 0


# Tables and tars.


@pytest.fixture
def table(source: Path) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["file_name", "caption"])
    for path in sorted(source.glob("images/**/*.jpg")):
        name = path.relative_to(source / "images").as_posix()
        writer.writerow([name, f"a picture called {name}"])
    writer.writerow(["missing.png", "no picture at all"])
    return text.getvalue().encode()


def test_a_table_in_a_bucket(
    store, uploaded, source, output, run_build, table, tmp_path
):
    (tmp_path / "t.csv").write_bytes(table)
    flags = (*store.flags, "--max_rejects=50%")
    here = {"table": tmp_path / "t.csv", "images": source / "images"}
    assert run_build(*flags, **here, output=tmp_path / "out") == 0
    address = store.put(f"{output.split('/', 3)[3]}-tables/t.csv", table)
    there = {"table": address, "images": f"{uploaded}/images"}
    assert run_build(*flags, **there, output=output) == 0
    assert store.download(output) == files_below(tmp_path / "out")


def test_tables_beside_their_images_by_a_glob(
    store, uploaded, output, run_build, table, tmp_path, source
):
    base = uploaded.split("/", 3)[3]
    store.put(f"{base}/images/metadata-1.csv", table)
    flags = (*store.flags, "--max_rejects=50%")
    glob = f"{uploaded}/im*/metadata-[0-9].csv"
    assert run_build(*flags, table=glob, output=output) == 0
    (tmp_path / "t.csv").write_bytes(table)
    here = {"table": tmp_path / "t.csv", "images": source / "images"}
    assert run_build(*flags, **here, output=tmp_path / "out") == 0
    # The names of the tables are in the rejects, of which there are other reasons too.
    shards = {n: d for n, d in store.download(output).items() if n.endswith("record")}
    assert shards == {
        name: data
        for name, data in files_below(tmp_path / "out").items()
        if name.endswith("record")
    }


def test_coco_in_a_bucket(store, uploaded, source, output, run_build, tmp_path):
    names = sorted(path.name for path in source.glob("images/*.jpg"))
    images = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    captions = [
        {"id": n, "image_id": n, "caption": f"picture {n}"} for n in range(len(names))
    ]
    data = json.dumps({"images": images, "annotations": captions}).encode()
    (tmp_path / "coco.json").write_bytes(data)
    here = {"coco": tmp_path / "coco.json", "images": source / "images"}
    assert run_build(*store.flags, **here, output=tmp_path / "out") == 0
    address = store.put(f"{output.split('/', 3)[3]}-coco/coco.json", data)
    there = {"coco": address, "images": f"{uploaded}/images"}
    assert run_build(*store.flags, **there, output=output) == 0
    assert store.download(output) == files_below(tmp_path / "out")


def test_tars_in_a_bucket(store, source, output, run_build, tmp_path):
    for number in range(3):
        with tarfile.open(tmp_path / f"{number:05}.tar", "w") as tar:
            for path in sorted(source.glob(f"images/scene-*{number}.jpg")):
                tar.add(path, path.name)
                caption = source / "captions" / f"{path.stem}.txt"
                tar.add(caption, caption.name)
    glob = f"{tmp_path}/{{00000..00002}}.tar"
    assert run_build(*store.flags, webdataset=glob, output=tmp_path / "out") == 0
    prefix = f"{output.split('/', 3)[3]}-tars"
    for path in tmp_path.glob("*.tar"):
        address = store.put(f"{prefix}/{path.name}", path.read_bytes())
    glob = address.rpartition("/")[0] + "/0000[0-2].tar"
    assert run_build(*store.flags, webdataset=glob, output=output) == 0
    assert store.download(output) == files_below(tmp_path / "out")


def test_layers_in_a_bucket(store, local, output, tmp_path, monkeypatch):
    """Of a table in the bucket, made beside its dataset there, and read in place."""
    for name, value in store.environment_at(store.endpoint).items():
        monkeypatch.setenv(name, value)
    here = tmp_path / "out"
    for name, data in local.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_bytes(data)
    there = store.upload(here, output.partition("://bucket/")[2])
    keys = [key for (key,) in reader.open(here, split="train", outputs=("key",))]
    rows = [{"key": key, "caption": f"anew {key}", "n": len(key)} for key in keys]
    (tmp_path / "t").mkdir()
    (tmp_path / "t/t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table = store.upload(tmp_path / "t", f"{tmp_path.name}/t")
    flags = ("--name=recap", "--caption_column=caption", "--columns=n:int")
    for folder, of in ((here, tmp_path / "t"), (there, table)):
        args = ["layer", str(folder), f"--table={of}/t.jsonl", *flags, *store.flags]
        assert main(args) == 0
    assert store.download(f"{there}/layers") == files_below(here / "layers")
    how = {"split": "train", "layers": "recap", "caption": {"recap": 1}}
    names = ("key", "caption", "recap/n")
    found = [list(reader.open(at, outputs=names, **how)) for at in (here, there)]
    assert found[0] == found[1]
    assert found[1] == [(row["key"], row["caption"], row["n"]) for row in rows]
    assert main(["verify", there]) == 0


def test_pictures_in_a_table_in_a_bucket(store, output, run_build, tmp_path):
    rng = random.Random(0)
    data = [file_of(picture(rng), "JPEG") for _ in range(20)]
    cells = [{"bytes": one, "path": f"{n}.jpg"} for n, one in enumerate(data)]
    texts = [f"Picture {n}" for n in range(20)]
    write_table(tmp_path / "t/t.parquet", cells, texts, group=6)
    address = store.upload(tmp_path / "t", f"{tmp_path.name}/t")
    here = tmp_path / "here"
    assert run_build(table=tmp_path / "t/t.parquet", output=here) == 0
    table = f"{address}/t.parquet"
    assert run_build(*store.flags, table=table, output=output) == 0
    assert store.download(output) == files_below(here)

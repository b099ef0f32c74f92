"""Several folders and files of a kind in one build; and every other flag only once."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import reader
from beam_jobs.__main__ import main
from beam_jobs.cli.build_flags import add_build_parser
from beam_jobs.config.job_config import JobConfig
from reader.console.parser import MainParser
from reader.contract.errors import UsageError


def draw(path: Path, color: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), color, np.uint8)).save(path, "PNG")


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """Folders a and b of three pairs each, whose keys differ."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate("ab"):
        for index in range(3):
            draw(tmp_path / name / f"x/{name}{index}.png", 40 * index + number)
            text = tmp_path / name / f"x/{name}{index}.txt"
            text.write_text(f"{name} number {index}")
    return tmp_path


def build(*flags: str, rejects: str = "0") -> tuple[int, dict[str, str]]:
    """The status of a build, and the first caption of each key."""
    shape = ["--image_format=png", "--resize=none", f"--max_rejects={rejects}"]
    shape += [f"--max_unpaired={rejects}", "--overwrite", "--output=out"]
    status = main(["build", *flags, *shape])
    if status:
        return status, {}
    return status, captions_by_key()


def captions_by_key() -> dict[str, str]:
    dataset = reader.open("out", outputs=("key", "caption"))
    return dict(dataset[index] for index in range(len(dataset)))


def rejects() -> list[tuple[str, str]]:
    lines = Path("out/rejects.jsonl").read_text().splitlines()
    return [(line["key"], line["reason"]) for line in map(json.loads, lines)]


CAPTIONS = {f"x/{name}{i}": f"{name} number {i}" for name in "ab" for i in range(3)}


@pytest.mark.parametrize(
    "captions", [("--captions=a", "--captions=b"), ("--captions=texts",)]
)
def test_several_folders_are_read_as_one_of_all_their_files(here, captions):
    for name in "ab":
        shutil.copytree(here / name, here / "texts", dirs_exist_ok=True)
    for path in here.glob("texts/**/*.png"):
        path.unlink()
    assert build("--images=a", "--images=b", *captions) == (0, CAPTIONS)


def test_an_image_and_its_caption_may_be_in_different_folders(here):
    (here / "a/x/a0.txt").rename(here / "b/x/a0.txt")
    flags = ("--images=a", "--images=b", "--captions=a", "--captions=b")
    assert build(*flags) == (0, CAPTIONS)


def test_the_bytes_are_those_of_one_folder_with_all_files(here):
    for name in "ab":
        shutil.copytree(here / name, here / "all", dirs_exist_ok=True)
    shards = []
    for folders in (["all"], ["a", "b"], ["b", "a"]):
        flags = [f"--{kind}={f}" for kind in ("images", "captions") for f in folders]
        assert build(*flags)[0] == 0
        shards.append(next(Path("out").glob("train-*.tfrecord")).read_bytes())
    assert shards[0] == shards[1] == shards[2]


def test_a_key_of_two_folders_is_ambiguous_and_the_folders_are_named(here):
    draw(here / "b/x/a1.png", 9)
    flags = ("--images=a", "--images=b", "--captions=a", "--captions=b")
    status, captions = build(*flags, rejects="1")
    assert (status, len(captions)) == (0, 5)
    assert rejects() == [("x/a1", "ambiguous_key")]
    assert "in a and b" in Path("out/rejects.jsonl").read_text()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--images=a", "--images=a"], "images is given twice with the same value: a"),
        (["--images=a", "--images=./a"], "--images=./a is inside --images=a"),
        (["--images=a", "--images=a/x"], "--images=a/x is inside --images=a"),
        (["--images=a/x", "--images=a"], "--images=a/x is inside --images=a"),
        (["--images=a", "--images=c"], "--images=c: no such folder"),
        (["--images=a", "--images=out"], "--output=out is the same folder as --images"),
    ],
)
def test_folders_that_cannot_be_read_together_are_refused(here, capsys, flags, said):
    (here / "out").mkdir()
    assert main(["build", *flags, "--captions=a", "--output=out"]) == 2
    assert said in capsys.readouterr().err


def test_a_configuration_takes_a_path_or_several(here):
    several = JobConfig(images=["a", "b"], captions=("a", "b"), output="out")
    assert several.paths("images") == several.paths("captions") == ("a", "b")
    assert several.sources == ["a", "b", "a", "b"]
    one = JobConfig(images=["a"], captions="a", output="out")
    assert (one.images, one.paths("images")) == ("a", ("a",))
    assert one == JobConfig(images="a", captions="a", output="out")
    with pytest.raises(UsageError, match="images is required"):
        JobConfig(images=[], captions="a", output="out")


def test_tables_in_several_image_folders_are_read_with_their_folder(here):
    for name in "ab":
        rows = [f"x/{name}{i}.png,{name} number {i}" for i in range(3)]
        # A row without an image has the same name in both tables, and is counted twice.
        lines = ["file_name,caption", *rows, ",lost"]
        (here / name / "metadata.csv").write_text("\n".join(lines))
        for text in here.glob(f"{name}/x/*.txt"):
            text.unlink()
    status = main(
        ["build", "--images=a", "--images=b", "--output=out", "--max_unpaired=2"]
    )
    assert status == 0
    assert captions_by_key() == CAPTIONS
    assert [reason for _, reason in rejects()] == ["unpaired_caption"] * 2


@pytest.mark.parametrize("kind", ["table", "coco"])
def test_files_that_name_images_of_several_folders(here, kind):
    names = {name: [f"x/{name}{i}.png" for i in range(3)] for name in "ab"}
    names["a"].append("x/twice.png")
    names["b"].append("x/nowhere.png")
    for name, folder in (("a", "b"), ("b", "a")):  # The file's place does not matter.
        write_list(here / folder / kind, names[name], kind)
        draw(here / name / "x/twice.png", 7)
    flags = [f"--{kind}=b/{kind}", f"--{kind}=a/{kind}", "--images=a", "--images=b"]
    if kind == "table":
        for folder in "ab":
            (here / folder / "table").rename(here / folder / "table.csv")
        flags[:2] = ["--table=b/table.csv", "--table=a/table.csv"]
    status, captions = build(*flags, rejects="2")
    assert (status, captions) == (0, CAPTIONS)
    assert sorted(rejects()) == [
        ("x/nowhere", "missing_image"),
        ("x/twice", "ambiguous_key"),
    ]


def write_list(path: Path, names: list[str], kind: str) -> None:
    texts = [f"{Path(n).stem[0]} number {Path(n).stem[1:]}" for n in names]
    if kind == "table":
        rows = [f"{name},{text}" for name, text in zip(names, texts, strict=True)]
        path.write_text("\n".join(["file_name,caption", *rows]))
        return
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    notes = [{"id": i, "image_id": i, "caption": text} for i, text in enumerate(texts)]
    path.write_text(json.dumps({"images": images, "annotations": notes}))


def test_tars_of_several_patterns_are_those_of_one(here):
    for name in "ab":
        shutil.make_archive(str(here / f"tars/{name}/0"), "tar", here / name)
    _, of_one = build("--webdataset=tars/?/*.tar")
    first = next(Path("out").glob("train-*.tfrecord")).read_bytes()
    _, of_two = build("--webdataset=tars/a/*.tar", "--webdataset=tars/{b,a}/0.tar")
    assert of_one == of_two
    assert len(of_one) == 6
    assert first == next(Path("out").glob("train-*.tfrecord")).read_bytes()


def once_only() -> list[str]:
    parser = MainParser("diptych", "", "0", ())
    build_parser = add_build_parser(parser.commands)
    several = ("images", "captions", "table", "coco", "webdataset", "dataset")
    return [
        action.option_strings[0]
        for action in build_parser._actions
        if action.dest not in (*several, "help")
    ]


@pytest.mark.parametrize("flag", [*once_only(), "--project", "--runner"])
def test_any_other_flag_given_twice_is_refused(capsys, flag):
    switches = ("overwrite", "repair", "take_over", "plan_only", "upscale")
    given = flag if flag[2:] in switches else f"{flag}={VALUES.get(flag, '1')}"
    args = ["build", "--images=a", "--captions=a", "--output=o"]
    if flag == "--output":
        args.pop()
    # With dashes or with underscores, it is the same flag.
    assert main([*args, given, given.replace("_", "-", 1)]) == 2
    assert f"{flag} is given twice: pass it once" in capsys.readouterr().err


VALUES = {
    "--splits": "train=1",
    "--columns": "a:int",
    "--where_columns": "a:int",
    "--split_by": "key",
    "--dedupe": "none",
    "--shard_size": "1MiB",
    "--resize": "none",
    "--image_format": "png",
    "--jpeg_subsampling": "444",
    "--captions_per_file": "one",
    "--caption_files": "alt:.txt",
    "--table_quoting": "csv",
}


def test_flags_of_other_commands_are_given_once_too(capsys):
    assert main(["show", "out", "--json", "--json"]) == 2
    assert "--json is given twice" in capsys.readouterr().err

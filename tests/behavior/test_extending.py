"""What docs/extending.md shows a newcomer works, word for word."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT

PAGE = (ROOT / "docs/extending.md").read_text()


def shown(title: str) -> str:
    """Returns the code block of a title."""
    fence = re.compile(rf'```\w+ title="{re.escape(title)}"\n(.*?)```', re.S)
    (code,) = fence.findall(PAGE)
    return str(code)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of both packages, with the source type and the command of the page."""
    tree = tmp_path_factory.mktemp("tree")
    for package in ("beam_jobs", "reader"):
        shutil.copytree(ROOT / package, tree / package)
    for title in ("beam_jobs/sources/json_map.py", "reader/tools/records/command.py"):
        (tree / title).parent.mkdir(exist_ok=True)
        (tree / title).write_text(shown(title))
    (tree / "reader/tools/records/__init__.py").write_text('"""`diptych records`."""\n')
    registry = "beam_jobs/sources/registry.py"
    insert(tree / registry, "= {\n", shown(registry))
    insert(tree / registry, "folders, imagefolder, ", "json_map, ")
    settings = "beam_jobs/config/job_settings.py"
    insert(
        tree / settings,
        '"folder of images, at any depth", "DIR"\n    )\n',
        shown(settings),
    )
    commands = "reader/__main__.py"
    insert(
        tree / commands,
        "from reader.tools.bench import command as bench\n",
        "from reader.tools.records import command as records\n",
    )
    insert(tree / commands, "_COMMANDS = (show, ", "records, ")
    (tree / "tests").mkdir()
    shutil.copy(ROOT / "tests/test_boundaries.py", tree / "tests")
    insert(
        tree / "tests/test_boundaries.py",
        '    "reader.tools.bench",\n',
        '    "reader.tools.records",\n',
    )
    return tree


def insert(path: Path, after: str, text: str) -> None:
    before = path.read_text()
    assert before.count(after) == 1
    path.write_text(before.replace(after, after + text))


def diptych(tree: Path, *args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "beam_jobs", *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )


def test_a_source_type_is_one_module_one_line_and_one_setting(tree, sample, tmp_path):
    names = sorted(path.name for path in (sample / "images").iterdir())
    captions = {name: f"picture {name}" for name in names[:20]}
    hostile = {"../outside.jpg": "no", "missing.jpg": "no picture", names[20]: 7}
    (tmp_path / "captions.json").write_text(json.dumps(captions | hostile))
    flags = [f"--images={sample}/images", f"--json_map={tmp_path}/captions.json"]
    flags += [f"--output={tmp_path}/out", "--max_rejects=3", "--max_unpaired=3"]
    done = diptych(tree, "build", *flags)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["books"]["written"] == 20
    assert manifest["books"]["not_written"] == {
        "bad_value": 1,
        "missing_image": 1,
        "outside_root": 1,
    }
    table = diptych(tree, "find", tmp_path / "out", Path(names[0]).stem)
    assert f"picture {names[0]}" in table.stdout

    # Its setting brings a flag, its help and its checks.
    assert "--json_map FILE" in diptych(tree, "build", "--help").stdout
    wrong = diptych(tree, "build", *flags, "--coco=x.json")
    assert wrong.returncode == 2
    assert "exclude each other" in wrong.stderr
    columns = diptych(tree, "build", *flags, "--columns=score:float")
    assert columns.returncode == 2
    assert "a JSON object of captions has no columns" in columns.stderr
    without = diptych(tree, "build", *flags[1:])
    assert "images is required" in without.stderr


def test_a_command_is_one_folder_and_its_name(tree, dataset):
    done = diptych(tree, "records", dataset)
    assert (done.returncode, done.stdout) == (0, "60\n")
    page = diptych(tree, "--help").stdout
    group = page.partition("inspect a dataset:")[2].partition("\n\n")[0]
    assert "records   counts the records of a dataset" in group


def test_both_stay_within_the_boundaries_of_the_rooms(tree):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/test_boundaries.py",
            "-k",
            "not engine and not tensorflow",
        ],
        cwd=tree,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout

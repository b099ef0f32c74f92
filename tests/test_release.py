"""What a release needs beside code: workflows, templates, metadata."""

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
GITHUB = ROOT / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
SCHEMAS = [
    *(("vendor.github-workflows", path) for path in WORKFLOWS),
    *(
        ("vendor.github-issue-forms", path)
        for path in sorted(GITHUB.glob("ISSUE_TEMPLATE/*.yml"))
        if path.stem != "config"
    ),
]


@pytest.fixture(scope="module")
def metadata() -> configparser.SectionProxy:
    """What setup.cfg says of the distribution."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return setup["metadata"]


@pytest.mark.parametrize(
    ("schema", "path"), SCHEMAS, ids=lambda value: Path(value).stem
)
def test_workflows_and_forms_are_what_github_takes(schema, path):
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, path]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit(path):
    text = path.read_text()
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


def test_the_pythons_that_are_tested_are_those_that_are_promised(metadata):
    promised = re.findall(r":: Python :: (3\.\d+)$", metadata["classifiers"], re.M)
    job = yaml.safe_load((GITHUB / "workflows/test.yml").read_text())["jobs"]["test"]
    assert job["strategy"]["matrix"]["python-version"] == promised


def test_metadata_are_complete(metadata):
    said = ("author", "description", "long_description", "keywords")
    for field in (*said, "license_expression"):
        assert metadata[field], field
    for file in metadata["license_files"].split():
        assert (ROOT / file).is_file()


def test_both_packages_say_that_they_are_typed():
    for package in ("beam_jobs", "reader"):
        assert (ROOT / package / "py.typed").is_file()

"""What a type checker says of users' code: only of wrong calls, and of each of them."""

import subprocess
import sys
import venv
from pathlib import Path

import pytest

import beam_jobs
import reader

RIGHT = """\
import beam_jobs
import reader

config = beam_jobs.JobConfig(
    images="photos",
    captions="texts",
    output="out",
    splits={"train": 0.9, "validation": 0.1},
    num_shards=4,
    max_rejects="0.5%",
)
result = beam_jobs.run(config)
if result is not None and result.outcome is not None:
    failures: list[str] = list(result.outcome.failures)
beam_jobs.write_sample("shapes", 20, captions_per_image=2)

batches = reader.load(
    {"a/train-*": 3, "b/train-*": 1},
    batch_size=32,
    image_size=(224, 320),
    normalize=([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
    epochs=None,
    outputs=["image", "tokens"],
)
for batch in reader.progress(reader.as_numpy(batches), desc="training"):
    pass
steps: int = reader.steps_per_epoch("out/train-*", batch_size=32)
dataset = reader.open(["a", "b"], split="train", transform=lambda example: example)
number: int = len(dataset)
examples = [dataset[0], dataset.by_key("park/0042"), *dataset]
ids: list[int] = reader.tokenizer("out").encode("a red circle")
problems: list[str] = [str(problem) for problem in reader.verify("out").problems]
shares: tuple[int, ...] = reader.coverage("out", batch_size=32, host_count=4).steps
try:
    state: dict[str, object] = reader.state(batches, step=3)
except (reader.UsageError, reader.DatasetError, beam_jobs.BuildError) as error:
    text: str = str(error)
version: str = reader.__version__
"""

WRONG = [
    ('reader.load("out")', "call-arg"),  # There is no default batch.
    ('reader.load("out", 32)', "call-arg"),  # All but the first are given by name.
    ('reader.load("out", batch_size="32")', "arg-type"),
    ('reader.load("out", batch_size=32, image_size=[224, 224])', "arg-type"),
    ('reader.load("out", batch_size=32, batches=3)', "call-arg"),
    ('reader.open("out", transform=3)', "arg-type"),
    ('reader.open("out").by_key(17)', "arg-type"),
    ('reader.tokenizer("out").encode(17)', "arg-type"),
    ('len(reader.verify("out").problem)', "attr-defined"),
    ("reader.lod", "attr-defined"),
    ("beam_jobs.JobConfig(images='a')", "call-arg"),
    ("beam_jobs.JobConfig(output='a', image_size='256')", "arg-type"),
    ("beam_jobs.run('out')", "arg-type"),
]


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """An environment with Diptych and nothing else, and a folder to work in."""
    folder = tmp_path_factory.mktemp("user")
    venv.create(folder / "env", symlinks=True)
    (site,) = (folder / "env/lib").glob("python*/site-packages")
    for package in (beam_jobs, reader):
        source = Path(str(package.__file__)).parent
        (site / source.name).symlink_to(source)
    return folder


def check(folder: Path, text: str) -> list[str]:
    """Returns what mypy says of a user's module, a line each."""
    (folder / "train.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "train.py"]
    done = subprocess.run(
        [
            *command,
            "--no-error-summary",
            f"--python-executable={folder}/env/bin/python",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert not done.stderr
    return done.stdout.splitlines()


def test_right_calls_are_right(user):
    assert check(user, RIGHT) == []


def test_each_wrong_call_is_told(user):
    calls = "".join(f"{call}\n" for call, _ in WRONG)
    said = check(user, f"import beam_jobs\nimport reader\n{calls}")
    errors = [line for line in said if ": error: " in line]
    for line, (call, code) in enumerate(WRONG, start=3):
        own = [error for error in errors if error.startswith(f"train.py:{line}:")]
        assert any(error.endswith(f"[{code}]") for error in own), (call, own)

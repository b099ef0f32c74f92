"""Both command lines, as people and scripts expect of any: real processes."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys

import pytest
from patience import PATIENCE_SECONDS

DIPTYCH = [sys.executable, "-m", "beam_jobs"]
READER = [sys.executable, "-m", "reader"]
both = pytest.mark.parametrize("command", [DIPTYCH, READER], ids=["diptych", "reader"])


def run(
    command: list[str], *args: object, **environ: str
) -> subprocess.CompletedProcess:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "FORCE_COLOR")
    }
    return subprocess.run(
        [*command, *map(str, args)],
        capture_output=True,
        text=True,
        env=environment | environ,
        check=False,
    )


def on_a_terminal(command: list[str], *args: object, **environ: str) -> str:
    """What a command shows on a terminal, which is both its stdout and its stderr."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm"} | environ
    with subprocess.Popen(
        [*command, *map(str, args)], stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:  # Linux says so when the other side has closed.
                break
            if not part:
                break
            shown += part
        process.wait()
    os.close(ours)
    return shown.decode()


@both
def test_help_groups_the_commands_and_ends_with_examples(command):
    done = run(command, "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    parts = [
        "usage:",
        "inspect a dataset:",
        "maintain a dataset:",
        "options:",
        "examples:",
    ]
    places = [done.stdout.index(part) for part in parts]
    assert places == sorted(places)
    for name in ("show", "find", "verify", "bench"):
        assert re.search(rf"^  {name} +[a-z]", done.stdout, re.M)


@both
@pytest.mark.parametrize("name", ["show", "find", "verify", "bench"])
def test_each_command_has_help_with_examples(command, name):
    done = run(command, name, "--help")
    assert done.returncode == 0
    assert "--json" in done.stdout
    assert "examples:\n  diptych" in done.stdout


def test_the_help_of_build_is_in_groups_with_examples_at_the_end():
    text = run(DIPTYCH, "build", "--help").stdout
    parts = ["sources: one of these:", "output:", "images:", "captions:", "examples:"]
    places = [text.index(f"\n{part}\n") for part in parts]
    assert places == sorted(places)


def test_help_loads_nothing_heavy():
    code = """
import sys
from beam_jobs.__main__ import main

try:
    main(["--help"])
except SystemExit:
    pass
heavy = "numpy", "tensorflow", "apache_beam", "pyarrow", "google.protobuf"
print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""
    assert run([sys.executable, "-c", code]).stderr == "[]\n"


@both
def test_the_version_is_told(command):
    assert re.fullmatch(r"diptych \d+\.\d+\.\d+\S*\n", run(command, "--version").stdout)


@both
def test_nothing_asked_shows_help_as_an_error(command):
    done = run(command)
    assert (done.returncode, done.stdout) == (2, "")
    assert "inspect a dataset:" in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["shwo", "out"], "no command shwo: did you mean show?"),
        (["veryfy"], "no command veryfy: did you mean verify?"),
        (["zzz"], "no command zzz: see "),
        (["show", "out", "--nmu=3"], "unknown flag --nmu: did you mean --num?"),
        (["verify", "out", "--zzz"], "unknown flag --zzz: see "),
        (["find", "out", "key", "more"], 'unexpected argument "more": see '),
        (["show", "out", "--num=many"], "invalid int value: 'many'"),
        (["show"], "the following arguments are required: OUT: see "),
        (["--traceback"], "inspect a dataset:"),
        (["--json", "show", "out"], "--json must follow the command: "),
        (["-x"], "unknown flag -x: see "),
        (["--vresion"], "unknown flag --vresion: did you mean --version?"),
        (["show", ""], "argument OUT: must not be empty: see "),
        (["verify", ""], "argument OUT: must not be empty: see "),
    ],
)
@both
def test_a_slip_is_answered_in_words(command, args, said):
    done = run(command, *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@both
def test_dashes_do_for_underscores(command, dataset):
    args = ["show", dataset, "--step=0", "--batch-size=4", "--split=train"]
    assert run(command, *args, "--host-count=2").returncode == 0


@both
def test_errors_are_one_line_on_stderr_and_a_traceback_only_when_asked(
    command, tmp_path
):
    plain = run(command, "verify", tmp_path)
    assert (plain.returncode, plain.stdout) == (1, "")
    (line,) = plain.stderr.splitlines()
    assert re.match(r"(diptych|python -m reader): error: no manifest\.json in ", line)
    for args in (
        ["--traceback", "verify", tmp_path],
        ["verify", tmp_path, "--traceback"],
    ):
        asked = run(command, *args)
        assert asked.returncode == 1
        assert asked.stderr.startswith("Traceback (most recent call last):")
        assert asked.stderr.endswith(plain.stderr)


def test_a_path_that_is_no_folder_is_told_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    done = run(DIPTYCH, "verify", tmp_path / "file")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


# Colours.


def test_there_are_colours_on_a_terminal_and_nowhere_else(dataset):
    assert "\x1b[" in on_a_terminal(DIPTYCH, "show", dataset)
    assert "\x1b[" not in run(DIPTYCH, "show", dataset).stdout
    assert "\x1b[" not in on_a_terminal(DIPTYCH, "show", dataset, NO_COLOR="1")
    assert "\x1b[" not in on_a_terminal(DIPTYCH, "show", dataset, TERM="dumb")
    assert "\x1b[" in run(DIPTYCH, "show", dataset, FORCE_COLOR="1").stdout


def test_an_error_is_coloured_on_a_terminal(tmp_path):
    shown = on_a_terminal(DIPTYCH, "show", tmp_path)
    assert "\x1b[1;31merror:\x1b[0m no manifest.json" in shown
    assert "\x1b" not in run(DIPTYCH, "show", tmp_path).stderr


def test_json_is_never_coloured(dataset):
    shown = on_a_terminal(DIPTYCH, "show", dataset, "--json")
    assert json.loads(shown)["num_examples"] == 60


def test_json_is_json_whatever_the_terminal_can_show(build, sample, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    picture = next((sample / "images").glob("*.png"))
    shutil.copy(picture, source / "é犬.png")
    (source / "é犬.txt").write_text("Ünïcödé 👍", encoding="utf-8")
    out = build(source, source, tmp_path / "out", num_shards=1)
    done = run(DIPTYCH, "show", out, "--json", PYTHONIOENCODING="ascii")
    (example,) = json.loads(done.stdout)["examples"]
    assert (example["key"], example["captions"]) == ("é犬", ["Ünïcödé 👍"])
    page = run(DIPTYCH, "show", out, PYTHONIOENCODING="ascii")
    assert page.returncode == 0
    assert "#" in page.stdout


# Ends that are no error of ours.


@both
def test_closed_streams_are_no_error(command, dataset, tmp_path):
    text = " ".join([*command, "show"])
    for line, status in (
        (f"{text} {dataset} >&-", 0),
        (f"{text} {tmp_path} 2>&-", 1),
        (f"{text} {tmp_path} <&- >&- 2>&-", 1),
    ):
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.slow
def test_tensorflow_greets_only_those_who_ask_it_to():
    code = "from reader.console.main import import_tensorflow as i; i('a test')"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    for level, quiet in ((None, True), ("3", True), ("0", False)):
        more = {} if level is None else {"TF_CPP_MIN_LOG_LEVEL": level}
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment | more,
            check=True,
        )
        assert (done.stderr == "") is quiet


def test_behind_two_dashes_there_are_no_flags(dataset):
    done = run(DIPTYCH, "find", dataset, "--json", "--", "--a-key")
    assert (done.returncode, json.loads(done.stdout)["wanted"]) == (1, "--a-key")


@both
def test_a_reader_that_has_enough_is_no_error(command, dataset):
    text = " ".join([*command, "show", str(dataset), "--num=60"])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {text} | head -1"],
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("diptych in ")
    assert done.stderr == ""
    assert done.returncode in (0, 141)


def test_a_full_disk_is_told(dataset):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*DIPTYCH, "show", str(dataset)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_with_130_and_no_traceback(own_dataset):
    index = own_dataset / "index/train-00001-of-00003.tfrecord.idx"
    index.unlink()
    os.mkfifo(index)
    process = subprocess.Popen(
        [*DIPTYCH, "verify", str(own_dataset)], stderr=subprocess.PIPE, text=True
    )
    with index.open("wb"):  # Once it is being read, from a pipe that stays empty.
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert said == "diptych: error: stopped\n"

"""torchdata's StatefulDataLoader, over streams and over samplers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from loaded_batches import load_keys
from patience import PATIENCE_SECONDS

STEPS = 4  # Of an epoch: 48 // 11.
KINDS = ["stream", "sampler", "sampler with workers", "persistent workers"]
# After these batches; "end" is after the loop over an epoch has ended by itself.
MOMENTS = ["0", "2", "4", "4 end", "7", "8 end"]

SCRIPT = """
import json, pickle, sys
sys.modules["tensorflow"] = None
import reader
from torchdata.stateful_dataloader import StatefulDataLoader

KINDS, MOMENTS = json.loads(sys.argv[3]), json.loads(sys.argv[4])


def open_loader(folder, kind):
    usual = {"split": "train", "outputs": ("key",)}
    if kind == "stream":
        stream = reader.stream(folder, batch_size=11, **usual)
        return StatefulDataLoader(reader.as_torch(stream), batch_size=None)
    data = reader.open(folder, **usual)
    sampler = reader.sampler(data, batch_size=11)
    return StatefulDataLoader(
        data,
        batch_sampler=sampler,
        num_workers=2 if "workers" in kind else 0,
        persistent_workers="persistent" in kind,
    )


def epoch_of(loader):
    return [[key.decode() if isinstance(key, bytes) else key for key in keys]
            for (keys,) in loader]


def first_run(folder, kind):
    loader, states, taken = open_loader(folder, kind), {}, 0
    states["0"] = pickle.dumps(loader.state_dict())
    for _ in range(2):
        for _ in loader:
            taken += 1
            states[f"{taken}"] = pickle.dumps(loader.state_dict())
        states[f"{taken} end"] = pickle.dumps(loader.state_dict())
    return states


def second_run(folder, kind, states):
    found = {}
    for moment in MOMENTS:
        loader = open_loader(folder, kind)
        loader.load_state_dict(pickle.loads(states[moment]))
        loops = [epoch_of(loader), epoch_of(loader)]
        found[moment] = {"loops": loops, "length": len(loader)}
    return found


if __name__ == "__main__":
    folder, path = sys.argv[1:3]
    if sys.argv[5] == "first":
        made = {kind: first_run(folder, kind) for kind in KINDS}
        with open(path, "wb") as file:
            pickle.dump(made, file)
    else:
        with open(path, "rb") as file:
            states = pickle.load(file)
        found = {kind: second_run(folder, kind, states[kind]) for kind in KINDS}
        print(json.dumps(found))
"""


def run(script: Path, *words: object) -> str:
    command = [sys.executable, script, *words]
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def resumed(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Batches by kind and moment, as another process reads them after the state."""
    folder = tmp_path_factory.mktemp("stateful")
    script, states = folder / "script.py", folder / "states"
    script.write_text(SCRIPT)
    words = [script, dataset, states, json.dumps(KINDS), json.dumps(MOMENTS)]
    run(*words, "first")
    found: dict[str, Any] = json.loads(run(*words, "second"))
    return found


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_state_goes_on_as_the_undisturbed_run(dataset, resumed, kind, moment):
    keys = [key.decode() for key in load_keys(dataset, batch_size=11, epochs=4)]
    steps = [keys[begin : begin + 11] for begin in range(0, len(keys), 11)]
    taken = int(moment.split()[0])
    # After its last batch, an epoch is still the one that is looped over.
    loop = (taken if "end" in moment else max(0, taken - 1)) // STEPS
    stop = (loop + 1) * STEPS
    expected = [steps[taken:stop], steps[stop : stop + STEPS]]
    found = resumed[kind][moment]
    assert found["loops"] == expected
    assert found["length"] == STEPS

"""The order of the rooms, and five rules about imports (docs/contributing.md)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    ): path
    for package in ("beam_jobs", "reader")
    for path in sorted((ROOT / package).rglob("*.py"))
}

# From the top down: a file imports from its own room and from rooms below it. A room is
# a package with modules, or one of the few modules at the top of its package.
ROOMS = (
    "beam_jobs.__main__",
    "beam_jobs.cli",
    "beam_jobs",  # Its public names.
    "beam_jobs.job",
    "beam_jobs.pipeline",
    "beam_jobs.layers",
    "beam_jobs.writing",
    "beam_jobs.interop",
    "beam_jobs.planning",
    "beam_jobs.encoding",
    "beam_jobs.encoding.color",
    "beam_jobs.sources",
    "beam_jobs.inputs",
    "beam_jobs.workspace",
    "beam_jobs.elements",
    "beam_jobs.engines",
    "beam_jobs.config",
    "beam_jobs.storage",
    "beam_jobs.sample_data",
    "reader.__main__",
    "reader.tools.bench",
    "reader.tools.find",
    "reader.tools.report",
    "reader.tools.select",
    "reader.tools.show",
    "reader.tools.verify",
    "reader.tools",
    "reader",  # Its public names.
    "reader.frameworks",
    "reader.map_dataset",
    "reader.loader",
    "reader.streaming",
    "reader.decode",
    "reader.remote_records",
    "reader.pixel_workers",
    "reader.pixels",
    "reader.records",
    "reader.schedule",
    "reader.selections",
    "reader.range_cache",
    "reader.datasets",
    "reader.distributions",
    "reader.config",
    "reader.shuffle",
    "reader.storage",
    "reader.object_stores",
    "reader.object_stores.vendors",
    "reader.console",
    "reader.contract.additions",
    "reader.contract.conditions",
    "reader.contract.tokenizers",
    "reader.contract",
)
MOST_MODULES = 14
TOPS = {
    "beam_jobs": {"__init__", "__main__", "elements", "pipeline"},
    "reader": {"__init__", "__main__"},
}
# What the writing side uses of the reading side besides the contract, by room.
SHARED = {
    "beam_jobs.__main__": {"reader.__main__", "reader.console"},
    "beam_jobs.cli": {"reader", "reader.__main__", "reader.console"},
    "beam_jobs.storage": {"reader.object_stores", "reader.object_stores.vendors"},
}
# Packages whose __init__ holds more than its sentence.
WITH_CONTENT = (
    "beam_jobs",
    "beam_jobs.interop",
    "beam_jobs.sample_data",
    "reader",
    "reader.tools.report",
)
# Rooms whose modules load neither Beam nor TensorFlow, and the modules that do.
ENGINE_FREE = {
    "beam_jobs.config": (),
    "beam_jobs.elements": (),
    "beam_jobs.encoding": (),
    "beam_jobs.engines": (
        "beam_workers",
        "dataflow",
        "options",
        "request_metrics",
        "runner",
    ),
    "beam_jobs.inputs": (),
    "beam_jobs.interop": (),
    "beam_jobs.layers": (
        "close_layer_plan",
        "finish_layer",
        "list_rows",
        "match_rows",
    ),
    "beam_jobs.planning": (
        "close_plan",
        "count_words",
        "deduplicate",
        "list_sources",
        "pair_entries",
    ),
    "beam_jobs.sample_data": (),
    "beam_jobs.sources": (),
    "beam_jobs.storage": ("beam_internals",),
    "beam_jobs.workspace": (),
    "beam_jobs.writing": ("finalize", "repair", "write_shards"),
    "reader.config": (),
    "reader.console": (),
    "reader.contract": (),
    "reader.contract.additions": (),
    "reader.contract.conditions": (),
    "reader.contract.tokenizers": (),
    "reader.datasets": (),
    "reader.distributions": (),
    "reader.decode": ("batch_pixels", "captions", "examples"),
    "reader.frameworks": (
        "numpy_batches",
        "tensorflow_tasks",
        "torch_from_tensorflow",
    ),
    "reader.loader": (
        "batch_dataset",
        "batches",
        "compressed",
        "fetched_reads",
        "load",
        "undecodable",
        "worker_batches",
    ),
    "reader.map_dataset": (),
    "reader.pixel_workers": (),
    "reader.remote_records": (),
    "reader.object_stores": (),
    "reader.pixels": (),
    "reader.records": ("python_calls", "window_reads"),
    "reader.schedule": (),
    "reader.selections": (),
    "reader.shuffle": (),
    "reader.storage": (),
    "reader.streaming": (),
    "reader.tools": (),
    "reader.tools.bench": ("page", "stages", "timing", "trials"),
    "reader.tools.find": (),
    "reader.tools.report": (),
    "reader.tools.select": (),
    "reader.tools.show": (),
    "reader.tools.verify": (),
}


def below(name: str, *packages: str) -> bool:
    return any(
        name == package or name.startswith(package + ".") for package in packages
    )


def room_of(module: str) -> str:
    return max((room for room in ROOMS if below(module, room)), key=len)


def imports_of(module: str) -> set[str]:
    """The modules that a module names in its imports, ours as precisely as can be."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                names.add(name if name in MODULES else str(node.module))
    return names


def modules_in(room: str) -> list[str]:
    return [
        module
        for module, path in MODULES.items()
        if room_of(module) == room and path.name != "__init__.py"
    ]


def test_every_module_is_in_a_room():
    for package, names in TOPS.items():
        assert {path.stem for path in (ROOT / package).glob("*.py")} == names
    folders = {m for m, path in MODULES.items() if path.name == "__init__.py"}
    assert folders <= set(ROOMS)
    assert all(MODULES.get(room) for room in ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_small(room):
    assert len(modules_in(room)) <= MOST_MODULES


@pytest.mark.parametrize("module", MODULES)
def test_no_room_imports_upwards(module):
    here = ROOMS.index(room_of(module))
    if module in ("beam_jobs", "reader"):
        return  # Public names are loaded when asked for.
    ours = {name for name in imports_of(module) if below(name, "beam_jobs", "reader")}
    upwards = {name for name in ours if ROOMS.index(room_of(name)) < here}
    assert not upwards


@pytest.mark.parametrize("tool", [r for r in ROOMS if r.startswith("reader.tools.")])
def test_commands_do_not_know_each_other(tool):
    others = [r for r in ROOMS if r.startswith("reader.tools.") and r != tool]
    for module in modules_in(tool):
        assert not [name for name in imports_of(module) if below(name, *others)]


@pytest.mark.parametrize("module", MODULES)
def test_only_the_contract_is_shared(module):
    imported = imports_of(module)
    if below(module, "reader"):
        assert not [
            name for name in imported if below(name, "beam_jobs", "apache_beam")
        ]
        return
    assert not [name for name in imported if below(name, "tensorflow")]
    shared = {room_of(name) for name in imported if below(name, "reader")}
    others = {room for room in shared if not below(room, "reader.contract")}
    assert others <= SHARED.get(room_of(module), set())


@pytest.mark.parametrize("module", [m for m in MODULES if below(m, "reader.contract")])
def test_the_contract_stands_alone(module):
    ours = {name for name in imports_of(module) if below(name, "beam_jobs", "reader")}
    assert all(below(name, "reader.contract") for name in ours)


# Words that only the format has: file names, columns, byte layouts.
OF_THE_FORMAT = {
    "manifest.json",
    "rejects.jsonl",
    "index/blocks.bin",
    "blocks.bin",
    "index/lengths.bin",
    "lengths.bin",
    "caption_source",
    "original_width",
    "original_height",
    "original_format",
    "num_tokens",
    "image/encoded",
    "image/source_id",
    "image/key/sha256",
    "caption/ids",
    "caption/lengths",
    "<u8",
    "<u4",
}
# Names of features that other tools use for the same thing.
OTHERS_NAMES = "reader.datasets.foreign_schema"


@pytest.mark.parametrize(
    "module", [m for m in MODULES if not below(m, "reader.contract", OTHERS_NAMES)]
)
def test_only_the_contract_spells_the_format(module):
    spelled = {
        node.value
        for node in ast.walk(ast.parse(MODULES[module].read_text()))
        if isinstance(node, ast.Constant)
    }
    assert not spelled & OF_THE_FORMAT


# Imports each module in a fork of a process that has loaded no more than libraries.
_LOADED = """
import importlib, os, sys
import cv2, google.protobuf, numpy, PIL.Image, pyarrow.parquet
for module in sys.stdin.read().split():
    if not (child := os.fork()):
        importlib.import_module(module)
        os._exit(not {"apache_beam", "tensorflow"}.isdisjoint(sys.modules))
    if os.waitpid(child, 0)[1]:
        print(module)
"""


def test_what_needs_no_engine_loads_none():
    modules = [
        module
        for room, others in ENGINE_FREE.items()
        for module in modules_in(room)
        if module.rpartition(".")[2] not in others
    ]
    done = subprocess.run(
        [sys.executable, "-c", _LOADED],
        input=" ".join(modules),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_hosts_without_buckets_need_no_client_of_buckets():
    """The extras bring it."""
    names = "beam_jobs.__main__, beam_jobs.pipeline, reader.map_dataset.open_dataset"
    code = f"""
import sys
sys.modules["obstore"] = None
import {names}, reader.streaming.stream
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_the_pipeline_knows_the_stages():
    stages = {
        f"{module}:{node.name}"
        for module, path in MODULES.items()
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base) == "beam.PTransform" for base in node.bases)
    }
    users = {
        (module, f"{node.module}:{alias.name}")
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert len(stages) == 11
    assert {(m, name) for m, name in users if name in stages} == {
        ("beam_jobs.pipeline", stage) for stage in stages
    }


def test_imports_make_no_circle():
    graph = {
        module: {name for name in imports_of(module) if name in MODULES}
        for module, path in MODULES.items()
        # A package's __init__ names its modules for type checkers only.
        if path.name != "__init__.py"
    }
    done: set[str] = set()
    while (
        ready := {m for m, needs in graph.items() if needs & set(graph) <= done} - done
    ):
        done |= ready
    assert set(graph) == done


@pytest.mark.parametrize(
    "module", [m for m, path in MODULES.items() if path.name == "__init__.py"]
)
def test_a_room_begins_with_a_sentence_and_imports_nothing(module):
    tree = ast.parse(MODULES[module].read_text())
    assert ast.get_docstring(tree)
    if module not in WITH_CONTENT:
        assert len(tree.body) == 1


@pytest.mark.parametrize("module", [m for m in MODULES if below(m, "beam_jobs")])
def test_annotations_stay_real_for_beam_to_check(module):
    assert "from __future__ import annotations" not in MODULES[module].read_text()


def test_reader_loads_tensorflow_only_when_it_loads_data():
    code = (
        "import sys, reader; print('tensorflow' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]

"""The three rules that make the import graph (docs/contributing.md)."""

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

# The command line alone may hand over to the reader.
HANDS_OVER = {
    "beam_jobs.cli.build_flags": {"reader.console.parser"},
    "beam_jobs.cli.build": {"reader.console.formatting", "reader.console.warnings"},
    "beam_jobs.cli.build_page": {"reader.console.formatting"},
    "beam_jobs.cli.sample": {"reader.console.parser"},
    "beam_jobs.__main__": {
        "reader.__main__",
        "reader.console.main",
        "reader.console.parser",
    },
    "beam_jobs.cli.demo": {
        "reader",
        "reader.__main__",
        "reader.console.main",
        "reader.console.parser",
    },
}

# Everything that a pipeline's stages are made of, and no engine in it.
PURE = (
    "beam_jobs.sources.captions",
    "beam_jobs.config.values",
    "beam_jobs.config.columns",
    "beam_jobs.encoding.file_structure",
    "beam_jobs.elements",
    "beam_jobs.encoding.example",
    "beam_jobs.encoding.formats",
    "beam_jobs.encoding.decode_image",
    "beam_jobs.encoding.encode_image",
    "beam_jobs.interop",
    "beam_jobs.planning.job_plan",
    "beam_jobs.encoding.jpeg",
    "beam_jobs.workspace.lease",
    "beam_jobs.elements",
    "beam_jobs.storage.local",
    "beam_jobs.sources.roots",
    "beam_jobs.storage.object_store",
    "beam_jobs.storage.object_store",
    "beam_jobs.config.job_config",
    "beam_jobs.planning.entry_packs",
    "beam_jobs.planning.pair_lists",
    "beam_jobs.engines.worker_wheel",
    "beam_jobs.encoding.pixels",
    "beam_jobs.planning.key_order",
    "beam_jobs.storage.parallel",
    "beam_jobs.encoding.resize",
    "beam_jobs.sample_data",
    "beam_jobs.writing.samples_table",
    "beam_jobs.sources.registry",
    "beam_jobs.sources.coco",
    "beam_jobs.sources.listing_digest",
    "beam_jobs.sources.source_files",
    "beam_jobs.sources.folders",
    "beam_jobs.sources.imagefolder",
    "beam_jobs.sources.row_entries",
    "beam_jobs.sources.table_rows",
    "beam_jobs.sources.table",
    "beam_jobs.sources.tar_members",
    "beam_jobs.sources.webdataset",
    "beam_jobs.workspace.array_file",
    "beam_jobs.storage.files",
    "beam_jobs.writing.tfrecord_writer",
    "beam_jobs.encoding.file_structure",
    "beam_jobs.config.tokenizer_file",
    "beam_jobs.config.values",
    "reader.tools.bench.advice",
    "reader.loader.budget",
    "reader.datasets.shard_cache",
    "reader.datasets.manifest_dataset",
    "reader.schedule.state",
    "reader.console.main",
    "reader.tools.bench.command",
    "reader.tools.find.command",
    "reader.tools.show.command",
    "reader.tools.verify.command",
    "reader.contract.checks",
    "reader.config.read_config",
    "reader.datasets.record_schema",
    "reader.contract",
    "reader.datasets.record_source",
    "reader.datasets.record_source",
    "reader.map_dataset.map_dataset",
    "reader.decode.numpy_images",
    "reader.shuffle.randomness",
    "reader.storage.files",
    "reader.decode.outputs",
    "reader.datasets.foreign_schema",
    "reader.datasets.foreign_files",
    "reader.tools.show.foreign_page",
    "reader.config.image_config",
    "reader.datasets.record_index",
    "reader.datasets.index_files",
    "reader.tools.verify.dataset_check",
    "reader.map_dataset.key_index",
    "reader.records.memory",
    "reader.frameworks.progress",
    "reader.shuffle.mixture",
    "reader.map_dataset.key_index",
    "reader.decode.numpy_examples",
    "reader.tools.show.dataset_page",
    "reader.shuffle.order",
    "reader.tools.verify.problems",
    "reader.records.random_access",
    "reader.records.damaged_records",
    "reader.tools.report.key_accounting",
    "reader.tools.report.charts",
    "reader.tools.report.distributions",
    "reader.tools.report.gallery",
    "reader.tools.report.histogram",
    "reader.tools.report.histogram",
    "reader.tools.report.page",
    "reader.tools.report.rejects",
    "reader.tools.report.write",
    "reader.tools.report.distributions",
    "reader.tools.report.display_text",
    "reader.tools.report.gallery",
    "reader.tools.report.captions",
    "reader.tools.report.token_counts",
    "reader.config.read_config",
    "reader.schedule.run",
    "reader.datasets.samples_table",
    "reader.tools.find.search",
    "reader.tools.verify.shard_check",
    "reader.storage.tfrecord_file",
    "reader.tools.show.step_keys",
    "reader.shuffle.steps",
    "reader.schedule.coverage",
    "reader.tools.find.search",
    "reader.schedule.windows",
)

# Modules that hold one stage of a pipeline each.
STAGES = (
    "listing",
    "pairing",
    "contents",
    "vocabulary",
    "planning",
    "shards",
    "manifest",
    "mending",
)


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(str(node.module))
    return names


def below(name: str, *packages: str) -> bool:
    return any(
        name == package or name.startswith(package + ".") for package in packages
    )


@pytest.mark.parametrize("module", MODULES)
def test_only_the_contract_is_shared(module):
    imported = imports_of(MODULES[module])
    if below(module, "reader"):
        assert not [
            name for name in imported if below(name, "beam_jobs", "apache_beam")
        ]
    else:
        assert not [name for name in imported if below(name, "tensorflow")]
        shared = {name for name in imported if below(name, "reader")}
        strangers = {name for name in shared if not below(name, "reader.contract")}
        assert strangers <= HANDS_OVER.get(module, set())


@pytest.mark.parametrize("module", MODULES)
def test_the_contract_knows_neither_side(module):
    if below(module, "reader.contract"):
        ours = {name for name in imports_of(MODULES[module]) if below(name, "reader")}
        assert all(below(name, "reader.contract") for name in ours)


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_load_no_engine(module):
    code = (
        f"import sys, {module}; "
        "print([m for m in ('apache_beam', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_stages_do_not_wire_each_other():
    composites = {
        node.name
        for stage in STAGES
        for node in ast.parse((ROOT / f"beam_jobs/{stage}.py").read_text()).body
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base) == "beam.PTransform" for base in node.bases)
    }
    assert len(composites) == len(STAGES)
    users = {
        module
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and composites & {alias.name for alias in node.names}
    }
    assert users == {"beam_jobs.pipeline"}


def test_imports_make_no_circle():
    graph = {
        module: {name for name in imports_of(path) if name in MODULES}
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

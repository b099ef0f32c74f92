"""What users may import, and that type checkers and help see the same."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import beam_jobs
import reader

PUBLIC = {
    beam_jobs: [
        "BuildError",
        "JobConfig",
        "LayerConfig",
        "UsageError",
        "__version__",
        "layer",
        "run",
        "write_sample",
    ],
    reader: [
        "DatasetError",
        "UsageError",
        "__version__",
        "as_jax",
        "as_numpy",
        "as_torch",
        "coverage",
        "for_captioning",
        "for_retrieval",
        "load",
        "open",
        "progress",
        "sampler",
        "state",
        "steps_per_epoch",
        "stream",
        "tokenizer",
        "verify",
    ],
}
packages = pytest.mark.parametrize("package", PUBLIC, ids=lambda p: p.__name__)


@packages
def test_public_names_are_just_these(package):
    assert package.__all__ == PUBLIC[package]
    assert dir(package) == PUBLIC[package]


@packages
def test_every_public_name_loads_and_is_documented(package):
    for name in package.__all__:
        value = getattr(package, name)
        assert name == "__version__" or value.__doc__


@packages
def test_every_parameter_of_a_public_name_is_documented(package):
    for name in package.__all__:
        value = getattr(package, name)
        if isinstance(value, str):
            continue
        if isinstance(value, type) and issubclass(value, Exception):
            continue
        doc = inspect.getdoc(value) or ""
        for parameter in inspect.signature(value).parameters:
            line = rf"^    (\*\*)?{parameter}: \S"
            assert re.search(line, doc, re.M), (name, parameter)


@packages
def test_type_checkers_see_the_same_names(package):
    tree = ast.parse(Path(str(package.__file__)).read_text())
    guards = [node for node in tree.body if isinstance(node, ast.If)]
    (guarded,) = (n for n in guards if ast.unparse(n.test) == "TYPE_CHECKING")
    names = {alias.asname for node in guarded.body for alias in node.names}
    assert sorted(names) == package.__all__


@packages
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        package.lod  # noqa: B018

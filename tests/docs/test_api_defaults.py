"""API pages show the values of defaults, and not the constants that hold them."""

import inspect

import griffe
import pytest
from pages import ROOT

import reader


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("loader.load.load", reader.load),
        ("map_dataset.open_dataset.open", reader.open),
        ("schedule.coverage.coverage", reader.coverage),
    ],
)
def test_the_page_of_a_function_shows_what_python_has(path, function):
    extensions = griffe.load_extensions(str(ROOT / ".ci/griffe_defaults.py"))
    package = griffe.load("reader", extensions=extensions, search_paths=[ROOT])
    shown = {
        parameter.name: eval(str(parameter.default))
        for parameter in package[path].parameters
        if parameter.default is not None and not parameter.required
    }
    assert shown == {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }

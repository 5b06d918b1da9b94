"""The API reference, which is made of the docstrings."""

import doctest
import importlib
import inspect
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from test_border import FUNCTIONS, METHODS

import jaxcmh

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "experiments" / "build_reference.py"
PAGES = runpy.run_path(str(SCRIPT))["PAGES"]
# Their examples are shown and not run.
NEEDS_MORE = {
    **dict.fromkeys(("image_embeddings", "image_classes", "text_embeddings"), "weights and seconds; see test_deep.py"),
    "Collection": "a server",
    "forecast": "four trainings in processes of their own; see test_forecasts.py",
    **dict.fromkeys(("upload", "connect", "search"), "a server; see test_export.py"),
}


def public():
    """All that users may call by its full name: functions and classes that have a page, and what has a border."""
    found = {f"jaxcmh.{name}": value for name, value in {**FUNCTIONS, **METHODS}.items()}
    for module in [jaxcmh, *(importlib.import_module(f"jaxcmh.{page}") for page in PAGES)]:
        handed_on = getattr(module, "__all__", ())
        for name in handed_on or vars(module):
            value = getattr(module, name)
            callable_by_name = inspect.isclass(value) or inspect.isroutine(inspect.unwrap(value))
            own = name in handed_on or getattr(value, "__module__", "") == module.__name__
            if callable_by_name and own and value.__name__ == name and name[0] != "_":
                found[f"{value.__module__}.{name}"] = value
    return found


PUBLIC = public()


def examples(module):
    """Name -> for every example of a module whether it is run."""
    found = doctest.DocTestFinder().find(importlib.import_module(module))
    return {test.name: [doctest.SKIP not in one.options for one in test.examples] for test in found}


def test_what_is_public_is_found():
    kinds = {name for name, value in PUBLIC.items() if inspect.isclass(value)}
    assert len(kinds) > 50
    assert len(PUBLIC) > 240
    assert {"jaxcmh.datasets.split.Split", "jaxcmh.model.Model", "jaxcmh.sklearn.CrossModalHasher"} <= kinds
    assert {"jaxcmh.model.Model.encode_texts", "jaxcmh.learning.linalg.polar", "jaxcmh.store.write_json"} <= set(PUBLIC)


def test_every_public_function_class_and_checked_method_has_an_example_that_runs():
    run = {}
    for module in {value.__module__ for value in PUBLIC.values()}:
        run |= examples(module)
    assert [name for name in PUBLIC if not run.get(name)] == []
    idle = {name for name in PUBLIC if not all(run[name])}
    assert {name.rpartition(".")[2] for name in idle} == set(NEEDS_MORE)
    homes = {name.rpartition(".")[0] for name in idle}
    assert homes == {f"jaxcmh.{home}" for home in ("datasets.deep", "index.milvus", "studies.forecasts")}


def test_every_public_module_and_class_says_what_it_is():
    homes = {name.rpartition(".")[0] for name in FUNCTIONS}
    modules = [importlib.import_module(f"jaxcmh.{home}") for home in homes]
    known = [(value, module) for module in modules for value in vars(module).values() if inspect.isclass(value)]
    public = [one for one, module in known if one.__module__ == module.__name__ and not one.__name__.startswith("_")]
    assert len(public) > 30
    assert [module.__name__ for module in modules if not module.__doc__] == []
    # A NamedTuple without a docstring of its own gets one that lists its fields.
    assert [one.__name__ for one in public if not one.__doc__ or one.__doc__.startswith(f"{one.__name__}(")] == []


def test_the_reference_is_built_without_warnings_and_has_every_public_name(tmp_path):
    pytest.importorskip("pdoc")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, tmp_path / "pages"], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    pages = {path: path.read_text() for path in (tmp_path / "pages").rglob("*.html")}
    shown = {name for page in pages.values() for name in re.findall(r'<(?:section|div) id="([^"]+)"', page)}
    assert set(jaxcmh.__all__) - shown == {"methods"}  # a page of its own
    assert tmp_path / "pages" / "jaxcmh" / "methods.html" in pages
    assert {value.__qualname__ for value in PUBLIC.values()} - shown == set()
    signature = " ".join(re.sub(r"<[^>]+>", "", pages[tmp_path / "pages" / "jaxcmh" / "model.html"]).split())
    assert "bits: int, seed: int = 0," in signature

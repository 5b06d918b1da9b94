"""The API reference, which is made of the docstrings."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_border import FUNCTIONS

import jaxcmh

ROOT = Path(__file__).parents[1]
# Their examples are shown and not run.
NEEDS_MORE = {
    **dict.fromkeys(("image_embeddings", "image_classes", "text_embeddings"), "weights and seconds; see test_deep.py"),
    "forecast": "four trainings in processes of their own; see test_forecasts.py",
    **dict.fromkeys(("upload", "connect", "search"), "a server; see test_export.py"),
}


def examples(documented):
    """Lines of the examples of a docstring."""
    return re.findall(r">>> .+", inspect.getdoc(documented) or "")


def test_every_public_name_has_an_example_that_runs():
    named = {name: getattr(jaxcmh, name) for name in jaxcmh.__all__ if name != "methods"}
    documented = {**FUNCTIONS, **named}
    assert [name for name, value in documented.items() if not examples(value)] == []
    idle = {name for name, value in documented.items() if any("+SKIP" in line for line in examples(value))}
    assert {name.rpartition(".")[2] for name in idle} == set(NEEDS_MORE)
    assert {name.rpartition(".")[0] for name in idle} == {"", "datasets.deep", "index.milvus", "studies.forecasts"}


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
    script = ROOT / "experiments" / "build_reference.py"
    done = subprocess.run(
        [sys.executable, "-W", "error", script, tmp_path / "pages"], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    pages = {path: path.read_text() for path in (tmp_path / "pages").rglob("*.html")}
    shown = {name for page in pages.values() for name in re.findall(r'<section id="([^".]+)"', page)}
    assert set(jaxcmh.__all__) - shown == {"methods"}  # a page of its own
    assert tmp_path / "pages" / "jaxcmh" / "methods.html" in pages
    assert {name.rpartition(".")[2] for name in FUNCTIONS} - shown == set()
    signature = " ".join(re.sub(r"<[^>]+>", "", pages[tmp_path / "pages" / "jaxcmh" / "model.html"]).split())
    assert "bits: int, seed: int = 0," in signature

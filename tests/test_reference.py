"""The API reference, which is made of the docstrings."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_border import FUNCTIONS

import jaxcmh

ROOT = Path(__file__).parents[1]


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

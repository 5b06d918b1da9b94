"""Data flow one way: what each part of the package may import, read from its source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "jaxcmh"
FOUNDATION = {
    "checks",
    "core",
    "linalg",
    "features",
    "encoders",
    "methods",
    "topk",
    "metrics",
    "mesh",
    "index",
    "model",
}
ABOVE = {"datasets", "results", "runs", "plots", "report", "cli", "demo", "terminal", "export"}


def imported(file: Path) -> set[str]:
    """Parts of jaxcmh that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jaxcmh":
            inner = (node.module or "").split(".")[1:]
            found |= {inner[0]} if inner else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("jaxcmh.")}
    return found


def files(part: str) -> list[Path]:
    return sorted((PACKAGE / part).rglob("*.py")) or [PACKAGE / f"{part}.py"]


@pytest.mark.parametrize("part", sorted(part for part in FOUNDATION if any(f.exists() for f in files(part))))
def test_the_foundation_imports_nothing_from_above(part):
    for file in files(part):
        assert not imported(file) & ABOVE, file.name


def test_the_data_sets_need_no_jax():
    for file in files("datasets"):
        assert "jax" not in {
            name.split(".")[0]
            for node in ast.walk(ast.parse(file.read_text()))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }, file.name


def test_importing_the_package_loads_no_jax():
    code = "import sys, jaxcmh; sys.exit('jax' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_is_there():
    import jaxcmh

    for name in jaxcmh.__all__:
        assert getattr(jaxcmh, name) is not None
    assert set(jaxcmh.__all__) <= set(dir(jaxcmh))
    with pytest.raises(AttributeError, match="has no attribute 'tarin'"):
        _ = jaxcmh.tarin

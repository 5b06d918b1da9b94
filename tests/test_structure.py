"""What may import what, read from the source; and which names there are."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import jaxcmh

PACKAGE = Path(jaxcmh.__file__).parent
# A file imports only from its own room and from rooms above it in this list; rooms in one line are strangers.
ROOMS = (
    ("checks", "store", "extras", "parsing", "progress", "brief"),
    ("datasets", "learning", "retrieval"),
    ("methods",),
    ("model",),
    ("index", "sklearn"),
    ("results",),
    ("studies",),
    ("commands",),
    ("__main__",),
)
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
TOOLS = ROOMS[0]  # small files that may use each other


def modules(package: Path) -> dict[str, Path]:
    """The modules of a package by name."""
    names = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(module: str, source: str, known: Mapping[str, object], homes: Mapping[str, str]) -> Iterator[str]:
    """Modules of the package that a module imports anywhere: in functions and under TYPE_CHECKING too.

    `homes` says where the names lie that the package itself hands on.
    """
    package = module.partition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = f"{module}.__init__" if known.get(module) == "package" else module
                base = ".".join([*here.split(".")[: -node.level], *([base] if base else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.partition(".")[0] != package:
                continue
            head, _, rest = name.partition(".")
            name = homes.get(rest, name) if head == package else name
            while name not in known:
                name = name.rpartition(".")[0]
            if name not in (package, module):
                yield name


def graph(package: Path, homes: Mapping[str, str]) -> dict[str, set[str]]:
    """Module -> modules of the package that it imports."""
    paths = modules(package)
    known = {name: "package" if path.name == "__init__.py" else "module" for name, path in paths.items()}
    return {name: set(imports(name, path.read_text(), known, homes)) for name, path in paths.items()}


def against_the_order(edges: Mapping[str, set[str]]) -> list[str]:
    """Imports from a room that does not lie above; the package's own file, which hands on names, may all."""
    wrong = []
    for module, imported in edges.items():
        for other in imported if "." in module else ():
            room, its = module.split(".")[1], other.split(".")[1]
            fine = FLOOR[its] < FLOOR[room] or room == its or (room in TOOLS and its in TOOLS)
            wrong += [] if fine else [f"{module} imports {other}"]
    return sorted(wrong)


def circle(edges: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, the first found."""
    over: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in over:
            return []
        for other in sorted(edges.get(module, ())):
            if around := walk(other, [*path, module]):
                return around
        over.add(module)
        return []

    return next(filter(None, (walk(module, []) for module in edges)), [])


HOMES = {name: home for name, (home, _) in jaxcmh._homes.items()}
EDGES = graph(PACKAGE, HOMES)


def test_imports_follow_the_order_of_the_rooms():
    assert {module.split(".")[1] for module in EDGES if "." in module} == set(FLOOR)
    assert against_the_order(EDGES) == []


def test_no_modules_import_each_other_in_a_circle():
    assert circle({module: imported for module, imported in EDGES.items() if module != "jaxcmh"}) == []


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("learning/linalg.py", "def solve():\n    from jaxcmh import studies\n"),
        ("learning/linalg.py", "def solve():\n    import jaxcmh.studies.study\n"),
        ("learning/linalg.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from jaxcmh import Model\n"),
        ("learning/linalg.py", "def solve():\n    from ..studies import study\n"),
        ("learning/linalg.py", "def solve():\n    from .. import studies\n"),
        ("learning/__init__.py", "from ..datasets import split\n"),
        ("learning/linalg.py", "from jaxcmh import train\n"),
        ("learning/linalg.py", "from jaxcmh.datasets import split\n"),  # of the same line
        ("store.py", "def read():\n    import jaxcmh.learning.linalg as algebra\n"),
    ],
)
def test_every_way_to_import_against_the_order_is_seen(tmp_path, file, source):
    package = tmp_path / "jaxcmh"
    for name in ("__init__", "model", "store", "learning/__init__", "learning/linalg", "studies/__init__"):
        (package / f"{name}.py").parent.mkdir(exist_ok=True, parents=True)
        (package / f"{name}.py").write_text("import os\nfrom jaxcmh import store\n" if "linalg" in name else "")
    for name in ("studies/study", "datasets/__init__", "datasets/split"):
        (package / f"{name}.py").parent.mkdir(exist_ok=True)
        (package / f"{name}.py").write_text("")
    assert against_the_order(graph(package, HOMES)) == []
    (package / file).write_text(source)
    (wrong,) = against_the_order(graph(package, HOMES))
    assert wrong.startswith(f"jaxcmh.{file.removesuffix('.py').removesuffix('/__init__').replace('/', '.')} imports ")


def test_circles_are_seen_inside_functions_and_rooms(tmp_path):
    package = tmp_path / "jaxcmh"
    (package / "datasets").mkdir(parents=True)
    (package / "datasets" / "raw.py").write_text("def rows():\n    from .deep import embeddings\n")
    (package / "datasets" / "deep.py").write_text("def embeddings():\n    from jaxcmh.datasets.raw import opened\n")
    assert circle(graph(package, {})) == ["jaxcmh.datasets.deep", "jaxcmh.datasets.raw", "jaxcmh.datasets.deep"]


@pytest.mark.parametrize("former", sorted(jaxcmh._moved))
def test_modules_have_their_former_names_too(former):
    home = f"jaxcmh.{jaxcmh._moved[former]}"
    if former == "fast":
        pytest.importorskip("numba")
    assert importlib.import_module(f"jaxcmh.{former}") is importlib.import_module(home)
    below = [name for name in modules(PACKAGE) if name.rpartition(".")[0] == home and "optuna" not in name]
    for name in below:
        old = name.replace(home, f"jaxcmh.{former}")
        assert importlib.import_module(old) is importlib.import_module(name), old


def test_names_of_former_modules_can_be_imported():
    program = """
import jaxcmh.export.faiss, jaxcmh.plans.dcgh
from jaxcmh import cli, core, export
from jaxcmh.core import fit
from jaxcmh.export import milvus
from jaxcmh.learning import core as now
from jaxcmh.index import faiss
assert core is now is jaxcmh.core and fit is now.fit and jaxcmh.export.faiss is faiss and export.milvus is milvus
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_former_names_are_not_used_inside():
    former = {f"jaxcmh.{name}" for name in jaxcmh._moved}
    for module, path in modules(PACKAGE).items():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            assert not [n for n in names if any(f"{n}.".startswith(f"{old}.") for old in former)], module


def test_importing_data_sets_or_the_package_loads_no_jax():
    for name, light in (("jaxcmh", "jax numpy"), ("jaxcmh.datasets", "jax"), ("jaxcmh.commands.cli", "jax numpy")):
        program = f"import sys, {name}; sys.exit(any(name in sys.modules for name in {light.split()}))"
        assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0, name


def test_only_the_networks_among_the_data_sets_need_jax():
    for path in (PACKAGE / "datasets").glob("*.py"):
        tree = ast.parse(path.read_text())
        names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        names += [str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        # Pretrained networks are programs to compile; the module is imported when one of them is asked for.
        assert path.name == "deep.py" or "jax" not in {name.partition(".")[0] for name in names}, path.name


def test_every_public_name_is_there():
    for name in jaxcmh.__all__:
        assert getattr(jaxcmh, name) is not None
    assert set(jaxcmh.__all__) <= set(dir(jaxcmh))
    with pytest.raises(AttributeError, match="has no attribute 'tarin'"):
        _ = jaxcmh.tarin

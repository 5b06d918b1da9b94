"""The wheel that is built from the source distribution: all files are in it; `.ci/run` installs and uses it."""

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import jaxcmh

pytest.importorskip("build")
pytest.importorskip("hatchling")
pytestmark = pytest.mark.xdist_group("wheel")
ROOT = Path(__file__).parents[1]
PACKAGE = Path(jaxcmh.__file__).parent


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The source distribution and the wheel that is made of what lies in it."""
    out = tmp_path_factory.mktemp("dist")
    # Without isolation nothing is installed for it, so that no network is needed.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.tar.gz")), next(out.glob("*.whl"))


def files():
    """What the package's folder holds, as names of files in an archive."""
    paths = (path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(PACKAGE.parent).as_posix() for path in paths}


def test_it_holds_the_files_of_the_package_and_no_others(built):
    _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == files()
    assert {"jaxcmh/py.typed", "jaxcmh/results/published.csv", "jaxcmh/methods/README.md"} <= names
    assert any(name.startswith("jaxcmh/results/templates/") for name in names)


def test_the_source_distribution_has_what_the_tests_need(built):
    source, _ = built
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert files() <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "tests/conftest.py"} <= names


def test_its_metadata_say_what_the_project_says(built):
    _, wheel = built
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
        entries = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    assert (metadata["Name"], metadata["Version"], metadata["License-Expression"]) == (
        "jaxcmh",
        jaxcmh.__version__,
        "MIT",
    )
    assert metadata.get_payload().startswith("# jaxcmh")
    assert "jaxcmh = jaxcmh.commands.cli:main" in entries

"""What the guides say is run: Python as doctests, commands in the folder where the guide has its files."""

import shlex
import sys
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

import jaxcmh
from jaxcmh import progress
from jaxcmh.commands import cli

README = Path(__file__).resolve().parents[1] / "README.md"
GUIDE = Path(jaxcmh.__file__).parent / "methods" / "README.md"


def blocks(path, *parsers):
    examples = list(Sybil(parsers=parsers, path=str(path.parent), pattern=path.name).parse(path).examples())
    assert examples
    return examples


def test_every_python_block_of_the_readme_runs():
    for example in blocks(README, PythonCodeBlockParser()):
        example.evaluate()


def test_the_two_commands_are_in_the_readme():
    lines = README.read_text().splitlines()
    assert 'python -m pip install -e ".[icons]" && jaxcmh demo' in lines
    assert 'python -m pip install -e ".[test]" && python -m pytest' in lines


@pytest.mark.xdist_group("own_methods")
def test_the_guide_to_a_method_of_ones_own_runs(monkeypatch, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(progress, "start_jax", lambda: "device: cpu")
    *method, plan = (
        example.parsed for example in blocks(GUIDE, CodeBlockParser(language="python")) if ">>>" not in example.parsed
    )
    Path("mymethod.py").write_text("\n\n".join(method))
    Path("myplan.py").write_text(plan)
    try:
        for example in blocks(GUIDE, PythonCodeBlockParser()):
            if ">>>" in example.document.text[example.start : example.end]:
                example.evaluate()
        commands = "".join(example.parsed for example in blocks(GUIDE, CodeBlockParser(language="sh"))).splitlines()
        assert [command.split()[1] for command in commands] == ["train", "sweep", "reproduce"]
        for command in commands:
            assert cli.main(shlex.split(command)[1:]) == 0, capsys.readouterr().err
    finally:
        for name in ("mymethod", "myplan"):
            sys.modules.pop(name, None)
    assert "converged after" in capsys.readouterr().err
    assert list(tmp_path.glob("runs/reproduce/*/report.html"))

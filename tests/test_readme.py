from pathlib import Path

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

README = Path(__file__).resolve().parents[1] / "README.md"


def test_every_python_block_of_the_readme_runs():
    sybil = Sybil(parsers=[PythonCodeBlockParser()], path=str(README.parent), pattern=README.name)
    examples = list(sybil.parse(README).examples())
    assert examples
    for example in examples:
        example.evaluate()


def test_the_two_commands_are_in_the_readme():
    lines = README.read_text().splitlines()
    assert 'python -m pip install -e ".[icons]" && jaxcmh demo' in lines
    assert 'python -m pip install -e ".[test]" && python -m pytest' in lines

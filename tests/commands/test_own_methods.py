"""A method or plan of one's own on the command line, as module:attribute; and how a training ended."""

import itertools
import json
import re
import sys

import numpy as np
import pytest

import jaxcmh
from jaxcmh import progress, results
from jaxcmh.commands import asked, cli
from jaxcmh.datasets import save_split, synthetic
from jaxcmh.methods import registry

pytestmark = pytest.mark.xdist_group("own_methods")
METHOD = """
from jaxcmh.methods import registry
method = registry['dcgh']._replace(name='{}')
variants = {{'few-labels': method._replace(name='mine-few')}}
number = 3
"""
PLAN = """
from jaxcmh.studies import Study
from jaxcmh.studies.plans.plan import Plan
from {} import method

def studies(data, rows):
    return [Study("weights", "sensitivity", method, bits=(8,), seeds=1, vary={{"alpha": (1.0, 10.0)}})]

plan = Plan("My paper", ("wiki",), studies, tables={{1: ("weights",)}}, figures={{}}, reasons={{}})
"""
numbers = itertools.count()


@pytest.fixture
def module(monkeypatch, tmp_path):
    """The name of a module with a method of its own, in the current folder; the process forgets it afterwards."""
    name = f"mymethod{next(numbers)}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(progress, "start_jax", lambda: "device: cpu")
    (tmp_path / f"{name}.py").write_text(METHOD.format("mine"))
    save_split(synthetic(train=120, query=20, dims=(12, 15), labels=4), tmp_path / "tiny.npz")
    yield name
    sys.modules.pop(name, None)


def call(capsys, *words):
    code = cli.main(list(map(str, words)))
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys, *words):
    code, out, err = call(capsys, *words)
    lines = [line for line in err.splitlines() if line.startswith("jaxcmh: ")]
    assert (code, out, len(lines)) == (2, "", 1), (out, err)
    assert "Traceback" not in err
    return lines[0]


TRAIN = ("--data", "tiny.npz", "--bits", 8, "--max-iterations", 3)


def test_a_method_of_ones_own_is_trained_and_kept_under_its_name(capsys, module, tmp_path):
    code, out, err = call(capsys, "train", f"{module}:method", *TRAIN, "--json")
    assert (code, err.splitlines()[-1]) == (0, "run folder: runs/mine-tiny-8-0")
    assert {json.loads(line)["method"] for line in out.splitlines()} == {"mine"}
    code, again, err = call(capsys, "train", f"{module}:method", *TRAIN, "--json")
    assert (code, again, err.splitlines()[-1]) == (0, out, "cached; run folder: runs/mine-tiny-8-0")
    file = tmp_path / f"{module}.py"
    file.write_text(file.read_text() + "# edited\n")
    err = call(capsys, "train", f"{module}:method", *TRAIN)[2]
    assert err.splitlines()[-1] == "run folder: runs/mine-tiny-8-0-2"


def test_a_variant_of_ones_own_goes_by_its_key(capsys, module):
    assert call(capsys, "train", f"{module}:variants.few-labels", *TRAIN, "--out", "run")[0] == 0
    assert jaxcmh.load("run").info.method == "mine-few"
    assert "has no 'variants.none'; there is method" in refused(capsys, "train", f"{module}:variants.none")


def test_its_model_serves_without_the_module(capsys, module, tmp_path):
    assert call(capsys, "train", f"{module}:method", *TRAIN)[0] == 0
    (tmp_path / f"{module}.py").unlink()
    sys.modules.pop(module)
    run = "runs/mine-tiny-8-0"
    split = jaxcmh.load_dataset("tiny.npz")
    assert jaxcmh.load(run).info.method == "mine"
    np.save("query.npy", split.query.views[1][:1])
    assert call(capsys, "search", run, "--query", "query.npy")[0] == 0
    assert call(capsys, "evaluate", run, "--ties", "stable")[0] == 0


def test_it_is_swept_and_an_edited_one_starts_anew(capsys, module, tmp_path):
    words = ("sweep", f"{module}:method", "--list", "alpha=1,10", *TRAIN)
    code, _, err = call(capsys, *words)
    assert code == 0, err
    assert "2 runs, 0 of them cached" in err
    assert re.search(r"as a page with figures: jaxcmh report runs/sweep-mine-tiny-\w+$", err.strip())
    assert "2 runs, 2 of them cached" in call(capsys, *words)[2]
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("sweep-mine-tiny-")
    assert {line["method"] for line in results.read(folder)} == {"mine"}
    (tmp_path / f"{module}.py").write_text(METHOD.format("mine") + "# edited\n")
    assert "2 runs, 0 of them cached" in call(capsys, *words)[2]


def test_a_plan_of_ones_own_is_run(capsys, module, tmp_path):
    pytest.importorskip("matplotlib")
    (tmp_path / f"plan_of_{module}.py").write_text(PLAN.format(module))
    words = ("reproduce", f"plan_of_{module}:plan", "--dataset", "tiny.npz", "--out", "made")
    code, _, err = call(capsys, *words, "--table", 1, "--max-iterations", 2, "--tolerance", 0.5)
    assert code == 0, err
    (folder,) = (tmp_path / "made").iterdir()
    assert folder.name == f"plan_of_{module}-plan-tiny-max_iterations-2-tolerance-0.5"
    lines = results.read(folder)
    ends = {(line["method"], line["params"]["alpha"], line["max_iterations"], line["tolerance"]) for line in lines}
    assert ends == {("mine", 1.0, 2, 0.5), ("mine", 10.0, 2, 0.5)}
    assert "no table 2" in refused(capsys, *words, "--table", 2)
    assert "expected a jaxcmh.studies.plans.plan.Plan; got Method" in refused(
        capsys, "reproduce", f"{module}:method", "--dataset", "tiny.npz"
    )


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("absent:method", ["no module 'absent' in", "nor installed"]),
        ("absent.sub:method", ["no module 'absent' in"]),
        ("{}:methd", ["has no 'methd'; there is method, variants.few-labels"]),
        ("{}:number", ["expected a jaxcmh.learning.core.Method", "got int; there is method"]),
        ("{}:registry", ["got dict"]),
        ("{}:", ["expected module:attribute"]),
        ("./{}.py:method", ["expected module:attribute, such as mymethod:method"]),
        ("json:loads", ["got function; nothing there is a jaxcmh.learning.core.Method"]),
    ],
)
def test_mistakes_are_named_in_one_line(capsys, module, tmp_path, words, parts):
    for command in ("train", "sweep"):
        line = refused(capsys, command, words.format(module))
        assert [part for part in (words.format(module), *parts) if part not in line] == []
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("method = (", ["cannot be imported: SyntaxError"]),
        ("import nothing_like_it", ["cannot be imported: ModuleNotFoundError: No module named 'nothing_like_it'"]),
        ("raise RuntimeError('not\\nnow')", ["cannot be imported: RuntimeError: not now"]),
        (METHOD.format("dcgh-d"), ["its name is 'dcgh-d', and so is that of a method of the package"]),
        (METHOD.format(""), ["expected a method with a name; got ''"]),
    ],
)
def test_modules_that_cannot_be_used_are_refused_in_one_line(capsys, module, tmp_path, text, parts):
    (tmp_path / f"{module}.py").write_text(text)
    line = refused(capsys, "demo", "--methods", f"{module}:method")
    assert [part for part in parts if part not in line] == []


def test_names_of_folders_hold_no_signs_that_mean_something_else():
    name = asked.file_name("my/method: a", "wiki:dcgh", 8)
    assert name == "my-method-a-wiki-dcgh-8"
    assert asked.method("dcgh-d").name == "dcgh-d"
    assert asked.method("jaxcmh.methods.dcgh:method") is registry["dcgh"]


def test_training_says_whether_it_converged(capsys, module):
    words = ("train", "dcgh", "--data", "tiny.npz", "--bits", 8)
    err = call(capsys, *words, "--max-iterations", 2)[2]
    assert "converged" not in err  # a fixed number was asked for
    err = call(capsys, *words, "--max-iterations", 2, "--tolerance", 1e-12)[2]
    assert "warning: not converged: the objective still moved by" in err
    assert "% in iteration 2, the last" in err
    _, out, err = call(capsys, *words, "--max-iterations", 50, "--tolerance", 0.5, "--json")
    iteration = json.loads(out.splitlines()[0])["converged"]
    assert 0 < iteration < 50
    assert f"converged after {iteration} iteration" in err
    err = call(capsys, "sweep", "dcgh", "--list", "alpha=1,10", *TRAIN, "--tolerance", 1e-12)[2]
    assert "warning: 4 of 4 results are of trainings that had not converged" in err

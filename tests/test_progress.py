"""Where progress is shown: on terminals, in notebooks, in pipes when asked, one at a time."""

import io
import sys
import time
import types
import warnings

import jax
import numpy as np
import pytest

import jaxcmh
from jaxcmh import index, progress
from jaxcmh.learning import core


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(progress, "_PATIENCE", 0.01)


class Stderr(io.StringIO):
    def __init__(self, terminal):
        super().__init__()
        self.terminal = terminal

    def isatty(self):
        return self.terminal


def stderr(monkeypatch, terminal):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Stderr(terminal))
    return sys.stderr


def work(verbose):
    with progress.progress(2, verbose) as steps:
        steps.step("working")
        time.sleep(0.3)


@pytest.mark.parametrize(
    ("terminal", "verbose", "shown"),
    [(True, None, True), (True, False, False), (True, True, True), (False, False, False), (False, True, True)],
)
def test_who_looks_is_shown(monkeypatch, terminal, verbose, shown):
    said = stderr(monkeypatch, terminal)
    work(verbose)
    assert ("working" in said.getvalue()) == shown
    assert ("\r" in said.getvalue()) == (shown and terminal)


def test_a_script_that_says_nothing_of_it_gets_one_line(monkeypatch):
    monkeypatch.setattr(progress, "_PIPED_SECONDS", 0.05)
    said = stderr(monkeypatch, False)
    work(None)
    assert said.getvalue() == "jaxcmh: working ...\n"
    work(True)
    assert said.getvalue().count("[0/2] working\n") > 1


@pytest.mark.parametrize("verbose", [None, False])
def test_functions_below_train_say_a_line_or_nothing_too(monkeypatch, verbose):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    said = stderr(monkeypatch, False)
    split = jaxcmh.load_dataset("synthetic", train=200, query=20, verbose=verbose)
    data = core.prepare(split.train.views, split.train.labels, verbose=verbose)
    dcgh, keys = jaxcmh.methods.registry["dcgh"], jax.random.split(jax.random.key(0), 2)
    fitted = core.fit(dcgh, data, keys[0], bits=8, verbose=verbose)
    core.sweep(dcgh, data, keys, dcgh.params, bits=8, verbose=verbose)
    items = index.build(np.packbits(np.asarray(data.per_sample(fitted.state.H)) > 0, axis=1), verbose=verbose)
    index.search(items, np.zeros((40_000, 1), np.uint8), k=200, verbose=verbose)
    index.search(items, np.zeros((9, 1), np.uint8), k=9, verbose=verbose)
    lines = said.getvalue().splitlines()  # of what does not end at once; trainings are compiled
    assert lines.count("jaxcmh: training ...") == (0 if verbose is False else 2)
    assert lines.count("jaxcmh: searching ...") == (0 if verbose is False else 1)
    steps = ("reading data", "reducing rows", "training", "encoding items", "searching")
    known = {f"jaxcmh: {doing} ..." for doing in steps}
    assert set(lines) <= (known if verbose is None else set())


@pytest.mark.parametrize(("terminal", "verbose"), [(True, True), (False, None)])
def test_what_ends_soon_says_nothing(monkeypatch, terminal, verbose):
    monkeypatch.setattr(progress, "_PATIENCE", 10.0)
    said = stderr(monkeypatch, terminal)
    work(verbose)
    assert said.getvalue() == ""


@pytest.fixture
def notebook(monkeypatch):
    """What a notebook would show: a list of outputs, each the texts that it had."""
    outputs = []

    class Handle:
        def __init__(self, output):
            self.output = output

        def update(self, bundle, raw):
            assert raw
            self.output.append(bundle["text/plain"])

    def display(bundle, raw, display_id):
        assert raw
        assert display_id is True
        outputs.append([bundle["text/plain"]])
        return Handle(outputs[-1])

    ipython, shown = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    shown.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shown)
    return outputs


def test_a_notebook_has_one_line_that_is_replaced_and_emptied(monkeypatch, notebook):
    said = stderr(monkeypatch, False)
    work(None)
    assert len(notebook) == 1
    assert notebook[0][0] == "[0/2] working"
    assert notebook[0][-1] == ""
    assert said.getvalue() == ""
    work(False)
    assert len(notebook) == 1


def test_a_shell_of_ipython_is_no_notebook(monkeypatch):
    shell = types.ModuleType("IPython")
    shell.get_ipython = lambda: types.SimpleNamespace()
    monkeypatch.setitem(sys.modules, "IPython", shell)
    assert not progress.notebook()
    shell.get_ipython = lambda: None  # imported, but not running
    assert not progress.notebook()


def test_only_the_outermost_is_shown(monkeypatch, notebook):
    with progress.progress() as outer:
        outer.step("outer")
        work(True)
    assert len(notebook) == 1
    assert {line for line in notebook[0] if line} == {"outer"}
    with pytest.raises(KeyError), progress.progress():
        raise KeyError
    work(True)  # and the next one is shown again
    assert notebook[-1][0] == "[0/2] working"


def test_trainings_encodings_and_evaluations_show_themselves(monkeypatch, notebook):
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    split = jaxcmh.load_dataset("synthetic", train=60, query=10, verbose=False)

    def slowly(function):
        def slow(*args, **kwargs):
            time.sleep(0.3)
            return function(*args, **kwargs)

        return slow

    monkeypatch.setattr("jaxcmh.model.core.prepare", slowly(jaxcmh.model.core.prepare))
    monkeypatch.setattr("jaxcmh.model.measured", slowly(jaxcmh.model.measured))
    monkeypatch.setattr("jaxcmh.model.feature_maps.mapped", slowly(jaxcmh.model.feature_maps.mapped))
    for verbose in (None, False):
        model = jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=8, verbose=verbose)
        jaxcmh.encode(model, split.query.views[0], 0, verbose=verbose)
        query, database = split.query, split.train
        jaxcmh.evaluate(model, query.views, query.labels, database.labels, verbose=verbose)
    seen = [output[0].partition(" ·")[0] for output in notebook]
    assert seen == ["training", "encoding", "evaluating"]


def test_warnings_name_the_line_of_the_user():
    split = jaxcmh.load_dataset("synthetic", train=60, query=10)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        jaxcmh.train("dcgh", split.train.views, split.train.labels, bits=8, max_iterations=1, tolerance=1e-9)
    assert [warning.filename for warning in found if "converged" in str(warning.message)] == [__file__]

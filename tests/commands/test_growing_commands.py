"""Runs that grow: `jaxcmh train --growing`, and `jaxcmh grow`."""

import json

import numpy as np
import pytest

import jaxcmh
from jaxcmh import progress
from jaxcmh.commands import cli
from jaxcmh.results import runs

OLD = 600


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Runs a command in a folder with two files of pairs; what it prints, or of one that is refused, its line."""
    monkeypatch.setattr(progress, "start_jax", lambda: "device: cpu")
    monkeypatch.chdir(tmp_path)
    part = jaxcmh.load_dataset("synthetic", train=900, query=10, dims=(20, 30), labels=6).train
    for name, rows in (("old", slice(OLD)), ("new", slice(OLD, None))):
        np.savez(f"{name}.npz", image=part.views[0][rows], text=part.views[1][rows], labels=part.labels[rows])

    def run(*words, code=0):
        capsys.readouterr()
        assert cli.main(list(words)) == code, capsys.readouterr().err
        said = capsys.readouterr()
        return said.err.splitlines()[-1] if code else said.out

    return run


def test_a_run_grows_by_new_pairs_and_again(call):
    call("train", "dcgh", "--data", "old.npz", "--bits", "16", "--features", "identity", "--growing", "--out", "run")
    (line,) = map(json.loads, call("grow", "run", "new.npz", "--json").splitlines())
    first, more = runs.read_run("run"), runs.read_run("run-grown")
    model, known = jaxcmh.load("run-grown"), jaxcmh.load("run").catalogue
    n = model.info.n
    assert (line["data"], line["database"], line["bits"]) == ("old.npz+new.npz", "learned", 16)
    assert n == len(model.catalogue.ids) == len(more.codes["learned"]) > len(first.codes["learned"])
    assert len(np.unique(model.catalogue.ids)) == n
    np.testing.assert_array_equal(model.catalogue.labels[: len(known.labels)], known.labels)
    codes = np.column_stack([model.catalogue.labels, np.asarray(model.codes)])
    assert len(np.unique(codes, axis=0)) == len(np.unique(model.catalogue.labels, axis=0))
    (again,) = map(json.loads, call("evaluate", "run-grown", "--json").splitlines())
    assert again["map"] == line["map"]
    call("grow", "run-grown", "new.npz", "--out", "third")
    assert jaxcmh.load("third").info.n > n
    assert "--database: expected 'learned'" in call("evaluate", "third", "--database", "encoded", code=2)
    assert "--out: third is there already" in call("grow", "run", "new.npz", "--out", "third", code=2)


@pytest.mark.filterwarnings("ignore:labels")
def test_new_items_without_labels_are_encoded_in_their_order_with_their_names(call):
    for name in ("old", "new"):
        arrays = dict(np.load(f"{name}.npz"))
        arrays["labels"][::5] = 0
        arrays["names"] = np.array([f"{name} {i}" for i in range(len(arrays["labels"]))])
        np.savez(f"{name}.npz", **arrays)
    call("train", "dcgh", "--data", "old.npz", "--bits", "16", "--features", "identity", "--growing", "--out", "run")
    call("grow", "run", "new.npz")
    new, first, model = jaxcmh.load_dataset("new.npz"), jaxcmh.load("run"), jaxcmh.load("run-grown")
    assert not new.train.labels.any(1).all()
    assert model.catalogue.names == [*first.catalogue.names, *(f"new {i}" for i in new.train.ids)]
    np.testing.assert_array_equal(model.catalogue.labels, np.vstack([first.catalogue.labels, new.train.labels]))
    expected = jaxcmh.grow(first, new.train.views, new.train.labels)
    np.testing.assert_array_equal(model.codes, expected.codes)
    np.testing.assert_array_equal(runs.read_run("run-grown").codes["learned"], expected.codes)
    call("grow", "run-grown", "new.npz", "--out", "third")
    assert len(jaxcmh.load("third").summary.unlabelled) == sum(~jaxcmh.load("third").catalogue.labels.any(1))


def test_what_cannot_grow_is_refused_in_one_line(call):
    words = ["--bits", "8", "--features", "identity", "--max-iterations", "1"]
    assert "--growing: imads learns" in call("train", "imads", "--data", "old.npz", *words, "--growing", code=2)
    call("train", "dcgh", "--data", "old.npz", *words, "--out", "run")
    assert "expected one that was trained with growing=True" in call("grow", "run", "new.npz", code=2)
    assert "no run folder nowhere" in call("grow", "nowhere", "new.npz", code=2)

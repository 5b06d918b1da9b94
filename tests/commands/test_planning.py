"""Memory on the command line: what `jaxcmh plan` expects, and what `jaxcmh train --memory` makes of it."""

import json
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import jaxcmh
from jaxcmh import checks, progress
from jaxcmh.commands import cli
from jaxcmh.results import runs
from jaxcmh.studies import forecasts
from jaxcmh.studies.forecasts import Measured

SHAPE = ["--n", "1000000", "--dims", "30", "20", "--labels", "6", "--features", "identity"]


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Runs a command in an empty folder; standard output and standard error of it."""
    monkeypatch.setattr(progress, "start_jax", lambda: "device: cpu")
    monkeypatch.setattr(forecasts, "measure", lambda _, n, asked: Measured(n, 0.5, n / 1000))
    monkeypatch.chdir(tmp_path)

    def run(*words, code=0):
        assert cli.main(list(words)) == code, capsys.readouterr()
        return capsys.readouterr()

    return run


def test_a_plan_says_what_fits_and_what_was_measured(call):
    said = call("plan", "dcgh", *SHAPE, "--devices", "4", "--memory", "0.9").out
    (head,) = (line.split() for line in said.splitlines() if "peak GB" in line)
    assert head == ["way", "peak", "GB", "seconds", "fits", "0.9", "GB"]
    assert "dcgh, 1,000,000 pairs" in said
    words = [line.split() for line in said.splitlines()]
    rows = {row[0]: row[-1] for row in words if row and row[-1] in ("yes", "no")}
    assert rows == {"memory": "no", "devices": "yes", "room": "yes"}
    assert "measured, memory: 25,000 pairs 0.50 GB, 25.0 s; 100,000 pairs 0.50 GB, 100.0 s" in said
    (line,) = map(json.loads, call("plan", "dcgh", *SHAPE, "--ways", "memory", "--json").out.splitlines())
    assert line["seconds"] == pytest.approx(1000)


def test_a_plan_of_what_cannot_be_is_refused_in_one_line(call):
    assert "--dims: expected two views or more" in call("plan", "dcgh", *SHAPE[:4], *SHAPE[5:], code=2).err
    assert "no method 'dcg'" in call("plan", "dcg", *SHAPE, code=2).err


def test_training_within_a_memory_keeps_features_or_is_refused_with_what_is_enough(call):
    words = ["train", "dcgh", "--data", "synthetic", "--features", "identity", "--bits", "8", "--memory"]
    refused = call(*words, "0.1", code=2).err.splitlines()[-1]
    assert "--memory: expected at least 0." in refused
    assert refused.endswith("got 0.1")
    call(*words, "4", "--out", "run")
    assert runs.read_run("run").records[0]["bits"] == 8
    assert "--room: expected without --memory" in call(*words, "4", "--room", "1", code=2).err
    assert "--devices: expected without --memory" in call(*words, "4", "--devices", "1", code=2).err


def test_views_in_files_are_left_there_and_their_codes_are_those_of_memory(call, monkeypatch):
    split, train, left = jaxcmh.load_dataset("synthetic", train=300, query=20, dims=(8, 12)), jaxcmh.train, []
    columns = dict(
        zip(("image", "text", "label"), map(np.concatenate, zip(*([*p.views, p.labels] for p in split[:2]))))
    )
    with h5py.File("pairs.h5", "w") as file:
        file.update(columns)
    pq.write_table(pa.table({name: list(x) for name, x in columns.items()}), "pairs.parquet", row_group_size=100)

    def seen(method, views, *words, **options):
        left.append([checks.is_read(x) for x in views])
        return train(method, views, *words, **options)

    monkeypatch.setattr(jaxcmh, "train", seen)
    by_blocks = ["pairs.h5", "--room", "1e-9"]
    for words in (["pairs.h5"], [*by_blocks, "--codes", "codes", "--devices", "1"], ["pairs.parquet", "--memory", "4"]):
        words += ["--anchors", "20", "--bits", "16", "--out", f"run{len(left)}"]
        call("train", "random_codewords", "--data", *words)
    assert left == [[False, False], [True, True], [True, True]]
    usual, *others = (np.load(f"run{i}/codes.npz") for i in range(3))
    for codes in others:
        for name in ("learned", "encoded_0", "query_1"):
            assert np.unpackbits(codes[name] ^ usual[name]).mean() <= 1e-3
    assert len({runs.read_run(f"run{i}").records[0]["data_hash"] for i in range(3)}) == 1
    for name in ("learned", "encoded_0", "encoded_1"):
        np.testing.assert_array_equal(np.load(f"codes/{name}.npy"), others[0][name])
    again = ["train", "random_codewords", "--data", "pairs.h5", "--anchors", "20", "--bits", "16", "--out", "run1"]
    assert "--codes: expected none, for the run is there" in call(*again, "--codes", "more", code=2).err
    assert not Path("more").exists()
    refused = call("train", "random_codewords", "--data", *by_blocks, "--anchors", "20", "--devices", "2", code=2)
    assert "--devices: this one wants mapped features in memory" in refused.err

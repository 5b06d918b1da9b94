"""Experiment trackers: what they keep is what the result line says, and without the flag nothing reaches for them."""

import importlib
import json
import struct
import subprocess
import sys
from importlib import util

import pytest

import jaxcmh
from jaxcmh import results
from jaxcmh.commands import cli
from jaxcmh.studies import Study, run, trackers

SWEEP = ["sweep", "dcgh", "--data", "synthetic", "--bits", "8", "--grid", "alpha=1,10", "--max-iterations", "3"]


def installed(tracker):
    missing = [name for name in trackers.NEEDED[tracker] if util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{tracker} needs {', '.join(missing)}")


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A line of a study, and the one that the tracker was told."""
    study, logged = Study("one", "bits", "dcgh", bits=(8,), seeds=1, max_iterations=3), []
    split = jaxcmh.load_dataset("synthetic", train=120, query=20, noise=0.8)
    path = tmp_path_factory.mktemp("study") / "results.jsonl"
    options = {"data": "synthetic", "databases": ["learned"], "log": logged.append}
    run(study, split, path, **options)
    run(study, split, path, **options)  # what is kept already is not told again
    assert logged == results.read(path)
    return logged[0]


def events(folder):
    """Scalars of the event files in a folder: name -> {step: value}."""
    event_pb2 = importlib.import_module("tensorboardX.proto.event_pb2")
    scalars, names = {}, set()
    for file in folder.rglob("events.*"):
        content, at = file.read_bytes(), 0
        while at < len(content):  # records: length (8 bytes), its checksum (4), the event, its checksum (4)
            (length,) = struct.unpack_from("<Q", content, at)
            event = event_pb2.Event.FromString(content[at + 12 : at + 12 + length])
            at += 16 + length
            for value in event.summary.value:
                names.add(value.tag)
                if value.HasField("simple_value"):
                    scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    return scalars, names


@installed("tensorboard")
def test_tensorboard_holds_the_line(line, tmp_path):
    trackers.logger("tensorboard", tmp_path)(line)
    scalars, names = events(tmp_path / "tensorboard")
    assert scalars["objective"] == {step: pytest.approx(v, rel=1e-6) for step, v in zip(*results.trace(line))}
    for direction, value in line["map"].items():
        assert scalars[f"mAP/{direction}"] == {3: pytest.approx(value, rel=1e-6)}
    assert "_hparams_/session_start_info" in names


@installed("mlflow")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # how MLflow uses SQLAlchemy
@pytest.mark.filterwarnings("ignore:.*noload.*")
def test_mlflow_holds_the_line(line, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    log = trackers.logger("mlflow", tmp_path)
    log(line)
    log(line | {"seed": 1})
    client = importlib.import_module("mlflow").MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("jaxcmh").experiment_id
    kept = {run_of_seed.data.params["seed"]: run_of_seed for run_of_seed in client.search_runs([experiment])}
    assert set(kept) == {"0", "1"}
    first = kept["0"]
    assert first.info.status == "FINISHED"
    assert first.data.params == {name: str(value) for name, value in trackers.config(line).items()}
    assert {name: first.data.metrics[f"mAP/{name}"] for name in line["map"]} == line["map"]
    trace = sorted((m.step, m.value) for m in client.get_metric_history(first.info.run_id, "objective"))
    assert trace == list(zip(*results.trace(line)))


@installed("wandb")
def test_wandb_offline_writes_a_run(line, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    trackers.logger("wandb", tmp_path)(line)
    importlib.import_module("wandb").teardown()  # as at the end of a process: its service has written everything
    (kept,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = kept.read_bytes()
    assert b"mAP/i2t" in content
    assert line["data_hash"].encode() in content


def test_a_missing_tracker_is_named_with_its_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    for command in (SWEEP, ["reproduce", "dcgh"], ["train", "dcgh", "--data", "synthetic"]):
        assert cli.main([*command, "--log", "tensorboard"]) == 2
        assert capsys.readouterr().err.splitlines() == [
            "jaxcmh: this needs tensorboardX: python -m pip install 'jaxcmh[tensorboard]'"
        ]
    assert not any(tmp_path.iterdir())
    with pytest.raises(ValueError, match="log: expected one of tensorboard, mlflow, wandb; got 'comet'"):
        trackers.logger("comet", tmp_path)


@installed("tensorboard")
def test_sweep_and_train_log_where_their_results_lie(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main([*SWEEP, "--out", "swept", "--database", "learned", "--log", "tensorboard", "--json"]) == 0
    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert len(list((tmp_path / "swept" / "tensorboard").iterdir())) == len(lines) == 2
    train = ["train", "dcgh", "--data", "synthetic", "--bits", "8", "--max-iterations", "3", "--out", "trained"]
    assert cli.main([*train, "--log", "tensorboard"]) == 0
    scalars, _ = events(tmp_path / "trained" / "tensorboard")
    maps = [line["map"]["t2i"] for line in results.read(tmp_path / "trained")]
    assert any(scalars["mAP/t2i"][3] == pytest.approx(value, rel=1e-6) for value in maps)


def test_without_the_flag_no_socket_is_opened_and_no_tracker_imported(tmp_path):
    code = f"""
import sys
opened = []
sys.addaudithook(lambda event, _: opened.append(event) if event in ("socket.__new__", "socket.getaddrinfo") else None)
from jaxcmh.commands import cli
for words in ({SWEEP!r}, ["train", "dcgh", "--data", "synthetic", "--bits", "8", "--max-iterations", "3"]):
    assert cli.main(words) == 0
loaded = {{"tensorboardX", "mlflow", "wandb"}} & set(sys.modules)
assert not loaded, loaded
assert not opened, opened
import socket
socket.socket()
assert opened, "the hook sees nothing"
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

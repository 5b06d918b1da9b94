"""Studies: which runs they are, that each equals a single run, and that a killed sweep goes on where it stopped."""

import json
import signal
import subprocess
import sys
import time

import filelock
import pytest

import jaxcmh
from jaxcmh import progress, results
from jaxcmh.commands import cli
from jaxcmh.methods import find
from jaxcmh.model import resolve_features
from jaxcmh.studies import Study, conditions, lanes, points, run, runs

STUDY = Study("weights", "surface", "dcgh", bits=(8,), seeds=2, vary={"alpha": (1.0, 100.0), "beta": (1.0, 10.0)})


@pytest.fixture(scope="module")
def split():
    return jaxcmh.load_dataset("synthetic", train=120, query=20, noise=0.8)


def scores(lines):
    """What is measured, without when and where."""
    left_out = ("times", "environment", "peak_memory_gb")
    return sorted(
        json.dumps({k: v for k, v in line.items() if k not in left_out}, sort_keys=True, default=str) for line in lines
    )


def test_points_are_the_combinations_asked_for():
    grid = points(STUDY)
    assert [(p.params.alpha, p.params.beta, p.seed) for p in grid[:5]] == [
        (1, 1, 0), (1, 1, 1), (1, 10, 0), (1, 10, 1), (100, 1, 0),
    ]  # fmt: skip
    zipped = points(STUDY._replace(combine="list", seeds=1))
    assert [(p.params.alpha, p.params.beta) for p in zipped] == [(1, 1), (100, 10)]
    settings = points(STUDY._replace(bits=(8, 16), settings=({}, {"unpaired": 0.5})))
    assert len(settings) == 2 * 2 * 4 * 2
    assert settings[-1].setting == {"unpaired": 0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vary": {"gamma": [1.0]}}, "vary: dcgh has no hyper-parameter 'gamma'; it has alpha, beta, lam"),
        ({"vary": {"alpha": []}}, "vary: expected a sequence of numbers for alpha"),
        ({"combine": "random"}, "combine: expected one of grid, each, list"),
        ({"combine": "list", "vary": {"alpha": [1.0], "beta": [1.0, 2.0]}}, "as many values of each"),
        ({"bits": (12,)}, "bits: expected a positive multiple of 8"),
        ({"seeds": 0}, "seeds: expected an integer from 1 to 65536"),
        ({"method": "dcgg"}, "method: expected one of dcgh"),
        ({"vary": {"alpha": [float("nan")]}}, "params.alpha: expected a finite number"),
    ],
)
def test_bad_studies_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        points(STUDY._replace(**change))


def test_conditions_of_the_data(split):
    assert len(conditions(split, {"rows": 50}).database.labels) == 50
    fewer = conditions(split, {"training_size": 50, "unpaired": 1.0})
    assert (len(fewer.train.labels), len(fewer.database.labels)) == (50, 120)
    with pytest.raises(ValueError, match="settings: expected conditions among unpaired"):
        conditions(split, {"unpared": 1.0})
    with pytest.raises(ValueError, match="rows: expected an integer from 1 to 120"):
        conditions(split, {"rows": 121})


def test_a_study_equals_single_runs_and_is_computed_once(split, tmp_path, monkeypatch):
    path = tmp_path / "lines.jsonl"
    lines = run(STUDY, split, path, data="synthetic")
    assert [line["database"] for line in lines[:2]] == ["learned", "encoded"]
    single = []
    for point in points(STUDY):
        outcome = runs.run(
            split, "dcgh", bits=8, data="synthetic", seed=point.seed, params=point.params, features=STUDY.features
        )
        single += outcome.records
    for one, other in zip(lines, single, strict=True):
        assert one["key"] == other["key"]
        assert one["map"] == pytest.approx(other["map"], abs=1e-6)
        assert one["chance"] == other["chance"] == results.chance(split.query.labels, split.database.labels)
        # A float32 sum of terms that nearly cancel, in another order.
        assert one["objective"] == pytest.approx(other["objective"], rel=1e-4)
    assert results.read(path) == lines

    before = path.read_bytes()
    assert run(STUDY, split, path, data="synthetic") == lines
    assert path.read_bytes() == before

    alone = run(
        STUDY._replace(name="times", seeds=1), split, path, data="synthetic", alone=True
    )  # with times of its own
    assert [line["key"] for line in alone] == [line["key"] for line in lines if line["seed"] == 0]
    assert {"train", "evaluate", "compile"} <= set(alone[0]["times"])


@pytest.mark.parametrize("method", ["aah", "acqh"])
def test_seeds_side_by_side_equal_single_runs(split, tmp_path, method):
    """Neither has anchors, so that all seeds share features and Gram matrices."""
    study = Study("seeds", "seeds", method, bits=(8,), seeds=3, max_iterations=4)
    lines = run(study, split, tmp_path / "lines.jsonl", data="synthetic", databases=["encoded"])
    for seed, line in enumerate(lines):
        outcome = runs.run(split, method, bits=8, data="synthetic", seed=seed, max_iterations=4)
        assert line["key"] == outcome.records[1]["key"]
        assert line["map"] == pytest.approx(outcome.records[1]["map"], abs=1e-6)


def test_lanes_end_where_single_runs_converge(split, tmp_path):
    study = STUDY._replace(vary={}, seeds=2, max_iterations=30, tolerance=0.02, features="rbf")
    lines = run(study, split, tmp_path / "lines.jsonl", data="synthetic", databases=["learned"])
    for line in lines:
        options = {"seed": line["seed"], "max_iterations": 30, "tolerance": 0.02, "features": "rbf"}
        single = runs.run(split, "dcgh", bits=8, data="synthetic", **options).records[0]
        assert line["key"] == single["key"]
        assert 0 < line["converged"] == single["converged"] < 30
        assert line["objective"] == pytest.approx(single["objective"], rel=1e-5)


def test_one_compiled_program_serves_every_tolerance(split):
    method = find("dcgh")
    shared = lanes.prepare(split, method, resolve_features("rbf", method, 2), 0, runs=2)
    call, _, _ = lanes.compiled(method, shared, ["seed"], bits=8, max_iterations=6, lanes=2)
    ends = [call(shared, [0, 1], [method.params] * 2, tolerance).converged for tolerance in (0.0, 0.9)]
    assert [tuple(end.tolist()) for end in ends] == [(0, 0), (1, 1)]


def test_singular_values_shared_by_runs_change_nothing(split, tmp_path, monkeypatch):
    study = STUDY._replace(seeds=1, vary={"lam": (1e-3, 1.0)}, features="rbf")
    plain = run(study, split, tmp_path / "a.jsonl", data="synthetic", ties="stable")
    monkeypatch.setattr("jaxcmh.studies.lanes.SVD_RUNS", 1)
    lines = run(study, split, tmp_path / "b.jsonl", data="synthetic", ties="stable")
    for one, other in zip(plain, lines, strict=True):
        assert one["map"] == pytest.approx(other["map"], abs=1e-6)


def test_memory_bounds_the_lanes(split, tmp_path):
    with pytest.raises(ValueError, match=r"memory: one run needs .* GB, .* of it for the data; got 0\.001"):
        run(STUDY._replace(vary={}), split, tmp_path / "lines.jsonl", data="synthetic", memory=0.001)


SWEEP = ["sweep", "dcgh", "--data", "synthetic", "--grid", "alpha=0.1:1000:5", "beta=1,10", "--bits", "8"]


def test_a_killed_sweep_goes_on_where_it_stopped(tmp_path, monkeypatch):
    """The file of a sweep killed by SIGKILL and started again is that of an undisturbed one, up to order and times."""
    command = [sys.executable, "-m", "jaxcmh", *SWEEP, "--seeds", "6", "--anchors", "64"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    path = killed / "results.jsonl"
    with subprocess.Popen([*command, "--out", str(killed)], stderr=subprocess.PIPE) as process:
        until = time.monotonic() + 120
        while (not path.exists() or path.read_bytes().count(b"\n") < 4) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    before = results.read(path)
    assert 4 <= len(before) < 120
    with open(path, "ab") as file:
        file.write(b'{"format": 1, "torn')
    for folder in (killed, whole):
        subprocess.run([*command, "--out", str(folder)], check=True, capture_output=True)
    after = results.read(path)
    assert after[: len(before)] == before
    assert len(after) == 120
    assert scores(after) == scores(results.read(whole / "results.jsonl"))


def test_two_processes_do_not_write_one_file(split, tmp_path):
    with filelock.FileLock(tmp_path / ".lines.jsonl.lock"), pytest.raises(BlockingIOError, match="by another process"):
        run(STUDY, split, tmp_path / "lines.jsonl", data="synthetic")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grid", "gamma=1:2:3"], "--grid: no hyper-parameter 'gamma'; there are alpha, beta, lam"),
        (["--grid", "alpha=1:2"], "--grid: expected name=low:high:count or name=value,value, such as alpha=1e-4:1e4:9"),
        (["--grid", "alpha=0:2:3"], "--grid: expected 0 < low <= high and a count from 1 to 65536; got 'alpha=0:2:3'"),
        (["--grid", "alpha=1", "alpha=2"], "--grid: alpha is given twice"),
        (["--list", "alpha=1,2", "beta=1"], "--list: expected as many values of each"),
        (["--random", "3"], "give --grid, or --list, or --grid with --random"),
        (["--grid", "alpha=1:2", "--random", "0"], "--random: expected an integer from 1 to 65536; got 0"),
        (["--grid", "alpha=1,2", "--bits", "12"], "bits: expected a positive multiple of 8; got 12"),
        (["--grid", "alpha=1,2", "--seeds", "0"], "seeds: expected an integer from 1 to 65536; got 0"),
    ],
)
def test_bad_sweeps_are_refused_in_one_line(words, message, capsys, monkeypatch):
    monkeypatch.setattr(progress, "start_jax", lambda: "device: cpu")
    assert cli.main(["sweep", "dcgh", "--data", "synthetic", *words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("jaxcmh: ")]
    assert len(lines) == 1
    assert message in lines[0]


def test_random_draws_are_the_same_each_time(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "start_jax", lambda: "device: cpu")
    monkeypatch.chdir(tmp_path)
    words = [
        "sweep",
        "dcgh",
        "--data",
        "synthetic",
        "--bits",
        "8",
        "--anchors",
        "64",
        "--grid",
        "alpha=1:100",
        "--random",
        "3",
    ]
    assert cli.main([*words, "--json"]) == 0
    first = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    drawn = {line["params"]["alpha"] for line in first}
    assert len(drawn) == 3
    assert all(1 <= value <= 100 for value in drawn)
    assert cli.main(words) == 0
    assert "3 runs, 3 of them cached" in capsys.readouterr().err

"""Result lines: nothing is lost, nothing is half written, what is damaged or of another format is named."""

import json
import resource
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from jaxcmh import results
from jaxcmh.results import lines


def line(method: str = "dcgh", bits: int = 16, seed: int = 0, i2t: float = 0.4, **changes) -> dict:
    record = {
        "format": 2,
        "data": "toy",
        "data_hash": "d",
        "split_hash": "s",
        "database": "learned",
        "ties": "expected",
        "at": None,
        "n_queries": 20,
        "n_without_relevant": 1,
        "n_database": 50,
        "method": method,
        "bits": bits,
        "params": {"alpha": 1.0},
        "max_iterations": 3,
        "tolerance": 0.0,
        "features": [{"kind": "rbf"}],
        "hash_function": "ridge",
        "seed": seed,
        "map": {"i2t": i2t, "t2i": 0.7},
        "objective": [4.0, 3.0, 2.0, 1.5],
        "converged": 0,
        "times": {"train": 0.1},
        "environment": {},
        **changes,
    }
    return {**record, "key": results.key(record)}


def test_lines_come_back_as_written(tmp_path):
    path = tmp_path / "results.jsonl"
    written = [line(), line(seed=1)]
    for record in written:
        results.append(path, record)
    assert results.read(path) == written
    assert results.read(tmp_path) == written
    assert len(path.read_text().splitlines()) == 2


def test_a_half_line_of_a_killed_process_is_passed_over_and_then_cut_off(tmp_path):
    path = tmp_path / "results.jsonl"
    results.append(path, line())
    with open(path, "a") as file:
        file.write('{"format": 1, "met')
    assert results.read(path) == [line()]
    results.append(path, line(seed=1))
    assert results.read(path) == [line(), line(seed=1)]


def test_a_line_that_the_disk_has_no_room_for_leaves_the_others(tmp_path):
    path = tmp_path / "results.jsonl"
    results.append(path, line())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*results\.jsonl"):
            results.append(path, line(seed=1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text().endswith("\n")
    assert results.read(path) == [line()]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("bits", 7.5), ("bits", -8), ("seed", -1), ("n_queries", 0), ("n_database", 0)),
        *(("method", ""), ("method", "a\nb")),
    ],
)
def test_a_result_that_no_experiment_gives_is_not_written(tmp_path, field, value):
    with pytest.raises(ValueError, match=f"record: {field}: expected"):
        results.append(tmp_path / "results.jsonl", line() | {field: value})
    assert not list(tmp_path.iterdir())


def test_lines_of_several_writers_are_all_there_once(tmp_path):
    path = tmp_path / "results.jsonl"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: results.append(path, line(seed=seed)), range(40)))
    assert sorted(record["seed"] for record in results.read(path)) == list(range(40))
    assert [file.name for file in tmp_path.iterdir()] == ["results.jsonl"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "line 1: not JSON"),
        ("[1]", "line 1: a result is a JSON object, got list"),
        ('{"format": 1}', "line 1: the result lacks key, data"),
        (json.dumps(line() | {"format": 99}), "written by a later jaxcmh"),
        (json.dumps(line() | {"map": {"i2t": "high"}}), "map must give a number"),
        (json.dumps(line() | {"format": None}), "line 1: format: expected integer, got 'None'"),
        (json.dumps(line() | {"bits": "16"}), "line 1: bits: expected integer, got '16'"),
        (json.dumps(line() | {"bits": True}), "line 1: bits: expected integer"),
        (json.dumps(line() | {"params": {"alpha": "x"}}), "line 1: params: expected object of integer or number"),
        (json.dumps(line() | {"times": [1.0]}), "line 1: times: expected object"),
        (json.dumps(line() | {"objective": {"a": 1}}), "line 1: objective: expected list"),
        (json.dumps(line() | {"data": ["wiki"]}), "line 1: data: expected text"),
        (json.dumps(line() | {"bits": 12}), "line 1: bits: expected a positive multiple of 8; got 12"),
        (json.dumps(line() | {"seed": -1}), "line 1: seed: expected an integer of at least 0; got -1"),
        ("[" * 200_000, r"line 1: not JSON \(nested too deeply\)"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, text, message):
    path = tmp_path / "results.jsonl"
    path.write_text(text + "\n")
    with pytest.raises(ValueError, match=message) as error:
        results.read(path)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.jsonl"):
        results.read(tmp_path / "nothing.jsonl")
    with pytest.raises(FileNotFoundError, match=r"no results.jsonl in"):
        results.read(tmp_path)


@pytest.mark.parametrize("field", ["map", "objective"])
def test_scores_that_are_not_finite_are_refused(tmp_path, field):
    bad = {"map": {"i2t": float("nan")}, "objective": [1.0, float("inf")]}[field]
    with pytest.raises(ValueError, match=f"{field} is not finite"):
        results.append(tmp_path / "r.jsonl", line() | {field: bad})
    assert not (tmp_path / "r.jsonl").exists()


def test_the_key_is_that_of_the_experiment():
    assert line()["key"] == line(times={"train": 9.0}, map={"i2t": 0.9})["key"]
    others = [line(seed=1), line(bits=32), line(ties="stable"), line(params={"alpha": 2.0}), line(data_hash="x")]
    assert len({line()["key"], *(other["key"] for other in others)}) == 6


def test_doubts():
    assert results.doubts({"i2t": 0.4, "t2i": 0.7}, 0.1, {"learned": np.array([[0], [255]], np.uint8)}) == []
    assert "exactly the same mAP" in results.doubts({"i2t": 0.4, "t2i": 0.4}, 0.1)[0]
    assert results.doubts({"i2t": 0.99, "t2i": 0.99}, 0.1) == []  # both views find nearly everything
    assert "hardly better than chance" in results.doubts({"i2t": 0.1, "t2i": 0.7}, 0.1)[0]
    constant = results.doubts({}, 0.1, {"learned": np.array([[0, 1], [254, 1]], np.uint8)})
    assert constant == ["9 of 16 bits are the same for all items of the learned codes"]


def test_long_curves_are_thinned_and_keep_their_shape():
    recall = np.linspace(0.001, 1, 5000) ** 0.3
    measured = SimpleNamespace(
        pr_recall=recall, pr_precision=1 - recall, topn_precision=[], radius_precision=[], radius_recall=[]
    )
    thin = lines._curves(measured)
    assert 200 < len(thin["recall"]) <= results.POINTS
    assert thin["recall"][-1] == 1
    assert np.abs(np.interp(recall, thin["recall"], thin["precision"]) - (1 - recall)).max() < 1e-3
    short = SimpleNamespace(**{**vars(measured), "pr_recall": recall[:65], "pr_precision": recall[:65]})
    assert len(lines._curves(short)["recall"]) == 65


def test_environment_names_versions_and_device():
    facts = results.environment()
    assert facts["versions"]["jax"].count(".") >= 1
    assert facts["device"].startswith("cpu")
    json.dumps(facts)


def test_lines_of_the_first_format_have_run_a_fixed_number_of_iterations():
    record = {name: value for name, value in line(format=1, iterations=3).items() if name != "max_iterations"}
    del record["tolerance"], record["converged"]
    known = lines.check(record)
    assert (known["max_iterations"], known["tolerance"]) == (3, 0.0)
    assert lines.trace(known)[0] == [1, 2, 3, 4]


def test_a_trace_ends_where_the_training_converged():
    assert lines.trace(line(converged=2)) == ([0, 1, 2], [4.0, 3.0, 2.0])
    assert lines.trace(line()) == ([0, 1, 2, 3], [4.0, 3.0, 2.0, 1.5])


def test_lines_of_two_divisors_are_told_apart_and_earlier_ones_have_the_usual_one():
    other = line(at=5, divisor="possible")
    assert len({line()["key"], line(at=5)["key"], other["key"]}) == 3
    assert results.one_protocol([line(at=5), line(at=5, seed=1)])["divisor"] == "retrieved"
    with pytest.raises(ValueError, match='divisor is "possible" and "retrieved"'):
        results.one_protocol([line(at=5), other])
    assert results.table([other]).caption.startswith("mAP@5 (divided by what is possible), ")


def test_a_measure_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match="measures is not finite"):
        lines.check(line(measures={"i2t": {"NDCG@10": float("nan")}}))


@pytest.mark.parametrize("field", ["max_iterations", "tolerance"])
def test_when_a_training_ends_is_part_of_the_key(field):
    assert line()["key"] != line(**{field: 1})["key"]

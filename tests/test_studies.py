"""Studies: which runs they are, that each equals a single run, and that a killed sweep goes on where it stopped."""

import json

import pytest

import jaxcmh
from jaxcmh import results, runs
from jaxcmh.studies import Study, conditions, points, run

STUDY = Study("weights", "surface", "dcgh", bits=(8,), seeds=2, vary={"alpha": (1.0, 100.0), "beta": (1.0, 10.0)})


@pytest.fixture(scope="module")
def split():
    return jaxcmh.load_dataset("synthetic", train=120, query=20, noise=0.8)


def scores(lines):
    """What is measured, without when and where."""
    left_out = ("times", "environment", "diagnostics")
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
        ({"seeds": 0}, "seeds: expected an integer of at least 1"),
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
        assert one["objective"] == pytest.approx(other["objective"], rel=1e-5)
    assert results.read(path) == lines

    before = path.read_bytes()
    assert run(STUDY, split, path, data="synthetic") == lines
    assert path.read_bytes() == before

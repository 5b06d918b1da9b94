"""Studies in one call: what is run, the table, figures and importance; and where designs put their points."""

import json

import jax
import numpy as np
import pytest

import jaxcmh
from jaxcmh import results
from jaxcmh.learning import mesh
from jaxcmh.methods import registry
from jaxcmh.results import figures, importance
from jaxcmh.studies import Study, run
from jaxcmh.studies.designs import drawn

SMALL = {"bits": [8], "seeds": 1, "features": "identity", "max_iterations": 2}


@pytest.fixture(scope="module")
def split():
    return jaxcmh.load_dataset("synthetic", train=120, query=20, noise=0.8)


@pytest.fixture(scope="module")
def scores(split):
    return jaxcmh.study("dcgh", split, **SMALL | {"seeds": 2, "bits": [8, 16]}, params={"alpha": [1, 100], "lam": 0.1})


def test_the_table_holds_what_a_study_of_the_same_runs_gives(split, scores, tmp_path):
    same = Study(
        "same", "sweep", "dcgh", (8, 16), 2, {"lam": 0.1}, {"alpha": [1, 100]}, features="identity", max_iterations=2
    )
    lines = run(same, split, tmp_path / "lines.jsonl", data="in memory")
    table = scores.table
    assert {len(column) for column in table.values()} == {2 * len(lines)}
    assert [str(value) for value in table["direction"][:2]] == ["i2t", "t2i"]
    assert table["map"].tolist() == [score for line in lines for score in line["map"].values()]
    for name in ("bits", "seed", "database"):
        assert table[name].tolist() == [line[name] for line in lines for _ in range(2)]
    assert table["alpha"].tolist() == [line["params"]["alpha"] for line in lines for _ in range(2)]
    assert set(table["lam"]) == {0.1}
    assert (table["seconds"] > 0).all()
    assert scores.varied == ("alpha", "bits")
    assert {line["data"] for line in scores.lines} == {f"{split.name} in memory"}


def test_runs_that_are_spread_over_devices_score_what_they_do_on_one(split, scores):
    options = SMALL | {"seeds": 2, "bits": [8, 16], "mesh": mesh.row_mesh(jax.devices()[:3])}
    spread = jaxcmh.study("dcgh", split, **options, params={"alpha": [1, 100], "lam": 0.1})
    np.testing.assert_allclose(spread.table["map"], scores.table["map"], atol=1e-5)
    assert [line["key"] for line in spread.lines] == [line["key"] for line in scores.lines]


def test_what_a_file_has_is_not_computed_again(split, tmp_path, monkeypatch):
    path = tmp_path / "kept.jsonl"
    first = jaxcmh.study("dcgh", split, **SMALL, path=path)
    assert results.read(path) == first.lines
    monkeypatch.setattr("jaxcmh.studies.lanes.prepare", None)
    again = jaxcmh.study("dcgh", split, **SMALL, path=path)
    assert again.lines == first.lines
    assert [len(again.table[name]) for name in ("map", "seconds")] == [4, 4]


def test_the_best_setting_is_that_of_the_highest_mean(scores):
    table = scores.table
    means = {}
    for alpha, bits in {(a, b) for a, b in zip(table["alpha"], table["bits"])}:
        rows = (table["alpha"] == alpha) & (table["bits"] == bits) & (table["database"] == "learned")
        means[alpha, bits] = table["map"][rows].mean()
    assert tuple(scores.best().values()) == pytest.approx(max(means, key=means.__getitem__))


def test_a_table_for_pandas(scores, monkeypatch):
    frame = pytest.importorskip("pandas") and scores.pandas()
    assert list(frame.columns) == list(scores.table)
    assert frame["map"].tolist() == scores.table["map"].tolist()
    monkeypatch.setattr("jaxcmh.extras.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"needs pandas: python -m pip install 'jaxcmh\[pandas\]'"):
        scores.pandas()


def test_figures_are_pictures_for_a_notebook_and_files_where_asked(scores, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    figure = scores.figure()
    assert (figure.title, figure.files) == ("mAP against α", [])
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert not list(tmp_path.iterdir())
    figure = scores.figure("importance", tmp_path / "which")
    assert [file.name for file in figure.files] == ["which.png", "which.svg", "which.pdf", "which.csv"]
    assert figure._repr_png_() == figure.files[0].read_bytes()
    with pytest.raises(ValueError, match="name: expected one of alpha, bits, importance; got 'beta'"):
        scores.figure("beta")


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({}, ["convergence"]),
        ({"alpha": [1, 2]}, ["alpha"]),
        ({"alpha": [1, 2], "beta": [1, 2]}, ["surface", "importance"]),
        ({"alpha": [1, 2], "beta": [1, 2], "lam": [1, 2]}, ["alpha", "beta", "lam", "importance"]),
    ],
)
def test_which_figures_there_are(split, params, names):
    scores = jaxcmh.study("dcgh", split, **SMALL, params=params)
    assert list(figures.plan(figures.studies(scores.lines)[0], ".")) == names


def test_a_study_shows_itself_in_a_few_lines(scores):
    assert len(repr(scores).splitlines()) <= 5
    assert repr(scores).startswith("Scores(results=16, ")
    page = scores._repr_html_()
    assert page.count("<tr>") == 2 + 2
    assert "±" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": {"alfa": [1]}}, "params: expected names among alpha, beta, lam; got 'alfa'"),
        ({"params": {"alpha": [1, -1]}}, "params.alpha: expected a finite number of at least 0; got -1"),
        ({"params": {"alpha": []}}, r"params\['alpha'\]: expected at least one"),
        ({"params": {"alpha": "1"}}, r"params\['alpha'\]: expected a finite number or a sequence"),
        ({"bits": [12]}, r"bits\[0\]: expected a positive multiple of 8; got 12"),
        ({"points": 3}, "points: expected with a design, and only then; got 3"),
        ({"design": "sobol"}, "design: expected params with a range"),
        ({"design": "sobol", "params": {"alpha": [1, 2, 3]}}, r"params: expected a range \(low, high\) of alpha"),
        ({"design": "grid"}, "design: expected random, sobol, halton or latin|design: expected one of random, sobol"),
        ({"databases": ["held_out"]}, "databases: expected one of learned, encoded; got 'held_out'"),
        ({"data": "nonsense"}, "no data set 'nonsense'"),
        ({"method": "dcgg"}, "method: expected one of dcgh"),
    ],
)
def test_bad_arguments_are_refused(split, change, message):
    with pytest.raises(ValueError, match=message):
        jaxcmh.study(**{"method": "dcgh", "data": split, **SMALL, **change})


def test_a_design_is_run_at_its_points(split):
    ranges = {"alpha": (0.01, 100), "lam": (0, 1)}
    scores = jaxcmh.study("dcgh", split, **SMALL, params=ranges, design="halton", points=5)
    expected = drawn(registry["dcgh"].params, ranges, 5, "halton")
    for name, values in expected.items():
        assert scores.table[name][::4].tolist() == values


# -- designs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("design", ["random", "sobol", "halton", "latin"])
def test_a_design_fills_a_range_evenly_in_logarithm(design):
    values = np.log10(drawn(registry["dcgh"].params, {"alpha": (1e-4, 1e4), "beta": (1, 2)}, 64, design)["alpha"])
    counts, _ = np.histogram(values, bins=8, range=(-4, 4))
    assert counts.sum() == 64
    assert counts.min() >= (2 if design == "random" else 6)  # 8 each would be wholly even


def test_ranges_from_zero_and_of_signed_parameters_are_even_in_themselves():
    signed = registry["dcgh"].params._replace()
    values = np.array(drawn(signed, {"alpha": (0, 8)}, 64, "sobol")["alpha"])
    assert np.histogram(values, bins=4, range=(0, 8))[0].tolist() == [16] * 4


def test_designs_are_the_same_each_time_and_grow():
    params, ranges = registry["dcgh"].params, {"alpha": (1, 10), "lam": (1, 10)}
    for design in ("random", "sobol", "halton"):
        assert drawn(params, ranges, 20, design)["lam"][:7] == drawn(params, ranges, 7, design)["lam"]
        assert drawn(params, ranges, 7, design, seed=1) != drawn(params, ranges, 7, design)


def test_bad_ranges_are_refused():
    params = registry["dcgh"].params
    with pytest.raises(ValueError, match="ranges: expected low <= high of alpha; got 2 and 1"):
        drawn(params, {"alpha": (2, 1)}, 4)
    with pytest.raises(ValueError, match=r"params.alpha: expected a finite number of at least 0; got -1"):
        drawn(params, {"alpha": (-1, 1)}, 4)


# -- importance -------------------------------------------------------------------------------------------------------


def lines_of(points, score):
    import fake_lines

    return [fake_lines.line(params=p, map={"i2t": score(**p)}) for p in points]


@pytest.mark.parametrize("count", [16, 64, 300])
def test_importance_of_a_design_is_the_sobol_index_whatever_the_number_of_points(count):
    """Of x + 2y for even x and y: 1/5 and 4/5; what does not matter has none, though groups of it differ by chance."""
    shares = []
    for seed in range(20):
        unit = np.random.default_rng(seed).random((count, 3))
        lines = lines_of([dict(zip("xyz", row)) for row in unit.tolist()], lambda x, y, z: (x + 2 * y) / 3)
        found = importance.importances(lines, ["x", "y", "z"], "i2t")["names"]
        shares.append([found[name]["share"] for name in "xyz"])
    assert np.mean(shares, axis=0) == pytest.approx([0.2, 0.8, 0.0], abs=0.12)


def test_the_best_setting_and_the_best_values_are_two_things():
    grid = [{"x": float(x), "y": float(y)} for x in (0, 1) for y in (0, 1)]
    table = {(0, 0): 0.9, (0, 1): 0.1, (1, 0): 0.6, (1, 1): 0.6}
    lines = lines_of(grid, lambda x, y: table[x, y])
    assert importance.best(lines, ["x", "y"]) == ({"x": 0.0, "y": 0.0}, 0.9)
    assert importance.importances(lines, ["x", "y"], "i2t")["names"]["x"]["best"] == 1.0


def test_the_command_draws_as_the_library_does(capsys, monkeypatch, tmp_path):
    from jaxcmh import progress
    from jaxcmh.commands import cli

    monkeypatch.setattr(progress, "start_jax", lambda: "device: cpu")
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "dcgh", "--data", "synthetic", "--bits", "8", "--features", "identity", "--max-iterations", "1"]
    assert cli.main([*words, "--grid", "alpha=1:100", "--random", "3", "--design", "sobol", "--json"]) == 0
    values = [json.loads(line)["params"]["alpha"] for line in capsys.readouterr().out.splitlines()]
    assert values[::2] == drawn(registry["dcgh"].params, {"alpha": (1, 100)}, 3, "sobol")["alpha"]
    assert cli.main([*words, "--grid", "alpha=1:100", "--design", "sobol"]) == 2
    assert "--design: expected with --random" in capsys.readouterr().err

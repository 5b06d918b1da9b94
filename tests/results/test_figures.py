"""Studies: every kind gives its figures from lines alone, with the points that the lines hold."""

import csv

import fake_lines
import numpy as np
import pytest

from jaxcmh.results import figures, plots


def study(lines):
    (parted,) = figures.studies(lines)
    return parted


@pytest.fixture
def undrawn(monkeypatch):
    """The arguments of every drawing, which is not made: what is drawn is tested here, how it looks elsewhere."""
    drawn = {}
    for name in ("draw", "surface", "bars", "clouds", "answers", "labelled", "matrix"):

        def keep(stem, *values, name=name, **options):
            drawn[stem.name] = (name, values, options)
            return [stem]

        monkeypatch.setattr(plots, name, keep)
    return drawn


def test_lines_part_into_studies():
    lines = [*fake_lines.bits(), *fake_lines.sensitivity(), fake_lines.line(), fake_lines.line(data="other")]
    parted = figures.studies(lines)
    assert [(s.name, s.kind, s.vary, s.data) for s in parted] == [
        ("all methods", "bits", (), "toy"),
        ("sensitivity of alpha", "sensitivity", ("alpha",), "toy"),
        ("runs", "bits", (), "toy"),
        ("runs", "bits", (), "other"),
    ]
    assert sum(len(s.lines) for s in parted) == len(lines)


@pytest.mark.parametrize(
    ("claimed", "message"),
    [({"name": "x", "kind": "guess"}, "kind must be one of bits, sensitivity"), ("bits", "expected a name and a kind")],
)
def test_a_study_that_is_none_is_refused(claimed, message):
    with pytest.raises(ValueError, match=message):
        figures.studies([fake_lines.line() | {"study": claimed}])


def test_every_kind_draws(tmp_path, undrawn):
    for one in figures.studies(fake_lines.everything(tmp_path)):
        made, skipped = figures.draw(one, tmp_path / one.kind, tmp_path)
        assert made, one.kind
        assert skipped == []
    assert sorted(undrawn) == [
        "ablation", "bits-bits", "bits-convergence", "bits-pr-32", "bits-time", "bits-topn-32",
        "convergence-convergence", "convergence-map", "convergence-stages", "deep", "paired", "pictures", "residuals",
        "scaling-evaluate-rows", "scaling-train-rows", "sensitivity-alpha", "surface-importance", "surface-surface",
        "training_size", "tsne", "unpaired",
    ]  # fmt: skip


def test_methods_of_one_size_are_points_of_time_and_map(tmp_path, undrawn):
    lines = fake_lines.times()
    figures.draw(study(lines), tmp_path / "t", tmp_path)
    ((name, (_, (panels,), options)),) = undrawn.items()
    assert (name, options["marked"], len(panels)) == ("t-map", "random_codewords", 2)
    own = [r["map"]["t2i"] for r in lines if r["method"] == "method 3"]
    assert panels[1].lines["method 3"] == ([pytest.approx(10.0 ** (4 / 6))], [pytest.approx(np.mean(own))])
    assert panels[1].spread["method 3"] == [pytest.approx(np.std(own, ddof=1))]


def test_a_matrix_of_pairs_drops_what_all_names_have_in_common(tmp_path, undrawn):
    figures.draw(study(fake_lines.paired()), tmp_path / "p", tmp_path)
    _, (panels,), options = undrawn["p"]
    assert panels[0].names == ["dcgh", "aah", "random_codewords"]
    assert "all are NAME-common" in options["caption"]
    assert [panel.title for panel in panels][:2] == ["Image → text, learned codes", "Text → image, learned codes"]
    assert panels[0].sure.sum() == 6


def test_sensitivity_is_the_mean_over_seeds_on_a_logarithmic_axis(tmp_path, undrawn):
    lines = fake_lines.sensitivity()
    figures.draw(study(lines), tmp_path / "s", tmp_path)
    _, (panels,), options = undrawn["s-alpha"]
    assert options["log_x"]
    assert options["x"] == "α"
    assert [panel.title for panel in panels] == [
        "Image → text, learned codes",
        "Text → image, learned codes",
        "Image → text, encoded codes",
        "Text → image, encoded codes",
    ]
    xs, ys = panels[0].lines["dcgh"]
    assert xs == [10.0**e for e in range(-5, 6)]
    own = [r["map"]["i2t"] for r in lines if r["params"]["alpha"] == 1e-5 and r["database"] == "learned"]
    assert ys[0] == pytest.approx(np.mean(own))
    assert panels[0].spread["dcgh"][0] == pytest.approx(np.std(own, ddof=1))


def test_one_at_a_time_keeps_the_others_at_their_base(tmp_path, undrawn):
    named = ("weights", "sensitivity", ["alpha", "beta"])
    values = [(a, 10.0) for a in (0.1, 1.0, 10.0)] + [(1.0, b) for b in (1.0, 100.0)]
    lines = [fake_lines.line(study=named, params={"alpha": a, "beta": b}, seed=i) for i, (a, b) in enumerate(values)]
    figures.draw(study(lines), tmp_path / "s", tmp_path)
    assert undrawn["s-alpha"][1][0][0].lines["dcgh"][0] == [0.1, 1.0, 10.0]
    assert undrawn["s-beta"][1][0][0].lines["dcgh"][0] == [1.0, 10.0, 100.0]


def test_names_listed_side_by_side_share_one_figure(tmp_path, undrawn):
    named = ("both", "sensitivity", ["alpha", "beta"])
    lines = [fake_lines.line(study=named, params={"alpha": v, "beta": 1 - v}) for v in (0.1, 0.5, 0.9)]
    figures.draw(study(lines), tmp_path / "s", tmp_path)
    assert list(undrawn) == ["s-alpha"]
    assert undrawn["s-alpha"][2]["x"] == "α, and with it β"
    assert undrawn["s-alpha"][1][0][0].lines["dcgh"][0] == [0.1, 0.5, 0.9]


@pytest.mark.parametrize(
    ("kind", "vary", "points", "drawn"),
    [
        ("bits", ["alpha"], [(1.0, 10.0)], ["s-convergence", "s-pr-16", "s-topn-16"]),
        ("sweep", ["alpha"], [(0.1, 10.0), (1.0, 10.0)], ["s-alpha"]),
        (
            "sweep",
            ["alpha", "beta"],
            [(0.1, 2.0), (0.5, 9.0), (0.9, 4.0)],
            ["s-alpha", "s-beta", "s-importance"],
        ),  # drawn at random
        (
            "surface",
            ["alpha", "beta"],
            [(a, b) for a in (0.1, 1.0) for b in (1.0, 10.0)],
            ["s-importance", "s-surface"],
        ),
    ],
)
def test_a_sweep_is_drawn_as_what_it_turns_out_to_be(tmp_path, undrawn, kind, vary, points, drawn):
    params = [{"alpha": a, "beta": b} for a, b in points]
    parted = study([fake_lines.line(study=("sweep", "sweep", vary), params=p, seed=s) for p in params for s in (0, 1)])
    assert parted.kind == kind
    assert figures.draw(parted, tmp_path / "s", tmp_path)[1] == []
    assert sorted(undrawn) == drawn


def test_points_drawn_at_random_are_not_joined_and_all_there(tmp_path, undrawn):
    points = [(0.1, 2.0), (0.5, 9.0), (0.9, 4.0)]
    named = ("sweep", "sweep", ["alpha", "beta"])
    lines = [fake_lines.line(study=named, params={"alpha": a, "beta": b}) for a, b in points]
    figures.draw(study(lines), tmp_path / "s", tmp_path)
    _, (panels,), options = undrawn["s-beta"]
    assert (options["joined"], options["x"]) == (False, "β")
    assert panels[0].lines["dcgh"][0] == [2.0, 4.0, 9.0]


def test_a_grid_of_three_is_drawn_along_each_at_the_best_of_the_others(tmp_path, undrawn):
    named = ("sweep", "sweep", ["alpha", "beta", "lam"])
    values = [(a, b, c) for a in (1.0, 2.0) for b in (3.0, 4.0, 5.0) for c in (6.0, 7.0)]
    lines = [
        fake_lines.line(study=named, params=dict(zip(named[2], v)), lift=0.2 * (v == (2.0, 4.0, 7.0))) for v in values
    ]
    made, _ = figures.draw(study(lines), tmp_path / "s", tmp_path)
    assert [figure.title for figure in made] == [
        "mAP against α, β = 4, λ = 7 as in the best of all settings",
        "mAP against β, α = 2, λ = 7 as in the best of all settings",
        "mAP against λ, α = 2, β = 4 as in the best of all settings",
        "Importance for mAP",
    ]
    xs, ys = undrawn["s-beta"][1][0][0].lines["dcgh"]
    assert (xs, np.argmax(ys)) == ([3.0, 4.0, 5.0], 1)


def test_a_surface_has_true_cells_and_gaps_where_nothing_was_run(tmp_path, undrawn):
    lines = fake_lines.surface(side=3, seeds=2, missing={(0, 2)})
    figures.draw(study(lines), tmp_path / "s", tmp_path)
    _, (panels,), options = undrawn["s-surface"]
    cells = panels[0].cells
    assert (options["x"], options["y"], cells.shape) == ("α", "β", (3, 3))
    assert np.isnan(cells).sum() == 1
    assert np.isnan(cells[2, 0])
    own = [r["map"]["i2t"] for r in lines if r["params"] == {"alpha": 1.0, "beta": 1e-4}]
    assert cells[0, 1] == pytest.approx(np.mean(own))
    assert "mean of 2 seeds" in options["caption"]
    assert "best by mean over directions: α = " in options["caption"]


def test_scaling_tells_the_exponent(tmp_path, undrawn):
    figures.draw(study(fake_lines.scaling()), tmp_path / "s", tmp_path)
    (panel,) = undrawn["s-train-rows"][1][0]
    assert list(panel.lines) == ["dcgh (slope 1.05)", "aah (slope 1.00)"]
    assert undrawn["s-train-rows"][2]["log_y"]


def test_published_values_are_marked_on_the_bars(tmp_path, undrawn):
    lines = [fake_lines.line(m, 64, study=("a", "ablation", []), data="wiki") for m in ("dcgh", "dcgh-d")]
    figures.draw(study(lines), tmp_path / "s", tmp_path)
    bars = undrawn["s"][1][0][0]
    assert bars.groups == ["dcgh", "dcgh-d"]
    assert np.isfinite(bars.marks["64 bits"]).all()


def test_deep_features_stand_beside_those_of_the_data_set(tmp_path, undrawn):
    plain = [fake_lines.line("dcgh", 32, s, study=("bits", "bits", [])) for s in (0, 1)]
    deep = [fake_lines.line("dcgh", 32, s, study=("deep", "deep", []), data="toy:deep", data_hash="e") for s in (0, 1)]
    last = figures.studies([*plain, *deep])[1]
    assert len(last.lines) == 4
    figures.draw(last, tmp_path / "s", tmp_path)
    assert undrawn["s"][1][0][0].groups == ["dcgh, toy", "dcgh, toy:deep"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("absent.npz", "no such file"), ("../out.npz", "expected the name of an .npz file"), (None, "got None")],
)
def test_missing_arrays_are_told_and_the_rest_is_drawn(tmp_path, name, message):
    lines = [fake_lines.line(study=("t", "tsne", []), arrays=name)]
    made, skipped = figures.draw(study(lines), tmp_path / "t", tmp_path)
    assert made == []
    assert message in skipped[0]


def test_a_damaged_array_file_is_told(tmp_path):
    (tmp_path / "a.npz").write_text("no zip")
    _, skipped = figures.draw(
        study([fake_lines.line(study=("t", "tsne", []), arrays="a.npz")]), tmp_path / "t", tmp_path
    )
    assert "a.npz is damaged" in skipped[0]


@pytest.mark.parametrize(
    ("form", "arguments", "message"),
    [
        (plots.surface, ([],), "panels: expected at least one"),
        (plots.surface, ([plots.Surface("p", [1], [1, 2], [[1]])],), r"cells must have shape \(2, 1\)"),
        (plots.surface, ([plots.Surface("p", [1], [1], [[np.nan]])],), "no cell has a value"),
        (plots.bars, ([plots.Bars("p", ["a"], {"s": [1, 2]})],), "2 values for 1 groups"),
        (plots.bars, ([plots.Bars("p", ["a"], {str(i): [1] for i in range(9)})],), "cannot be told apart"),
        (plots.clouds, ([plots.Cloud("p", np.zeros((3, 2)), [0, 1], ())],), r"points must be \(2, 2\)"),
        (plots.answers, (np.array(["a"]), np.zeros((2, 3, 4, 4)), np.zeros((2, 3))), "at most 20"),
    ],
)
def test_drawings_check_their_input(tmp_path, form, arguments, message):
    options = {"x": "x", "y": "y", "z": "z"} if form is plots.surface else {"x": "x"} if form is plots.bars else {}
    with pytest.raises(ValueError, match=message):
        form(tmp_path / "f", *arguments, **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("cells", "said", "unsaid"),
    [
        ([[0.5014, 0.5006], [0.3, np.nan]], "no ring where several", "ring: best"),
        ([[0.502, 0.501], [0.3, np.nan]], "ring: best cell of a panel", "no ring"),
    ],
)
def test_a_plateau_has_no_ring(tmp_path, cells, said, unsaid):
    panel = plots.Surface("p", [0.1, 1.0], [5.0, 6.0], cells)
    text = plots.surface(tmp_path / "s", [panel], x="a", y="b", z="mAP")[1].read_text()
    assert said in text
    assert unsaid not in text
    assert ("#d55e00" in text.lower()) == said.startswith("ring")


def test_the_csv_of_a_surface_holds_its_cells(tmp_path):
    panel = plots.Surface("p", [0.1, 1.0], [5.0], [[0.25, np.nan]])
    files = plots.surface(tmp_path / "s", [panel], x="a", y="b", z="mAP")
    assert [file.suffix for file in files] == [".png", ".svg", ".pdf", ".csv"]
    with open(files[-1], newline="") as file:
        assert [row["mAP"] for row in csv.DictReader(file)] == ["0.25", ""]

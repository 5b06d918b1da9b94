"""Figures: every format, the points beside them, at most eight colours, and no mixing."""

import csv
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from jaxcmh import results
from jaxcmh.results import plots


def record(method: str, bits: int = 16, **changes) -> dict:
    shift = 0.01 * sum(map(ord, method)) / 100
    recall = np.linspace(0, 1, 5)
    curve = {
        "topn_precision": [0.9 - shift, 0.8, 0.7],
        "precision": [None, *(1 - 0.5 * recall[1:] - shift)],
        "recall": [0.0, *recall[1:]],
    }
    line = {
        "format": 2,
        "data": "toy",
        "data_hash": "d",
        "split_hash": "s",
        "database": "learned",
        "ties": "expected",
        "at": None,
        "n_queries": 9,
        "n_without_relevant": 0,
        "n_database": 50,
        "method": method,
        "bits": bits,
        "params": {},
        "max_iterations": 3,
        "tolerance": 0.3,
        "features": [],
        "hash_function": "ridge",
        "seed": 0,
        "map": {"i2t": 0.3 + shift + bits / 1000, "t2i": 0.6 + shift},
        "topn": [1, 5, 10],
        "curves": {"i2t": curve, "t2i": curve},
        "objective": [4.0, 3.0, 2.5, 2.5],
        "converged": 2,
        "times": {"train": bits / 100},
        "environment": {},
        **changes,
    }
    return {**line, "key": results.key(line)}


def points(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_every_figure_in_every_format(tmp_path):
    lengths = [record(method, bits) for method in ("dcgh", "aah") for bits in (16, 32)]
    one = [line for line in lengths if line["bits"] == 16]
    drawn = {
        "pr": plots.precision_recall(one, tmp_path / "pr"),
        "topn": plots.topn(one, tmp_path / "topn"),
        "bits": plots.bits(lengths, tmp_path / "bits"),
        "convergence": plots.convergence(lengths, tmp_path / "convergence"),
        "time": plots.time(lengths, tmp_path / "time"),
    }
    heads = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF", "csv": b"panel"}
    for name, paths in drawn.items():
        assert [path.name for path in paths] == [f"{name}.{kind}" for kind in heads]
        for path in paths:
            assert path.read_bytes().startswith(heads[path.suffix[1:]])
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for ps in drawn.values() for p in ps)


def test_a_matrix_shows_which_differences_are_sure(tmp_path):
    cells = np.array([[0.0, 0.2], [-0.2, 0.0]])
    panel = plots.Matrix("a", ["one", "two"], ["0.5", "0.3"], cells, cells != 0)
    assert [path.suffix for path in plots.matrix(tmp_path / "m", [panel], z="gap")] == [".png", ".svg", ".pdf", ".csv"]
    assert [(p["row"], p["column"], float(p["gap"]), p["sure"]) for p in points(tmp_path / "m.csv")] == [
        ("one", "one", 0.0, "0"),
        ("one", "two", 0.2, "1"),
        ("two", "one", -0.2, "1"),
        ("two", "two", 0.0, "0"),
    ]
    for wrong in (panel._replace(cells=cells[:1]), panel._replace(names=["one"])):
        with pytest.raises(ValueError, match="panel 'a': cells and sure must have shape"):
            plots.matrix(tmp_path / "m", [wrong], z="gap")


def test_labels_at_the_edge_do_not_overlap():
    for heights in ([0.5] * 19, [0.0, 0.01, 0.02, 1.0], [0.3], np.linspace(0, 1, 19)):
        places = plots._spread(heights)
        assert min(np.diff(places), default=1) >= 1 / max(len(heights), 15) - 1e-9
        assert -1e-9 <= min(places) <= max(places) <= 1 + 1e-9
    assert plots._spread([0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9])


def test_the_csv_holds_the_points(tmp_path):
    plots.precision_recall([record("dcgh")], tmp_path / "pr")
    rows = points(tmp_path / "pr.csv")
    assert {row["panel"] for row in rows} == {"Image → text", "Text → image"}
    first = [row for row in rows if row["panel"] == "Image → text"]
    curve = record("dcgh")["curves"]["i2t"]
    assert [float(row["recall"]) for row in first] == curve["recall"][1:]  # the first has no precision
    assert [float(row["precision"]) for row in first] == curve["precision"][1:]


def drawn_objective(tmp_path, **changes):
    plots.convergence([record("dcgh", **changes)], tmp_path / "c")
    rows = points(tmp_path / "c.csv")
    return [(float(row["iteration (0 = start)"]), float(row[plots.OBJECTIVE]), row.get("ring")) for row in rows]


def test_convergence_begins_at_the_start_and_ends_where_the_training_converged(tmp_path):
    assert drawn_objective(tmp_path) == [(0, 1.0, "0"), (1, 0.75, "0"), (2, 0.625, "1")]


def test_a_training_that_did_not_converge_has_no_ring(tmp_path):
    assert [ring for *_, ring in drawn_objective(tmp_path, converged=0)] == [None] * 4


def test_the_caption_says_whether_trainings_converged(tmp_path, monkeypatch):
    captions = []
    monkeypatch.setattr(plots, "draw", lambda *_, caption, **__: captions.append(caption))
    for changes in ({}, {"converged": 0}, {"converged": 0, "tolerance": 0.0}):
        plots.convergence([record("dcgh", **changes)], tmp_path / "c")
    assert ["a ring marks" in caption for caption in captions] == [True, True, False]
    assert ["did not converge" in caption for caption in captions] == [False, True, False]


def test_the_caption_says_why_an_objective_rises_where_one_does(tmp_path, monkeypatch):
    captions = []
    monkeypatch.setattr(plots, "draw", lambda *_, caption, **__: captions.append(caption))
    for objective in ([4.0, 2.0, 2.0], [4.0, 2.0, 2.5]):
        plots.convergence([record("imads", objective=objective, converged=0)], tmp_path / "c")
    assert ["where a line rises" in caption for caption in captions] == [False, True]


def test_lines_of_the_first_format_begin_after_the_first_iteration(tmp_path):
    line = {name: value for name, value in record("dcgh", format=1).items() if name != "converged"}
    plots.convergence([line], tmp_path / "c")
    assert [row["iteration"] for row in points(tmp_path / "c.csv")] == ["1.0", "2.0", "3.0", "4.0"]


def test_an_objective_that_hardly_moves_has_ticks_that_tell_the_distance_from_its_start(tmp_path, monkeypatch):
    ticks = []
    monkeypatch.setattr(plots, "beside_one", lambda value, exponent: ticks.append((value, exponent)) or "tick")
    drawn_objective(tmp_path)
    assert not ticks
    drawn_objective(tmp_path, objective=[1.0, 1.00002, 1.00005, 1.00005])
    assert {exponent for _, exponent in ticks} == {-5}


def test_dollar_signs_of_names_are_no_formulas(tmp_path):
    odd = r"$\foo$ for $5 or $6"
    plots.convergence([record(odd, data=odd), record("dcgh", data=odd)], tmp_path / "figure")
    assert f"<!-- {odd} -->" in (tmp_path / "figure.svg").read_text()


def test_at_most_eight_lines_are_coloured(tmp_path):
    panel = plots.Panel("p", {f"m{i:02}": ([0, 1], [i, i + 1]) for i in range(11)})
    plots.draw(tmp_path / "many", [panel], x="x", y="y")
    svg = (tmp_path / "many.svg").read_text()
    assert all(colour.lower() in svg for colour in plots.COLOURS)
    widths = [e.get("style", "") for e in ET.fromstring(svg).iter() if "stroke-width: 1.6" in e.get("style", "")]
    grey = [e for e in ET.fromstring(svg).iter() if f"stroke: {plots.GREY.lower()}" in e.get("style", "")]
    assert len(widths) == 2 * len(plots.COLOURS)  # each once in the axes and once in the legend
    assert len(grey) == 11 - len(plots.COLOURS) + 1


def test_the_palette_is_told_apart_without_colour_vision():
    # Viénot, Brettel and Mollon 1999: linear RGB as dichromats see it.
    blind = {
        "protanope": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
        "deuteranope": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
    }
    linear = np.array([to_rgb(c) for c in plots.COLOURS]) ** 2.2
    for matrix in blind.values():
        seen = np.clip(linear @ matrix.T, 0, 1) ** (1 / 2.2)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=2) + np.eye(len(seen))
        assert apart.min() > 0.1
    assert len(set(plots.MARKERS)) == len(plots.COLOURS)


def test_equal_figures_are_equal_files(tmp_path):
    for name in ("one", "two"):
        plots.topn([record("dcgh")], tmp_path / name / "f")
    for kind in ("svg", "pdf", "csv", "png"):
        assert (tmp_path / "one" / f"f.{kind}").read_bytes() == (tmp_path / "two" / f"f.{kind}").read_bytes()


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "records: expected at least one"),
        ([record("dcgh"), record("aah", ties="stable")], "mix protocols: ties"),
        ([record("dcgh"), record("aah", 32)], "mix code lengths"),
        ([record("dcgh"), record("dcgh", seed=1)], "two results of method 'dcgh'"),
    ],
)
def test_curves_refuse_what_does_not_compare(tmp_path, records, message):
    with pytest.raises(ValueError, match=message):
        plots.topn(records, tmp_path / "f")
    assert not list(tmp_path.iterdir())


def test_drawing_checks_its_lines(tmp_path):
    with pytest.raises(ValueError, match="panels: expected at least one"):
        plots.draw(tmp_path / "f", [], x="x", y="y")
    with pytest.raises(ValueError, match="3 x values and 2 y values"):
        plots.draw(tmp_path / "f", [plots.Panel("p", {"a": ([1, 2, 3], [1, 2])})], x="x", y="y")


# -- what is on the axes ----------------------------------------------------------------------------------------------


@pytest.fixture
def axes(monkeypatch):
    """The axes of what is drawn; no file is written."""
    drawn = []

    def keep(stem, panels, fill, **options):
        figure = Figure()
        for panel, place in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0]):
            fill(place, panel)
            drawn.append(place)
        return []

    monkeypatch.setattr(plots, "_figure", keep)
    return drawn


ONE, TWO = [math.nan, math.nan], [0.1, 0.0]  # of one seed; of several, that agree in one point


@pytest.mark.parametrize("lines", [2, plots.BANDS + 1])
def test_one_seed_has_no_spread_to_draw(axes, tmp_path, lines):
    names = {f"line {number}": ([1, 2], [0.5, 0.6]) for number in range(lines)}
    for spread, drawn in ((ONE, 0), ([0.0, 0.0], 0), (TWO, lines)):
        plots.draw(tmp_path / "d", [plots.Panel("", names, dict.fromkeys(names, spread))], x="x", y="y")
        assert len(axes[-1].collections) == drawn
        ends = [len(c.get_segments()) for c in axes[-1].collections if hasattr(c, "get_segments")]
        assert all(count == 1 for count in ends)  # and no bar at the point without a spread


def test_bars_of_one_seed_have_no_whiskers(axes, tmp_path):
    for spread, drawn in ((ONE, 0), (TWO, 1)):
        plots.bars(tmp_path / "b", [plots.Bars("", ["a", "b"], {"s": [0.5, 0.6]}, {"s": spread})], x="x")
        assert sum(len(c.get_segments()) for c in axes[-1].collections) == drawn
    for spread, drawn in (([math.nan], 0), ([0.1], 1)):
        plots.labelled(tmp_path / "l", [plots.Panel("", {"a": ([1.0], [0.5])}, {"a": spread})], x="x", y="y")
        assert len(axes[-1].collections) == drawn


def test_the_axis_of_iterations_begins_at_the_start(axes, tmp_path):
    plots.convergence([record("dcgh", objective=[4.0, 3.0, 2.0, 1.9], converged=0)], tmp_path / "c")
    low, high = axes[0].get_xlim()
    assert -0.1 < low < 0
    assert 3 < high < 3.1
    assert all(tick == int(tick) for tick in axes[0].get_xticks())


def test_curves_of_short_codes_say_why_they_begin_late(monkeypatch, tmp_path):
    captions = []
    monkeypatch.setattr(plots, "draw", lambda *_, caption, **__: captions.append(caption))
    for start in (0.2, 0.01):
        line = record("dcgh")
        curves = {d: c | {"precision": [0.9, 0.5], "recall": [start, 1.0]} for d, c in line["curves"].items()}
        plots.precision_recall([line | {"curves": curves}], tmp_path / "pr")
    assert ["a line begins with the items nearest" in caption for caption in captions] == [True, False]


def test_headings_are_in_sentence_case(tmp_path):
    files = plots.draw(tmp_path / "d", [plots.Panel(plots.heading("t2i"), {"a": ([1, 2], [3, 4])})], x="bits", y="mAP")
    text = files[1].read_text()
    assert all(f"<!-- {words} -->" in text for words in ("Text → image", "Bits", "mAP"))
    assert points(tmp_path / "d.csv")[0].keys() == {"panel", "line", "bits", "mAP"}


def test_the_centre_of_a_class_is_hollow(axes, tmp_path):
    plots.clouds(tmp_path / "c", [plots.Cloud("", [[0.0, 0.0], [1.0, 1.0]], [0, 1], [[0.0, 0.0], [1.0, 1.0]])])
    stars = [c for c in axes[0].collections if not len(c.get_facecolor())]
    assert len(stars) == 3 * 2


def test_powers_of_ten_along_a_surface_are_written_as_such(tmp_path):
    panel = plots.Surface("", [1e-4, 1e4], [1.0, 10.0], [[0.1, 0.2], [0.3, 0.4]])
    text = plots.surface(tmp_path / "s", [panel], x="a", y="b", z="mAP")[1].read_text()
    assert "<!-- $10^{-4}$ -->" in text
    assert 'id="DejaVuSans-7"' not in text  # the glyph of a dollar sign
